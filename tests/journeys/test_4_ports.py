"""Only what a manifest lists answers; only who is listed gets out."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import COOP_HOSTS, Clients, evaluated, playbook, token, until
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


LISTENS = """
import socket
heard = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
heard.bind(("::", 4444))
while True:
    print(heard.recv(99).decode(), flush=True)
"""


@pytest.mark.parametrize("name", COOP_HOSTS)
def test_a_datagram_arrives_at_no_port_that_is_not_listed(
    coop: dict[str, Host], world: Host, inventory: dict[str, Any], name: str
) -> None:
    """A scan cannot tell a port that is closed to it from one that keeps silent, so somebody listens at one."""
    host, word = coop[name], token()
    host.check_output("systemd-run --quiet --collect --unit=listens python3 -c %s", LISTENS)
    try:
        until("somebody listens", lambda: "4444" in host.check_output("ss -Hlun sport = 4444"))
        for family in ("host_ipv4", "host_ipv6"):
            world.check_output(
                "bash -c %s", f"for i in 1 2 3; do echo {word}-stranger >/dev/udp/{inventory[name][family]}/4444; done"
            )
        host.check_output("bash -c %s", f"echo {word}-ours >/dev/udp/127.0.0.1/4444")
        until("our own", lambda: f"{word}-ours" in host.check_output("journalctl -o cat -u listens"))
        assert f"{word}-stranger" not in host.check_output("journalctl -o cat -u listens")
    finally:
        host.run("systemctl stop listens")


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


@pytest.mark.parametrize("family", ["host_ipv4", "host_ipv6"])
def test_the_cloud_gets_out_to_the_cooperative_s_own_hosts_alone(
    coop: dict[str, Host], inventory: dict[str, Any], clients: Clients, family: str
) -> None:
    stranger = clients.world.run(f"dig +short mx.stranger.test {'A' if family == 'host_ipv4' else 'AAAA'}").stdout.strip()
    assert connects(coop["dyle"], "nextcloud", inventory["meuse"][family], 5432), "the listed one must"
    assert not connects(coop["dyle"], "nextcloud", stranger, 25)
    assert not connects(coop["dyle"], "nextcloud", inventory["world"][family], 14000)


def test_what_is_published_of_the_ways_out_and_of_backups_is_what_there_is(inventory: dict[str, Any]) -> None:
    ours = {
        inventory[name][family] + length
        for name in COOP_HOSTS
        for family, length in (("host_ipv4", "/32"), ("host_ipv6", "/128"))
    }
    (rules,) = evaluated("nextcloud", "{{ firewall_rules.output | selectattr('service', 'equalto', 'nextcloud') }}").values()
    assert rules and {place for rule in rules for place in rule["destinations"]} <= ours
    said = playbook("firewall", "--tags", "published")
    assert all(rule["why"] and rule["why"] in said for rule in rules), said
    jobs = playbook("backup")
    for service in ("directory", "dns_primary", "mail", "nextcloud", "portal", "webmail"):
        assert f"service: {service}\n" in jobs, jobs


@pytest.mark.parametrize(
    ("port", "listed"),
    [(25, ["postfix", "root", "vmail"]), (11332, ["postfix", "root"]), (11334, ["root", "vmail"])],
    ids=["reception", "filter", "what it learns"],
)
def test_who_reaches_the_mail_host_s_own_ports(mail_host: Host, port: int, listed: list[str]) -> None:
    """What comes over loopback is trusted there, so webmail, which a stranger might break into, must not."""
    assert all(connects(mail_host, user, "127.0.0.1", port) for user in listed)
    # dovenull: who has not signed in to Dovecot yet is its
    for other in ("webmail", "nobody", "dovenull"):
        assert not connects(mail_host, other, "127.0.0.1", port), other
