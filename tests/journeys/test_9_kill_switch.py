"""One word of the sysadmin, and within a minute a member has no way in that is left: no door, and no session that was open."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import browser, browsers
from conftest import REFUSED, Clients, Member, playbook, token, until, write_members
from testinfra.host import Host

MINUTE = 60


@pytest.fixture
def kim(domain: str, tmp_path: Path) -> Iterator[Member]:
    """A member with a password of their own."""
    login = f"kim{secrets.token_hex(3)}"
    member = Member(login, f"{login}@{domain}", secrets.token_urlsafe(18))
    row = {"login": login, "mail": member.mail, "given_name": "Kim", "family_name": "Maes", "password": member.password}
    playbook("member", "-e", f"members_csv={write_members(tmp_path / 'members.csv', [row])}")
    yield member
    playbook("member", "-e", json.dumps({"member": {"login": login, "state": "absent"}}))


def sieve(clients: Clients, member: Member) -> bool:
    """Does ManageSieve let them in?"""
    secret = base64.b64encode(f"\0{member.mail}\0{member.password}".encode()).decode()
    said = clients.world.run(
        f'(printf \'AUTHENTICATE "PLAIN" "{secret}"\\r\\n\'; timeout 5 tail -f /dev/null)'
        f" | timeout 6 openssl s_client -quiet -starttls sieve -connect {clients.server}:4190 2>/dev/null"
    )
    return said.stdout.splitlines()[-1].startswith("OK")


def ways_in(clients: Clients, member: Member) -> dict[str, bool]:
    return {
        "IMAP": clients.curl(member, "").code != REFUSED,
        "POP3": clients.curl(member, "", scheme="pop3s").code != REFUSED,
        "submission 465": clients.submit(member, member.mail, token()).code == 0,
        "submission 587": clients.submit(member, member.mail, token(), port=587).code == 0,
        "ManageSieve": sieve(clients, member),
    }


def test_suspended_means_out_everywhere(clients: Clients, world: Host, domain: str, kim: Member) -> None:
    portal = f"https://auth.{domain}/"
    assert all(ways_in(clients, kim).values()), ways_in(clients, kim)
    # an IMAP session that stays open, as a phone's does
    idle = f"journeys-idle-{kim.login}"
    world.check_output(
        f"systemd-run --unit {idle} bash -c \"(printf 'a login {kim.mail} {kim.password}\\r\\nb select inbox\\r\\nc idle\\r\\n';"
        f' tail -f /dev/null) | openssl s_client -quiet -connect {clients.server}:993"'
    )
    with browsers(world) as server, browser(server) as page:
        page.sign_in(portal, kim.mail, kim.password)
        assert page.at_home(portal)
        until("the phone is signed in", lambda: "+ idling" in world.run(f"journalctl -u {idle}").stdout)

        began = time.monotonic()
        playbook("member", "-e", json.dumps({"member": {"login": kim.login, "state": "suspended"}}))
        left = MINUTE - (time.monotonic() - began)
        until("every door is closed", lambda: not any(ways_in(clients, kim).values()), left)
        until("the portal forgot them", lambda: not page.at_home(portal), MINUTE - (time.monotonic() - began))
        page.sign_in(portal, kim.mail, kim.password)
        page.see(".alert-danger, .alert-warning, .message-negative")
    closed = world.run(f"journalctl -u {idle}").stdout
    world.run(f"systemctl stop {idle}")
    assert "* BYE" in closed, closed
