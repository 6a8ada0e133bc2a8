"""Manifests: what they may say, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from conftest import Coop
from manifests import (
    backup_jobs,
    certificate_requests,
    databases,
    dns_zones,
    firewall_rules,
    mail_senders,
    manifests,
    networks,
    of_family,
    pooled_databases,
    portal_clients,
    portal_tiles,
    quote_txt,
    web_vhosts,
)

TITLE = {"fr": "Courriel", "nl": "E-mail", "de": "E-Mail", "en": "Mail"}
DOMAINS = ("coop.test", ["famille.test"])


def house(coop: Coop) -> dict[str, dict[str, Any]]:
    return manifests(coop.hostvars, coop.groups)


def refused(coop: Coop) -> str:
    with pytest.raises(AnsibleFilterError) as raised:
        house(coop)
    return str(raised.value)


def records(coop: Coop, zone: str, own: Sequence[dict[str, Any]] = ()) -> set[tuple[str, str, str]]:
    zones = dns_zones(house(coop), coop.hostvars, coop.groups, *DOMAINS, own)
    found = next(entry["records"] for entry in zones if entry["name"] == zone)
    return {(record["name"], record["type"], record["value"]) for record in found}


# What a manifest may say


def test_a_manifest_is_on_the_hosts_of_its_group_only(coop: Coop) -> None:
    coop.hostvars["a"]["mail_manifest"] = coop.mail
    assert house(coop)["mail"]["hosts"] == ["b"]


def test_hosts_come_in_the_order_of_their_group(coop: Coop) -> None:
    assert house(coop)["dns"]["hosts"] == ["b", "a"]


def test_every_key_is_there_with_its_default(coop: Coop) -> None:
    manifest = house(coop)["dns"]["manifest"]
    assert manifest["backup"] == {"paths": [], "databases": [], "before": [], "after": []}
    assert manifest["certificate"] is False
    assert manifest["listens"] == [{"port": 53, "proto": "udp", "from": "any"}]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nmes": ["mail"]}, "mail_manifest.nmes: unknown key, did you mean 'names'?"),
        ({"listens": [{"prt": 25, "from": "any"}]}, "mail_manifest.listens[0].prt: unknown key, did you mean 'port'?"),
        ({"backup": {"path": ["/srv"]}}, "mail_manifest.backup.path: unknown key, did you mean 'paths'?"),
        ({"listens": [{"port": 25}]}, "missing required arguments: from found in listens"),
        ({"listens": [{"port": 70000, "from": "any"}]}, "mail_manifest.listens[0].port: '70000' is neither a port nor a range"),
        ({"listens": [{"port": "20-10", "from": "any"}]}, "'20-10' is neither"),
        ({"listens": [{"port": 1, "from": "driectory"}]}, "did you mean 'directory'?"),
        ({"egress": [{"port": 1, "to": "10.0.0.1/8", "as": "root"}]}, "mail_manifest.egress[0].to: '10.0.0.1/8' is neither"),
        ({"records": [{"type": "MX", "value": "10 mail.coop.test"}]}, "write the whole name with a dot at its end"),
        ({"names": ["Mail"]}, "'Mail' is not a label"),
        ({"names": [], "certificate": True, "tlsa": []}, "mail_manifest.certificate: a certificate needs a name"),
        ({"names": []}, "mail_manifest.tlsa: TLSA needs a certificate"),
        ({"names": [], "names_everywhere": ["x"]}, "mail_manifest.tlsa: TLSA is for the first of mail_manifest.names"),
        ({"names": ["a"]}, "'a' is taken by the host a"),
        ({"names_everywhere": ["imap"]}, "'imap' is taken by mail_manifest"),
        ({"names_everywhere": ["@"]}, "'@' is not a label"),
        ({"names": ["@."]}, "'@.' is not a label"),
        ({"names": ["@"], "vhosts": [{"name": "@"}]}, "apex: give it root, proxy or both"),
        ({"names_everywhere": ["x."]}, "'x.' is not a label"),
        ({"names": ["ns2"]}, "'ns2' is taken by dns_manifest"),
        ({"secrets": [{"name": "password"}]}, "'password' must begin with 'vault_'"),
        ({"databases": [{"name": "Mail"}]}, "mail_manifest.databases: 'Mail' will not do; take a-z"),
        ({"databases": [{"name": "postgres"}]}, "'postgres' will not do"),
        ({"databases": [{"name": "x", "extension": []}]}, "mail_manifest.databases[0].extension: unknown key, did you mean"),
        ({"databases": [{"name": "x"}, {"name": "x"}]}, "mail_manifest.databases: 'x' is taken by mail_manifest"),
        ({"databases": [{"name": "x"}]}, "the group 'postgresql' has no host, and x is to be on exactly one"),
        ({"backup": {"databases": ["mial"]}, "databases": [{"name": "mail"}]}, "'mial' is none of mail_manifest.databases, did"),
        ({"names": [], "probes": [{"type": "http"}]}, "mail_manifest.probes: http asks the first of mail_manifest.names"),
        ({"probes": [{"type": "tcp"}]}, "type is tcp but all of the following are missing: port found in probes"),
        ({"probes": [{"type": "unix", "port": 1}]}, "type is unix but all of the following are missing: path found in probes"),
        ({"probes": [{"type": "tcp", "port": 0}]}, "mail_manifest.probes[0].port: '0' is neither a port nor a range"),
        ({"sends_as": ["No-reply@coop.test"]}, "mail_manifest.sends_as: 'No-reply@coop.test' is no local part"),
        ({"portal": {}}, "one of the following is required: title, client found in portal"),
        ({"portal": {"title": TITLE}}, "parameters are required together: title, url found in portal"),
        ({"portal": {"url": "https://a.test/", "client": {}}}, "parameters are required together: title, url found in portal"),
        ({"portal": {"description": TITLE, "client": {}}}, "missing parameter(s) required by 'description': title"),
        (
            {"portal": {"title": {"fr": "Courriel", "nl": "Mail", "en": "Mail"}, "url": "https://a.test/"}},
            "arguments: de found in",
        ),
        ({"portal": {"title": TITLE | {"lb": "Mail"}, "url": "https://a.test/"}}, "portal.title.lb: unknown key"),
        ({"portal": {"title": TITLE, "url": "http://a.test/"}}, "mail_manifest.portal.url: 'http://a.test/' will not do"),
        ({"portal": {"client": {"redirect_uris": ["https://a.test/*"]}}}, "portal.client.redirect_uris: 'https://a.test/*' will"),
        ({"portal": {"client": {"logout_url": "a.test"}}}, "mail_manifest.portal.client.logout_url: 'a.test' will not do"),
        ({"portal": {"client": {"redirect_url": ""}}}, "portal.client.redirect_url: unknown key, did you mean 'redirect_uris'?"),
        ({"portal": {"client": {}, "plans": ["basics"]}}, "portal.plans: 'basics' is none of coop_plans, did you mean 'basic'?"),
        ({"secrets": [{"name": "vault_x", "type": "word"}]}, "value of type must be one of: password, base64, got: word"),
    ],
)
def test_what_does_not_hold_is_named_with_its_mend(coop: Coop, change: dict[str, Any], said: str) -> None:
    house(coop)
    coop.mail.update(change)
    assert said in refused(coop)


def test_all_is_said_at_once_and_where(coop: Coop) -> None:
    coop.mail["nmes"] = []
    for host in coop.groups["dns"]:
        coop.hostvars[host]["dns_manifest"] = []
    message = refused(coop)
    assert "mail_manifest.nmes" in message and "(group_vars/mail.yml)" in message
    assert "dns_manifest: is a list, must be a mapping" in message


def test_a_manifest_is_the_same_on_every_host(coop: Coop) -> None:
    coop.hostvars["a"]["dns_manifest"]["listens"] = []
    assert "dns_manifest: differs between b and a" in refused(coop).replace("between a and b", "between b and a")


# Zones


def test_hosts_and_services_have_both_addresses(coop: Coop) -> None:
    zone = records(coop, "coop.test")
    for name in ("b", "mail", "imap", "ns1"):
        assert {(name, "A", "10.1.0.2"), (name, "AAAA", "fd00:1::2")} <= zone
    assert ("mail", "A", "10.1.0.1") not in zone
    assert not any(name == "world" for name, *_ in zone)


def test_a_host_without_ipv6_has_no_such_record(coop: Coop) -> None:
    del coop.hostvars["b"]["host_ipv6"]
    zone = records(coop, "coop.test")
    assert ("mail", "A", "10.1.0.2") in zone
    assert not any(kind == "AAAA" for name, kind, _ in zone if name == "mail")


def test_every_zone_has_its_name_servers_and_mail(coop: Coop) -> None:
    for zone in ("coop.test", "famille.test"):
        found = records(coop, zone)
        assert {("@", "NS", "ns1.coop.test."), ("@", "NS", "ns2.coop.test.")} <= found
        assert ("@", "MX", "10 mail.coop.test.") in found
        assert ("@", "TXT", '"v=spf1 mx -all"') in found


def test_records_of_members_domains_stay_there(coop: Coop) -> None:
    assert ("autoconfig", "CNAME", "mail.coop.test.") in records(coop, "famille.test")
    assert not any(name == "autoconfig" for name, *_ in records(coop, "coop.test"))


def test_the_zone_fills_the_placeholder(coop: Coop) -> None:
    coop.mail["records"].append({"domains": "all", "name": "_dmarc", "type": "TXT", "value": "rua=mailto:dmarc@{domain}"})
    assert ("_dmarc", "TXT", '"rua=mailto:dmarc@famille.test"') in records(coop, "famille.test")
    assert ("_dmarc", "TXT", '"rua=mailto:dmarc@coop.test"') in records(coop, "coop.test")


def test_a_key_is_published_in_its_domain_only_cut_into_strings(coop: Coop) -> None:
    published = [value for name, _, value in records(coop, "famille.test") if name == "x._domainkey"]
    assert published == ['"p=' + "k" * 253 + '" "' + "k" * 147 + '"']
    assert not any(name == "x._domainkey" for name, *_ in records(coop, "coop.test"))


def test_without_the_hosts_keys_there_is_no_zone(coop: Coop) -> None:
    del coop.hostvars["b"]["rspamd_key_records"]
    with pytest.raises(AnsibleFilterError, match=r"b has not said its 'rspamd' keys.*run playbooks/dns\.yml whole"):
        records(coop, "coop.test")


def test_a_key_of_another_domain_is_refused(coop: Coop) -> None:
    coop.hostvars["b"]["rspamd_key_records"][0]["domain"] = "gone.test"
    with pytest.raises(AnsibleFilterError, match=r"'gone\.test', which is no zone of this house"):
        records(coop, "coop.test")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"type": "TXT", "value": "v=spf1 -all"}, "2 SPF records"),
        ({"name": "mail", "type": "CNAME", "value": "b.coop.test."}, "'mail' is a CNAME and has other records"),
    ],
)
def test_records_that_exclude_each_other_are_refused(coop: Coop, record: dict[str, Any], said: str) -> None:
    coop.mail["records"].append(record)
    with pytest.raises(AnsibleFilterError, match=said):
        records(coop, "coop.test")


def test_records_of_ones_own_are_in_the_domains_they_say(coop: Coop) -> None:
    own = [
        {"name": "shop", "type": "cname", "value": "shop.{domain}.maker.test.", "domains": "famille.test"},
        {"name": "blog", "type": "A", "value": "10.1.0.7"},
    ]
    assert ("shop", "CNAME", "shop.famille.test.maker.test.") in records(coop, "famille.test", own)
    assert ("blog", "A", "10.1.0.7") in records(coop, "coop.test", own)
    assert not {"shop"} & {name for name, *_ in records(coop, "coop.test", own)}
    assert not {"blog"} & {name for name, *_ in records(coop, "famille.test", own)}


def test_an_spf_record_of_ones_own_takes_the_services_place(coop: Coop) -> None:
    own = [{"type": "TXT", "value": "v=spf1 mx include:news.test -all", "domains": "famille.test"}]

    def spf(zone: str) -> set[str]:
        return {value for name, _, value in records(coop, zone, own) if name == "@" and "spf1" in value}

    assert spf("famille.test") == {'"v=spf1 mx include:news.test -all"'}
    assert spf("coop.test") == {'"v=spf1 mx -all"'}


def test_a_record_of_ones_own_that_will_not_do_is_refused(coop: Coop) -> None:
    with pytest.raises(AnsibleFilterError, match=r"coop_records\[0\]\.domains: 'elsewhere\.test' is none of"):
        records(coop, "coop.test", [{"type": "A", "value": "10.1.0.7", "domains": "elsewhere.test"}])


def test_txt_of_exactly_one_string_and_one_byte_more() -> None:
    assert quote_txt("a" * 255) == '"' + "a" * 255 + '"'
    assert quote_txt("a" * 256) == '"' + "a" * 255 + '" "a"'
    assert quote_txt("") == '""'


def test_txt_is_cut_by_bytes_and_escaped() -> None:
    assert quote_txt('say "é" \\; now') == '"say \\"\\195\\169\\" \\\\; now"'
    assert len(quote_txt("é" * 128).split('" "')) == 2


# Rules, certificates, backups


def test_rules_are_for_the_services_of_the_host(coop: Coop) -> None:
    rules = firewall_rules(house(coop), "b", coop.hostvars, coop.groups, ["10.9.0.0/24", "fd09::/48"])
    found = {(rule["port"], rule["proto"]): rule["sources"] for rule in rules["input"]}
    assert found == {
        (25, "tcp"): "any",
        (53, "udp"): "any",
        (4190, "tcp"): ["10.9.0.0/24", "fd09::/48"],
        ("5000-5010", "udp"): ["10.1.0.1/32", "10.1.0.2/32", "fd00:1::1/128", "fd00:1::2/128"],
    }
    ways_out = {(rule["port"], rule["user"]): rule["destinations"] for rule in rules["output"]}
    assert ways_out == {
        (25, "postfix"): "any",
        (636, "postfix"): ["10.1.0.1/32", "fd00:1::1/128"],
        (443, "rspamd"): ["10.7.0.0/16"],
    }
    elsewhere = firewall_rules(house(coop), "a", coop.hostvars, coop.groups)
    assert [rule["service"] for rule in elsewhere["input"]] == ["dns"] and elsewhere["output"] == []


def test_a_group_without_host_opens_nothing(coop: Coop) -> None:
    coop.groups["directory"] = []
    rules = firewall_rules(house(coop), "b", coop.hostvars, coop.groups)
    assert 636 not in [rule["port"] for rule in rules["output"]]
    assert 4190 not in [rule["port"] for rule in rules["input"]]


def test_one_family_of_a_list() -> None:
    assert of_family(["10.0.0.1/32", "fd00::1/128"], 6) == ["fd00::1/128"]
    assert of_family(["10.0.0.1/32", "fd00::1/128"], 4) == ["10.0.0.1/32"]


def test_networks_as_people_write_them() -> None:
    assert networks(["192.0.2.9/24", "2001:DB8:1:0::2/128", "192.0.2.2"]) == ["192.0.2.0/24", "2001:db8:1::2/128", "192.0.2.2/32"]
    with pytest.raises(AnsibleFilterError, match=r"'192\.0\.2' does not appear to be .* network: write ADDRESS/LENGTH"):
        networks(["192.0.2"])


def test_a_certificate_for_each_service_with_names_on_its_hosts(coop: Coop) -> None:
    tlsa = [{"port": 25, "host": "mail.coop.test", "domain": "coop.test", "name": "_25._tcp.mail"}]
    wanted = [{"name": "mail", "names": ["mail.coop.test", "imap.coop.test"], "tlsa": tlsa, "optional": False}]
    assert certificate_requests(house(coop), "b", "coop.test") == wanted
    assert certificate_requests(house(coop), "a", "coop.test") == []
    coop.mail.update({"certificate": False, "tlsa": []})
    assert certificate_requests(house(coop), "b", "coop.test") == []


def test_a_name_in_every_domain_has_a_certificate_in_each(coop: Coop) -> None:
    coop.mail["names_everywhere"] = ["mta-sts"]
    for zone in ("coop.test", "famille.test"):
        assert {("mta-sts", "A", "10.1.0.2"), ("mta-sts", "AAAA", "fd00:1::2")} <= records(coop, zone)
    assert not any(name == "mail" for name, *_ in records(coop, "famille.test"))
    assert [
        (wanted["name"], wanted["names"], len(wanted["tlsa"]), wanted["optional"])
        for wanted in certificate_requests(house(coop), "b", *DOMAINS)
    ] == [
        ("mail", ["mail.coop.test", "imap.coop.test", "mta-sts.coop.test"], 1, False),
        ("mail-famille.test", ["mta-sts.famille.test"], 0, True),
    ]
    assert certificate_requests(house(coop), "a", *DOMAINS) == []


def test_the_domain_itself_has_addresses_a_certificate_and_a_vhost(coop: Coop) -> None:
    coop.mail.update(names=["@", "www"], tlsa=[{"port": 443}], vhosts=[{"name": "@", "root": "/srv"}])
    assert {("@", "A", "10.1.0.2"), ("@", "AAAA", "fd00:1::2"), ("www", "A", "10.1.0.2")} <= records(coop, "coop.test")
    assert not {kind for name, kind, _ in records(coop, "famille.test") if name == "@"} & {"A", "AAAA"}
    (request,) = certificate_requests(house(coop), "b", *DOMAINS)
    assert request["names"] == ["coop.test", "www.coop.test"]
    assert (request["tlsa"][0]["host"], request["tlsa"][0]["name"]) == ("coop.test", "_443._tcp")
    (vhost,) = web_vhosts(house(coop), "b", *DOMAINS)
    assert (vhost["name"], vhost["certificate"]) == ("coop.test", "/etc/certificates/mail")


def test_a_backup_job_for_each_host_of_a_service_that_keeps_something(coop: Coop) -> None:
    job = {"service": "mail", "host": "b", "paths": ["/srv/mail"], "databases": [], "before": [], "after": []}
    assert backup_jobs(house(coop)) == [job]


# Databases


@pytest.fixture
def with_databases(coop: Coop) -> Coop:
    coop.groups["postgresql"] = ["a"]
    coop.mail["databases"] = [{"name": "webmail", "extensions": ["pg_trgm"]}, {"name": "greylist"}]
    coop.mail["backup"] = {"databases": ["webmail"]}
    for host in coop.groups["mail"]:
        coop.hostvars[host]["vault_postgresql_mail"] = "made"
    return coop


def test_a_service_has_its_databases_to_itself_from_its_own_hosts(with_databases: Coop) -> None:
    common = {"role": "mail", "password": "made", "connections": 20, "sources": ["10.1.0.2/32", "fd00:1::2/128"]}
    assert databases(house(with_databases), with_databases.hostvars) == [
        {"name": "webmail", "extensions": ["pg_trgm"], **common},
        {"name": "greylist", "extensions": [], **common},
    ]
    assert backup_jobs(house(with_databases))[0]["databases"] == ["webmail"]


def test_a_host_pools_what_its_services_ask_to_be_pooled(with_databases: Coop) -> None:
    with_databases.mail["databases"][1]["pooled_for"] = "filter"
    assert "'greylist' is pooled; make mail a child of 'pgbouncer'" in refused(with_databases)
    with_databases.groups["pgbouncer"] = with_databases.groups["mail"]
    (host,) = with_databases.groups["mail"]
    pooled = {
        "name": "greylist",
        "role": "mail",
        "password": "made",
        "host": "postgresql.coop.test",
        "user": "filter",
        "pool_size": 10,
    }
    assert pooled_databases(house(with_databases), host, with_databases.hostvars, "coop.test") == [pooled]
    assert pooled_databases(house(with_databases), "a", with_databases.hostvars, "coop.test") == []


def test_the_poolers_of_all_hosts_leave_half_the_connections(with_databases: Coop) -> None:
    with_databases.groups["mail"] = with_databases.groups["pgbouncer"] = ["a", "b"]
    with_databases.mail["backup"] = {}
    with_databases.mail["databases"] = [{"name": "greylist", "pooled_for": "filter"}]
    for connections, size in ((40, 10), (6, 1), (1, 1)):
        with_databases.mail["databases"][0]["connections"] = connections
        for host in ("a", "b"):
            with_databases.hostvars[host]["vault_postgresql_mail"] = "made"
            (pooled,) = pooled_databases(house(with_databases), host, with_databases.hostvars, "coop.test")
            assert pooled["pool_size"] == size


def test_the_password_is_a_secret_like_others_and_asked_for_once(with_databases: Coop) -> None:
    wanted = [{"name": "vault_mail_password", "type": "password"}, {"name": "vault_postgresql_mail", "type": "password"}]
    assert house(with_databases)["mail"]["manifest"]["secrets"] == wanted
    with_databases.mail["secrets"] = wanted
    assert house(with_databases)["mail"]["manifest"]["secrets"] == wanted
    assert house(with_databases)["dns"]["manifest"]["secrets"] == []


def test_without_its_password_there_is_no_database(with_databases: Coop) -> None:
    del with_databases.hostvars["b"]["vault_postgresql_mail"]
    with pytest.raises(AnsibleFilterError, match=r"vault_postgresql_mail: .* run playbooks/secrets\.yml"):
        databases(house(with_databases), with_databases.hostvars)


def test_databases_are_on_one_host(with_databases: Coop) -> None:
    with_databases.groups["postgresql"] = ["a", "b"]
    assert "the group 'postgresql' has 2 hosts, and webmail, greylist are to be on exactly one" in refused(with_databases)


# Mail of services


def test_a_service_sends_as_it_says_from_its_own_hosts(coop: Coop) -> None:
    assert mail_senders(house(coop), coop.hostvars, "coop.test") == []
    for host in coop.groups["dns"]:
        coop.hostvars[host]["dns_manifest"]["sends_as"] = ["dns"]
    coop.mail["sends_as"] = ["no-reply", "billing"]
    assert mail_senders(house(coop), coop.hostvars, "coop.test") == [
        {"source": "10.1.0.1/32", "senders": ["dns@coop.test"]},
        {"source": "10.1.0.2/32", "senders": ["billing@coop.test", "dns@coop.test", "no-reply@coop.test"]},
        {"source": "fd00:1::1/128", "senders": ["dns@coop.test"]},
        {"source": "fd00:1::2/128", "senders": ["billing@coop.test", "dns@coop.test", "no-reply@coop.test"]},
    ]


# The portal


@pytest.fixture
def at_the_portal(coop: Coop) -> Coop:
    coop.mail["portal"] = {
        "title": TITLE,
        "url": "https://mail.coop.test/",
        "plans": ["basic"],
        "client": {"redirect_uris": ["https://mail.coop.test/in"], "refresh_token": True},
    }
    for host in coop.groups["mail"]:
        coop.hostvars[host]["vault_portal_mail"] = "made"
    return coop


def test_a_tile_is_what_the_manifest_says(at_the_portal: Coop) -> None:
    tile = {"service": "mail", "title": TITLE, "description": None, "url": "https://mail.coop.test/", "plans": ["basic"]}
    assert portal_tiles(house(at_the_portal)) == [tile]
    at_the_portal.mail["portal"] = {"client": {"redirect_uris": ["https://mail.coop.test/in"]}}
    assert portal_tiles(house(at_the_portal)) == []


def test_a_client_has_its_secret_and_every_key(at_the_portal: Coop) -> None:
    assert portal_clients(house(at_the_portal), at_the_portal.hostvars) == [
        {
            "id": "mail",
            "secret": "made",
            "plans": ["basic"],
            "redirect_uris": ["https://mail.coop.test/in"],
            "post_logout_redirect_uris": [],
            "logout_url": "",
            "logout_type": "back",
            "pkce": True,
            "refresh_token": True,
            "access_token_jwt": False,
            "second_factor": False,
        }
    ]
    del at_the_portal.mail["portal"]["client"]
    assert portal_clients(house(at_the_portal), at_the_portal.hostvars) == []


def test_the_secret_of_a_client_is_made_like_others(at_the_portal: Coop) -> None:
    wanted = {"name": "vault_portal_mail", "type": "password"}
    assert wanted in house(at_the_portal)["mail"]["manifest"]["secrets"]
    del at_the_portal.hostvars["b"]["vault_portal_mail"]
    with pytest.raises(AnsibleFilterError, match=r"vault_portal_mail: .* run playbooks/secrets\.yml"):
        portal_clients(house(at_the_portal), at_the_portal.hostvars)
    del at_the_portal.mail["portal"]["client"]
    assert wanted not in house(at_the_portal)["mail"]["manifest"]["secrets"]


# Through Ansible: values are tagged, lazy, and templated by the host they belong to


def templated(expression: str, **variables: Any) -> Any:
    return Templar(loader=DataLoader(), variables=variables).template(trust_as_template(expression))


def test_the_filters_take_what_ansible_hands_them(coop: Coop) -> None:
    coop.mail["records"][0]["value"] = trust_as_template("10 {{ 'mail' }}.coop.test.")
    expression = "{{ hostvars | manifests(groups) | dns_zones(hostvars, groups, 'coop.test', ['famille.test']) }}"
    zones = templated(expression, hostvars=coop.hostvars, groups=coop.groups)
    assert "10 mail.coop.test." in [record["value"] for record in zones[1]["records"]]


def test_a_variable_that_is_not_there_is_named(coop: Coop) -> None:
    coop.mail["names"] = [trust_as_template("{{ nobody }}")]
    with pytest.raises(Exception, match="'nobody' is undefined"):
        templated("{{ hostvars | manifests(groups) }}", hostvars=coop.hostvars, groups=coop.groups)
