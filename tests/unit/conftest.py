"""What the unit tests share: a small cooperative as data, and Ansible's own Templar."""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.template import trust_as_template

ROOT = Path(__file__).resolve().parents[2]

COOP: dict[str, Any] = {
    "coop_name": "Coopérative",
    "coop_color": "#1f4e79",
    "coop_domain": "coop.test",
    "coop_member_domains": ["famille.test"],
    "coop_languages": ["fr", "nl"],
    "coop_timezone": "Europe/Brussels",
    "coop_country": "BE",
    "coop_plans": {"basic": {"quota_gib": 5}},
    "datacenter": {"name": "here", "country": "BE", "networks": ["10.1.0.0/24", "fd00:1::/64"]},
    "coop_default_plan": "basic",
    "coop_groups": ["board"],
    "coop_role_readers": ["anna@coop.test"],
    "coop_grace_days": 30,
    "coop_members_sender": {"name": "Coopérative", "address": "postmaster@coop.test"},
    "coop_reserved_everywhere": ["postmaster"],
    "coop_reserved": ["www"],
    "coop_mail_host": "mail.coop.test",
    "admin_networks": ["10.9.0.0/24"],
    "secure_logging": True,
}
MAIL = {
    "names": ["mail", "imap"],
    "tlsa": [{"port": 25}],
    "listens": [
        {"port": 25, "from": "any"},
        {"port": 4190, "from": "admin"},
        {"port": "5000-5010", "proto": "udp", "from": "dns"},
    ],
    "egress": [
        {"port": 25, "to": "any", "as": "postfix", "why": "mail to the world"},
        {"port": 636, "to": "directory", "as": "postfix"},
        {"port": 443, "to": "10.7.0.0/16", "as": "rspamd"},
    ],
    "records": [
        {"domains": "all", "type": "mx", "value": "10 mail.coop.test."},
        {"domains": "all", "type": "TXT", "value": "v=spf1 mx -all"},
        {"domains": "members", "name": "autoconfig", "type": "CNAME", "value": "mail.coop.test.", "ttl": 60},
    ],
    "published_keys": ["rspamd"],
    "backup": {"paths": ["/srv/mail"]},
    "secrets": [{"name": "vault_mail_password"}],
}
DNS = {
    "host_names": "ns",
    "listens": [{"port": 53, "proto": "udp", "from": "any"}],
    "records": [{"domains": "all", "type": "NS", "value": "{host}.coop.test."}],
}


class Coop:
    """Hosts a and b of a cooperative, b first in `dns`; `world` is the rest of the Internet."""

    def __init__(self) -> None:
        every = ["a", "b"]
        self.groups: dict[str, list[str]] = {
            "all": ["a", "b", "world"],
            "ungrouped": [],
            "internet": ["world"],
            **dict.fromkeys(("coop", "base", "firewall", "resolver", "certificates"), every),
            "dns": ["b", "a"],
            "dns_primary": ["b"],
            "dns_secondary": ["a"],
            "directory": ["a"],
            "mail": ["b"],
            "valkey": ["b"],
        }
        common = copy.deepcopy(COOP) | {"dns_manifest": copy.deepcopy(DNS)}
        key = {"domain": "famille.test", "name": "x._domainkey", "type": "TXT", "value": "p=" + "k" * 400}
        self.hostvars: dict[str, dict[str, Any]] = {
            "a": copy.deepcopy(common) | {"host_ipv4": "10.1.0.1", "host_ipv6": "fd00:1::1"},
            "b": copy.deepcopy(common)
            | {"host_ipv4": "10.1.0.2", "host_ipv6": "fd00:1::2", "mail_manifest": copy.deepcopy(MAIL)}
            | {"rspamd_key_records": [key], "vault_mail_password": "x"},
            "world": {"host_ipv4": "10.1.0.10", "host_ipv6": "fd00:1::10"},
        }

    @property
    def mail(self) -> dict[str, Any]:
        manifest: dict[str, Any] = self.hostvars["b"]["mail_manifest"]
        return manifest


@pytest.fixture
def coop() -> Coop:
    return Coop()


def trusted(value: Any) -> Any:
    """As Ansible has what it read from a file of ours."""
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def play(*arguments: str | Path, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """ansible-playbook, as a sysadmin runs it."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    # ansible.cfg of the repository, with no file of the lab's
    variables |= {"PERRON_STATE": "/nonexistent", "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "NO_COLOR": "1"} | environment
    return subprocess.run(
        ["ansible-playbook", *map(str, arguments)], cwd=root, env=variables, capture_output=True, text=True, check=False
    )
