"""The pooler's databases: what is refused before the daemon would stumble over it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

FILTERS = Path(__file__).resolve().parents[2] / "roles/pgbouncer/filter_plugins/pgbouncer.py"
spec = importlib.util.spec_from_file_location("pgbouncer_filters", FILTERS)
assert spec and spec.loader
pgbouncer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pgbouncer)

PORTAL: dict[str, Any] = {
    "name": "portal",
    "host": "postgresql.coop.test",
    "role": "portal",
    "password": 'a "quoted" password',
    "user": "www-data",
}


def test_a_good_list_has_no_problem() -> None:
    assert pgbouncer.pgbouncer_problems([PORTAL, PORTAL | {"name": "more", "port": "5433", "pool_size": 1}]) == []
    assert pgbouncer.pgbouncer_problems([]) == []


@pytest.mark.parametrize(
    ("databases", "said"),
    [
        ([PORTAL, PORTAL], "'portal' is there twice; give each database its own name"),
        ([PORTAL | {"name": "x = host=elsewhere\ny"}], "will not do; take a-z, 0-9 and _"),
        ([PORTAL | {"name": "pgbouncer"}], "the name 'pgbouncer' will not do"),
        ([PORTAL | {"name": "sameuser"}], "the name 'sameuser' will not do"),
        ([PORTAL | {"role": "all"}], "the role 'all' will not do"),
        ([PORTAL | {"host": "/run/postgresql"}], "the host '/run/postgresql' will not do; give one name"),
        ([PORTAL | {"host": "one,two"}], "the host 'one,two' will not do"),
        ([PORTAL | {"user": "portal all"}], "the user 'portal all' will not do; give the name of a system user"),
        ([PORTAL | {"port": 70000}], "the port 70000 will not do; give from 1 to 65535"),
        ([PORTAL | {"pool_size": 0}], "the pool_size 0 will not do; give from 1 to 1000"),
        ([PORTAL | {"password": ""}], "the password of 'portal' is empty"),
        ([PORTAL | {"password": "one\ntwo"}], "has a line break; playbooks/secrets.yml makes one"),
        ([PORTAL, PORTAL | {"name": "more", "password": "other"}], "'portal' has two passwords"),
    ],
)
def test_what_will_not_do_is_named_with_its_mend(databases: list[dict[str, Any]], said: str) -> None:
    problems = pgbouncer.pgbouncer_problems(databases)
    assert len(problems) == 1 and said in problems[0]
    assert all(database["password"] not in problems[0] for database in databases if database["password"])
