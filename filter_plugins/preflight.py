"""Everything that is wrong with an inventory, each with its mend, before anything is touched.

"{{ hostvars | preflight_findings(groups) }}"     a list of sentences, empty when the inventory holds
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import yaml
from ansible.constants import INTERNAL_STATIC_VARS
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.parsing.dataloader import DataLoader
from jinja2.exceptions import TemplateError

# Ansible loads filter plugins by their path; a neighbour is found only so
sys.path.append(str(Path(__file__).parent))
from colors import READABLE, contrast_with_white
from manifests import OWN_RECORDS, SUFFIX, Groups, Hostvars, House, nearest, plain, read, zone_flaws
from upstream import pin_flaws, repository_flaws

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTATION_NETWORKS = [
    ipaddress.ip_network(network)
    for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
]
DOCUMENTATION_DOMAINS = ("example", "example.com", "example.net", "example.org", "invalid", "localhost")
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
# Groups that no cooperative is without
EVERYTHING_STANDS_ON = {
    "directory": "has the members, whom all services ask for",
    "dns_primary": "has the zones, by which certificates are obtained",
    "portal": "signs members in for every other service",
}
# Groups whose state is on their one host
ONE_HOST = {
    "directory": "what is written to one would not be on the others",
    "devices": "a browser's session is in the process of one",
    "dns_primary": "each would sign the zones with keys of its own; further name servers go into 'dns_secondary'",
    "mail": "each would have a part of every mailbox, and DKIM keys of its own",
    "nextcloud": "each would have a part of members' files",
    "office": "those who write in one document would each have another's, and the last to save would win",
    "portal": "each would sign its tokens with keys of its own",
}
# Groups whose services are of no use where another has no host
STANDS_ON = {
    "devices": {"mail": "the passwords that members make there open their mailboxes"},
    "nextcloud": {"mirror": "it is installed from there"},
    "office": {"mirror": "it is installed from there", "nextcloud": "it opens the documents that are there"},
    "webmail": {"mail": "it shows the mailboxes that are there"},
}
# Groups of which the portal asks more; of one that is not there nobody would be
SECOND_FACTOR = "portal_second_factor_groups"
# How the variables end that give a role a share of its host's memory, and what all of one host may come to, in percent
MEMORY = "_memory_percent"
MEMORY_AT_MOST = 90
# Where Ansible looks for variables beside an inventory
VARS = ("group_vars", "host_vars")
# How the name of a file ends that Ansible reads as YAML
YAML = ("", ".json", ".yaml", ".yml")
# Variables that were called otherwise, for one release: {old: "what replaced it"}
RENAMED: dict[str, str] = {}

# What Ansible raises for a variable that it cannot fill in; the second where it stands deeper within another
UNEVALUATED = (AnsibleError, TemplateError)

Specs = Mapping[str, Mapping[str, Mapping[str, Any]]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _load(path: Path) -> Any:
    return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 # both are safe


def role_specs(root: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """{role: {entry point: options}} of every role."""
    return {
        path.parts[-3]: {
            entry: (spec or {}).get("options") or {} for entry, spec in (_load(path) or {}).get("argument_specs", {}).items()
        }
        for path in sorted(root.glob("roles/*/meta/argument_specs.yml"))
    }


def _below(root: Path, path: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _origin(said: Any, root: Path) -> str:
    """Where a name or a value was written, as Ansible remembers it, as the beginning of a sentence."""
    try:
        # not a public interface: without it a message only loses its place
        from ansible._internal._datatag._tags import Origin
    except ImportError:
        return ""
    origin = Origin.get_tag(said)
    if not origin:
        return ""
    if not origin.path:
        return f"{origin.description}: "
    place = _below(root, Path(str(origin.path)))
    return f"{place}:{origin.line_num}: " if origin.line_num else f"{place}: "


class Inventory:
    """The findings so far, and what they are about."""

    def __init__(self, hostvars: Hostvars, groups: Groups, specs: Specs, root: Path) -> None:
        self.groups = {str(name): [str(host) for host in hosts] for name, hosts in groups.items()}
        self.coop = self.groups.get("coop", [])
        # one look at each host: a second costs as much as the first
        self.hostvars = {host: hostvars[host] for host in self.groups.get("all", [])}
        self.names = {host: {str(name): name for name in variables} for host, variables in self.hostvars.items()}
        self.specs = specs
        self.root = root
        given = self.hostvars[self.coop[0]].get("ansible_inventory_sources") or []
        # a list of hosts, as in -i a,b, is no file
        self.sources = [path for path in map(Path, map(str, given)) if path.exists()]
        # those that have group_vars/ and host_vars/ beside them; the house's own are no inventory's
        beside = [(path if path.is_dir() else path.parent).resolve() for path in self.sources]
        self.directories = [path for path in dict.fromkeys(beside) if path != root.resolve()]
        self.said: dict[str, list[str]] = {}

    def find(self, sentence: str, host: str = "") -> None:
        self.said.setdefault(sentence, []).extend([host] if host else [])

    def findings(self) -> list[str]:
        """A sentence that is true of several hosts is said once."""
        everywhere = {"", ", ".join(self.coop), ", ".join(self.groups.get("all", []))}
        return [
            sentence if (hosts := ", ".join(dict.fromkeys(names))) in everywhere else f"{sentence} [{hosts}]"
            for sentence, names in self.said.items()
        ]

    def place(self, host: str, variable: str) -> str:
        # where an inventory has overridden it, its name is still that of the file before
        with suppress(*UNEVALUATED):
            if place := _origin(self.hostvars[host].get(variable), self.root):
                return place
        return _origin(self.names[host].get(variable, ""), self.root)

    def value(self, host: str, variable: str, broken: Any = None) -> Any:
        """What a variable is on a host; None when it has none, `broken` when it cannot be had, which is then a finding."""
        if variable not in self.names[host]:
            return None
        try:
            return plain(self.hostvars[host][variable])
        except UNEVALUATED as error:
            self.find(f"{self.place(host, variable)}{variable}: cannot be evaluated: {error.message}", host)
            return broken


def _groups(inventory: Inventory, declared: Mapping[str, Any], without: Sequence[str]) -> None:
    """Only leaves need a host of their own; the others are made of them."""
    leaves = [name for name, group in declared.items() if not (group or {}).get("children")]
    strangers = set(inventory.groups) - set(declared) - {"all", "ungrouped"}
    for name in without:
        if name not in declared:
            inventory.find(f"coop_without: '{name}' is no group of groups.yml{nearest(name, declared)}")
        elif name in EVERYTHING_STANDS_ON:
            inventory.find(f"coop_without: '{name}' {EVERYTHING_STANDS_ON[name]}; take it out of the list, and give it a host")
        elif inventory.groups[name]:
            inventory.find(
                f"coop_without: says '{name}' is not offered, but it has {', '.join(inventory.groups[name])}; "
                "take it out of the list or out of the inventory"
            )
    for name in leaves:
        if not inventory.groups[name] and name not in without:
            hint = nearest(name, strangers)
            inventory.find(
                f"the group '{name}' has no host: give it one in the inventory, or list it in coop_without"
                + (hint.replace("did you mean", "or is it misspelt as") if hint else "")
            )
    for name, why in ONE_HOST.items():
        if len(hosts := inventory.groups.get(name, [])) > 1:
            inventory.find(f"the group '{name}' has {len(hosts)} hosts, {', '.join(hosts)}: {why}; leave one of them")
    for name, needed in STANDS_ON.items():
        for other, why in needed.items():
            if inventory.groups.get(name) and other in declared and not inventory.groups[other]:
                inventory.find(
                    f"the group '{name}' has {', '.join(inventory.groups[name])}, and '{other}' has no host: {why}; "
                    f"give '{other}' a host, or list '{name}' in coop_without, too"
                )
    for host in inventory.groups.get("dns", []):
        within = [name for name in ("dns_primary", "dns_secondary") if host in inventory.groups.get(name, [])]
        if len(within) != 1:
            inventory.find(
                f"{host} is in the group 'dns' and in {' and '.join(within) or 'none of those below it'}: a name server either "
                "has the zones or is given them; put it into dns_primary or dns_secondary"
            )
    for host in set(inventory.groups.get("ungrouped", [])) - {"localhost"}:
        inventory.find(f"{host} is in no group, and nothing is done there: name it below 'coop', or remove it")
    for host in {host for name in declared for host in inventory.groups[name]} - set(inventory.coop):
        inventory.find(f"{host} carries a service but is not in the group 'coop': add it")


def _unknown_variables(inventory: Inventory, declared: Iterable[str]) -> None:
    own = {option for entries in inventory.specs.values() for options in entries.values() for option in options}
    # what a host said of its keys earlier in the run is a variable of that run
    keys = {f"{role}_key_records" for role in inventory.specs}
    known = own | keys | {f"{service}{SUFFIX}" for service in declared}
    for host, names in inventory.names.items():
        for name, tagged in names.items():
            if (
                name in known
                or name in INTERNAL_STATIC_VARS
                or name.startswith(("ansible_", "molecule_", "vault_", "__"))
                or name == "omit"
            ):
                continue
            mend = (
                f"it is called {RENAMED[name]} now"
                if name in RENAMED
                else f"no role knows it{nearest(name, known) or '; remove it, or add it to the role that should'}"
            )
            inventory.find(f"{_origin(tagged, inventory.root)}{name}: {mend}", host)


def _written(directory: Path) -> dict[str, dict[str, Path]]:
    """{group: {variable: file}} of the files of group_vars/ there; a line that begins with a name is a variable."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(directory.glob("group_vars/*")) + sorted(directory.glob("group_vars/*/*")):
        if file.is_file():
            names = re.findall(r"^(\w+):", file.read_text(errors="replace"), re.MULTILINE)
            group = (
                file.relative_to(directory / "group_vars")
                .parts[0]
                .removesuffix(file.suffix if file.parent.name == "group_vars" else "")
            )
            found.setdefault(group, {}).update(dict.fromkeys(names, file))
    return found


def _inline(groups: Any) -> Iterator[tuple[str, str]]:
    """Group and variable of each `vars:` in what a file of hosts says; nothing of what is no such file."""
    for name, group in groups.items() if isinstance(groups, Mapping) else ():
        if isinstance(group, Mapping):
            variables = group.get("vars")
            yield from ((str(name), variable) for variable in (variables if isinstance(variables, Mapping) else ()))
            yield from _inline(group.get("children"))


def _hosts_files(source: Path) -> Iterator[tuple[Path, Any]]:
    """Each file of an inventory that is YAML, and what it says; an INI file or a script is not."""
    for path in [source] if source.is_file() else sorted(source.rglob("*")):
        below = path.relative_to(source).parts
        if path.suffix in YAML and path.is_file() and not any(part in VARS or part.startswith(".") for part in below):
            # what cannot be read so may be of another kind, which is for Ansible to say
            with suppress(AnsibleError, ValueError):
                yield path, DataLoader().load_from_file(str(path))


def _outweighed(inventory: Inventory) -> None:
    """What an inventory says of all hosts, or of a group in its file of hosts, gives way to what the house says, untold."""
    written = _written(inventory.root)
    house = {name: group for group, names in written.items() if group != "all" for name in names}
    for directory in inventory.directories:
        for name, file in _written(directory).get("all", {}).items():
            if name in house:
                place = f"{_below(inventory.root, file)}: "
                inventory.find(
                    f"{place}{name}: counts nowhere, as the house's own group_vars/{house[name]} says it of a group; "
                    f"move it to group_vars/{house[name]}.yml beside your inventory"
                )
    for path, said in (found for source in inventory.sources for found in _hosts_files(source)):
        for group, name in _inline(said):
            hosts = set(inventory.groups.get(group, []))
            # of a host that is not in its group the house says nothing
            by = [each for each, names in written.items() if name in names and hosts & set(inventory.groups.get(each, []))]
            if by:
                first = next((each for each in by if each != "all"), "all")
                place = _origin(name, inventory.root) or f"{_below(inventory.root, path)}: "
                inventory.find(
                    f"{place}{name}: counts nowhere, as it is below `vars:` of '{group}' and the house's own group_vars/{first} "
                    f"says it, too; move it to group_vars/{group if first == 'all' else first}.yml beside your inventory"
                )


def _read_by_nobody(inventory: Inventory) -> None:
    """A file of variables that bears no name of the inventory is passed over by Ansible, untold."""
    # a playbook's controller is in no inventory
    known = {"group": [*inventory.groups], "host": [*inventory.hostvars, "localhost"]}
    for directory, kind in ((directory, kind) for directory in inventory.directories for kind in known):
        for path in sorted(directory.glob(f"{kind}_vars/*")):
            name = path.name if path.is_dir() else path.stem
            if name in known[kind] or path.name.startswith(".") or not (path.is_dir() or path.suffix in YAML):
                continue
            hint = nearest(name, known[kind]) or f"; name it after a {kind}, or remove it"
            inventory.find(f"{_below(inventory.root, path)}: is read by nobody, as there is no {kind} '{name}'{hint}")


def _texts_for_lists(name: str, value: Any, spec: Mapping[str, Any]) -> Iterator[str]:
    """Ansible's own judge would take such a text apart at its commas, and all that uses it letter by letter."""
    if isinstance(value, str) and spec["type"] == "list":
        yield f"{name}: '{value}' is no list; write [{value}]"
    for item in value if isinstance(value, list) else [value]:
        for key, below in spec.get("options", {}).items() if isinstance(item, Mapping) else ():
            yield from _texts_for_lists(f"{name}.{key}", item.get(key), below)


def _specified(inventory: Inventory, host: str, entry: str) -> dict[str, Any]:
    """The host's values of the variables of one entry point, those that are not of the right kind left out."""
    right = {}
    for name, spec in inventory.specs["preflight"][entry].items():
        if name not in inventory.names[host]:
            if spec.get("required"):
                inventory.find(f"{name}: is missing; {spec['description']}", host)
            continue
        value = inventory.value(host, name, broken=...)
        if value is ...:
            continue
        if value is None or value == "":
            mend = "complete it" if spec.get("required") else "complete the line, or remove it"
            wrong = [f"{name}: nothing is said of it; {mend}: {spec['description']}"]
        else:
            result = ArgumentSpecValidator({name: spec}).validate({name: value})
            wrong = [*_texts_for_lists(name, value, spec)] or [
                f"{name}: {'unknown key: ' if isinstance(error, UnsupportedError) else ''}{error.msg}" for error in result.errors
            ]
        for message in wrong:
            place = inventory.place(host, name)
            # of nothing Ansible does not remember the place, and that of the name may be the house's own
            inventory.find(f"{'' if value is None and place.startswith('group_vars/') else place}{message}", host)
        if not wrong:
            right[name] = result.validated_parameters[name]
    return right


def _bad_domain(name: str) -> str:
    """What is wrong with a domain name; nothing when it is well."""
    labels = name.split(".")
    if not name.isascii():
        return "write it in its ASCII form (xn--…)"
    if len(labels) < 2 or len(name) > 253 or not all(map(LABEL.fullmatch, labels)) or labels[-1].isdigit():
        return "a domain is two labels or more of a-z, 0-9 and inner '-', in lower case, without a final dot"
    if any(name == reserved or name.endswith(f".{reserved}") for reserved in DOCUMENTATION_DOMAINS):
        return "it is a name of documentation; give the cooperative's own"
    return ""


def _networks(inventory: Inventory, host: str, variable: str, values: Sequence[str]) -> list[Network]:
    found: list[Network] = []
    place = inventory.place(host, variable.partition(".")[0])
    if not values:
        inventory.find(f"{place}{variable}: is empty; list at least one network as ADDRESS/LENGTH", host)
    for value in values:
        try:
            network = ipaddress.ip_network(value)
        except ValueError as error:
            inventory.find(f"{place}{variable}: '{value}' is no network: {error}; write it as ADDRESS/LENGTH", host)
            continue
        found.append(network)
        if any(network.version == other.version and network.subnet_of(other) for other in DOCUMENTATION_NETWORKS):  # type: ignore[arg-type]
            inventory.find(f"{place}{variable}: {value} is a network of documentation (RFC 5737, 3849); give your own", host)
    return found


def _targets(inventory: Inventory, host: str, coop: Mapping[str, Any], variable: str, targets: Iterable[str]) -> None:
    """What is sent on elsewhere bears the stranger's sender, for whom the cooperative's hosts may not speak."""
    domains = [str(coop.get("coop_domain")), *coop.get("coop_member_domains", [])]
    if any(map(_bad_domain, domains)):  # to be mended first; it is said there
        return
    for target in dict.fromkeys(targets):
        name, _, domain = target.rpartition("@")
        if not name or domain not in domains:
            inventory.find(
                f"{inventory.place(host, variable)}{variable}: '{target}' is no address in {', '.join(domains)}: other hosts "
                "would refuse what is sent on to them, and it would come back; name a member's, who may forward it by a filter",
                host,
            )
        elif name in coop.get("coop_reserved_everywhere", []):
            inventory.find(
                f"{inventory.place(host, variable)}{variable}: '{target}' is what coop_role_readers read, and no mailbox; "
                "name a member's address",
                host,
            )


def _readers(inventory: Inventory, host: str, coop: Mapping[str, Any]) -> None:
    """Mail to the addresses that others have to reach the cooperative by would be accepted, and then come back."""
    readers = coop.get("coop_role_readers")
    place = f"{inventory.place(host, 'coop_role_readers')}coop_role_readers"
    if readers == [] and inventory.groups.get("mail"):
        inventory.find(
            f"{place}: nobody reads postmaster@, abuse@ and the like; list a member's address, and make that member", host
        )
    _targets(inventory, host, coop, "coop_role_readers", readers or [])


def _aliases(inventory: Inventory, host: str, coop: Mapping[str, Any]) -> None:
    place = f"{inventory.place(host, 'coop_aliases')}coop_aliases"
    domains = [coop.get("coop_domain"), *coop.get("coop_member_domains", [])]
    aliases = coop.get("coop_aliases", [])
    addresses = [alias["mail"] for alias in aliases]
    for address in addresses:
        name, _, domain = address.rpartition("@")
        if domain not in domains:
            inventory.find(f"{place}: '{address}': its domain is none of {', '.join(map(str, domains))}", host)
        elif name in coop.get("coop_reserved_everywhere", []):
            inventory.find(f"{place}: '{address}': coop_role_readers read it; leave it out", host)
    for address in sorted({address for address in addresses if addresses.count(address) > 1}):
        inventory.find(f"{place}: '{address}' is there twice; give it all its targets at once", host)
    _targets(inventory, host, coop, "coop_aliases", [target for alias in aliases for target in alias["targets"]])


def _cooperative(inventory: Inventory, host: str) -> list[Network]:
    """What the house knows of the cooperative. Returns: the networks the host may be in."""
    coop = _specified(inventory, host, "cooperative")
    domains = [("coop_domain", coop.get("coop_domain"))]
    domains += [("coop_member_domains", name) for name in coop.get("coop_member_domains", [])]
    seen: set[str] = set()
    for variable, name in domains:
        if name is None:
            continue
        if wrong := _bad_domain(name):
            inventory.find(f"{inventory.place(host, variable)}{variable}: '{name}': {wrong}", host)
        if name in seen:
            inventory.find(f"{inventory.place(host, variable)}{variable}: '{name}' is there twice; keep one", host)
        for other in seen:
            if name.endswith(f".{other}") or other.endswith(f".{name}"):
                inventory.find(
                    f"{inventory.place(host, variable)}{variable}: '{name}' and '{other}': each is a zone of its own, and "
                    "nothing in the upper one leads to the lower one; take a domain that is not below another",
                    host,
                )
        seen.add(name)
    if not coop.get("coop_languages", True):
        inventory.find(f"{inventory.place(host, 'coop_languages')}coop_languages: is empty; list at least one", host)
    zone = coop.get("coop_timezone", "UTC")
    # a controller without the database knows none, and cannot judge
    if zone not in (known := available_timezones() or {zone}):
        hint = nearest(zone, known) or "; write it as Europe/Brussels"
        inventory.find(f"{inventory.place(host, 'coop_timezone')}coop_timezone: '{zone}' is no time zone{hint}", host)
    for plan, terms in coop.get("coop_plans", {}).items():
        size = terms.get("quota_gib") if isinstance(terms, dict) else None
        if not isinstance(size, int | float) or size <= 0:
            inventory.find(
                f"{inventory.place(host, 'coop_plans')}coop_plans.{plan}: needs a size; write {{quota_gib: 5}}, in GiB", host
            )
        elif unknown := sorted(set(terms) - {"quota_gib"}):
            inventory.find(
                f"{inventory.place(host, 'coop_plans')}coop_plans.{plan}.{unknown[0]}: unknown key; a plan has quota_gib alone, "
                "and a service says in its manifest for which plans it is (portal.plans)",
                host,
            )
    plans, default = coop.get("coop_plans", {}), coop.get("coop_default_plan")
    if default is not None and default not in plans:
        hint = nearest(default, plans) or f"; name one of {', '.join(plans)}"
        place = inventory.place(host, "coop_default_plan")
        inventory.find(f"{place}coop_default_plan: '{default}' is none of coop_plans{hint}", host)
    color = coop.get("coop_color")
    if color is not None and contrast_with_white(color) < READABLE:
        place = inventory.place(host, "coop_color")
        inventory.find(
            f"{place}coop_color: '{color}': write it as #rrggbb, dark enough to write white on (contrast {READABLE})", host
        )
    for group in coop.get("coop_groups", []):
        if re.search(r"\s", group):
            inventory.find(
                f"{inventory.place(host, 'coop_groups')}coop_groups: '{group}': a member's groups are written with spaces "
                "between; take a name without",
                host,
            )
    for group in inventory.value(host, SECOND_FACTOR) or []:
        if group not in (known_groups := coop.get("coop_groups", [])):
            hint = nearest(group, known_groups) or f"; name some of {', '.join(known_groups)}"
            inventory.find(f"{inventory.place(host, SECOND_FACTOR)}{SECOND_FACTOR}: '{group}' is none of coop_groups{hint}", host)
    _readers(inventory, host, coop)
    _aliases(inventory, host, coop)
    if coop.get("coop_grace_days", 0) < 0:
        inventory.find(f"{inventory.place(host, 'coop_grace_days')}coop_grace_days: write a number of days, 0 or more", host)
    if "admin_networks" in coop:
        for network in _networks(inventory, host, "admin_networks", coop["admin_networks"]):
            if not network.prefixlen:
                inventory.find(
                    f"{inventory.place(host, 'admin_networks')}admin_networks: {network} is everybody, whom nobody would ban "
                    "any more; list the networks that sysadmins come from",
                    host,
                )
    if "datacenter" not in coop:
        return []
    country = coop["datacenter"]["country"]
    law = coop.get("coop_country", country)
    for variable, code in (("coop_country", law), ("datacenter.country", country)):
        if not re.fullmatch("[A-Z]{2}", code):
            place = inventory.place(host, variable.partition(".")[0])
            inventory.find(f"{place}{variable}: '{code}' is no code of ISO 3166; write two capitals, such as BE", host)
            law = country
    if country != law:
        inventory.find(
            f"{inventory.place(host, 'datacenter')}datacenter.country: {country} is not {law} (coop_country): "
            "members were promised that their data stays there; move the host",
            host,
        )
    return _networks(inventory, host, "datacenter.networks", coop["datacenter"]["networks"])


def _addresses(inventory: Inventory, host: str, networks: Sequence[Network]) -> None:
    domain = str(inventory.value(host, "coop_domain"))
    if not LABEL.fullmatch(host):
        inventory.find(f"the host '{host}' is named under coop_domain: a single label of a-z, 0-9 and inner '-'")
    for variable, text in _specified(inventory, host, "host").items():
        place = inventory.place(host, variable)
        version = int(variable[-1])
        try:
            address: Address = ipaddress.ip_address(text)
        except ValueError:
            address = ipaddress.ip_address("::" if version == 4 else "0.0.0.0")  # noqa: S104 # of the wrong family on purpose
        if address.version != version:
            inventory.find(f"{place}{variable}: '{text}' is no IPv{version} address", host)
        elif any(address in network for network in DOCUMENTATION_NETWORKS):
            inventory.find(
                f"{place}{variable}: {text} is an address of documentation (RFC 5737, 3849); give the host's own", host
            )
        elif not address.is_global and not domain.endswith(".test") and not _bad_domain(domain):
            inventory.find(
                f"{place}{variable}: {text} is not reached from the Internet, which the zones would send there; give the host a "
                "public address of its own, set on the host itself",
                host,
            )
        elif networks and not any(address in network for network in networks):
            inventory.find(
                f"{place}{variable}: {text} is in none of datacenter.networks ({', '.join(map(str, networks))}); correct one",
                host,
            )


def _addresses_given_twice(inventory: Inventory) -> None:
    owner: dict[str, str] = {}
    for host in inventory.hostvars:
        for variable in ("host_ipv4", "host_ipv6"):
            text = str(inventory.value(host, variable) or "")
            try:
                address = str(ipaddress.ip_address(text))
            except ValueError:
                continue
            if address in owner:
                inventory.find(
                    f"{inventory.place(host, variable)}{variable}: {address} is {owner[address]}'s already; give {host} its own"
                )
            owner.setdefault(address, host)


def _zones(inventory: Inventory, house: House) -> None:
    first = inventory.coop[0]
    domains = [str(inventory.value(first, "coop_domain")), *map(str, inventory.value(first, "coop_member_domains") or [])]
    if any(map(_bad_domain, domains)) or len(set(domains)) < len(domains):  # to be mended first; it is said there
        return
    records = inventory.value(first, OWN_RECORDS) or []
    flaws = []
    with suppress(ValueError):  # an address that is none is said where addresses are
        flaws = zone_flaws(house, inventory.hostvars, inventory.groups, domains, records)
    for flaw in flaws:
        own = flaw.startswith(OWN_RECORDS)
        inventory.find(f"{inventory.place(first, OWN_RECORDS) if own else ''}{flaw}")


def _secrets(inventory: Inventory, house: Mapping[str, Mapping[str, Any]]) -> None:
    wanted = {secret["name"] for entry in house.values() for secret in entry["manifest"].get("secrets", [])}
    for service, entry in house.items():
        for secret in entry["manifest"].get("secrets", []):
            name = secret["name"]
            for host in entry["hosts"]:
                if not inventory.value(host, name):
                    spare = [other for other in inventory.names[host] if other.startswith("vault_") and other not in wanted]
                    inventory.find(
                        f"{name}: the secret of {service} is missing; run playbooks/secrets.yml, which makes it"
                        f"{nearest(name, spare)}",
                        host,
                    )


def _memory(inventory: Inventory, host: str) -> None:
    """Services that share a host share its memory, each by its own percentage, of which none knows the others'."""
    shares: dict[str, int] = {}
    for role, entries in inventory.specs.items():
        name = f"{role}{MEMORY}"
        option = entries.get("main", {}).get(name)
        if option and host in inventory.groups.get(role, []):
            given = inventory.value(host, name)
            with suppress(TypeError, ValueError):  # what is no number is the role's to refuse
                shares[name] = int(option["default"] if given is None else given)
    if len(shares) > 1 and sum(shares.values()) > MEMORY_AT_MOST:
        said = ", ".join(f"{name} {share}" for name, share in shares.items())
        inventory.find(
            f"the services of {host} may take {sum(shares.values())} % of its memory ({said}), and {MEMORY_AT_MOST} leave enough "
            f"for the rest of it; lower them in group_vars/ or host_vars/{host}.yml beside your inventory, or move one elsewhere"
        )


def _upstream(inventory: Inventory, host: str) -> None:
    place = inventory.place(host, "upstream_pins")
    for flaw in pin_flaws(inventory.value(host, "upstream_pins") or []):
        inventory.find(f"{place}upstream_pins: {flaw}", host)
    place = inventory.place(host, "upstream_repositories")
    for flaw in repository_flaws(inventory.value(host, "upstream_repositories") or []):
        inventory.find(f"{place}upstream_repositories: {flaw}", host)
    domain = str(inventory.value(host, "coop_domain"))
    if inventory.value(host, "upstream_standins") and not domain.endswith(".test"):
        inventory.find(
            f"{inventory.place(host, 'upstream_standins')}upstream_standins: is for the lab and tests, below .test; "
            f"{domain} installs the makers' own software: remove it",
            host,
        )


def _declared(children: Mapping[str, Any]) -> dict[str, Any]:
    """Every group of groups.yml, by name; one that is only named below another may be spelt out elsewhere."""
    found: dict[str, Any] = {}
    for name, group in children.items():
        found |= {
            child: below for child, below in _declared((group or {}).get("children") or {}).items() if below or child not in found
        }
        found[name] = group or found.get(name)
    return found


def preflight_findings(hostvars: Hostvars, groups: Groups, root: str | Path = ROOT) -> list[str]:
    root = Path(root)
    declared = _declared(_load(root / "groups.yml")["all"]["children"])
    if absent := [name for name in declared if name not in groups]:
        return [
            f"groups.yml is not among the inventory's sources (no group '{absent[0]}'): "
            "name it first, as in -i groups.yml -i inventories/production, or run where ansible.cfg is"
        ]
    if not groups["coop"]:
        return ["the inventory has no host in the group 'coop': name one, as inventories/production does"]
    inventory = Inventory(hostvars, groups, role_specs(root), root)
    first = inventory.coop[0]
    _unknown_variables(inventory, declared)
    _outweighed(inventory)
    _read_by_nobody(inventory)
    without = inventory.value(first, "coop_without") or []
    if isinstance(without, str):  # to be mended, which is said below; what is meant is clear
        without = without.replace(",", " ").split()
    _groups(inventory, declared, without)
    for host in inventory.coop:
        networks = _cooperative(inventory, host)
        _addresses(inventory, host, networks)
        _memory(inventory, host)
        _upstream(inventory, host)
    _addresses_given_twice(inventory)
    try:
        house, errors = read(inventory.hostvars, inventory.groups)
    except UNEVALUATED as error:
        house, errors = {}, [f"a manifest cannot be evaluated: {error.message}"]
    domain = str(inventory.value(first, "coop_domain"))
    for message in errors:
        if domain not in message or not _bad_domain(domain):  # to be mended first; it is said there
            inventory.find(message)
    if not errors:
        _zones(inventory, house)
    _secrets(inventory, house)
    return inventory.findings()


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight_findings": preflight_findings}
