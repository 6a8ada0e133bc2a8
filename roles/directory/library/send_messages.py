#!/usr/bin/python
# License: AGPL-3.0-or-later
"""Hand plain-text messages to this host's mail server, over one connection."""

from __future__ import annotations

import smtplib
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: send_messages
short_description: Hand plain-text messages to this host's mail server, over one connection
description: One recipient refused, or the server lost half-way, keeps none of the others' messages from being accounted for.
options:
  messages:
    description: The messages. Contents are never logged.
    type: list
    elements: dict
    required: true
    suboptions:
      id: {type: str, required: true, description: "What the caller calls it."}
      sender: {type: dict, required: true, description: "C(name) and C(address)."}
      recipient: {type: str, required: true, description: "Address."}
      subject: {type: str, required: true, description: "Subject."}
      body: {type: str, required: true, description: "Text."}
  host: {type: str, default: localhost, description: "The mail server."}
  port: {type: int, default: 25, description: "Its port."}
author: [perron]
"""

EXAMPLES = r"""
- send_messages:
    messages:
      - id: alice
        sender: {name: The cooperative, address: postmaster@coop.example}
        recipient: alice@elsewhere.example
        subject: Welcome
        body: Hello
"""

RETURN = r"""
sent: {type: list, elements: str, returned: always, description: I(id) of the messages the server took.}
reason: {type: str, returned: always, description: Why the first of the others was not taken.}
"""


def compose(message: dict[str, Any]) -> EmailMessage:
    mail = EmailMessage()
    local, _, domain = message["sender"]["address"].rpartition("@")
    mail["From"] = Address(message["sender"]["name"], local, domain)
    mail["To"] = message["recipient"]
    mail["Subject"] = message["subject"]
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = make_msgid(domain=domain)
    # nobody's holiday notice answers it (RFC 3834)
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message["body"])
    return mail


def main() -> None:
    message = {key: {"type": "str", "required": True} for key in ("id", "recipient", "subject")}
    module = AnsibleModule(
        argument_spec={
            "messages": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "no_log": False,
                "options": {
                    **message,
                    "sender": {"type": "dict", "required": True},
                    "body": {"type": "str", "required": True, "no_log": True},
                },
            },
            "host": {"type": "str", "default": "localhost"},
            "port": {"type": "int", "default": 25},
        },
        supports_check_mode=True,
    )
    sent: list[str] = []
    reason = ""
    if module.check_mode:
        module.exit_json(changed=True, sent=[message["id"] for message in module.params["messages"]], reason="")
    try:
        with smtplib.SMTP(module.params["host"], module.params["port"], timeout=30) as server:
            for message in module.params["messages"]:
                try:
                    server.send_message(compose(message))
                    sent.append(message["id"])
                except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
                    reason = reason or f"{message['recipient']}: {error}"
    except (OSError, smtplib.SMTPException) as error:
        reason = reason or f"{module.params['host']}:{module.params['port']}: {error}"
    module.exit_json(changed=bool(sent), sent=sent, reason=reason)


if __name__ == "__main__":
    main()
