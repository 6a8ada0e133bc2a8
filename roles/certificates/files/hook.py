#!/usr/bin/python3
"""dehydrated's hook for dns-01: proofs into the zone by signed updates (RFC 2136), seen on every name server.

Debian's dehydrated-hook-ddns-tsig keeps a refusal's reason to itself and gives up when one name server is away.
An authority may ask any of the zone's servers, so one that answers must show the proof; one that is away need not.
"""

import contextlib
import json
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsigkeyring
import dns.update

Proof = tuple[dns.name.Name, str]
CONFIG = json.loads(Path("/etc/dehydrated/dns.json").read_text())
SERVER = CONFIG["server"]


def die(message: str) -> NoReturn:
    sys.exit(f"DNS: {message}")


def ask(server: str, name: dns.name.Name, kind: str) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    return dns.query.udp_with_fallback(query, server, timeout=3)[0]


def zone_of(name: dns.name.Name) -> dns.name.Name:
    try:
        response = ask(SERVER, name, "SOA")
    except (dns.exception.DNSException, OSError) as error:
        die(f"{SERVER} does not answer: {error}")
    for rrset in [*response.answer, *response.authority]:
        if rrset.rdtype == dns.rdatatype.SOA:
            return rrset.name
    die(f"{SERVER} has no zone for {name} ({dns.rcode.to_text(response.rcode())})")


def update(action: str, proofs: Iterable[Proof]) -> None:
    keyring = dns.tsigkeyring.from_text({CONFIG["key"]: CONFIG["secret"]})
    for name, proof in proofs:
        change = dns.update.Update(zone_of(name), keyring=keyring, keyalgorithm=CONFIG["algorithm"])
        # one second: a validator must not keep an earlier proof
        change.add(name, 1, "TXT", proof) if action == "add" else change.delete(name, "TXT", proof)
        try:
            rcode = dns.query.tcp(change, SERVER, timeout=10).rcode()
        except (dns.exception.DNSException, OSError) as error:
            die(f"{SERVER}, update of {name} signed with key '{CONFIG['key']}': {error}")
        if rcode == dns.rcode.NOTAUTH:
            die(f"{SERVER} does not know the key '{CONFIG['key']}', or is not the primary of {name} (NOTAUTH)")
        if rcode != dns.rcode.NOERROR:
            die(f"{SERVER} does not let the key '{CONFIG['key']}' update {name} ({dns.rcode.to_text(rcode)})")


def name_servers(zone: dns.name.Name) -> Iterator[tuple[str, str]]:
    """Name and address of each of the zone's servers."""
    for rrset in ask(SERVER, zone, "NS").answer:
        for server in [str(rdata.target) for rdata in rrset if rdata.rdtype == dns.rdatatype.NS]:
            try:
                for address in {str(found[4][0]) for found in socket.getaddrinfo(server, 53, proto=socket.IPPROTO_UDP)}:
                    yield server, address
            except OSError as error:
                print(f" + {server} has no address here: {error}", file=sys.stderr)


def shows(address: str, proof: Proof) -> bool | None:
    """Whether the server shows the proof; None if it is away."""
    try:
        answer = ask(address, proof[0], "TXT").answer
    except (dns.exception.DNSException, OSError):
        return None
    return any(proof[1].encode() in getattr(rdata, "strings", ()) for rrset in answer for rdata in rrset)


def wait(proofs: Iterable[Proof]) -> None:
    deadline = time.monotonic() + CONFIG["wait"]
    zones = {zone_of(name): None for name, _ in proofs}
    servers = {zone: list(name_servers(zone)) for zone in zones}
    for proof in proofs:
        for server, address in servers[zone_of(proof[0])]:
            while (shown := shows(address, proof)) is False:
                if time.monotonic() > deadline:
                    die(f"{server} ({address}) does not show {proof[0]} after {CONFIG['wait']} s: is its transfer broken?")
                time.sleep(0.2)
            if shown is None:
                print(f" + {server} ({address}) does not answer; going on without it", file=sys.stderr)


def main(hook: str, *arguments: str) -> None:
    # triples of host name, token's file, proof; for all of a certificate's names at once (HOOK_CHAIN)
    proofs = [
        (dns.name.from_text(f"_acme-challenge.{name}"), proof)
        for name, proof in zip(arguments[::3], arguments[2::3], strict=False)
    ]
    if hook == "deploy_challenge":
        try:
            update("add", proofs)
            wait(proofs)
        except SystemExit:
            # dehydrated does not clean up after a hook that failed
            with contextlib.suppress(SystemExit):
                update("delete", proofs)
            raise
    elif hook == "clean_challenge":
        update("delete", proofs)


if __name__ == "__main__":
    main(*sys.argv[1:])
