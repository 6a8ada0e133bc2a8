"""What stands: the folded manifests held against what the hosts say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

House = Mapping[str, Mapping[str, Any]]
Rule = Mapping[str, Any]


def _web_url(manifest: Mapping[str, Any], domain: str) -> str:
    """Where a service with a probe of type `http` is asked: at its first name; empty without such a probe."""
    if not any(probe["type"] == "http" for probe in manifest.get("probes", [])):
        return ""
    return f"https://{manifest['names'][0]}.{domain}/".replace("//@.", "//")


def web_urls(house: House, host: str, domain: str) -> list[str]:
    """What the web services of a host are asked at. house: the folded manifests; domain: the cooperative's."""
    urls = [_web_url(entry["manifest"], domain) for entry in house.values() if host in entry["hosts"]]
    return [url for url in urls if url]


def _open(listening: Sequence[str], *, loopback: bool) -> set[tuple[str, str]]:
    """Pairs of protocol (`tcp`, `udp`, `u_str`) and port or path, of the lines of `ss -Hltunx`."""
    found = set()
    for line in listening:
        kind, _, _, _, local, *_ = line.split()
        address, _, port = local.rpartition(":")
        if loopback or not address.strip("[]").startswith(("127.", "::1")):
            found.add((kind, port or local))
    return found


def _first(port: Any) -> str:
    """The first port of a range stands for it."""
    return str(port).split("-", maxsplit=1)[0]


def service_states(
    house: House,
    listening: Mapping[str, Sequence[str]],
    answers: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    domain: str,
) -> list[dict[str, str]]:
    """A row for every service on every host that carries it; none for what neither listens nor has a probe, a part of another.

    house: the folded manifests; listening: by host, the lines of `ss -Hltunx`; answers: by host, for each of `web_urls` a
    line of it and the HTTP status, 000 for none; hostvars: for `host_ipv4` and `host_ipv6`; domain: the cooperative's.
    Returns: rows of `service`, `host`, `address`, `ports` and `state`: `up`, or what is not.
    """
    rows = []
    for service, entry in sorted(house.items()):
        listens, probes = (entry["manifest"].get(key, []) for key in ("listens", "probes"))
        if not listens and not probes:
            continue
        url = _web_url(entry["manifest"], domain)
        elsewhere = [probe for probe in probes if probe["type"] != "http"]
        for host in entry["hosts"]:
            beyond, anywhere = (_open(listening[host], loopback=loopback) for loopback in (False, True))
            wanted = [(str(rule.get("proto", "tcp")), _first(rule["port"])) for rule in listens]
            down = [f"{port}/{kind}" for kind, port in wanted if (kind, port) not in beyond]
            there = [("u_str", probe["path"]) if probe.get("path") else ("tcp", _first(probe["port"])) for probe in elsewhere]
            down += [place for kind, place in there if (kind, place) not in anywhere]
            status = dict(line.split() for line in answers[host]).get(url, "000")
            if url and not "200" <= status < "500":
                down.append(f"{url} {'does not answer' if status == '000' else 'answers ' + status}")
            rows.append(
                {
                    "service": str(service),
                    "host": str(host),
                    "address": f"{hostvars[host]['host_ipv4']} {hostvars[host]['host_ipv6']}",
                    "ports": " ".join(dict.fromkeys([port for _, port in wanted] + ["443"] * bool(url))) or "local",
                    "state": f"DOWN: {' '.join(down)}" if down else "up",
                }
            )
    return rows


class FilterModule:
    """The filters of this file, for Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"service_states": service_states, "web_urls": web_urls}
