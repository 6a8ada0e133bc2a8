"""A member comes, with a password of the house's making, and leaves."""

from __future__ import annotations

import email
import email.policy
import json
import re
import secrets
from collections.abc import Iterator

import pytest
from conftest import REFUSED, Clients, Member, playbook, until
from testinfra.host import Host


@pytest.fixture
def hugo(domain: str) -> Iterator[dict[str, str]]:
    """A member to be, under a login no earlier run welcomed."""
    login = f"hugo{secrets.token_hex(3)}"
    facts = {"login": login, "mail": f"{login}@{domain}", "given_name": "Hugo", "family_name": "Claes"}
    yield facts | {"language": "nl", "contact": "victor@stranger.test"}
    playbook("member", "-e", json.dumps({"member": {"login": login, "state": "absent"}}), "-e", "member_grace=skip")


def welcomes(world: Host, member: dict[str, str]) -> list[str]:
    """The bodies of the messages that welcome this member, in the stranger's mailbox that is their contact."""
    listing = world.run("ls /srv/mail/victor/new 2>/dev/null").stdout.split()
    raw = [world.check_output("cat /srv/mail/victor/new/%s", name) for name in listing]
    bodies = [email.message_from_string(text, policy=email.policy.default).get_body(("plain",)) for text in raw]
    return [text for body in bodies if body and member["mail"] in (text := str(body.get_content()))]  # type: ignore[attr-defined]


def test_a_member_is_welcomed_in_their_language_and_signs_in(
    clients: Clients, world: Host, coop: dict[str, Host], hugo: dict[str, str]
) -> None:
    asked = ("-e", json.dumps({"member": hugo}))
    printed = playbook("member", *asked)
    message = until("the welcome message", lambda: welcomes(world, hugo))[0]
    assert "Dag Hugo" in message, message
    found = re.search(r"Wachtwoord: (\S+)", message)
    assert found, message
    member = Member(hugo["login"], hugo["mail"], found[1])

    assert clients.curl(member, "").code == 0
    assert clients.curl(member, "", password=f"{member.password}x").code == REFUSED
    assert member.password not in printed
    assert hugo["login"] not in coop["dyle"].file("/var/lib/perron-members/initial-passwords").content_string

    again = playbook("member", *asked)
    assert set(re.findall(r"changed=(\d+)", again)) == {"0"}, again
    assert len(welcomes(world, hugo)) == 1, "welcomed once"

    playbook("member", "-e", json.dumps({"member": {"login": hugo["login"], "state": "absent"}}))
    assert clients.curl(member, "").code == REFUSED
