"""Only what a manifest lists answers; only who is listed gets out."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import COOP_HOSTS, Clients
from testinfra.host import Host

# What anybody may reach, by host: as group_vars' manifests have it, said here once more on purpose
OPEN = {"dyle": {53, 80, 443}, "lesse": {25, 80, 443, 465, 587, 993, 995, 4190}, "meuse": {53, 80, 443}}


@pytest.fixture(scope="module")
def answering(world: Host, inventory: dict[str, Any]) -> dict[str, set[int]]:
    """The TCP ports, of all 65 535, that answer `world` at each address of the cooperative's hosts: both families at once."""
    scan = "nmap -Pn -n -p- -sS -T5 --max-retries 2 --min-rate 8000 --open -oG"
    four, six = (" ".join(inventory[name][family] for name in COOP_HOSTS) for family in ("host_ipv4", "host_ipv6"))
    done = world.run(
        f"{scan} /tmp/scan4 {four} >/dev/null & {scan} /tmp/scan6 -6 {six} >/dev/null; wait $!; cat /tmp/scan4 /tmp/scan6"
    )
    assert done.rc == 0, done.stderr
    hosts = re.findall(r"^Host: (\S+) .*Ports: (.*)$", done.stdout, re.MULTILINE)
    return {address: {int(port) for port in re.findall(r"(\d+)/open/tcp", ports)} for address, ports in hosts}


@pytest.mark.parametrize("name", COOP_HOSTS)
@pytest.mark.parametrize("family", ["host_ipv4", "host_ipv6"])
def test_only_listed_ports_answer(answering: dict[str, set[int]], inventory: dict[str, Any], name: str, family: str) -> None:
    assert answering[inventory[name][family]] == OPEN[name]


def connects(host: Host, user: str, address: str, port: int) -> bool:
    return host.run(f"setpriv --reuid {user} --clear-groups timeout 3 bash -c '</dev/tcp/{address}/{port}'").rc == 0


@pytest.mark.parametrize("family", ["host_ipv4", "host_ipv6"])
def test_who_gets_out_of_the_mail_host(mail_host: Host, inventory: dict[str, Any], clients: Clients, family: str) -> None:
    stranger = clients.world.run(f"dig +short mx.stranger.test {'A' if family == 'host_ipv4' else 'AAAA'}").stdout.strip()
    assert connects(mail_host, "postfix", stranger, 25), "the listed one must"
    assert not connects(mail_host, "nobody", stranger, 25)
    assert not connects(mail_host, "root", stranger, 25)
    assert not connects(mail_host, "vmail", stranger, 25)
    assert not connects(mail_host, "postfix", inventory["world"][family], 14000), "nor the listed one elsewhere"
