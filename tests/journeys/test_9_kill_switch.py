"""One word of the sysadmin, and within a minute a member has no way in that is left: no door, and no session that was open."""

from __future__ import annotations

import base64
import time
from dataclasses import replace

import pytest
from browser import browser
from conftest import REFUSED, Clients, Member, becomes, idling, token, until
from testinfra.host import Host

MINUTE = 60
# where the way out is, in Nextcloud and in what stands in for it
IN_THE_CLOUD = "#initial-state-core-settingsNavEntries, #logout"


SIEVE = """
import socket, ssl, sys
server, secret = sys.argv[1:]
plain = socket.create_connection((server, 4190), 20)
talk = plain.makefile("rw", newline="")
def answer():
    while not (line := talk.readline()).startswith(("OK", "NO", "BYE")):
        assert line
    return line
answer()
talk.write("STARTTLS\\r\\n"); talk.flush(); answer()
secure = ssl.create_default_context().wrap_socket(plain, server_hostname=server)
talk = secure.makefile("rw", newline="")
answer()
talk.write(f'AUTHENTICATE "PLAIN" "{secret}"\\r\\n'); talk.flush()
print(answer())
"""


def sieve(clients: Clients, member: Member) -> bool:
    """Does ManageSieve let them in?"""
    secret = base64.b64encode(f"\0{member.mail}\0{member.password}".encode()).decode()
    said = clients.run("python3", "-c", SIEVE, clients.server, secret)
    assert said.code == 0, said.text
    return said.text.startswith("OK")


def ways_in(clients: Clients, member: Member) -> dict[str, bool]:
    return {
        "IMAP": clients.curl(member, "").code != REFUSED,
        "POP3": clients.curl(member, "", scheme="pop3s").code != REFUSED,
        "submission 465": clients.submit(member, member.mail, token()).code == 0,
        "submission 587": clients.submit(member, member.mail, token(), port=587).code == 0,
        "ManageSieve": sieve(clients, member),
    }


def cloud_answers(clients: Clients, cloud: str, member: Member, password: str) -> str:
    """What a program of theirs is told there."""
    files = f"{cloud}remote.php/dav/files/{member.login}/"
    options = ("-so", "/dev/null", "-w", "%{http_code}", "-X", "PROPFIND", "-H", "Depth: 0")
    return clients.run("curl", *options, "-u", f"{member.login}:{password}", files).text


@pytest.mark.usefixtures("forgiven")
def test_suspended_means_out_everywhere(
    clients: Clients, world: Host, coop: dict[str, Host], server: str, portal: str, webmail: str, cloud: str, devices: str,
    members: dict[str, Member],
) -> None:  # fmt: skip
    kim = members["kim"]
    assert all(ways_in(clients, kim).values()), ways_in(clients, kim)
    with browser(server, "nl") as page:
        page.sign_in(portal, kim.mail, kim.password)
        assert page.at_home(portal)
        page.register_second_factor(portal)
        phone = replace(kim, password=page.make_device(devices, "Telefoon"))
        assert all(ways_in(clients, phone).values()), ways_in(clients, phone)
        assert not any(ways_in(clients, kim).values()), "their own password, once there is a device"
        page.open(webmail)
        page.see("body.task-mail")
        page.open(cloud)
        page.see("#header")
        assert page.driver.find_elements("css selector", IN_THE_CLOUD), page.text()
        app = coop["dyle"].check_output("nextcloud-occ user:auth-tokens:add -n %s", kim.login).split()[-1]
        assert cloud_answers(clients, cloud, kim, app) == "207"

        with idling(world, clients.server, phone) as told:
            began = time.monotonic()
            becomes(kim, "suspended")

            def left() -> float:
                return MINUTE - (time.monotonic() - began)

            # webmail's own session has nothing but a token of the portal's
            page.open(f"{webmail}?_task=settings&_action=identities")
            assert not page.driver.find_elements("css selector", "#identities-table"), page.text()
            until("the portal forgot them", lambda: not page.at_home(portal), left())
            until("every door is closed", lambda: not any(ways_in(clients, phone).values()), left())
            until("the phone's session is over", lambda: "* BYE" in told(), left())
            # DisabledUserException, as of Nextcloud 32
            until("the cloud is closed", lambda: cloud_answers(clients, cloud, kim, app) in ("401", "503"), left())
            page.open(cloud)
            assert not page.driver.find_elements("css selector", IN_THE_CLOUD), page.text()
            page.open(devices)
            assert "Deze account is niet actief" in page.text(), page.text()
        page.sign_in(portal, kim.mail, kim.password)
        page.see(".alert-danger, .alert-warning, .message-negative")
