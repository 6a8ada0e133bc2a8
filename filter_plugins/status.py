"""What stands: the folded manifests held against what the hosts say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def open_ports(listening: Sequence[str]) -> set[tuple[str, int]]:
    """Ports open beyond loopback, of the lines of `ss -Hltun`.

    Returns: pairs of protocol (`tcp`, `udp`) and port.
    """
    found = set()
    for line in listening:
        columns = line.split()
        address, _, port = columns[4].rpartition(":")
        if not address.strip("[]").startswith(("127.", "::1")):
            found.add((columns[0], int(port)))
    return found


def service_states(
    house: Mapping[str, Mapping[str, Any]],
    listening: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, str]]:
    """A row for every service on every host that carries it.

    house: the folded manifests; listening: by host, the lines of `ss -Hltun`;
    hostvars: for `host_ipv4` and `host_ipv6`.
    Returns: rows of `service`, `host`, `names`, `address`, `ports` and `state`: `up`, the ports that are not open, or
    `local` for a service that listens nowhere beyond loopback. The first port of a range stands for it.
    """
    rows = []
    for service, entry in sorted(house.items()):
        manifest = entry["manifest"]
        listens = manifest.get("listens", [])
        wanted = [(str(rule.get("proto", "tcp")), int(str(rule["port"]).split("-")[0])) for rule in listens]
        for host in entry["hosts"]:
            closed = [f"{port}/{proto}" for proto, port in wanted if (proto, port) not in open_ports(listening[host])]
            state = "DOWN: " + " ".join(closed) if closed else "up" if wanted else "local"
            rows.append(
                {
                    "service": str(service),
                    "host": str(host),
                    "names": " ".join(str(name) for name in manifest.get("names", [])),
                    "address": f"{hostvars[host]['host_ipv4']} {hostvars[host]['host_ipv6']}",
                    "ports": " ".join(dict.fromkeys(str(port) for _, port in wanted)),
                    "state": state,
                }
            )
    return rows


class FilterModule:
    """The filters of this file, for Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"service_states": service_states}
