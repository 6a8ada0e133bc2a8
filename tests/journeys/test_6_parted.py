"""The network parts: packets between two hosts of the cooperative vanish, so nobody is refused at once and everybody waits."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from browser import browser
from conftest import COOP_HOSTS, RCPT, Clients, Member, token, until
from testinfra.host import Host

SIGN_IN = """
import imaplib, sys
try:
    print(imaplib.IMAP4_SSL(sys.argv[1], timeout=180).login(sys.argv[2], sys.stdin.read()))
except imaplib.IMAP4.error as error:
    print(error)
"""


@contextmanager
def parted(host: Host, others: list[dict[str, str]]) -> Iterator[None]:
    """Nothing passes between the host and the others, of connections that are open either; both reach everybody else."""
    rules = "".join(
        f"add rule inet parted {hook} {family} {way} {other[address]} drop\n"
        for other in others
        for family, address in (("ip", "host_ipv4"), ("ip6", "host_ipv6"))
        for hook, way in (("input", "saddr"), ("output", "daddr"))
    )
    chains = "".join(
        f"add chain inet parted {hook} {{ type filter hook {hook} priority -10; }}\n" for hook in ("input", "output")
    )
    host.check_output("printf %%s %s | nft -f -", f"add table inet parted\n{chains}{rules}")
    try:
        yield
    finally:
        host.check_output("nft delete table inet parted")


@pytest.mark.fault
def test_without_a_way_to_the_directory_everybody_is_asked_to_come_again(
    clients: Clients,
    members: dict[str, Member],
    coop: dict[str, Host],
    inventory: dict[str, Any],
    server: str,
    portal: str,
) -> None:
    anna, during = members["anna"], token()

    def signs_in() -> str:
        return clients.run("python3", "-c", SIGN_IN, clients.server, anna.mail, stdin=anna.password).text

    others = [inventory[name] for name in COOP_HOSTS if name != "dyle"]
    with parted(coop["dyle"], others), ThreadPoolExecutor() as beside:
        # a program that is told that its password is wrong asks the member for another
        reading = beside.submit(signs_in)
        refused = clients.swaks(
            "--server", clients.server, "--from", "sarah@stranger.test", "--to", anna.mail, "--quit-after", "RCPT"
        )
        assert refused.code == RCPT, refused.text
        assert "451 4.3.0" in refused.text, refused.text
        assert clients.stranger_sends(anna.mail, during).code == 0
        with browser(server) as person:
            person.sign_in(portal, anna.mail, anna.password)
            person.read("annuaire", 30)
            person.keep("portal-no-directory")
            assert not person.obstacles()
        assert "[UNAVAILABLE]" in (said := reading.result()), said
    until("the mailbox", lambda: "'OK'" in signs_in())
    clients.receive(anna, during)
    assert len(clients.find(anna, during)) == 1
    with browser(server) as person:
        person.sign_in(portal, anna.mail, anna.password)
        assert person.at_home(portal)


@pytest.mark.fault
def test_without_a_way_to_the_database_webmail_says_so_before_anybody_gives_up(
    clients: Clients, coop: dict[str, Host], inventory: dict[str, Any], webmail: str, portal: str, members: dict[str, Member]
) -> None:
    page = ("curl", "--silent", "--max-time", "30", "--header", "Accept-Language: nl", f"{webmail}?_task=mail")
    during = token()
    with parted(coop["meuse"], [inventory[name] for name in COOP_HOSTS if name != "meuse"]):
        said = clients.run(*page)
        assert "De webmail antwoordt niet" in said.text, said
        # mail itself needs neither
        assert clients.submit(members["anna"], members["bram"].mail, during).code == 0
        clients.receive(members["bram"], during)
    back = ("curl", "--silent", "--location", "--max-time", "30", "--output", "/dev/null", "--write-out")
    where = "%{http_code} %{url_effective}"
    until("webmail, which sends to the portal", lambda: clients.run(*back, where, page[-1]).text.startswith(f"200 {portal}"))
