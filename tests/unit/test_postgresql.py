"""Databases: what may be asked for, and what the cluster lacks of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from postgresql import postgresql_connections, postgresql_plan, postgresql_problems, verifies

PASSWORD = "portal-scenario-password"
# As PostgreSQL 17 made it of that password
VERIFIER = (
    "SCRAM-SHA-256$4096:RbAihZj/eNmdXissfdqLpQ==$"
    "fg/s+R/CvH1YLizwJFQ+9idmSg97TjuDLHgN17YF5zE=:D/1txBvhn9mxHiUn/vg7la3ddL3spG9cpHLgcnUFI0I="
)
PORTAL: dict[str, Any] = {"name": "portal", "role": "portal", "password": PASSWORD, "connections": 20, "sources": ["10.1.0.2/32"]}
ROLE = {"role": "portal", "verifier": VERIFIER, "connections": 20, "powers": False, "member_of": []}
TO_MAKE = {"role": "portal", "password": PASSWORD, "connections": 20}
DATABASE = {
    "database": "portal",
    "public": False,
    "granted": ["postgres", "portal"],
    "owner": "postgres",
    "schema_owner": "portal",
    "extensions": ["plpgsql"],
}
OURS = DATABASE | {"database": "postgres", "granted": ["postgres"], "schema_owner": "pg_database_owner"}
KINDS = {"roles", "memberships", "databases", "taken_back", "closed", "granted", "owned", "extensions"}


def plan(*databases: dict[str, Any], state: tuple[dict[str, Any], ...] = (ROLE, DATABASE, OURS)) -> dict[str, list[Any]]:
    """Only what is to be done."""
    found = postgresql_plan(databases, [json.dumps(item) for item in state])
    assert set(found) == KINDS
    return {name: items for name, items in found.items() if items}


def test_what_is_there_stays() -> None:
    assert plan(PORTAL) == {}


def test_a_fresh_cluster_gets_everything_and_is_closed() -> None:
    assert plan(PORTAL | {"extensions": ["pg_trgm"]}, state=(OURS | {"public": True},)) == {
        "roles": [TO_MAKE],
        "databases": ["portal"],
        "closed": ["postgres", "portal"],
        "granted": [{"name": "portal", "role": "portal"}],
        "owned": [{"name": "portal", "role": "portal"}],
        "extensions": [{"name": "portal", "extension": "pg_trgm"}],
    }


@pytest.mark.parametrize(
    ("change", "mended"),
    [
        ({"public": True}, {"closed": ["portal"]}),
        ({"granted": ["postgres"]}, {"granted": [{"name": "portal", "role": "portal"}]}),
        ({"owner": "portal"}, {"taken_back": ["portal"], "granted": [{"name": "portal", "role": "portal"}]}),
        ({"owner": "webmail"}, {"taken_back": ["portal"]}),
        ({"member_of": ["webmail"]}, {"memberships": [{"role": "portal", "member_of": ["webmail"]}]}),
        ({"schema_owner": "pg_database_owner"}, {"owned": [{"name": "portal", "role": "portal"}]}),
        ({"powers": True}, {"roles": [TO_MAKE]}),
        ({"verifier": None}, {"roles": [TO_MAKE]}),
        ({"connections": -1}, {"roles": [TO_MAKE]}),
        ({"verifier": "md5" + "0" * 32}, {"roles": [TO_MAKE]}),
    ],
)
def test_what_was_changed_by_hand_is_mended_and_nothing_else(change: dict[str, Any], mended: dict[str, Any]) -> None:
    role, database = (item | {name: value for name, value in change.items() if name in item} for item in (ROLE, DATABASE))
    assert plan(PORTAL, state=(role, database, OURS)) == mended


def test_a_role_with_two_databases_is_made_once() -> None:
    assert plan(PORTAL, PORTAL | {"name": "more"}, state=(OURS,))["roles"] == [TO_MAKE | {"connections": 40}]
    assert postgresql_connections([PORTAL, {"name": "more", "role": "more"}]) == 40


def test_what_nobody_asks_for_any_more_keeps_its_data() -> None:
    assert plan() == {}


def test_a_verifier_is_of_its_password_only() -> None:
    assert verifies(PASSWORD, VERIFIER)
    assert not verifies(PASSWORD + "x", VERIFIER)
    assert not verifies(PASSWORD, None)


def test_a_good_list_has_no_problem() -> None:
    assert postgresql_problems([PORTAL, PORTAL | {"name": "more", "sources": []}], {"work_mem": "32MB"}) == []


@pytest.mark.parametrize(
    ("databases", "settings", "said"),
    [
        ([PORTAL, PORTAL], {}, "'portal' is there twice"),
        ([PORTAL | {"name": "template1"}], {}, "the name 'template1' will not do"),
        ([PORTAL | {"role": "postgres"}], {}, "the role 'postgres' will not do"),
        ([PORTAL | {"role": 'x" "all'}], {}, "will not do"),
        ([PORTAL | {"password": "fifteen-letters"}], {}, "fewer than 16 characters; playbooks/secrets.yml makes one"),
        ([PORTAL, PORTAL | {"name": "more", "password": "y" * 16}], {}, "'portal' has two passwords"),
        ([PORTAL | {"connections": 0}], {}, "'portal' has no connection; give it as many as its service opens at once"),
        ([PORTAL | {"sources": ["::/0"]}], {}, "is everybody; list the hosts"),
        ([PORTAL | {"sources": ["10.1.0.2/8"]}], {}, "is no network; write it as ADDRESS/LENGTH"),
        ([PORTAL | {"sources": ["10.1.0.2"]}], {}, "is no network; write it as ADDRESS/LENGTH"),
        ([PORTAL | {"sources": ["10.0.0.0/255.0.0.0"]}], {}, "is no network; write it as ADDRESS/LENGTH"),
        ([], {"SSL": "off"}, "'SSL' is the role's"),
        ([], {"max_connections": 500}, "'max_connections' is the role's; take it out, or use the role's own variable"),
    ],
)
def test_what_will_not_do_is_named_with_its_mend(databases: list[Any], settings: dict[str, Any], said: str) -> None:
    problems = postgresql_problems(databases, settings)
    assert len(problems) == 1 and said in problems[0]
