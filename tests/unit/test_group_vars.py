"""What the house's group_vars/ make of what an inventory says."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from conftest import ROOT, Coop, trusted
from manifests import firewall_rules, manifests, plain


def wired(variable: str, file: str, **inventory: Any) -> Any:
    """A variable of a file of group_vars/, where the inventory says so much."""
    given = trusted(yaml.safe_load((ROOT / "group_vars" / file).read_text())) | inventory
    return plain(Templar(loader=DataLoader(), variables=given).template(trust_as_template(f"{{{{ {variable} }}}}")))


@pytest.mark.parametrize(
    ("said", "ports"),
    [
        ({}, (80, 80)),
        ({"base_apt_security_mirror": "https://deb.test/debian-security"}, (80, 443)),
        ({"base_apt_mirror": "http://mirror.test:8080/debian"}, (8080, 80)),
        (
            {"base_apt_mirror": "https://mirror.test:8443/debian", "base_apt_security_mirror": "http://[fd00::1]:3142/security"},
            (8443, 3142),
        ),
        # nobody is asked but the proxy
        ({"base_apt_proxy": "http://proxy.test:3128", "base_apt_mirror": "http://mirror.test:8080/debian"}, (3128, 3128)),
        ({"base_apt_proxy": "http://proxy.test", "base_apt_mirror": "https://mirror.test:8443/debian"}, (80, 80)),
        ({"base_apt_proxy": "", "base_apt_mirror": "http://mirror.test:8080/debian"}, (8080, 80)),
    ],
)
def test_apt_is_let_out_to_the_port_that_it_asks(coop: Coop, said: dict[str, str], ports: tuple[int, int]) -> None:
    coop.hostvars["a"]["base_manifest"] = wired("base_manifest", "base.yml", **said)
    rules = firewall_rules(manifests(coop.hostvars, coop.groups), "a", coop.hostvars, coop.groups)
    ways_out = {rule["why"]: rule["port"] for rule in rules["output"] if rule["user"] == "_apt"}
    assert ways_out == {"Debian's packages": ports[0], "Debian's security updates": ports[1]}
