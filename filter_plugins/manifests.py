"""Service manifests, and what the house makes of them.

A service says once, in `<service>_manifest` (group_vars/<service>.yml; group name == service), what it needs.
`MANIFEST` below is the whole vocabulary, of which docs/manifests.md says what each key is for; an unknown key is refused.
Pure functions; usage, word for word:

    house: "{{ hostvars | manifests(groups) }}"                                  # group_vars/all/house.yml
        {service: {hosts: [inventory names], manifest: {every key, with its default}}}
    dns_zones: "{{ house | dns_zones(hostvars, groups, coop_domain, coop_member_domains, coop_records) }}"
        [{name: <domain>, records: [{name: "@", type, ttl, value}]}], values in presentation format, no SOA
    firewall_rules: "{{ house | firewall_rules(inventory_hostname, hostvars, groups, admin_networks) }}"
        {input: [{service, proto, port, sources: any | [cidr]}],
         output: [{service, proto, port, destinations: any | [cidr], user, why}]}; port: 25 or "5000-5010"
        `rule.sources | of_family(6)` keeps one address family of such a list; `["192.0.2.9/24"] | networks` is such a list
    certificates_requests: "{{ house | certificate_requests(inventory_hostname, coop_domain, coop_member_domains) }}"
        [{name: mail, names: [mail.<domain>], tlsa: [{port, host: mail.<domain>, domain, name: _25._tcp.mail}]}]
    nginx_vhosts: >-
        {{ house | web_vhosts(inventory_hostname, coop_domain, coop_member_domains, hostvars, groups, admin_networks) }}
        [{name: webmail.<domain>, certificate: /etc/certificates/mail, root, …}]; the keys are in filter_plugins/vhosts.py
    backup_jobs: "{{ house | backup_jobs }}"
        [{service, host, paths, databases, before, after}]
    fail2ban_jails: "{{ house | ban_jails(inventory_hostname) }}"
        [{name: <service>-<its name>, journal, failures, ports}]; the keys are in filter_plugins/bans.py
    postgresql_databases: "{{ house | databases(hostvars) }}"
        [{name: portal, role: <service>, password, extensions: [pg_trgm], sources: [cidr of each host of the service]}]
    pgbouncer_databases: "{{ house | pooled_databases(inventory_hostname, hostvars, coop_domain) }}"
        [{name: portal, host: postgresql.<domain>, role: <service>, password, user: the system's}]
    postfix_relay_clients: "{{ house | mail_senders(hostvars, coop_domain) }}"
        [{source: cidr of a host, senders: [no-reply@<domain>]}]
    portal_tiles: "{{ house | portal_tiles }}"
        [{service, title: {fr, nl, de, en}, description: {fr, nl, de, en} or None, url, plans: [] for everybody}]
    portal_clients: "{{ house | portal_clients(hostvars) }}"
        [{id: <service>, secret, plans, redirect_uris, … every key of `portal.client`}]
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

# Ansible loads filter plugins by their path; a neighbour is found only so
sys.path.append(str(Path(__file__).parent))
from bans import BAN, ban_flaws
from vhosts import VHOST, vhost_flaws

Hostvars = Mapping[str, Mapping[str, Any]]
Groups = Mapping[str, Sequence[str]]
House = Mapping[str, Mapping[str, Any]]
Record = dict[str, Any]

STRINGS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
PROTO: dict[str, Any] = {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"}
# A number or a range, as a string until `_port`
PORT: dict[str, Any] = {"type": "str", "required": True}
DATA: dict[str, Any] = {"type": "str", "required": True}


def _list_of(**options: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options}


# What members read is there in each of these
LANGUAGES = ("fr", "nl", "de", "en")
WORDS: dict[str, Any] = {"type": "dict", "options": dict.fromkeys(LANGUAGES, DATA)}
RECORD: dict[str, dict[str, Any]] = {
    "domains": {"type": "str", "choices": ["all", "primary", "members"], "default": "primary"},
    "name": {"type": "str", "default": "@"},
    "type": DATA,
    "ttl": {"type": "int", "default": 3600},
    "value": DATA,
}
# The cooperative's own may be in one domain alone
OWN_RECORD = RECORD | {"domains": {"type": "str", "default": "primary"}}
# docs/portal.md says what each is for
CLIENT: dict[str, dict[str, Any]] = {
    "redirect_uris": STRINGS,
    "post_logout_redirect_uris": STRINGS,
    "logout_url": {"type": "str", "default": ""},
    "logout_type": {"type": "str", "choices": ["back", "front"], "default": "back"},
    "pkce": {"type": "bool", "default": True},
    "refresh_token": {"type": "bool", "default": False},
    "access_token_jwt": {"type": "bool", "default": False},
    "second_factor": {"type": "bool", "default": False},
}

MANIFEST: dict[str, dict[str, Any]] = {
    "names": STRINGS,
    "names_everywhere": STRINGS,
    "host_names": {"type": "str"},
    "vhosts": _list_of(**VHOST),
    "certificate": {"type": "bool"},
    "tlsa": _list_of(port={"type": "int", "required": True}),
    "listens": _list_of(**{"port": PORT, "proto": PROTO, "from": DATA}),
    "egress": _list_of(**{"port": PORT, "proto": PROTO, "to": DATA, "as": DATA, "why": {"type": "str", "default": ""}}),
    "bans": _list_of(**BAN),
    "records": _list_of(**RECORD),
    "published_keys": STRINGS,
    "sends_as": STRINGS,
    "databases": _list_of(name=DATA, extensions=STRINGS, pooled_for={"type": "str"}, connections={"type": "int", "default": 20}),
    "backup": {
        "type": "dict",
        "options": {"paths": STRINGS, "databases": STRINGS, "before": STRINGS, "after": STRINGS},
    },
    "probes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "type": {"type": "str", "choices": ["http", "tcp", "unix"], "required": True},
            "port": {"type": "str"},
            "path": {"type": "str"},
        },
        "required_if": [("type", "tcp", ("port",)), ("type", "unix", ("path",))],
    },
    "portal": {
        "type": "dict",
        "options": {
            "title": WORDS,
            "description": WORDS,
            "url": {"type": "str"},
            "plans": STRINGS,
            "client": {"type": "dict", "options": CLIENT},
        },
        "required_together": [("title", "url")],
        "required_one_of": [("title", "client")],
        "required_by": {"description": ("title",)},
    },
    "secrets": _list_of(name=DATA, type={"type": "str", "choices": ["password", "base64"], "default": "password"}),
}
SUFFIX = "_manifest"
OWN_RECORDS = "coop_records"
DATABASES = "postgresql"  # the group of the host that has them
POOLER = "pgbouncer"  # the group of the hosts that keep connections to it
DATABASE = re.compile(r"(?!pg_|postgres$|template[01]$|public$)[a-z][a-z0-9_]{0,62}")
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# Clients' addresses are compared letter by letter, and listed with spaces between
HTTPS = re.compile(r"https://[a-z0-9.-]+(:\d+)?(/[^\s#*]*)?")
APEX = "@"
LEADS_TO_A_HOST = ("A", "AAAA", "CNAME")
POINTS_AT_NAME = ("CNAME", "MX", "NS", "SRV")


def plain(value: Any) -> Any:
    """Ansible's lazy, tagged containers as ordinary ones; reading an item is what templates it."""
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in value}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to end a message with."""
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f", did you mean '{close[0]}'?" if close else ""


def _unknown_keys(spec: Mapping[str, Any], value: Any, path: str) -> list[str]:
    """Borrowed validation names an unknown key without its place; this says where, and what was meant."""
    if not isinstance(value, dict):
        return []
    errors = []
    for key, item in value.items():
        here = f"{path}.{key}"
        if key not in spec:
            errors.append(f"{here}: unknown key{nearest(key, spec) or ', known are ' + ', '.join(spec)}")
        elif "options" in spec[key]:
            inner = list(enumerate(item)) if isinstance(item, list) else [(None, item)]
            for index, part in inner:
                place = here if index is None else f"{here}[{index}]"
                errors += _unknown_keys(spec[key]["options"], part, place)
    return errors


def _port(value: str) -> int | str | None:
    """25 or "5000-5010"; None when it is neither."""
    ends = [int(end) for end in value.split("-")] if re.fullmatch(r"\d{1,5}(-\d{1,5})?", value) else []
    if not ends or not all(1 <= end <= 65535 for end in ends) or ends != sorted(ends):
        return None
    return ends[0] if len(ends) == 1 else value


def _network(value: str) -> str | None:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        return None


def validate(variable: str, value: Any, groups: Groups) -> tuple[dict[str, Any], list[str]]:
    """One manifest with every key present, and what is wrong with it."""
    if not isinstance(value, dict):
        return {}, [f"{variable}: is a {type(value).__name__}, must be a mapping of {', '.join(MANIFEST)}"]
    errors = _unknown_keys(MANIFEST, value, variable)
    if errors:
        return {}, errors
    # an absent mapping has defaults too
    result = ArgumentSpecValidator(MANIFEST).validate({"backup": {}} | value)
    if result.error_messages:
        return {}, [f"{variable}: {message}" for message in result.error_messages]
    manifest: dict[str, Any] = result.validated_parameters

    errors += [
        f"{variable}.sends_as: '{name}' is no local part; write it in lower case, without @ and domain"
        for name in manifest["sends_as"]
        if not LABEL.fullmatch(name)
    ]
    names = manifest["names"] + manifest["names_everywhere"]
    apex = [name for name in manifest["names"] if name == APEX]  # nobody's own domain points here
    for name in (*names, *filter(None, [manifest["host_names"]])):
        if name in apex:
            continue
        if not all(LABEL.fullmatch(label) for label in name.split(".")):
            errors.append(f"{variable}.names: '{name}' is not a label; write it in lower case, without coop_domain")
    if manifest["certificate"] is None:
        manifest["certificate"] = bool(names)
    elif manifest["certificate"] and not names:
        errors.append(f"{variable}.certificate: a certificate needs a name; list at least one in {variable}.names")
    if manifest["tlsa"] and not manifest["names"] and names:
        errors.append(f"{variable}.tlsa: TLSA is for the first of {variable}.names; list one there")
    if manifest["tlsa"] and not manifest["certificate"]:
        errors.append(f"{variable}.tlsa: TLSA needs a certificate; set {variable}.certificate: true")
    for vhost in manifest["vhosts"]:
        if not manifest["certificate"]:
            errors.append(f"{variable}.vhosts: '{vhost['name']}' needs a certificate; set {variable}.certificate: true")
        if vhost["name"] not in names:
            errors.append(f"{variable}.vhosts: '{vhost['name']}' is none of {variable}.names; add it there")
    errors += [
        f"{variable}.vhosts: {flaw}"
        for flaw in vhost_flaws(
            [vhost | {"name": "apex" if vhost["name"] in apex else vhost["name"]} for vhost in manifest["vhosts"]]
        )
    ]
    errors += [f"{variable}.bans: {flaw}" for flaw in ban_flaws(manifest["bans"])]
    for key, peer in (("listens", "from"), ("egress", "to"), ("probes", None), ("vhosts", "from")):
        for index, item in enumerate(manifest[key]):
            place = f"{variable}.{key}[{index}]"
            if item.get("port") is not None:
                port = _port(item["port"])
                if port is None:
                    errors.append(f"{place}.port: '{item['port']}' is neither a port nor a range 'low-high' of 1 to 65535")
                item["port"] = port
            whom = str(item[peer]) if peer else "any"
            if not (whom in ("any", "admin", *groups) or _network(whom)):
                errors.append(
                    f"{place}.{peer}: '{whom}' is neither any, admin, a group of the inventory nor a network"
                    f"{nearest(whom, ('any', 'admin', *groups))}"
                )
    if not manifest["names"] and any(probe["type"] == "http" for probe in manifest["probes"]):
        errors.append(f"{variable}.probes: http asks the first of {variable}.names; add it there")
    errors += _records_that_do_not_hold(f"{variable}.records", manifest["records"])
    for index, secret in enumerate(manifest["secrets"]):
        if not secret["name"].startswith("vault_"):
            errors.append(f"{variable}.secrets[{index}].name: '{secret['name']}' must begin with 'vault_'")
    errors += _databases_that_do_not_hold(variable, manifest)
    errors += _portal_that_does_not_hold(variable, manifest)
    return manifest, errors


def _records_that_do_not_hold(place: str, records: Iterable[dict[str, Any]]) -> list[str]:
    """Also writes their types in capitals."""
    errors = []
    for index, record in enumerate(records):
        record["type"] = record["type"].upper()
        if record["type"] in POINTS_AT_NAME and not record["value"].endswith("."):
            errors.append(
                f"{place}[{index}].value: '{record['value']}' is relative to the zone; write the whole name with a dot at its end"
            )
    return errors


def own_records(value: Any, zones: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """`coop_records` with every key present, and what is wrong with it. Args: zones: the cooperative's domains."""
    spec = {OWN_RECORDS: _list_of(**OWN_RECORD)}
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return [], [f"{OWN_RECORDS}: must be a list of records, each with {', '.join(OWN_RECORD)}"]
    errors = [error.removeprefix(".") for error in _unknown_keys(spec, {OWN_RECORDS: value}, "")]
    result = ArgumentSpecValidator(spec).validate({OWN_RECORDS: value})
    if errors or result.error_messages:
        return [], errors or [f"{OWN_RECORDS}: {message}" for message in result.error_messages]
    records: list[dict[str, Any]] = result.validated_parameters[OWN_RECORDS]
    known = [*RECORD["domains"]["choices"], *zones]
    errors = [
        f"{OWN_RECORDS}[{index}].domains: '{record['domains']}' is none of {', '.join(known)}{nearest(record['domains'], known)}"
        for index, record in enumerate(records)
        if record["domains"] not in known
    ]
    errors += [
        f"{OWN_RECORDS}[{index}].value: '{{host}}' is each host of a service, and these are of none; write a name"
        for index, record in enumerate(records)
        if "{host}" in record["value"]
    ]
    return records, errors + _records_that_do_not_hold(OWN_RECORDS, records)


def database_secret(service: str) -> str:
    return f"vault_{DATABASES}_{service}"


def _databases_that_do_not_hold(variable: str, manifest: dict[str, Any]) -> list[str]:
    """Also adds the secret that the databases need."""
    names = [database["name"] for database in manifest["databases"]]
    errors = [
        f"{variable}.databases: '{name}' will not do; take a-z, 0-9 and _, a letter first, and no name of PostgreSQL's own"
        for name in names
        if not DATABASE.fullmatch(name)
    ]
    errors += [
        f"{variable}.backup.databases: '{name}' is none of {variable}.databases{nearest(name, names)}"
        for name in manifest["backup"]["databases"]
        if name not in names
    ]
    if names:
        _need_secret(manifest, database_secret(variable.removesuffix(SUFFIX)))
    return errors


def client_secret(service: str) -> str:
    return f"vault_portal_{service}"


def _portal_that_does_not_hold(variable: str, manifest: dict[str, Any]) -> list[str]:
    """Also adds the secret that the client needs."""
    portal = manifest["portal"] or {}
    client = portal.get("client") or {}
    if client:
        _need_secret(manifest, client_secret(variable.removesuffix(SUFFIX)))
    urls = [("url", portal.get("url"))] + [
        (f"client.{key}", url)
        for key in ("redirect_uris", "post_logout_redirect_uris", "logout_url")
        for url in (client.get(key) or [] if key != "logout_url" else [client.get(key)])
    ]
    return [
        f"{variable}.portal.{key}: '{url}' will not do; write it whole, https://host/path, without spaces, * or #"
        for key, url in urls
        if url and not HTTPS.fullmatch(url)
    ]


def _need_secret(manifest: dict[str, Any], name: str) -> None:
    if name not in [item["name"] for item in manifest["secrets"]]:
        manifest["secrets"].append({"name": name, "type": "password"})


def read(hostvars: Hostvars, groups: Groups) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Every manifest of the cooperative's hosts, and what is wrong with them."""
    house: dict[str, dict[str, Any]] = {}
    errors: list[str] = []
    first: dict[str, Any] = {}
    coop = {str(host): hostvars[host] for host in groups.get("coop", [])}
    for host, variables in coop.items():
        for variable in sorted(str(name) for name in variables if str(name).endswith(SUFFIX)):
            service = variable.removesuffix(SUFFIX)
            if host not in groups.get(service, []):
                continue
            value = plain(variables[variable])
            if service not in house:
                manifest, wrong = validate(variable, value, groups)
                wrong += _plans_that_are_not_there(variable, manifest, variables)
                errors += [f"{message} (group_vars/{service}.yml)" for message in wrong]
                house[service] = {"hosts": [], "manifest": manifest}
                first[service] = value
            elif value != first[service]:
                errors.append(
                    f"{variable}: differs between {house[service]['hosts'][0]} and {host}; a manifest says what the "
                    f"service needs on whichever host: take the host's own values out (group_vars/{service}.yml)"
                )
            house[service]["hosts"].append(host)
    # The group's own order, not coop's: host_names count from it
    for service, entry in house.items():
        entry["hosts"] = [str(host) for host in groups[service] if host in coop]
    if not errors:
        errors = _names_claimed_twice(house, coop) + _databases_without_a_place(house, groups)
    return dict(sorted(house.items())), errors


def _plans_that_are_not_there(variable: str, manifest: Mapping[str, Any], variables: Mapping[str, Any]) -> list[str]:
    known = [str(plan) for plan in variables.get("coop_plans") or {}]
    return [
        f"{variable}.portal.plans: '{plan}' is none of coop_plans{nearest(plan, known) or ', which are ' + ', '.join(known)}"
        for plan in (manifest.get("portal") or {}).get("plans") or []
        if plan not in known
    ]


def _names_claimed_twice(house: House, coop: Iterable[str]) -> list[str]:
    owner = {host: f"the host {host}" for host in coop}
    errors = []
    for service, entry in house.items():
        given = entry["manifest"]["names"] + entry["manifest"]["names_everywhere"]
        for name in [*given, *(_host_names(entry).values() if entry["manifest"]["host_names"] else ())]:
            if name in owner:
                errors.append(f"{service}{SUFFIX}.names: '{name}' is taken by {owner[name]}; give one of them another")
            owner.setdefault(name, f"{service}{SUFFIX}")
    return errors


def _databases_without_a_place(house: House, groups: Groups) -> list[str]:
    owner: dict[str, str] = {}
    errors = []
    for service, entry in house.items():
        for database in entry["manifest"]["databases"]:
            name = database["name"]
            if name in owner:
                errors.append(f"{service}{SUFFIX}.databases: '{name}' is taken by {owner[name]}; give one of them another")
            owner.setdefault(name, f"{service}{SUFFIX}")
            if database["pooled_for"] and not set(entry["hosts"]) <= set(groups.get(POOLER, [])):
                errors.append(
                    f"{service}{SUFFIX}.databases: '{name}' is pooled; make {service} a child of '{POOLER}' in groups.yml"
                )
    hosts = groups.get(DATABASES, [])
    if owner and len(hosts) != 1:
        errors.append(
            f"the group '{DATABASES}' has {len(hosts) or 'no'} host{'s' * (len(hosts) > 1)}, and {', '.join(owner)} "
            f"{'are' if len(owner) > 1 else 'is'} to be on exactly one: give it one in the inventory"
        )
    return errors


def _host_names(entry: Mapping[str, Any]) -> dict[str, str]:
    """The name of each host of a service, as its manifest would have it."""
    stem = entry["manifest"]["host_names"]
    return {host: f"{stem}{index}" if stem else host for index, host in enumerate(entry["hosts"], 1)}


def manifests(hostvars: Hostvars, groups: Groups) -> dict[str, dict[str, Any]]:
    house, errors = read(hostvars, groups)
    if errors:
        raise AnsibleFilterError("the manifests do not hold:\n" + "\n".join(f"- {error}" for error in errors))
    return house


def _addresses(host: str, hostvars: Hostvars) -> list[Any]:
    known = hostvars[host]  # once: Ansible puts a host's variables together anew each time
    return [ipaddress.ip_address(str(known[name])) for name in ("host_ipv4", "host_ipv6") if known.get(name)]


def quote_txt(text: str) -> str:
    """A TXT value in presentation format: strings of at most 255 bytes, all but printable ASCII escaped."""

    def escaped(byte: int) -> str:
        if byte in b'"\\':
            return "\\" + chr(byte)
        return chr(byte) if 32 <= byte < 127 else f"\\{byte:03d}"

    data = text.encode()
    chunks = [data[start : start + 255] for start in range(0, len(data), 255)] or [b""]
    return " ".join('"' + "".join(map(escaped, chunk)) + '"' for chunk in chunks)


def _wanted(domains: Sequence[str]) -> dict[str, Sequence[str]]:
    """Which zones a record's `domains` stands for."""
    return {name: [name] for name in domains} | {"all": domains, "primary": domains[:1], "members": domains[1:]}


def _zones(
    house: House, hostvars: Hostvars, groups: Groups, domains: Sequence[str], own: Sequence[Mapping[str, Any]], keys: bool
) -> dict[str, list[Record]]:
    """Each zone's records. Args: domains: the cooperative's, its first one first; keys: with those that hosts have said."""
    domain = domains[0]
    zones: dict[str, list[Record]] = {name: [] for name in domains}
    wanted = _wanted(domains)

    def add(zone: str, name: str, kind: str, value: str, ttl: int = 3600) -> None:
        text = quote_txt(value) if kind == "TXT" else value
        record = {"name": name, "type": kind, "ttl": ttl, "value": text}
        if record not in zones[zone]:
            zones[zone].append(record)

    def add_host(name: str, host: str, zone: str = domain) -> None:
        for address in _addresses(host, hostvars):
            add(zone, name, "A" if address.version == 4 else "AAAA", str(address))

    def add_records(records: Iterable[Mapping[str, Any]], names: Sequence[str] = ()) -> None:
        for record in records:
            for zone, host in [
                (z, h) for z in wanted[record["domains"]] for h in (names if "{host}" in record["value"] else [""])
            ]:
                value = record["value"].replace("{domain}", zone).replace("{host}", host)
                add(zone, record["name"].replace("{domain}", zone), record["type"], value, record["ttl"])

    for host in groups["coop"]:
        add_host(str(host), host)
    for service, entry in house.items():
        manifest, hosts = entry["manifest"], entry["hosts"]
        for name, host in [(name, host) for name in manifest["names"] for host in hosts]:
            add_host(name, host)
        for name, host, zone in [(n, h, z) for n in manifest["names_everywhere"] for h in hosts for z in zones]:
            add_host(name, host, zone)
        for host, name in _host_names(entry).items():
            add_host(name, host)
        add_records(manifest["records"], list(_host_names(entry).values()))
        for role, host in [(role, host) for role in manifest["published_keys"] for host in hosts if keys]:
            for key in _published(role, service, host, hostvars):
                if key["domain"] not in zones:
                    raise AnsibleFilterError(
                        f"{role}_key_records of {host} has a key for '{key['domain']}', which is no zone of this house: "
                        "add the domain to coop_member_domains or remove the key from the host"
                    )
                add(key["domain"], key["name"], str(key["type"]).upper(), key["value"], int(key.get("ttl", 3600)))
    # the cooperative's own SPF record says who else sends mail of a domain: there can be only one
    for zone, name in ((z, record["name"]) for record in own if _is_spf(record) for z in wanted[record["domains"]]):
        zones[zone] = [record for record in zones[zone] if not (record["name"] == name and _is_spf(record))]
    add_records(own)
    return zones


def dns_zones(
    house: House, hostvars: Hostvars, groups: Groups, domain: str, member_domains: Sequence[str] = (), records: Any = ()
) -> list[dict[str, Any]]:
    domains = [str(name) for name in (domain, *member_domains)]
    own, errors = own_records(plain(list(records or ())), domains)
    zones = {} if errors else _zones(house, hostvars, groups, domains, own, keys=True)
    for zone, found in zones.items():
        errors += _incoherent(zone, found)
        found.sort(key=lambda record: (record["name"] != APEX, record["name"], record["type"], record["value"]))
    if errors:
        raise AnsibleFilterError("; ".join(errors))
    return [{"name": zone, "records": found} for zone, found in zones.items()]


def _is_spf(record: Mapping[str, Any]) -> bool:
    return record["type"] == "TXT" and str(record["value"]).lstrip('"').startswith("v=spf1")


def _stands_alone(record: Mapping[str, Any]) -> str:
    """Of which kind a record is that wants no other's beside it, such as an old provider's; SPF is apart."""
    if record["type"] == "TXT" and not _is_spf(record):
        return "".join(re.findall(r'^"?v=(\w+)', str(record["value"])))
    return str(record["type"]) if record["type"] in ("MX", "NS") else ""


def zone_flaws(house: House, hostvars: Hostvars, groups: Groups, domains: Sequence[str], records: Any) -> list[str]:
    """What will not do in the zones, as far as it is known before any host has said its keys."""
    own, errors = own_records(records, domains)
    if errors:
        return errors
    taken = _zones(house, hostvars, groups, domains, [], keys=False)
    wanted = _wanted(domains)
    for index, record in enumerate(own):
        for zone in wanted[record["domains"]]:
            beside = [other for other in taken[zone] if other["name"] == record["name"]]
            if record["type"] in LEADS_TO_A_HOST and any(other["type"] in LEADS_TO_A_HOST for other in beside):
                errors.append(
                    f"{OWN_RECORDS}[{index}]: '{record['name']}' of {zone} has the address of a service or host already, and "
                    "whoever asks would come to either; take the record out, or give the service another name (docs/front.md)"
                )
            if (kind := _stands_alone(record)) and kind in map(_stands_alone, beside):
                errors.append(
                    f"{OWN_RECORDS}[{index}]: '{record['name']}' of {zone} has a service's {kind} record already, and others "
                    "would go by either, or by none; take the record out"
                )
            if _is_spf(record) and any(map(_is_spf, beside)) and "mx" not in record["value"].split():
                errors.append(
                    f"{OWN_RECORDS}[{index}]: takes the place of the SPF record of {zone}, and would have the house's own mail "
                    "refused; write 'v=spf1 mx …'"
                )
    zones = {} if errors else _zones(house, hostvars, groups, domains, own, keys=False)
    return errors + [error for zone, found in zones.items() for error in _incoherent(zone, found)]


def _published(role: str, service: str, host: str, hostvars: Hostvars) -> list[dict[str, Any]]:
    """A zone without the keys would have every signature refused: better no zone at all."""
    records = hostvars[host].get(f"{role}_key_records")
    if records is None:
        raise AnsibleFilterError(
            f"{service}{SUFFIX}.published_keys: {host} has not said its '{role}' keys in this run; "
            "run playbooks/dns.yml whole, without --limit and with no tag but 'dns'"
        )
    found: list[dict[str, Any]] = plain(records)
    return found


def _incoherent(zone: str, records: Iterable[Record]) -> Iterator[str]:
    kinds: dict[str, list[str]] = {}
    for record in records:
        kind = "SPF" if _is_spf(record) else record["type"]
        kinds.setdefault(record["name"], []).append(kind)
    for name, found in kinds.items():
        if "CNAME" in found and len(found) > 1:
            yield f"zone {zone}: '{name}' is a CNAME and has other records; remove one of them"
        if found.count("SPF") > 1:
            yield f"zone {zone}: '{name}' has {found.count('SPF')} SPF records; merge them into one"


def _cidrs(peer: str, hostvars: Hostvars, groups: Groups, admin_networks: Sequence[str]) -> str | list[str]:
    if peer == "any":
        return "any"
    if peer == "admin":
        networks = [ipaddress.ip_network(str(network)) for network in admin_networks]
    elif peer in groups:
        addresses = [address for host in groups[peer] for address in _addresses(host, hostvars)]
        networks = [ipaddress.ip_network(address) for address in addresses]
    else:
        networks = [ipaddress.ip_network(peer)]
    return [str(network) for network in sorted(set(networks), key=lambda network: (network.version, network))]


def firewall_rules(
    house: House, host: str, hostvars: Hostvars, groups: Groups, admin_networks: Sequence[str] = ()
) -> dict[str, list[dict[str, Any]]]:
    rules: dict[str, list[dict[str, Any]]] = {"input": [], "output": []}
    for service, entry in house.items():
        if host not in entry["hosts"]:
            continue
        for item in entry["manifest"]["listens"]:
            sources = _cidrs(item["from"], hostvars, groups, admin_networks)
            rule = {"service": service, "proto": item["proto"], "port": item["port"], "sources": sources}
            rules["input"] += [rule] if sources else []  # nobody may: no rule
        for item in entry["manifest"]["egress"]:
            destinations = _cidrs(item["to"], hostvars, groups, admin_networks)
            rule = {"service": service, "proto": item["proto"], "port": item["port"], "destinations": destinations}
            rules["output"] += [rule | {"user": item["as"], "why": item["why"]}] if destinations else []
    return rules


def networks(cidrs: Iterable[str]) -> list[str]:
    """Each in the form that the rules have, an address alone with the length of its family."""
    try:
        return [str(ipaddress.ip_network(str(cidr), strict=False)) for cidr in cidrs]
    except ValueError as error:
        raise AnsibleFilterError(f"{error}: write ADDRESS/LENGTH") from error


def of_family(cidrs: Iterable[str], version: int) -> list[str]:
    return [str(cidr) for cidr in cidrs if ipaddress.ip_network(str(cidr)).version == version]


def certificate_requests(house: House, host: str, domain: str, member_domains: Sequence[str] = ()) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = []
    for service, entry in house.items():
        manifest = entry["manifest"]
        if not manifest["certificate"] or host not in entry["hosts"]:
            continue
        names, everywhere = manifest["names"], manifest["names_everywhere"]
        tlsa = [
            {
                "port": item["port"],
                "host": _whole(names[0], domain),
                "domain": str(domain),
                "name": f"_{item['port']}._tcp" + (f".{names[0]}" if names[0] != APEX else ""),
            }
            for item in manifest["tlsa"]
        ]
        requests.append(
            {"name": service, "names": [_whole(name, domain) for name in names + everywhere], "tlsa": tlsa, "optional": False}
        )
        for zone in member_domains if everywhere else ():
            names_there = [_whole(name, zone) for name in everywhere]
            requests.append({"name": _certificate(service, zone, domain), "names": names_there, "tlsa": [], "optional": True})
    return requests


def _whole(name: str, zone: str) -> str:
    return str(zone) if name == APEX else f"{name}.{zone}"


def _certificate(service: str, zone: str, domain: str) -> str:
    """What the certificate of a service's names in a zone is called; no service has a dash in its name."""
    return service if zone == domain else f"{service}-{zone}"


def web_vhosts(
    house: House,
    host: str,
    domain: str,
    member_domains: Sequence[str] = (),
    hostvars: Hostvars | None = None,
    groups: Groups | None = None,
    admin_networks: Sequence[str] = (),
) -> list[dict[str, Any]]:
    return [
        vhost
        | {
            "name": _whole(vhost["name"], zone),
            "certificate": f"/etc/certificates/{_certificate(service, zone, domain)}",
            "from": _cidrs(vhost.get("from", "any"), hostvars or {}, groups or {}, admin_networks),
            # a member's domain may not be delegated yet
            "optional": zone != domain,
        }
        for service, entry in house.items()
        if host in entry["hosts"]
        for vhost in entry["manifest"]["vhosts"]
        for zone in (domain, *(member_domains if vhost["name"] in entry["manifest"]["names_everywhere"] else ()))
    ]


def ban_jails(house: House, host: str) -> list[dict[str, Any]]:
    return [
        ban | {"name": f"{service}-{ban['name']}"}
        for service, entry in house.items()
        if host in entry["hosts"]
        for ban in entry["manifest"]["bans"]
    ]


def backup_jobs(house: House) -> list[dict[str, Any]]:
    return [
        {"service": service, "host": host, **backup}
        for service, entry in house.items()
        if any((backup := entry["manifest"]["backup"]).values())
        for host in entry["hosts"]
    ]


def _each_database(house: House, hostvars: Hostvars) -> Iterator[tuple[Mapping[str, Any], dict[str, Any], dict[str, str]]]:
    """The service's entry, the database as its manifest says it, and how the service signs in to it."""
    for service, entry in house.items():
        for database in entry["manifest"]["databases"]:
            secret = database_secret(service)
            password = hostvars[entry["hosts"][0]].get(secret)
            if not password:
                raise AnsibleFilterError(
                    f"{secret}: the secret of {service} is missing; run playbooks/secrets.yml, which makes it"
                )
            yield entry, database, {"name": database["name"], "role": service, "password": str(password)}


def databases(house: House, hostvars: Hostvars) -> list[dict[str, Any]]:
    """What the one host of the databases is to have, passwords included."""
    found = []
    for entry, database, sign_in in _each_database(house, hostvars):
        addresses = [address for host in entry["hosts"] for address in _addresses(host, hostvars)]
        sources = [str(ipaddress.ip_network(address)) for address in addresses]
        wanted = {key: database[key] for key in ("extensions", "connections")}
        found.append({**sign_in, **wanted, "sources": sources})
    return found


def pooled_databases(house: House, host: str, hostvars: Hostvars, domain: str) -> list[dict[str, Any]]:
    """Those that services of this host reach by its pooler, passwords included.

    Each host has its share of half the connections: while poolers restart, those of before may be there still.
    """
    return [
        {
            **sign_in,
            "host": f"{DATABASES}.{domain}",
            "user": database["pooled_for"],
            "pool_size": max(1, database["connections"] // (2 * len(entry["hosts"]))),
        }
        for entry, database, sign_in in _each_database(house, hostvars)
        if host in entry["hosts"] and database["pooled_for"]
    ]


def mail_senders(house: House, hostvars: Hostvars, domain: str) -> list[dict[str, Any]]:
    """Which address of which host may send as whom."""
    found: dict[str, list[str]] = {}
    for entry in house.values():
        for host in entry["hosts"] if entry["manifest"]["sends_as"] else []:
            for address in _addresses(host, hostvars):
                senders = found.setdefault(str(ipaddress.ip_network(address)), [])
                senders += [f"{name}@{domain}" for name in entry["manifest"]["sends_as"]]
    return [{"source": source, "senders": sorted(set(senders))} for source, senders in sorted(found.items())]


def portal_tiles(house: House) -> list[dict[str, Any]]:
    """What members see at the portal, whose plan has it."""
    return [
        {"service": service, **{key: portal[key] for key in ("title", "description", "url", "plans")}}
        for service, entry in house.items()
        if (portal := entry["manifest"]["portal"]) and portal["title"]
    ]


def portal_clients(house: House, hostvars: Hostvars) -> list[dict[str, Any]]:
    """Clients of the portal's OpenID Connect, secrets included."""
    found = []
    for service, entry in house.items():
        portal = entry["manifest"]["portal"] or {}
        if not portal.get("client"):
            continue
        secret = hostvars[entry["hosts"][0]].get(client_secret(service))
        if not secret:
            raise AnsibleFilterError(
                f"{client_secret(service)}: the secret of {service} is missing; run playbooks/secrets.yml, which makes it"
            )
        found.append({"id": service, "secret": str(secret), "plans": portal["plans"], **portal["client"]})
    return found


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "manifests": manifests,
            "dns_zones": dns_zones,
            "firewall_rules": firewall_rules,
            "networks": networks,
            "of_family": of_family,
            "certificate_requests": certificate_requests,
            "web_vhosts": web_vhosts,
            "ban_jails": ban_jails,
            "backup_jobs": backup_jobs,
            "databases": databases,
            "pooled_databases": pooled_databases,
            "mail_senders": mail_senders,
            "portal_tiles": portal_tiles,
            "portal_clients": portal_clients,
        }
