"""What is wrong with the resolver's settings, in words."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

ZONE = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+", re.IGNORECASE)
ANCHOR = re.compile(r"\.\s+(\d+\s+)?(IN\s+)?(DS|DNSKEY)\s+\d+\s+\d+\s+\d+\s+\S.*")


def _is(kind: Callable[[str], object], value: str) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True


def resolver_zone_problems(zones: Sequence[str], variable: str) -> list[str]:
    """{{ resolver_nodefault_zones | resolver_zone_problems('resolver_nodefault_zones') }}: one sentence per mistake."""
    wrong = [zone for zone in zones if not ZONE.fullmatch(zone)]
    return [f"{variable}: '{zone}' is not a zone; write it with its final dot, as in example.org." for zone in wrong]


def resolver_network_problems(networks: Sequence[str]) -> list[str]:
    """{{ resolver_private_addresses | resolver_network_problems }}: one sentence per mistake."""
    wrong = [network for network in networks if not _is(ipaddress.ip_network, network)]
    return [
        f"resolver_private_addresses: '{network}' is not a network; write one like 10.0.0.0/8 or fc00::/7" for network in wrong
    ]


def _root_problems(servers: Sequence[str], anchors: Sequence[str]) -> Iterator[str]:
    for server in servers:
        if not _is(ipaddress.ip_address, server):
            yield f"resolver_root_servers: '{server}' is not an address; write one like 192.0.2.53 or 2001:db8::53"
    for anchor in anchors:
        if not ANCHOR.fullmatch(anchor):
            yield (
                f"resolver_trust_anchors: '{anchor}' is not a DS or DNSKEY record of the root; "
                "write one like '. DS 20326 8 2 E06D…'"
            )
    if bool(servers) != bool(anchors):
        yield (
            "resolver_root_servers, resolver_trust_anchors: one is set without the other. Set both for a root of your own, "
            "or neither for the Internet's"
        )


def resolver_root_problems(servers: Sequence[str], anchors: Sequence[str]) -> list[str]:
    """{{ resolver_root_servers | resolver_root_problems(resolver_trust_anchors) }}: one sentence per mistake."""
    return list(_root_problems(servers, anchors))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "resolver_zone_problems": resolver_zone_problems,
            "resolver_network_problems": resolver_network_problems,
            "resolver_root_problems": resolver_root_problems,
        }
