"""A renewed certificate is what every consumer serves afterwards, and the key the zone promises stays the same."""

from __future__ import annotations

from conftest import Clients, until
from testinfra.host import Host

# whatever on the mail host serves its certificate, the web server of the domain's policy among it
ENDPOINTS = (*(("mail", port) for port in (25, 465, 587, 993, 995, 4190)), ("mta-sts", 443))


def test_every_port_serves_the_renewed_certificate(clients: Clients, mail_host: Host) -> None:
    def serials() -> dict[tuple[str, int], str]:
        return {(name, port): clients.serial(f"{name}.{clients.domain}", port) for name, port in ENDPOINTS}

    before = serials()
    assert len(set(before.values())) == 1, before
    assert before["mail", 25].startswith("serial="), before

    renewed = mail_host.run("certificates force mail")
    assert renewed.rc == 0, renewed.stdout + renewed.stderr

    def served() -> bool:
        now = set(serials().values())
        return len(now) == 1 and now != set(before.values())

    until("one new serial on every port", served)


def test_the_zone_s_promise_holds_after_it(clients: Clients) -> None:
    """posttls-finger verifies by DANE alone: the TLSA record in the signed zone against the key that is served."""
    found = clients.run("posttls-finger", "-c", "-l", "dane-only", clients.domain)
    assert "Verified TLS connection established" in found.text, found.text
