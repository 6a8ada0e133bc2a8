"""Databases and their roles: what is wrong with a list of them, and what the cluster lacks of it.

"{{ postgresql_databases | postgresql_problems(postgresql_settings) }}"   one sentence per mistake, none if all is well
"{{ postgresql_databases | postgresql_connections }}"    how many connections they may have at once
"{{ postgresql_databases | postgresql_plan(state) }}"    what differs, in the order it is brought; state: lines of JSON, as
                                                         roles/postgresql/files/state prints them
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Of every database: a service owns its schema alone
OWNER = "postgres"
RESERVED = re.compile(r"pg_.*|postgres|template[01]|public")
# What postgresql.conf says of the door and of Debian's paths, and where it is said instead
KEPT = re.compile(
    r"ssl.*|password_encryption|allow_alter_system|listen_addresses|port|data_directory|hba_file|ident_file"
    r"|external_pid_file|unix_socket_directories|cluster_name|max_connections|jit|include.*"
)

Database = Mapping[str, Any]


def connections(database: Database) -> int:
    """How many its role may have at once: where it says nothing, what the role's argument_specs and its manifest have."""
    return int(database.get("connections", 20))


def _problems(databases: Sequence[Database], settings: Mapping[str, Any]) -> Iterator[str]:
    passwords: dict[str, str] = {}
    names = [str(database["name"]) for database in databases]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"postgresql_databases: '{name}' is there twice; give each database its own name"
    for database in databases:
        name, role, password = (str(database[key]) for key in ("name", "role", "password"))
        for key, value in (("name", name), ("role", role)):
            if not NAME.fullmatch(value) or RESERVED.fullmatch(value):
                yield f"postgresql_databases: the {key} '{value}' will not do; take a-z, 0-9 and _, and none of PostgreSQL's own"
        if connections(database) < 1:
            yield f"postgresql_databases: '{name}' has no connection; give it as many as its service opens at once, 1 or more"
        if len(password) < 16:
            yield f"postgresql_databases: the password of '{role}' has fewer than 16 characters; playbooks/secrets.yml makes one"
        if passwords.setdefault(role, password) != password:
            yield f"postgresql_databases: '{role}' has two passwords; give it the same with each of its databases"
        for source in database.get("sources") or []:
            try:
                network = ipaddress.ip_network(str(source))
                everybody = network.prefixlen == 0
                # pg_hba.conf takes what follows an address without one for its netmask
                if str(source).partition("/")[2] != str(network.prefixlen):
                    raise ValueError(source)
            except ValueError:
                yield f"postgresql_databases: '{source}', a source of '{name}', is no network; write it as ADDRESS/LENGTH"
                continue
            if everybody:
                yield f"postgresql_databases: '{source}', a source of '{name}', is everybody; list the hosts that use it"
    for setting in settings:
        if KEPT.fullmatch(str(setting).lower()):
            yield f"postgresql_settings: '{setting}' is the role's; take it out, or use the role's own variable for it"


def postgresql_connections(databases: Sequence[Database]) -> int:
    """How many all of them may have at once."""
    return sum(map(connections, databases))


def postgresql_problems(databases: Sequence[Database], settings: Mapping[str, Any]) -> list[str]:
    return list(_problems(databases, settings))


def verifies(password: str, verifier: str | None) -> bool:
    """Whether a SCRAM-SHA-256 verifier (RFC 5803, as PostgreSQL keeps it) is of this password."""
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)", verifier or "")
    if not found:
        return False
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(found[2]), int(found[1]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), base64.b64decode(found[3]))


def postgresql_plan(databases: Sequence[Database], state: Iterable[str]) -> dict[str, list[Any]]:
    there = [json.loads(line) for line in state]
    roles = {item["role"]: item for item in there if "role" in item}
    known = {item["database"]: item for item in there if "database" in item}
    nothing = {"public": True, "granted": [], "owner": OWNER, "schema_owner": "", "extensions": []}
    plan: dict[str, list[Any]] = {
        "roles": [],
        "memberships": [],
        "databases": [str(database["name"]) for database in databases if database["name"] not in known],
        "taken_back": [],
        "closed": [name for name, item in known.items() if item["public"]],
        "granted": [],
        "owned": [],
        "extensions": [],
    }
    plan["closed"] += plan["databases"]
    for role, password in {str(database["role"]): str(database["password"]) for database in databases}.items():
        limit = postgresql_connections([database for database in databases if database["role"] == role])
        now = roles.get(role, {})
        if now.get("powers", True) or now["connections"] != limit or not verifies(password, now["verifier"]):
            plan["roles"].append({"role": role, "password": password, "connections": limit})
        if now.get("member_of"):
            plan["memberships"].append({"role": role, "member_of": now["member_of"]})
    for database in databases:
        name, role = str(database["name"]), str(database["role"])
        item = known.get(name, nothing)
        if item["owner"] != OWNER:
            plan["taken_back"].append(name)
        # what it might as the owner goes with that
        if role not in item["granted"] or item["owner"] == role:
            plan["granted"].append({"name": name, "role": role})
        if item["schema_owner"] != role:
            plan["owned"].append({"name": name, "role": role})
        plan["extensions"] += [
            {"name": name, "extension": str(extension)}
            for extension in database.get("extensions") or []
            if extension not in item["extensions"]
        ]
    return plan


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "postgresql_problems": postgresql_problems,
            "postgresql_connections": postgresql_connections,
            "postgresql_plan": postgresql_plan,
        }
