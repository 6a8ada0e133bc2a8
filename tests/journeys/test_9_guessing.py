"""Who guesses passwords is shut out of that service, and nobody else; the sysadmin lets them in again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import REFUSED, Clients, Member, until
from testinfra.host import Host

UNREACHABLE = (7, 28)  # curl: nothing answers


JAILS = {"lesse": "mail-sign-in", "meuse": "portal-sign-in"}


@pytest.fixture
def guesser(coop: dict[str, Host], inventory: dict[str, dict[str, str]]) -> Iterator[str]:
    """Another address of world than its members have, from which nothing was tried yet."""
    address = inventory["world"]["world_mail_ipv4"]
    for name, jail in JAILS.items():
        coop[name].run(f"fail2ban-client set {jail} unbanip {address}")
    yield address
    for name, jail in JAILS.items():
        coop[name].check_output(f"fail2ban-client set {jail} unbanip {address}")


def test_twenty_guesses_and_no_more(clients: Clients, coop: dict[str, Host], members: dict[str, Member], guesser: str) -> None:
    anna = members["anna"]

    def try_from(address: str, password: str) -> int:
        options = ("--connect-timeout", "3", "--ipv4", "--interface", address)
        return clients.curl(anna, "", *options, password=password).code

    # at many names, as the directory itself locks one that is tried too often; many at once, as an attempt takes its time
    guess = f"curl -s --ipv4 --interface {guesser} --connect-timeout 3 --user guess-$0@{clients.domain}:guess imaps://{clients.server}/"
    clients.world.run(f"seq 50 | xargs -P 25 -I N sh -c '{guess}' N")
    until("the guesser is shut out", lambda: try_from(guesser, anna.password) in UNREACHABLE, 60)
    assert guesser in coop["lesse"].check_output(f"fail2ban-client get {JAILS['lesse']} banip")
    # the member herself, from where she is
    assert clients.curl(anna, "").code == 0
    assert clients.curl(anna, "", password="not hers").code == REFUSED
    # other mail comes in: the guesser's host is a mail host, too
    assert clients.swaks("--server", clients.server, "--local-interface", guesser, "--quit-after", "EHLO").code == 0

    coop["lesse"].check_output(f"fail2ban-client set {JAILS['lesse']} unbanip {guesser}")
    until("the guesser is let in again", lambda: try_from(guesser, anna.password) == 0, 60)


def test_at_the_portal_no_more_either(clients: Clients, coop: dict[str, Host], portal: str, guesser: str) -> None:
    """The form is filled in for many names."""
    one = f"""
curl="curl -sS --ipv4 --interface {guesser} --connect-timeout 3 --max-time 60 --cookie-jar /tmp/guess-$0 --cookie /tmp/guess-$0"
token=$($curl {portal} | sed -nE 's/.*name="token" value="([^"]+)".*/\\1/p' | head -n 1)
$curl -o /dev/null -w '%{{http_code}} ' --data-urlencode "token=$token" --data "user=guess-$0&password=guess" {portal}
rm -f /tmp/guess-$0"""

    def reached(address: str) -> bool:
        asked = clients.world.run(f"curl -so /dev/null --ipv4 --interface {address} --connect-timeout 3 {portal}")
        return asked.rc not in UNREACHABLE

    assert reached(guesser)
    said = clients.world.run("seq 30 | xargs -P 6 -I N sh -c %s N", one).stdout
    until("the guesser is shut out", lambda: not reached(guesser), 60)
    assert guesser in coop["meuse"].check_output(f"fail2ban-client get {JAILS['meuse']} banip"), said
    # others go on to sign in
    assert clients.world.run(f"curl -sfo /dev/null --ipv4 --connect-timeout 3 {portal}").rc == 0

    coop["meuse"].check_output(f"fail2ban-client set {JAILS['meuse']} unbanip {guesser}")
    until("the guesser is let in again", lambda: reached(guesser), 60)
