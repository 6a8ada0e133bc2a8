"""What PgBouncer could not read, or would read otherwise than it was meant, in words.

"{{ pgbouncer_databases | pgbouncer_problems }}"   one sentence per mistake, none if all is well
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

# `pgbouncer` is its console; the others are words of hba.conf and ident.conf
NAME = re.compile(r"(?!(?:pgbouncer|all|replication|same\w+)$)[a-z][a-z0-9_]{0,62}")
PARTS = {
    "name": (NAME, "take a-z, 0-9 and _, a letter first, and no word of PgBouncer's own"),
    "role": (NAME, "take a-z, 0-9 and _, a letter first, and no word of PgBouncer's own"),
    # a list or a path of a socket would go around the certificate
    "host": (re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*"), "give one name, as the server's certificate has it"),
    "user": (re.compile(r"(?!all$)[a-z_][a-z0-9_-]{0,31}"), "give the name of a system user"),
}
NUMBERS = {"port": 65535, "pool_size": 1000}

Database = Mapping[str, Any]


def _problems(databases: Sequence[Database]) -> Iterator[str]:
    passwords: dict[str, str] = {}
    names = [str(database["name"]) for database in databases]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"pgbouncer_databases: '{name}' is there twice; give each database its own name"
    for database in databases:
        for part, (pattern, mend) in PARTS.items():
            if not pattern.fullmatch(str(database[part])):
                yield f"pgbouncer_databases: the {part} '{database[part]}' will not do; {mend}"
        for part, most in NUMBERS.items():
            if not 1 <= int(database.get(part, 1)) <= most:
                yield f"pgbouncer_databases: the {part} {database[part]} will not do; give from 1 to {most}"
        role, password = str(database["role"]), str(database["password"])
        if not password or not password.isprintable():
            yield f"pgbouncer_databases: the password of '{role}' is empty or has a line break; playbooks/secrets.yml makes one"
        if passwords.setdefault(role, password) != password:
            yield f"pgbouncer_databases: '{role}' has two passwords; give it the same with each of its databases"


def pgbouncer_problems(databases: Sequence[Database]) -> list[str]:
    return list(_problems(databases))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"pgbouncer_problems": pgbouncer_problems}
