"""Zones as data to zone file lines, and what is wrong with them in words."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Zone = Mapping[str, Any]
Record = Mapping[str, Any]

TTL_MAX = 604800
# The server makes these itself
OWN_TYPES = {"SOA", "DNSKEY", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "CDS", "CDNSKEY"}
LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)


def _is_name(name: str) -> bool:
    """A host or service name; underscores are for SRV, TLSA and the like."""
    labels = name.removesuffix(".").split(".")
    return len(name) <= 254 and all(LABEL.fullmatch(label) for label in labels)


def _is_owner(name: str) -> bool:
    return name == "@" or _is_name(name.removeprefix("*."))


def _is_target(name: str) -> bool:
    return name in ("@", ".") or _is_name(name)


def _fields(count: int) -> Callable[[str], bool]:
    """Values that are COUNT numbers up to 65535, then a name."""

    def check(value: str) -> bool:
        *numbers, target = value.split() or [""]
        return len(numbers) == count and all(n.isdigit() and int(n) < 65536 for n in numbers) and _is_target(target)

    return check


def _is_text(value: str) -> bool:
    """Quoted strings; without the quotes a semicolon would silently begin a comment."""
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', value)
    quoted = re.fullmatch(r'("([^"\\]|\\.)*"\s*)+', value)
    return quoted is not None and all(len(re.sub(r"\\(\d{3}|.)", "x", string)) <= 255 for string in strings)


def _address(family: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            family(str(value))
        except ValueError:
            return False
        return True

    return check


# What kzonecheck would refuse too, but with a line number of a file that nobody wrote
VALUES: dict[str, tuple[Callable[[str], bool], str]] = {
    "A": (_address(ipaddress.IPv4Address), "an IPv4 address such as 192.0.2.1"),
    "AAAA": (_address(ipaddress.IPv6Address), "an IPv6 address such as 2001:db8::1"),
    "NS": (_is_target, "a host name such as ns1.example.org."),
    "CNAME": (_is_target, "a host name such as www.example.org."),
    "PTR": (_is_target, "a host name such as www.example.org."),
    "TXT": (_is_text, 'quoted strings of at most 255 bytes such as "v=spf1 -all"'),
    "MX": (_fields(1), "a preference and a host name such as 10 mail.example.org."),
    "SRV": (_fields(3), "priority, weight, port and a host name such as 0 1 443 www.example.org."),
}


def _key(record: Record, zone: str) -> tuple[str, str]:
    """Owner and type, one spelling each."""
    name = str(record["name"]).lower()
    if name.removesuffix(".") == zone:
        name = "@"
    return name.removesuffix(f".{zone}."), str(record["type"]).upper()


def _record_problems(record: Record, zone: str) -> Iterator[str]:
    name, kind, value = str(record["name"]), str(record["type"]).upper(), str(record["value"])
    if not _is_owner(name):
        yield (f"'{name}' is not a name: labels hold 1 to 63 letters, digits, '-' and '_' and neither begin nor end with '-'")
    elif name.endswith(".") and zone != "." and not f".{name.lower()}".endswith(f".{zone}."):
        yield f"'{name}' is not in this zone: drop the final dot or move the record"
    if kind in OWN_TYPES:
        yield "the name server makes records of this type itself: remove it"
    ttl = record.get("ttl")
    if ttl is not None and not (str(ttl).isdigit() and 1 <= int(ttl) <= TTL_MAX):
        yield f"ttl {ttl} is out of range: give 1 to {TTL_MAX} seconds"
    if not value.strip() or not value.isprintable():
        yield "the value must be one line of printable text"
    elif kind in VALUES and not VALUES[kind][0](value):
        yield f"'{value}' is not {VALUES[kind][1]}"


def _zone_problems(zones: Sequence[Zone]) -> list[str]:
    problems: list[str] = []
    names = [str(zone["name"]).lower() for zone in zones]
    problems += [f"dns_zones: {name} is there twice: merge its records" for name in sorted(set(names)) if names.count(name) > 1]
    for zone, name in zip(zones, names, strict=True):
        if name != "." and (name.endswith(".") or not _is_name(name)):
            problems.append(f"dns_zones: '{name}' is not a zone name: write it as in example.org, without a final dot")
            continue
        records = zone.get("records") or []
        types: dict[str, set[str]] = {}
        ttls: dict[tuple[str, str], set[str]] = {}
        for record in records:
            said = f"dns_zones: {name}: record '{record['name']} {record['type']}'"
            problems += [f"{said}: {problem}" for problem in _record_problems(record, name)]
            owner, kind = _key(record, name)
            types.setdefault(owner, set()).add(kind)
            ttls.setdefault((owner, kind), set()).add(str(record.get("ttl") or ""))
        problems += [
            f"dns_zones: {name}: '{owner}' has a CNAME beside {', '.join(sorted(kinds - {'CNAME'}))}: a CNAME stands alone"
            for owner, kinds in types.items()
            if "CNAME" in kinds and len(kinds) > 1
        ]
        problems += [
            f"dns_zones: {name}: the {kind} records of '{owner}' differ in ttl: give them one"
            for (owner, kind), different in ttls.items()
            if len(different) > 1
        ]
        if records and "NS" not in types.get("@", set()):
            problems.append(f"dns_zones: {name}: no name server: add an NS record for '@'")
    return problems


def dns_problems(zones: Sequence[Zone], role: str, peers: Sequence[str], transfer_key: str, listen: Sequence[str]) -> list[str]:
    """{{ dns_zones | dns_problems(dns_role, dns_peers, …) }}: one sentence per mistake, none if all is well."""
    problems = _zone_problems(zones)
    if role == "primary" and any("records" not in zone for zone in zones):
        problems.append("dns_zones: on a primary every zone needs records; give them, or set dns_role to secondary")
    if role == "secondary" and not peers:
        problems.append("dns_peers: empty on a secondary; give the name and addresses of its primary")
    if peers and not transfer_key:
        problems.append(
            f"dns_transfer_key: empty, but dns_peers names {', '.join(peers)}. "
            "Generate the inventory's secrets, or set a base64 key of 32 random bytes"
        )
    if not listen or any(address.startswith("127.") or address == "::1" for address in listen):
        problems.append("dns_listen: give the host's own addresses; loopback belongs to the resolver")
    return problems


def dns_zone_file(zone: str) -> str:
    """{{ 'example.org' | dns_zone_file }}: the name of its file; the root's is not a hidden one."""
    return ("@" if zone == "." else zone.lower()) + ".zone"


def _lines(zone: Zone, name: str, ttl: int) -> list[str]:
    """Its records, always in the same order."""

    def line(record: Record) -> tuple[bool, str, str, str]:
        owner, kind = _key(record, name)
        # the zone itself first
        return owner != "@", owner, kind, f"{owner} {record.get('ttl') or ttl} {kind} {record['value']}"

    return [text for *_, text in sorted({line(record) for record in zone.get("records") or []})]


def _text(zone: Zone, ttl: int, negative_ttl: int, hostmaster: str) -> str:
    name = str(zone["name"]).lower()
    primary = next(str(record["value"]) for record in zone["records"] if _key(record, name) == ("@", "NS"))
    local, _, domain = (hostmaster or f"hostmaster@{name}").rpartition("@")
    mailbox = local.replace(".", "\\.") + f".{domain}"
    return "\n".join(
        [
            "; Managed by Ansible (role dns)",
            f"$ORIGIN {name.removesuffix('.')}.",
            "; serial 1: Knot counts by itself. Expiry is below the least validity of a signature, so that a",
            "; secondary cut off from its primary falls silent before it serves expired ones.",
            f"@ {ttl} SOA {primary} {mailbox}. 1 3600 600 604800 {negative_ttl}",
            *_lines(zone, name, ttl),
            "",
        ]
    )


def dns_zone_files(zones: Sequence[Zone], ttl: int, negative_ttl: int, hostmaster: str) -> list[dict[str, str]]:
    """{{ dns_zones | dns_zone_files(dns_ttl, dns_negative_ttl, dns_hostmaster) }}: what the module zone_files writes."""
    return [
        {"zone": name, "file": dns_zone_file(name), "text": _text(zone, ttl, negative_ttl, hostmaster)}
        for zone in zones
        for name in [str(zone["name"]).lower()]
    ]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"dns_problems": dns_problems, "dns_zone_file": dns_zone_file, "dns_zone_files": dns_zone_files}
