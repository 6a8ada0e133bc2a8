"""What preflight refuses, and that it refuses nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import preflight
import pytest
import yaml
from ansible._internal._datatag._tags import Origin
from conftest import ROOT, Coop, play
from preflight import preflight_findings

Change = Callable[[Coop], Any]


@pytest.fixture(autouse=True)
def services_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A house that does not grow with the real one."""
    (tmp_path / "roles/rspamd/meta").mkdir(parents=True)
    (tmp_path / "roles/rspamd/meta/argument_specs.yml").write_text("argument_specs: {main: {options: {}}}")
    for role in ("portal", "preflight", "upstream", "valkey"):
        (tmp_path / "roles" / role).symlink_to(ROOT / "roles" / role)
    leaves = {name: {} for name in ("dns_primary", "dns_secondary", "directory", "mail")}
    dns = {"children": {name: {} for name in ("dns_primary", "dns_secondary")}}
    coop = {"children": dict.fromkeys(("dns", "directory", "mail"))}
    children = {"coop": coop, "base": {"children": {"coop": {}}}, "dns": dns, "valkey": {"children": {"mail": {}}}} | leaves
    (tmp_path / "groups.yml").write_text(yaml.safe_dump({"all": {"children": children}}))
    monkeypatch.setattr(preflight, "ROOT", tmp_path)


def findings(coop: Coop) -> list[str]:
    return preflight_findings(coop.hostvars, coop.groups, preflight.ROOT)


def on(host: str, **values: Any) -> Change:
    return lambda coop: coop.hostvars[host].update(values)


def everywhere(**values: Any) -> Change:
    return lambda coop: [coop.hostvars[host].update(values) for host in coop.groups["coop"]]


def without(name: str, *hosts: str) -> Change:
    return lambda coop: [coop.hostvars[host].pop(name) for host in hosts]


def group(name: str, *hosts: str) -> Change:
    return lambda coop: coop.groups.update({name: list(hosts)})


def no_secondary(coop: Coop) -> None:
    coop.groups |= {"dns": ["b"], "dns_secondary": []}


def at_coop_be(coop: Coop) -> None:
    """Not in a lab."""
    networks = ["185.8.8.0/24", "2a02:8::/64"]
    everywhere(coop_domain="coop.be", coop_member_domains=[], coop_role_readers=["anna@coop.be"])(coop)
    everywhere(datacenter={"name": "here", "country": "BE", "networks": networks})(coop)
    coop.mail["records"] = []
    for number, host in enumerate("ab", 1):
        on(host, host_ipv4=f"185.8.8.{number}", host_ipv6=f"2a02:8::{number}", rspamd_key_records=[])(coop)


def test_a_good_inventory_holds(coop: Coop) -> None:
    assert findings(coop) == []
    at_coop_be(coop)
    assert findings(coop) == []


def test_mail_of_the_house_goes_to_addresses_of_the_house(coop: Coop) -> None:
    targets = ["anna@coop.test", "bram@famille.test", "anna+house@coop.test"]
    everywhere(coop_role_readers=targets, coop_aliases=[{"mail": "@famille.test", "targets": targets}])(coop)
    assert findings(coop) == []


def test_records_of_ones_own_hold_beside_those_of_the_services(coop: Coop) -> None:
    own = [
        {"type": "A", "value": "10.1.0.7"},
        {"name": "www", "type": "cname", "value": "site.example."},
        {"type": "TXT", "value": "v=spf1 mx include:news.test -all", "domains": "all"},
        {"name": "shop", "type": "A", "value": "10.1.0.8", "domains": "famille.test"},
        {"name": "lists", "type": "MX", "value": "10 mx.provider.example."},
        {"type": "TXT", "value": "site-verification=1"},
        {"name": "other._domainkey", "type": "TXT", "value": "v=DKIM1; p=x"},
    ]
    everywhere(coop_records=own)(coop)
    assert findings(coop) == []


PIN = {
    "name": "cloud",
    "version": "1.0.0",
    "url": "https://maker.test/cloud-1.0.0.tar.gz",
    "sha256": "a" * 64,
    "licence": "AGPL-3.0-or-later",
}


def test_pins_and_the_stand_ins_of_tests_hold(coop: Coop) -> None:
    everywhere(upstream_pins=[PIN], upstream_standins="/standins")(coop)
    assert findings(coop) == []


# One change, one finding
REFUSED: dict[str, tuple[Change, str]] = {
    "misspelt": (
        on("a", valkey_maxmemory_mb=1),
        "valkey_maxmemory_mb: no role knows it, did you mean 'valkey_maxmemory_mib'? [a]",
    ),
    "misspelt on world": (on("world", host_ip4="10.1.0.9"), "host_ip4: no role knows it, did you mean 'host_ipv4'? [world]"),
    "unknown": (everywhere(zebra=1), "zebra: no role knows it; remove it, or add it to the role that should"),
    "a manifest of no service": (
        on("a", maill_manifest={}),
        "maill_manifest: no role knows it, did you mean 'mail_manifest'? [a]",
    ),
    "missing": (without("coop_name", "a", "b"), "coop_name: is missing; Name of the cooperative, as members read it."),
    "nothing": (
        everywhere(admin_networks=None),
        "admin_networks: nothing is said of it; complete it: Networks whence sysadmins",
    ),
    "nothing on one host": (on("b", host_ipv6=None), "host_ipv6: nothing is said of it; complete it: Its"),
    "a name without a letter": (
        everywhere(coop_name=""),
        "coop_name: nothing is said of it; complete it: Name",
    ),
    "nothing of what may be left out": (
        everywhere(coop_member_domains=None),
        "coop_member_domains: nothing is said of it; complete the line, or remove it: Further domains",
    ),
    "a text for a list": (
        everywhere(admin_networks="10.9.0.0/24"),
        "admin_networks: '10.9.0.0/24' is no list; write [10.9.0.0/24]",
    ),
    "a text for the list of readers": (
        everywhere(coop_role_readers="anna@coop.test"),
        "coop_role_readers: 'anna@coop.test' is no list; write [anna@coop.test]",
    ),
    "a text for what is not offered": (
        lambda coop: (no_secondary(coop), everywhere(coop_without="dns_secondary,")(coop)),
        "coop_without: 'dns_secondary,' is no list; write [dns_secondary,]",
    ),
    "a text for a list within": (
        everywhere(coop_aliases=[{"mail": "info@coop.test", "targets": "anna@coop.test"}]),
        "coop_aliases.targets: 'anna@coop.test' is no list; write [anna@coop.test]",
    ),
    "an unknown key": (
        everywhere(datacenter={"name": "here", "country": "BE", "networks": ["10.1.0.0/24", "fd00:1::/64"], "network": []}),
        "datacenter: unknown key: datacenter.network. Supported parameters include: country, name, networks.",
    ),
    "no language": (everywhere(coop_languages=[]), "coop_languages: is empty; list at least one"),
    "of another kind": (
        everywhere(coop_languages=["fr", "en_GB"]),
        "coop_languages: value of coop_languages must be one or more of",
    ),
    "documentation, IPv4": (on("b", host_ipv4="192.0.2.7"), "host_ipv4: 192.0.2.7 is an address of documentation"),
    "documentation, IPv6": (on("b", host_ipv6="2001:db8::7"), "host_ipv6: 2001:db8::7 is an address of documentation"),
    "outside its network": (
        on("b", host_ipv4="10.2.0.2"),
        "host_ipv4: 10.2.0.2 is in none of datacenter.networks (10.1.0.0/24, fd00:1::/64)",
    ),
    "no address": (on("b", host_ipv4="10.1.0.300"), "host_ipv4: '10.1.0.300' is no IPv4 address [b]"),
    "the other family": (on("b", host_ipv6="10.1.0.9"), "host_ipv6: '10.1.0.9' is no IPv6 address [b]"),
    "no IPv6": (without("host_ipv6", "b"), "host_ipv6: is missing; Its public IPv6 address. [b]"),
    "reached from nowhere": (
        lambda coop: (
            at_coop_be(coop),
            on(
                "b",
                host_ipv4="10.1.0.2",
                datacenter={"name": "here", "country": "BE", "networks": ["10.1.0.0/24", "2a02:8::/64"]},
            )(coop),
        ),
        "host_ipv4: 10.1.0.2 is not reached from the Internet, which the zones would send there; give the host a public address",
    ),
    "given twice": (on("b", host_ipv6="fd00:1:0::1"), "host_ipv6: fd00:1::1 is a's already; give b its own"),
    "world's": (on("b", host_ipv4="10.1.0.10"), "host_ipv4: 10.1.0.10 is b's already; give world its own"),
    "a domain of one label": (everywhere(coop_domain="coop"), "coop_domain: 'coop': a domain is two labels or more"),
    "capitals": (everywhere(coop_member_domains=["Famille.test"]), "coop_member_domains: 'Famille.test': a domain is two"),
    "a final dot": (everywhere(coop_member_domains=["famille.test."]), "coop_member_domains: 'famille.test.': a domain is two"),
    "letters beyond ASCII": (everywhere(coop_member_domains=["coopé.test"]), "'coopé.test': write it in its ASCII form"),
    "documentation, domain": (
        everywhere(coop_member_domains=["x.example.org"]),
        "'x.example.org': it is a name of documentation",
    ),
    "a domain twice": (everywhere(coop_member_domains=["coop.test"]), "coop_member_domains: 'coop.test' is there twice"),
    "a domain below another": (
        everywhere(coop_member_domains=["jeunes.coop.test"]),
        "coop_member_domains: 'jeunes.coop.test' and 'coop.test': each is a zone of its own",
    ),
    "a plan that is none": (
        everywhere(coop_default_plan="basik"),
        "coop_default_plan: 'basik' is none of coop_plans, did you mean 'basic'?",
    ),
    "a group's name of two words": (
        everywhere(coop_groups=["board", "general assembly"]),
        "coop_groups: 'general assembly': a member's groups are written with spaces between; take a name without",
    ),
    "a group that is none": (
        on("b", portal_second_factor_groups=["boards"]),
        "portal_second_factor_groups: 'boards' is none of coop_groups, did you mean 'board'? [b]",
    ),
    "a colour that white cannot be read on": (
        everywhere(coop_color="#ffee00"),
        "coop_color: '#ffee00': write it as #rrggbb, dark enough to write white on (contrast 4.5)",
    ),
    "a colour's name": (everywhere(coop_color="blue"), "coop_color: 'blue': write it as #rrggbb"),
    "another country": (
        on("b", datacenter={"name": "there", "country": "US", "networks": ["10.1.0.0/24", "fd00:1::/64"]}),
        "datacenter.country: US is not BE (coop_country): members were promised that their data stays there; move the host [b]",
    ),
    "no network": (everywhere(admin_networks=["10.0.0.1/8"]), "admin_networks: '10.0.0.1/8' is no network"),
    "nobody's SSH": (everywhere(admin_networks=[]), "admin_networks: is empty; list at least one network"),
    "everybody's SSH": (everywhere(admin_networks=["::/0"]), "admin_networks: ::/0 is everybody, whom"),
    "documentation, network": (everywhere(admin_networks=["198.51.100.0/28"]), "198.51.100.0/28 is a network of documentation"),
    "a country in words": (
        everywhere(coop_country="Belgien"),
        "coop_country: 'Belgien' is no code of ISO 3166; write two capitals",
    ),
    "time zone": (everywhere(coop_timezone="Europe/Brussel"), "coop_timezone: 'Europe/Brussel' is no time zone"),
    "a plan without size": (everywhere(coop_plans={"basic": {}}), "coop_plans.basic: needs a size; write {quota_gib: 5}"),
    "a plan that says more": (
        everywhere(coop_plans={"basic": {"quota_gib": 5, "services": ["mail"]}}),
        "coop_plans.basic.services: unknown key; a plan has quota_gib alone",
    ),
    "nobody who reads": (everywhere(coop_role_readers=[]), "coop_role_readers: nobody reads postmaster@, abuse@ and the like"),
    "a reader elsewhere": (
        everywhere(coop_role_readers=["anna@coop.test", "bram@famille.test", "anna@stranger.test"]),
        "coop_role_readers: 'anna@stranger.test' is no address in coop.test, famille.test: other hosts would refuse",
    ),
    "a reader without domain": (everywhere(coop_role_readers=["anna"]), "coop_role_readers: 'anna' is no address in coop.test"),
    "a reader without name": (everywhere(coop_role_readers=["@coop.test"]), "coop_role_readers: '@coop.test' is no address in"),
    "a reader who is none": (
        everywhere(coop_role_readers=["postmaster@coop.test"]),
        "coop_role_readers: 'postmaster@coop.test' is what coop_role_readers read, and no mailbox; name a member's address",
    ),
    "an alias that leads elsewhere": (
        everywhere(coop_aliases=[{"mail": "info@coop.test", "targets": ["bram@famille.test", "anna@stranger.test"]}]),
        "coop_aliases: 'anna@stranger.test' is no address in coop.test, famille.test: other hosts would refuse",
    ),
    "an alias elsewhere": (
        everywhere(coop_aliases=[{"mail": "info@elsewhere.test", "targets": ["anna@coop.test"]}]),
        "coop_aliases: 'info@elsewhere.test': its domain is none of coop.test",
    ),
    "an alias that has readers": (
        everywhere(coop_aliases=[{"mail": "abuse@coop.test", "targets": ["anna@coop.test"]}], coop_reserved_everywhere=["abuse"]),
        "coop_aliases: 'abuse@coop.test': coop_role_readers read it",
    ),
    "an alias twice": (
        everywhere(coop_aliases=[{"mail": "info@coop.test", "targets": ["anna@coop.test"]}] * 2),
        "coop_aliases: 'info@coop.test' is there twice; give it all its targets at once",
    ),
    "two hosts of one office": (
        group("office", "a", "b"),
        "the group 'office' has 2 hosts, a, b: those who write in one document would each have another's",
    ),
    "two hosts of one directory": (
        group("directory", "a", "b"),
        "the group 'directory' has 2 hosts, a, b: what is written to one would not be on the others; leave one of them",
    ),
    "no directory": (everywhere(coop_without=["directory"]), "coop_without: 'directory' has the members, whom all services ask"),
    "a grace before today": (everywhere(coop_grace_days=-1), "coop_grace_days: write a number of days, 0 or more"),
    "no secret": (
        without("vault_mail_password", "b"),
        "vault_mail_password: the secret of mail is missing; run playbooks/secrets.yml",
    ),
    "an empty secret": (on("b", vault_mail_password=""), "vault_mail_password: the secret of mail is missing"),
    "a service without host": (
        no_secondary,
        "the group 'dns_secondary' has no host: give it one in the inventory, or list it",
    ),
    "not offered, yet there": (
        everywhere(coop_without=["mail"]),
        "coop_without: says 'mail' is not offered, but it has b; take it out",
    ),
    "not offered, unknown": (everywhere(coop_without=["meet"]), "coop_without: 'meet' is no group of groups.yml"),
    "a name server of both kinds": (
        group("dns_secondary", "a", "b"),
        "b is in the group 'dns' and in dns_primary and dns_secondary: a name server either has the zones or is given them",
    ),
    "a name server of neither kind": (
        lambda coop: (group("dns_secondary")(coop), everywhere(coop_without=["dns_secondary"])(coop)),
        "a is in the group 'dns' and in none of those below it: a name server either has the zones or is given them",
    ),
    "in no group": (
        group("ungrouped", "world"),
        "world is in no group, and nothing is done there: name it below 'coop', or remove",
    ),
    "outside coop": (group("mail", "world"), "world carries a service but is not in the group 'coop': add it"),
    "a pin without checksum": (
        everywhere(upstream_pins=[PIN | {"sha256": ""}]),
        "upstream_pins: cloud.sha256: is missing; a pin needs its checksum: bin/pins set cloud 1.0.0 writes it",
    ),
    "stand-ins outside tests": (
        lambda coop: (at_coop_be(coop), everywhere(upstream_standins="/standins")(coop)),
        "upstream_standins: is for the lab and tests, below .test; coop.be installs the makers' own software: remove it",
    ),
    "webmail without mail": (
        lambda coop: (group("webmail", "a")(coop), group("mail")(coop), everywhere(coop_without=["mail"])(coop)),
        "the group 'webmail' has a, and 'mail' has no host: it shows the mailboxes that are there; give 'mail' a host, or list "
        "'webmail' in coop_without, too",
    ),
    "a record of no known key": (
        everywhere(coop_records=[{"type": "A", "valeu": "10.1.0.7"}]),
        "coop_records[0].valeu: unknown key, did you mean 'value'?",
    ),
    "a record without value": (everywhere(coop_records=[{"type": "A"}]), "coop_records: missing required arguments: value"),
    "a record of a domain elsewhere": (
        everywhere(coop_records=[{"type": "A", "value": "10.1.0.7", "domains": "famile.test"}]),
        "coop_records[0].domains: 'famile.test' is none of all, primary, members, coop.test, famille.test, did you mean",
    ),
    "a record of hosts of no service": (
        everywhere(coop_records=[{"type": "NS", "name": "sub", "value": "{host}.coop.test."}]),
        "coop_records[0].value: '{host}' is each host of a service, and these are of none; write a name",
    ),
    "a record relative to its zone": (
        everywhere(coop_records=[{"name": "www", "type": "CNAME", "value": "site"}]),
        "coop_records[0].value: 'site' is relative to the zone; write the whole name with a dot at its end",
    ),
    "an address where a service has its own": (
        everywhere(coop_records=[{"name": "mail", "type": "A", "value": "10.1.0.7"}]),
        "coop_records[0]: 'mail' of coop.test has the address of a service or host already",
    ),
    "an alias where a service has its address": (
        everywhere(coop_records=[{"name": "mail", "type": "CNAME", "value": "site.example."}]),
        "coop_records[0]: 'mail' of coop.test has the address of a service or host already",
    ),
    "mail to another provider, too": (
        everywhere(coop_records=[{"type": "MX", "value": "10 mx.provider.example."}]),
        "coop_records[0]: '@' of coop.test has a service's MX record already, and others would go by either, or by none",
    ),
    "a name server of another provider": (
        everywhere(coop_records=[{"type": "NS", "value": "ns.provider.example.", "domains": "famille.test"}]),
        "coop_records[0]: '@' of famille.test has a service's NS record already",
    ),
    "a second policy": (
        lambda coop: (
            coop.mail["records"].append({"name": "_dmarc", "type": "TXT", "value": "v=DMARC1; p=reject"}),
            everywhere(coop_records=[{"name": "_dmarc", "type": "TXT", "value": "v=DMARC1;p=none"}])(coop),
        ),
        "coop_records[0]: '_dmarc' of coop.test has a service's DMARC1 record already",
    ),
    "an alias and another record": (
        everywhere(
            coop_records=[{"name": "x", "type": "CNAME", "value": "site.example."}, {"name": "x", "type": "TXT", "value": "x"}]
        ),
        "zone coop.test: 'x' is a CNAME and has other records; remove one of them",
    ),
    "an SPF record without the house's own mail": (
        everywhere(coop_records=[{"type": "TXT", "value": "v=spf1 include:news.test -all", "domains": "famille.test"}]),
        "coop_records[0]: takes the place of the SPF record of famille.test, and would have the house's own mail refused; write",
    ),
    "manifest": (
        lambda coop: coop.mail.update(nmes=[]),
        "mail_manifest.nmes: unknown key, did you mean 'names'? (group_vars/mail.yml)",
    ),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_in_one_sentence(coop: Coop, change: Change, said: str) -> None:
    change(coop)
    assert [said in finding for finding in findings(coop)] == [True], findings(coop)


def test_the_memory_of_one_host_is_not_given_twice(coop: Coop, tmp_path: Path) -> None:
    for role in ("office", "postgresql"):
        (tmp_path / "roles" / role).symlink_to(ROOT / "roles" / role)
        group(role, "a")(coop)
    assert findings(coop) == []
    on("a", office_memory_percent=50)(coop)
    assert [finding.partition(";")[0] for finding in findings(coop)] == [
        "the services of a may take 100 % of its memory (office_memory_percent 50, postgresql_memory_percent 50), and 90 leave "
        "enough for the rest of it"
    ]
    group("office", "b")(coop)
    assert findings(coop) == []


def test_a_misspelt_group_is_recognised(coop: Coop) -> None:
    coop.groups |= {"directory": [], "directroy": ["a"]}
    assert len(findings(coop)) == 1 and findings(coop)[0].startswith("the group 'directory' has no host")
    assert findings(coop)[0].endswith(", or is it misspelt as 'directroy'?")


def test_a_service_may_be_left_out_on_purpose(coop: Coop) -> None:
    no_secondary(coop)
    everywhere(coop_without=["dns_secondary"])(coop)
    assert findings(coop) == []


def test_a_secret_misspelt_in_the_vault_is_recognised(coop: Coop) -> None:
    coop.hostvars["b"]["vault_mail_pasword"] = coop.hostvars["b"].pop("vault_mail_password")
    assert findings(coop)[0].endswith("did you mean 'vault_mail_pasword'? [b]")


def test_no_secret_is_ever_said(coop: Coop) -> None:
    coop.hostvars["b"] |= {"vault_mail_pasword": "hunter2", "vault_mail_password": ""}
    assert "hunter2" not in str(findings(coop))


def test_a_renamed_variable_says_what_replaced_it(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(preflight.RENAMED, "valkey_memory", "valkey_maxmemory_mib")
    coop.hostvars["a"]["valkey_memory"] = 1
    assert findings(coop) == ["valkey_memory: it is called valkey_maxmemory_mib now [a]"]


def written(directory: Path, files: dict[str, str]) -> None:
    for place, text in files.items():
        (directory / place).parent.mkdir(parents=True, exist_ok=True)
        (directory / place).write_text(text)


def sources(*paths: str | Path) -> Change:
    return everywhere(ansible_inventory_sources=[str(path) for path in paths])


def test_what_an_inventory_says_in_vain_is_said_with_its_place(coop: Coop, tmp_path: Path) -> None:
    files = {
        "group_vars/base.yml": "base_ssh_port: 22\n",
        "group_vars/mail/postfix.yml": "postfix_hostname: mail\n",
        "yours/group_vars/all/tuning.yml": "# all\nbase_ssh_port: 2222\ncoop_name: Ours\n",
        "yours/group_vars/all.yml": "postfix_hostname: other\n",
        "yours/group_vars/base/more.yml": "base_ssh_port: 2222\n",
        "yours/hosts.yml": "all: {}\n",
    }
    written(tmp_path, files)
    for given in ("yours", "yours/hosts.yml"):
        sources(tmp_path / "groups.yml", tmp_path / given)(coop)
        assert [said.split(",")[0] for said in findings(coop)] == [
            "yours/group_vars/all.yml: postfix_hostname: counts nowhere",
            "yours/group_vars/all/tuning.yml: base_ssh_port: counts nowhere",
        ]
        assert "move it to group_vars/base.yml beside your inventory" in findings(coop)[1]


def test_a_value_is_said_with_the_place_that_it_was_given_last(coop: Coop, tmp_path: Path) -> None:
    name = Origin(path=str(tmp_path / "group_vars/all/cooperative.yml"), line_num=9).tag("coop_grace_days")
    days = Origin(path=str(tmp_path / "yours/group_vars/all.yml"), line_num=3).tag(-1)
    for host in coop.groups["coop"]:
        del coop.hostvars[host]["coop_grace_days"]  # else the name there stays
        coop.hostvars[host][name] = days
    assert findings(coop) == ["yours/group_vars/all.yml:3: coop_grace_days: write a number of days, 0 or more"]


HOUSE = {
    "group_vars/all/cooperative.yml": "coop_name: Coopérative\ncoop_grace_days: 30\n",
    "group_vars/base.yml": "base_ssh_port: 22\n",
    "group_vars/mail/postfix.yml": "postfix_hostname: mail\n",
}
# What is said of a host counts, and so does what the house says of no group of these hosts
HOSTS = """\
all:
  vars: {coop_grace_days: 7}
  children:
    coop:
      hosts: {a: {base_ssh_port: 2222}, b: {}}
      vars:
        ansible_user: root
        base_ssh_port: 2222
        coop_password: !vault |
          $ANSIBLE_VAULT;1.1;AES256
          00
    internet:
      hosts: {world: {}}
      vars: {base_ssh_port: 2222, postfix_hostname: world}
"""


@pytest.mark.parametrize("given", ["yours", "yours/more", "yours/more/hosts.yml"])
def test_what_a_file_of_hosts_says_of_a_group_in_vain_is_said_with_its_place(coop: Coop, tmp_path: Path, given: str) -> None:
    written(tmp_path, HOUSE | {"yours/more/hosts.yml": HOSTS})
    sources(tmp_path / "groups.yml", tmp_path / given, "a,b")(coop)
    assert findings(coop) == [
        "yours/more/hosts.yml:2: coop_grace_days: counts nowhere, as it is below `vars:` of 'all' and the house's own "
        "group_vars/all says it, too; move it to group_vars/all.yml beside your inventory",
        "yours/more/hosts.yml:8: base_ssh_port: counts nowhere, as it is below `vars:` of 'coop' and the house's own "
        "group_vars/base says it, too; move it to group_vars/base.yml beside your inventory",
    ]


def test_of_several_inventories_each_is_looked_at_and_json_too(coop: Coop, tmp_path: Path) -> None:
    written(tmp_path, HOUSE | {"ours/hosts.json": '{"coop": {"vars": {"coop_name": "Ours"}}}', "yours.yml": HOSTS})
    sources(tmp_path / "ours", tmp_path / "yours.yml")(coop)
    assert [said.split(":")[0] for said in findings(coop)] == ["ours/hosts.json", "yours.yml", "yours.yml"]
    assert "move it to group_vars/coop.yml beside your inventory" in findings(coop)[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hosts", "[coop:vars]\nbase_ssh_port=2222\n"),
        ("hosts.yml", ""),
        ("hosts.yml", "a: ["),
        ("hosts.yml", "coop: [a, b]\n"),
        ("hosts.yml", "coop: {vars: base_ssh_port, children: [a], hosts: a}\n"),
        ("hosts.yml", "plugin: constructed\ncompose: {base_ssh_port: 22}\ngroups: {coop: true}\n"),
        ("hosts.yml", "$ANSIBLE_VAULT;1.1;AES256\n00\n"),
        ("hosts", "#!/bin/sh\necho '{}'\n"),
        ("hosts.py", HOSTS),
        ("hosts.yml~", HOSTS),
        ("group_vars/coop.yml", HOSTS),
        (".git/hosts.yml", HOSTS),
    ],
)
def test_what_is_no_file_of_hosts_says_nothing(coop: Coop, tmp_path: Path, name: str, text: str) -> None:
    written(tmp_path, HOUSE | {f"yours/{name}": text})
    sources(tmp_path / "yours")(coop)
    assert findings(coop) == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("group_vars/dirctory.yml", "there is no group 'dirctory', did you mean 'directory'?"),
        ("group_vars/dirctory", "there is no group 'dirctory', did you mean 'directory'?"),
        ("group_vars/dirctory/ldap.yml", "there is no group 'dirctory', did you mean 'directory'?"),
        ("group_vars/a.yml", "there is no group 'a'; name it after a group, or remove it"),
        ("host_vars/wrold.yaml", "there is no host 'wrold', did you mean 'world'?"),
        ("host_vars/mail/mail.yml", "there is no host 'mail'; name it after a host, or remove it"),
    ],
)
def test_a_file_that_nobody_reads_is_said(coop: Coop, tmp_path: Path, place: str, said: str) -> None:
    written(tmp_path, {"group_vars/of_the_house.yml": "x: 1\n", f"yours/{place}": "valkey_maxmemory_mib: 1\n", "hosts.yml": ""})
    sources(tmp_path / "groups.yml", tmp_path / "hosts.yml", tmp_path / "yours")(coop)
    top = "/".join(place.split("/")[:2])
    assert findings(coop) == [f"yours/{top}: is read by nobody, as {said}"]


def test_a_file_that_somebody_reads_is_not_said(coop: Coop, tmp_path: Path) -> None:
    groups = ("all", "ungrouped.json", "coop.yml", "mail/more.yml", "internet.yaml", "dns_secondary.yml", ".x.yml", "README.md")
    hosts = ("a", "b.yml", "world/x.yml", "localhost.yml")
    places = [*(f"group_vars/{name}" for name in groups), *(f"host_vars/{name}" for name in hosts)]
    written(tmp_path / "yours", dict.fromkeys(places, "ansible_user: root\n"))
    no_secondary(coop)
    everywhere(coop_without=["dns_secondary"])(coop)
    sources(tmp_path / "yours/hosts", tmp_path / "yours")(coop)
    assert findings(coop) == []


def test_what_is_said_of_the_domain_is_not_said_of_each_name_below_it(coop: Coop) -> None:
    coop.mail["portal"] = {"url": "https://webmail.https://coop/", "title": dict.fromkeys(("fr", "nl", "de", "en"), "x")}
    everywhere(coop_domain="https://coop")(coop)
    assert [said[:29] for said in findings(coop)] == ["coop_domain: 'https://coop': "]


def test_all_is_said_at_once(coop: Coop) -> None:
    for change in (on("a", zebra=1), everywhere(coop_domain="x"), without("vault_mail_password", "b")):
        change(coop)
    assert len(findings(coop)) == 3


def test_without_groups_yml(coop: Coop) -> None:
    coop.groups = {"all": ["a"], "ungrouped": ["a"], "coop": ["a"]}
    assert [finding[:58] for finding in findings(coop)] == ["groups.yml is not among the inventory's sources (no group "]


def test_without_host(coop: Coop) -> None:
    coop.groups = {name: [] for name in coop.groups}
    assert findings(coop) == ["the inventory has no host in the group 'coop': name one, as inventories/production does"]


# As a sysadmin runs it

LAB = ("-i", "groups.yml", "-i", "inventories/lab/hosts.yml")


def said(output: str) -> list[str]:
    body = output.split("nothing was changed:", 1)[1].split("\nOrigin:", 1)[0]
    return re.findall(r"^- (.*)$", body, re.MULTILINE)


def test_the_example_is_refused_until_it_is_replaced() -> None:
    run = play("playbooks/preflight.yml")
    assert run.returncode != 0
    lines = said(run.stdout + run.stderr)
    assert any(
        "inventories/production/hosts.yml" in line and "192.0.2.21 is an address of documentation" in line for line in lines
    )
    # whose name it was would be on every page
    assert any(re.search("inventories/production/.*: coop_name: nothing is said of it", line) for line in lines), lines
    assert all("documentation" in line or "coop_name" in line or line.startswith("vault_") for line in lines), lines


def test_what_is_remembered_of_hosts_is_nobody_else_s(tmp_path: Path) -> None:
    """Before a host is asked for its facts, by whichever playbook: they are in files that all may read."""
    facts = tmp_path / "facts"
    facts.mkdir(mode=0o755)  # as Ansible makes it
    run = play("playbooks/ds.yml", ANSIBLE_CACHE_PLUGIN_CONNECTION=str(facts))
    assert "nothing was changed:" in run.stdout + run.stderr  # of the example's hosts
    assert facts.stat().st_mode & 0o777 == 0o700


def test_an_inventory_that_is_not_there_does_not_hold() -> None:
    run = play("playbooks/preflight.yml", "-i", "groups.yml", "-i", "inventories/prodution")
    assert run.returncode != 0 and "inventories/prodution" in run.stdout + run.stderr


def test_the_lab_holds_once_it_has_its_secrets_which_are_made_once(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a password of this test")
    (tmp_path / "inventory/group_vars/all").mkdir(parents=True)
    (tmp_path / "inventory/hosts.yml").write_text("all: {}\n")
    vault = tmp_path / "inventory/group_vars/all/vault.yml"
    inventory = (*LAB, "-i", tmp_path / "inventory")
    key = {"ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "password")}

    secrets = ("playbooks/secrets.yml", *inventory, "-e", f"secrets_file={vault}")
    unlocked = play(*secrets)
    assert unlocked.returncode != 0 and "set ANSIBLE_VAULT_PASSWORD_FILE to its path" in unlocked.stdout + unlocked.stderr

    made = play(*secrets, **key)
    assert made.returncode == 0, made.stdout
    if vault.exists():
        assert vault.read_text().startswith("$ANSIBLE_VAULT;") and vault.stat().st_mode & 0o777 == 0o600
        before = vault.read_bytes()
        assert "changed=0" in play(*secrets, **key).stdout and vault.read_bytes() == before

    holds = play("playbooks/preflight.yml", *inventory, **key)
    assert holds.returncode == 0, holds.stdout + holds.stderr

    misspelt = play("playbooks/preflight.yml", *inventory, "-e", "cop_name=x", **key)
    assert said(misspelt.stdout + misspelt.stderr) == ["<CLI option '-e'>: cop_name: no role knows it, did you mean 'coop_name'?"]


def test_the_vault_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a password of this test")
    (tmp_path / "vault.yml").write_text("vault_x: in the open\n")
    run = play(
        "playbooks/secrets.yml",
        *LAB,
        "-e",
        f"secrets_file={tmp_path}/vault.yml",
        ANSIBLE_VAULT_PASSWORD_FILE=str(tmp_path / "password"),
    )
    assert run.returncode != 0 and "run: ansible-vault encrypt" in run.stdout + run.stderr
    assert (tmp_path / "vault.yml").read_text() == "vault_x: in the open\n"
