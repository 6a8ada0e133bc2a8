"""A renewed certificate is what every consumer serves afterwards, and the key the zone promises stays the same."""

from __future__ import annotations

import re

import pytest
from conftest import Clients, playbook, until
from testinfra.host import Host

# certificate: the host that has it, and whatever serves it there; the web server of the mail domains' policy is one of them
CONSUMERS = {
    "mail": ("lesse", (*(("mail", port) for port in (25, 465, 587, 993, 995, 4190)), ("mta-sts", 443))),
    "directory": ("dyle", (("ldap", 636),)),
    "nextcloud": ("dyle", (("cloud", 443),)),
    "portal": ("meuse", (("auth", 443),)),
    "postgresql": ("meuse", (("postgresql", 5432),)),
}
INSIDE = ("directory", "postgresql")  # no stranger reaches these: the host asks itself


@pytest.mark.parametrize("certificate", CONSUMERS)
def test_every_port_serves_the_renewed_certificate(clients: Clients, coop: dict[str, Host], certificate: str) -> None:
    name, endpoints = CONSUMERS[certificate]
    asks = Clients(coop[name], clients.domain) if certificate in INSIDE else clients

    def serials() -> dict[tuple[str, int], str]:
        return {(name, port): asks.serial(f"{name}.{clients.domain}", port) for name, port in endpoints}

    before = serials()
    assert len(set(before.values())) == 1, before
    assert before[endpoints[0]].startswith("serial="), before

    renewed = coop[name].run(f"certificates force {certificate}")
    assert renewed.rc == 0, renewed.stdout + renewed.stderr

    def served() -> bool:
        now = set(serials().values())
        return len(now) == 1 and now != set(before.values())

    until("one new serial on every port", served)


def test_the_zone_s_promise_holds_after_it(clients: Clients) -> None:
    """posttls-finger verifies by DANE alone: the TLSA record in the signed zone against the key that is served."""
    found = clients.run("posttls-finger", "-c", "-l", "dane-only", clients.domain)
    assert "Verified TLS connection established" in found.text, found.text


def test_a_rolled_key_is_one_that_the_zone_promised_ahead(clients: Clients, mail_host: Host) -> None:
    """As the handbook has it: roll, then have the zone promise the next one."""

    def promised() -> set[str]:
        lines = clients.run("dig", "+short", f"_25._tcp.{clients.server}", "TLSA").text.splitlines()
        return {"".join(line.split()[3:]).lower() for line in lines if line.startswith("3 1 1 ")}

    def served() -> str:
        shown = f"openssl s_client -connect {clients.server}:25 -starttls smtp </dev/null 2>/dev/null"
        key = "openssl x509 -noout -pubkey | openssl pkey -pubin -outform DER"
        return clients.world.check_output(f"{shown} | {key} | sha256sum").split()[0]

    before, old = promised(), served()
    assert len(before) == 2 and old in before
    rolled = mail_host.run("certificates roll mail")
    assert rolled.rc == 0, rolled.stdout + rolled.stderr
    (standby,) = before - {old}
    until("the standby is served", lambda: served() == standby)
    found = clients.run("posttls-finger", "-c", "-l", "dane-only", clients.domain)
    assert "Verified TLS connection established" in found.text, found.text
    playbook("dns")
    until("the next standby beside it", lambda: len(promised()) == 2 and old not in promised() and standby in promised(), 60)


def test_what_the_registrar_has_to_know_is_said_and_whether_it_does(world: Host, coop: dict[str, Host], domain: str) -> None:
    def parents() -> dict[str, str]:
        return dict(re.findall(r"domain: (\S+)\n +parent: '?([a-z ]+)", playbook("ds")))

    assert parents() == {domain: "publishes it", "famille.test": "publishes it"}
    kept = "/var/lib/knot/ds/famille.test.ds"
    serve = "touch /etc/knot/zones/test.zone && knotc -f -b zone-reload test && unbound-control -q flush_zone famille.test"
    world.check_output(f"cp -p {kept} /tmp/kept.ds && : >{kept} && {serve}")
    try:
        ask = "kdig +short @127.0.0.1 DS famille.test"
        until("a parent without it", lambda: not coop["dyle"].check_output(ask), 60)
        assert parents() == {domain: "publishes it", "famille.test": "publishes none"}
    finally:
        world.check_output(f"cp -p /tmp/kept.ds {kept} && {serve}")
    until("it again", lambda: coop["dyle"].check_output(ask), 60)
