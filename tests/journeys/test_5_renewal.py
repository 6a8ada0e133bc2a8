"""A renewed certificate is what every consumer serves afterwards, and the key the zone promises stays the same."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from conftest import COOP_HOSTS, Clients, evaluated, playbook, until
from testinfra.host import Host


class Endpoint(NamedTuple):
    """What serves a certificate, and whether a stranger reaches it: else the host asks itself."""

    name: str
    port: int
    outside: bool


# With the vhosts' names alone: their texts are nginx's
FACTS = """{{ {
  'requests': certificates_requests,
  'vhosts': nginx_vhosts | default([]) | map(attribute='certificate') | map('basename')
            | zip(nginx_vhosts | default([]) | map(attribute='name')) | list,
  'listens': dict(house.keys() | zip(house.values() | map(attribute='manifest.listens'))),
} }}"""


def consumers(host: str) -> dict[str, list[Endpoint]]:
    """By certificate of the host: its vhosts, and the ports of the service whose certificate it is. As the manifests have it, so
    that a service which is new is renewed here without a word; one that needs STARTTLS is `Clients.serial`'s to know."""
    (facts,) = evaluated(host, FACTS).values()
    found = {}
    for request in facts["requests"]:
        listens = [item for item in facts["listens"].get(request["name"], []) if item["proto"] == "tcp"]
        found[request["name"]] = [
            *(Endpoint(request["names"][0], int(item["port"]), item["from"] == "any") for item in listens),
            *(Endpoint(name, 443, True) for certificate, name in facts["vhosts"] if certificate == request["name"]),
        ]
        assert found[request["name"]], f"nobody serves {request}"
    return found


@pytest.mark.parametrize("name", COOP_HOSTS)
def test_every_port_serves_the_renewed_certificate(clients: Clients, coop: dict[str, Host], name: str) -> None:
    served, inside = consumers(name), Clients(coop[name], clients.domain)

    def serial(at: Endpoint) -> str:
        return (clients if at.outside else inside).serial(at.name, at.port)

    def serials() -> dict[str, set[str]]:
        """By certificate; one, where all of its endpoints are of one mind."""
        with ThreadPoolExecutor(4) as pool:
            return {certificate: set(pool.map(serial, endpoints)) for certificate, endpoints in served.items()}

    before = serials()
    assert all(len(found) == 1 and min(found).startswith("serial=") for found in before.values()), before
    first, *others = served
    for renewed in ([first], others):
        done = coop[name].run(f"certificates force {' '.join(renewed)}")
        assert done.rc == 0, done.stdout + done.stderr

        def as_asked(renewed: list[str] = renewed, before: dict[str, set[str]] = before) -> bool:
            now = serials()
            new = [certificate for certificate, found in now.items() if found != before[certificate]]
            return new == renewed and all(len(found) == 1 for found in now.values())

        until(f"a new serial on every port of {renewed}, and of no other", as_asked)
        before = serials()


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
