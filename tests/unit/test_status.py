"""The page of facts says what stands, and of what does not, what it lacks."""

from __future__ import annotations

from typing import Any

import pytest
from status import service_states, web_urls

HOSTVARS = {"senne": {"host_ipv4": "192.0.2.10", "host_ipv6": "2001:db8::10"}}
LISTENING = [
    "u_str LISTEN 0 511 /run/cache/cache.sock 4711 * 0",
    "udp   UNCONN 0 0 127.0.0.1:53 0.0.0.0:*",
    "tcp   LISTEN 0 4096 127.0.0.1:53 0.0.0.0:*",
    "tcp   LISTEN 0 4096 [::1]:389 [::]:*",
    "tcp   LISTEN 0 100 0.0.0.0:25 0.0.0.0:*",
    "tcp   LISTEN 0 100 [::]:443 [::]:*",
]


def house(**manifest: Any) -> dict[str, Any]:
    return {"service": {"hosts": ["senne"], "manifest": manifest}}


def state(manifest: dict[str, Any], answers: tuple[str, ...] = ()) -> str:
    (row,) = service_states(house(**manifest), {"senne": LISTENING}, {"senne": answers}, HOSTVARS, "coop.test")
    return row["state"]


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"listens": [{"port": 25, "from": "any"}]}, "up"),
        ({"listens": [{"port": 25, "from": "any"}, {"port": "993-995", "from": "any"}]}, "DOWN: 993/tcp"),
        ({"listens": [{"port": 25, "proto": "udp", "from": "any"}]}, "DOWN: 25/udp"),
        # who is let in from elsewhere finds nobody at loopback
        ({"listens": [{"port": 389, "from": "coop"}]}, "DOWN: 389/tcp"),
        ({"probes": [{"type": "tcp", "port": "389", "path": None}]}, "up"),
        ({"probes": [{"type": "tcp", "port": "636", "path": None}]}, "DOWN: 636"),
        ({"probes": [{"type": "unix", "path": "/run/cache/cache.sock", "port": None}]}, "up"),
        ({"probes": [{"type": "unix", "path": "/run/other.sock", "port": None}]}, "DOWN: /run/other.sock"),
    ],
)
def test_what_listens_is_up(manifest: dict[str, Any], said: str) -> None:
    assert state(manifest) == said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("https://wiki.coop.test/ 200", "up"),
        ("https://wiki.coop.test/ 302", "up"),
        ("https://wiki.coop.test/ 403", "up"),
        ("https://wiki.coop.test/ 503", "DOWN: https://wiki.coop.test/ answers 503"),
        ("https://wiki.coop.test/ 000", "DOWN: https://wiki.coop.test/ does not answer"),
        ("https://other.coop.test/ 200", "DOWN: https://wiki.coop.test/ does not answer"),
    ],
)
def test_a_web_service_is_up_when_it_answers(answer: str, said: str) -> None:
    assert state({"names": ["wiki", "www"], "probes": [{"type": "http"}]}, (answer,)) == said


def test_the_domain_itself_is_asked_without_a_label() -> None:
    front = house(names=["@", "www"], probes=[{"type": "http"}])
    assert web_urls(front, "senne", "coop.test") == ["https://coop.test/"]
    assert web_urls(front, "dyle", "coop.test") == []


def test_a_part_of_a_service_has_no_row() -> None:
    part = house(backup={"paths": ["/var/lib/knot/keys"]})
    assert service_states(part, {"senne": LISTENING}, {"senne": []}, HOSTVARS, "coop.test") == []
