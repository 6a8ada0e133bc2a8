#!/usr/bin/python
# License: AGPL-3.0-or-later
"""Write the receipts of members who leave, once each, and know which still have to be sent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: member_receipts
short_description: Write the receipts of members who leave, once each, and know which still have to be sent
description:
  - A receipt is a text file for root alone. It is in C(unsent/) until the caller says that it was sent, then in the directory
    itself, where a receipt that nobody can be sent is from the beginning.
  - A receipt that waits in C(unsent/) and is not among I(receipts) any more belongs to a member who came back, or was
    overtaken; it is dropped unless its name says C(-removed-).
options:
  path: {type: path, required: true, description: "The directory."}
  receipts:
    description: All that should be there; those that are there, sent or not, stay as they are.
    type: list
    elements: dict
    suboptions:
      name: {type: str, required: true, description: "Name of the file."}
      recipient: {type: str, required: true, description: "Address, or nothing."}
      subject: {type: str, required: true, description: "Subject."}
      body: {type: str, required: true, description: "The text."}
  sent: {type: list, elements: str, default: [], description: "Names of receipts that were sent."}
author: [perron]
"""

EXAMPLES = r"""
- member_receipts:
    path: /var/lib/perron-members/receipts
    receipts: [{name: alice-leaves-2026-12-24.txt, recipient: alice@elsewhere.example, subject: Goodbye, body: Dear Alice}]
"""

RETURN = r"""
written: {type: list, elements: str, returned: always, description: Names of receipts that are new.}
waiting: {type: list, elements: dict, returned: always, description: "Those to send: C(id), C(recipient), C(subject), C(body)."}
"""


def write(path: Path, receipt: dict[str, str]) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(f"To: {receipt['recipient']}\nSubject: {receipt['subject']}\n\n{receipt['body']}")
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def read(path: Path) -> dict[str, str]:
    head, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    to, subject = head.split("\n", 1)
    found = {"recipient": to.removeprefix("To: "), "subject": subject.removeprefix("Subject: ")}
    return {"id": path.name, **found, "body": body}


def main() -> None:
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "receipts": {
                "type": "list",
                "elements": "dict",
                "options": {"name": text, "recipient": text, "subject": text, "body": text},
            },
            "sent": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    kept = Path(module.params["path"])
    unsent = kept / "unsent"
    wanted: list[dict[str, str]] = module.params["receipts"] or []
    new = [receipt for receipt in wanted if not any((place / receipt["name"]).exists() for place in (kept, unsent))]
    result: dict[str, Any] = {"changed": bool(new or module.params["sent"]), "written": [r["name"] for r in new], "waiting": []}
    if module.check_mode or not (new or unsent.exists()):
        module.exit_json(**result)
    for place in (kept, unsent):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for receipt in new:
        write((unsent if receipt["recipient"] else kept) / receipt["name"], receipt)
    for name in module.params["sent"]:
        (unsent / name).rename(kept / name)
    names = {receipt["name"] for receipt in wanted}
    for path in sorted(unsent.glob("*.txt")):
        if module.params["receipts"] is not None and path.name not in names and "-removed-" not in path.name:
            path.unlink()
            result["changed"] = True
        else:
            result["waiting"].append(read(path))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
