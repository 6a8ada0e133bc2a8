#!/usr/bin/python
# License: AGPL-3.0-or-later
"""Write zone files, all or none."""

from __future__ import annotations

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: zone_files
short_description: Write zone files, all or none
description:
  - Writes the zone files that differ, after C(kzonecheck) has found every one of them right. Supports check mode and diff;
    in check mode on a host without C(kzonecheck) nothing is checked.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      zone: {type: str, required: true, description: "Name of the zone."}
      file: {type: str, required: true, description: "Name of its file in I(directory)."}
      text: {type: str, required: true, description: "What the file says."}
  directory: {type: path, required: true, description: "Where the files are."}
extends_documentation_fragment: [files]
author: [perron]
"""

EXAMPLES = r"""
- zone_files:
    directory: /etc/knot
    files:
      - zone: example.org
        file: example.org.zone
        text: |
          $ORIGIN example.org.
          @ 3600 SOA ns1.example.net. hostmaster 1 3600 600 604800 300
          @ 3600 NS ns1.example.net.
    mode: "0640"
"""

RETURN = r"""
written: {type: list, elements: str, returned: always, description: Names of the zones whose file was written.}
"""


def text_of(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def main() -> None:
    file = {name: {"type": "str", "required": True} for name in ("zone", "file", "text")}
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": file},
            "directory": {"type": "path", "required": True},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    checker = module.get_bin_path("kzonecheck", required=not module.check_mode)
    paths = {wanted["zone"]: os.path.join(module.params["directory"], wanted["file"]) for wanted in module.params["files"]}
    new: dict[str, str] = {}
    diff, wrong = [], []
    for wanted in module.params["files"]:
        zone, text, path = wanted["zone"], wanted["text"], paths[wanted["zone"]]
        before = text_of(path)
        if before == text:
            continue
        diff.append({"before_header": path, "after_header": path, "before": before or "", "after": text})
        handle, new[zone] = tempfile.mkstemp(dir=module.tmpdir)
        with os.fdopen(handle, "w", encoding="utf-8") as written:
            written.write(text)
        if checker:
            code, out, err = module.run_command([checker, "-o", zone, new[zone]])
            if code:
                wrong.append(f"{zone}: {(out + err).replace(new[zone], path).strip()}")
    if wrong:
        module.fail_json(msg="\n".join(["no zone was written, as kzonecheck refuses", *wrong]))
    changed = bool(new)
    for zone, path in paths.items():
        if zone in new and not module.check_mode:
            module.atomic_move(new[zone], path)
        if os.path.exists(path):
            changed = module.set_fs_attributes_if_different(module.load_file_common_arguments(module.params, path), changed)
    module.exit_json(changed=changed, written=list(new), diff=diff)


if __name__ == "__main__":
    main()
