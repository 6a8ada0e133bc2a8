"""Who guesses passwords is shut out of that service, and nobody else; the sysadmin lets them in again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import REFUSED, Clients, Member, until
from testinfra.host import Host

JAIL = "mail-sign-in"
UNREACHABLE = (7, 28)  # curl: nothing answers


@pytest.fixture
def guesser(mail_host: Host, inventory: dict[str, dict[str, str]]) -> Iterator[str]:
    """Another address of world than its members have, from which nothing was tried yet."""
    address = inventory["world"]["world_mail_ipv4"]
    forget = f"fail2ban-client set {JAIL} unbanip {address}"
    mail_host.run(forget)
    yield address
    mail_host.check_output(forget)


def test_twenty_guesses_and_no_more(clients: Clients, mail_host: Host, members: dict[str, Member], guesser: str) -> None:
    anna = members["anna"]

    def try_from(address: str, password: str) -> int:
        options = ("--connect-timeout", "3", "--ipv4", "--interface", address)
        return clients.curl(anna, "", *options, password=password).code

    # at many names, as the directory itself locks one that is tried too often; many at once, as an attempt takes its time
    guess = f"curl -s --ipv4 --interface {guesser} --connect-timeout 3 --user guess-$0@{clients.domain}:guess imaps://{clients.server}/"
    clients.world.run(f"seq 50 | xargs -P 25 -I N sh -c '{guess}' N")
    until("the guesser is shut out", lambda: try_from(guesser, anna.password) in UNREACHABLE, 60)
    assert guesser in mail_host.check_output(f"fail2ban-client get {JAIL} banip")
    # the member herself, from where she is
    assert clients.curl(anna, "").code == 0
    assert clients.curl(anna, "", password="not hers").code == REFUSED
    # other mail comes in: the guesser's host is a mail host, too
    assert clients.swaks("--server", clients.server, "--local-interface", guesser, "--quit-after", "EHLO").code == 0

    mail_host.check_output(f"fail2ban-client set {JAIL} unbanip {guesser}")
    until("the guesser is let in again", lambda: try_from(guesser, anna.password) == 0, 60)
