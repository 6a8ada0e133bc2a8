"""What the house's group_vars/ make of what an inventory says."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from conftest import ROOT, Coop, trusted
from manifests import certificate_requests, dns_zones, firewall_rules, manifests, plain, web_vhosts


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


def fronted(coop: Coop, **inventory: Any) -> tuple[set[tuple[str, str]], dict[str, set[str]], set[str]]:
    """Addresses by zone and name, the names of each certificate, and vhosts, where b is the front."""
    said = {name: coop.hostvars["b"][name] for name in ("coop_domain", "coop_languages", "coop_mail_host")} | {
        "groups": coop.groups
    }
    coop.groups["front"] = ["b"]
    coop.mail["records"] = []
    coop.hostvars["b"]["front_manifest"] = wired("front_manifest", "front.yml", **(said | inventory))
    house, domains = manifests(coop.hostvars, coop.groups), ("coop.test", ["famille.test"])
    zones = {zone["name"]: zone["records"] for zone in dns_zones(house, coop.hostvars, coop.groups, *domains)}
    for zone in zones.values():
        found = [record["value"] for record in zone if record["name"] == "_autodiscover._tcp"]
        assert found == (["0 1 443 autodiscover.coop.test."] if coop.groups["mail"] else [])
    addresses = {(zone, record["name"]) for zone in zones for record in zones[zone] if record["type"] in ("A", "AAAA")}
    certificates = {request["name"]: set(request["names"]) for request in certificate_requests(house, "b", *domains)}
    return addresses, certificates, {vhost["name"] for vhost in web_vhosts(house, "b", *domains)}


EVERYWHERE = {(zone, name) for zone in ("coop.test", "famille.test") for name in ("autoconfig", "autodiscover")}
OF_ITS_OWN = {"autoconfig.coop.test", "autodiscover.coop.test"}
MEMBERS = {"autoconfig.famille.test", "autodiscover.famille.test"}


def test_the_pages_are_at_the_domain_itself_and_www_leads_there(coop: Coop) -> None:
    addresses, certificates, vhosts = fronted(coop)
    assert {("coop.test", "@"), ("coop.test", "www")} | EVERYWHERE <= addresses
    assert certificates["front"] == {"coop.test", "www.coop.test"} | OF_ITS_OWN
    assert certificates["front-famille.test"] == MEMBERS
    assert vhosts == {"coop.test", "www.coop.test"} | OF_ITS_OWN | MEMBERS


def test_a_site_elsewhere_has_the_domain_and_mail_programs_find_what_they_found(coop: Coop) -> None:
    addresses, certificates, vhosts = fronted(coop, front_label="help")
    assert {("coop.test", "help")} | EVERYWHERE <= addresses
    assert not {("coop.test", "@"), ("coop.test", "www")} & addresses
    assert certificates["front"] == {"help.coop.test"} | OF_ITS_OWN
    assert certificates["front-famille.test"] == MEMBERS
    assert vhosts == {"help.coop.test"} | OF_ITS_OWN | MEMBERS


def test_a_site_elsewhere_may_leave_www_to_the_pages(coop: Coop) -> None:
    addresses, certificates, vhosts = fronted(coop, front_label="www")
    assert ("coop.test", "www") in addresses and ("coop.test", "@") not in addresses
    assert certificates["front"] == {"www.coop.test"} | OF_ITS_OWN and vhosts == {"www.coop.test"} | OF_ITS_OWN | MEMBERS


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("help.coop.test.", r"'help\.coop\.test\.' is not a label; write it in lower case, without coop_domain"),
        ("autoconfig", r"front_manifest\.vhosts: autoconfig: is there 2 times; keep one"),
        ("mail", "mail_manifest.names: 'mail' is taken by front_manifest; give one of them another"),
    ],
)
def test_a_label_that_will_not_do_is_refused_with_its_mend(coop: Coop, label: str, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        fronted(coop, front_label=label)


@pytest.mark.parametrize(
    ("hosts", "label", "url"),
    [(["b"], "@", "https://coop.test"), (["b"], "help", "https://help.coop.test"), ([], "@", "")],
)
def test_the_guides_are_linked_where_they_are(hosts: list[str], label: str, url: str) -> None:
    said = {"groups": {"front": hosts}, "hostvars": {"b": {"front_label": label}}, "coop_domain": "coop.test"}
    assert wired("devices_front_url", "devices.yml", **said) == url


def test_without_mail_nothing_is_there_for_mail_programs(coop: Coop) -> None:
    coop.groups["mail"] = []
    addresses, certificates, vhosts = fronted(coop)
    assert ("coop.test", "@") in addresses and not EVERYWHERE & addresses
    assert set(certificates) == {"front"} and certificates["front"] == {"coop.test", "www.coop.test"}
    assert vhosts == {"coop.test", "www.coop.test"}
