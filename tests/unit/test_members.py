"""Members: what is refused and how it is said; what the directory is told."""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import jinja2
import members
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SUFFIX = "dc=coop,dc=test"
RULES = {
    "domains": ["coop.test", "famille.test"],
    "languages": ["fr", "nl"],
    "plans": {"basic": {"quota_gib": 5}, "family": {"quota_gib": 20}},
    "default_plan": "basic",
    "groups": ["cooperators", "board"],
    "reserved": ["info"],
    "reserved_everywhere": ["postmaster"],
    "password_min_length": 12,
    "grace_days": 30,
    "today": "2026-11-24",
}
ALICE = {
    "dn": f"uid=alice,ou=members,{SUFFIX}",
    "uid": "alice",
    "cn": "Alice Dubois",
    "givenName": "Alice",
    "sn": "Dubois",
    "mail": "alice@coop.test",
    "mailAlias": ["a.dubois@coop.test", "dubois@famille.test"],
    "preferredLanguage": "nl",
    "memberPlan": "family",
    "memberQuota": str(20 * members.GIB),
    "memberStatus": "active",
    "contactAddress": "alice@stranger.test",
}
LINKED = {
    **ALICE,
    "dn": f"uid=kid,ou=members,{SUFFIX}",
    "uid": "kid",
    "mail": "kid@coop.test",
    "mailAlias": [],
    "memberMain": ALICE["dn"],
}
BOARD = {"dn": f"cn=board,ou=groups,{SUFFIX}", "cn": "board", "member": ALICE["dn"]}
ALIAS = {"dn": f"mail=hello@coop.test,ou=aliases,{SUFFIX}", "mail": "hello@coop.test"}
CATCH_ALL = {"dn": f"mail=@famille.test,ou=aliases,{SUFFIX}", "mail": "@famille.test", "mailTarget": "bob@coop.test"}
TO_BOB = {"dn": f"mail=abuse@coop.test,ou=aliases,{SUFFIX}", "mail": "abuse@coop.test", "mailTarget": "bob@coop.test"}
ALICE_OUT = [{"login": "alice", "addresses": ["alice@coop.test"]}]
BOB = {"login": "bob", "mail": "bob@coop.test", "given_name": "Bob", "family_name": "Peeters"}


def plan(*rows: dict[str, Any], current: list[dict[str, Any]] | None = None, **options: Any) -> dict[str, Any]:
    given = {"rows": [], "problems": []}
    for number, row in enumerate(rows, 2):
        one = members.members_from_variable(row, f"t.csv line {number}")
        given["rows"] += one["rows"]
        given["problems"] += one["problems"]
    return members.members_plan(given, [ALICE] if current is None else current, RULES, SUFFIX, **options)


def attributes(result: dict[str, Any], name: str) -> dict[str, list[str]]:
    assert result["problems"] == []
    (entry,) = [entry for entry in result["entries"] if entry["dn"].startswith(name)]
    found: dict[str, list[str]] = entry["attributes"]
    return found


class TestCsv:
    def test_comma_semicolon_and_byte_order_mark_read_alike(self) -> None:
        comma = members.members_from_csv("login,aliases\nbob,b@coop.test bo@coop.test\n", "x")
        semicolon = members.members_from_csv("\ufefflogin;aliases\r\nbob;b@coop.test bo@coop.test\r\n", "x")
        assert comma == semicolon
        assert comma["rows"] == [{"where": "x line 2", "login": "bob", "aliases": ["b@coop.test", "bo@coop.test"]}]

    @pytest.mark.parametrize(
        "text",
        ["\n;\nlogin;mail\nbob;b@coop.test\n", "login;mail;;\nbob;b@coop.test\nann;;;\n", "login\tmail\nbob\tb@coop.test\n"],
        ids=["lines before its first", "columns that are empty", "tabs"],
    )
    def test_what_spreadsheets_write_is_read(self, text: str) -> None:
        found = members.members_from_csv(text, "x")
        assert not found["problems"]
        assert [(row["login"], row["mail"]) for row in found["rows"] if row["login"] == "bob"] == [("bob", "b@coop.test")]

    def test_lines_are_counted_as_an_editor_counts_them(self) -> None:
        found = members.members_from_csv('login,family_name\n\nann,"Van\nDamme"\nbob,Peeters\n', "x")
        assert [row["where"] for row in found["rows"]] == ["x line 3", "x line 5"]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", r"no line in it; its first line names"),
            ("mail\n", r"line 1: no column 'login'"),
            ("login,mial\n", r"column 'mial' is unknown; did you mean 'mail'\?"),
            ("login,login\n", r"column 'login' is there twice; keep one"),
            ("login,mail\nbob\n", r"x line 2: 1 cells under 2 columns; put"),
            ("login,mail\nbob,b,c\n", r"x line 2: 3 cells under 2 columns; put"),
            ('login,mail\nbob,"b\n', r"x line 2: unexpected end of data; close or double"),
            ("login,family_name\nbob,Ren\udce9\n", r"x line 2: letters that are not UTF-8; save"),
            ("login,family_name\nbob,Ren\ufffd\n", r"x line 2: letters that are not UTF-8; save"),
        ],
    )
    def test_what_is_broken_is_said_with_its_line_and_the_mend(self, text: str, says: str) -> None:
        (problem,) = members.members_from_csv(text, "x")["problems"]
        assert re.search(says, problem)

    def test_a_broken_line_does_not_hide_another(self) -> None:
        found = members.members_from_csv("login,mail\nann\nbob,b@coop.test\ncarl,c,d\n", "x")
        assert [problem[:8] for problem in found["problems"]] == ["x line 2", "x line 4"]
        assert len(found["rows"]) == 1


class TestVariable:
    @pytest.mark.parametrize(
        ("member", "says"),
        [
            ("alice", "not a mapping"),
            ({"mail": "a@coop.test"}, "no login"),
            ({"login": "a", "mial": "a@coop.test"}, "did you mean 'mail'"),
        ],
    )
    def test_what_is_no_member_is_refused(self, member: object, says: str) -> None:
        (problem,) = members.members_from_variable(member)["problems"]
        assert says in problem

    def test_lists_and_words_read_alike(self) -> None:
        words = members.members_from_variable({"login": "bob", "groups": "board cooperators", "quota_gib": 5})
        lists = members.members_from_variable({"login": "bob", "groups": ["board", "cooperators"], "quota_gib": "5"})
        assert words == lists


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"login": "Bob"}, r"login: 'Bob' is malformed; write"),
            ({"login": "b"}, r"login: 'b' is malformed"),
            ({"login": "bob..x"}, r"login: .* is malformed"),
            ({"login": "../bob"}, r"login: .* is malformed"),
            ({"login": "b" * 33}, r"login: .* is malformed"),
            ({"login": "info"}, r"login: 'info' is reserved; choose another"),
            ({"login": "postmaster"}, r"login: 'postmaster' is reserved"),
            ({"mail": "bob"}, r"mail: 'bob' is malformed; write"),
            ({"mail": "bob+x@coop.test"}, r"mail: .* is malformed"),
            ({"mail": "bob@elsewhere.test"}, r"mail: .*domain 'elsewhere.test' is unknown; "),
            ({"mail": "bob@cop.test"}, r"did you mean 'coop.test'\?"),
            ({"mail": "info@coop.test"}, r"mail: 'info@coop.test' is reserved"),
            ({"aliases": "postmaster@famille.test"}, r"aliases: 'postmaster@famille.test' is reserved"),
            ({"mail": "alice@coop.test"}, r"mail: 'alice@coop.test' is taken by alice; choose another"),
            ({"mail": "a.dubois@coop.test"}, r"mail: .* is taken by alice"),
            ({"aliases": "alice@coop.test"}, r"aliases: .* is taken by alice"),
            ({"aliases": "hello@coop.test"}, r"aliases: .* is taken by mail=hello@coop.test,"),
            ({"aliases": "bob@coop.test"}, r"aliases: 'bob@coop.test' is already on t.csv line 2"),
            ({"family_name": ""}, r"family_name: write 1 to 100"),
            ({"family_name": "x\x07"}, r"family_name: write"),
            ({"language": "it"}, r"language: 'it' is unknown; use one of fr, nl"),
            ({"plan": "basc"}, r"plan: 'basc' is unknown; did you mean 'basic'"),
            ({"quota_gib": "2,5"}, r"quota_gib: '2,5' is no size; .* such as 5 or 2\.5"),
            ({"quota_gib": "lots"}, r"quota_gib: 'lots' is no size; write GiB"),
            ({"quota_gib": "-1"}, r"quota_gib: '-1' is no size"),
            ({"quota_gib": "NaN"}, r"quota_gib: 'NaN' is no size"),
            ({"groups": "cooperator"}, r"groups: 'cooperator' is unknown; did you mean"),
            ({"contact": "elsewhere"}, r"contact: 'elsewhere' is no address"),
            ({"contact": "bob@coop.test"}, r"contact: 'bob@coop.test' is the member's own"),
            ({"contact": "Bob+home@Coop.test"}, r"contact: 'Bob\+home@Coop.test' is the member's own"),
            ({"contact": "whoever@famille.test"}, r"contact: 'whoever@famille.test' is nobody's here; give one"),
            ({"contact": "abuse@coop.test"}, r"contact: 'abuse@coop.test' is the member's own"),
            ({"password": "short"}, r"password: write at least 12"),
            ({"password": "bob-and-more-of-it"}, r"password: it contains 'bob' of the login"),
            ({"state": "gone"}, r"state: 'gone' is unknown; use one of present"),
            ({"linked_to": "nobody"}, r"linked_to: 'nobody' is neither"),
            ({"linked_to": "bob"}, r"linked_to: an account is not linked to itself"),
            ({"linked_to": "kid"}, r"linked_to: 'kid' is itself linked to 'alice'"),
        ],
    )
    def test_one_thing_wrong_is_one_problem_in_its_column(self, change: dict[str, str], says: str) -> None:
        result = plan({**BOB, **change}, current=[ALICE, LINKED, ALIAS, CATCH_ALL, TO_BOB])
        (problem,) = result["problems"]
        assert re.search(rf"^t\.csv line 2, (?:\w+: .*)?{says}", problem), problem
        assert result["entries"] == []

    def test_all_problems_come_at_once_in_the_order_of_the_lines(self) -> None:
        result = plan({**BOB, "plan": "x", "language": "it"}, {"login": "carl"}, {**BOB, "mail": "b2@coop.test"})
        assert [problem.split(":")[0] for problem in result["problems"]] == [
            "t.csv line 2, language",
            "t.csv line 2, plan",
            "t.csv line 3, mail",
            "t.csv line 3, given_name",
            "t.csv line 3, family_name",
            "t.csv line 4, login",
        ]

    def test_an_address_twice_in_the_input(self) -> None:
        (problem,) = plan(BOB, {**BOB, "login": "bobby", "mail": "bobby@coop.test", "aliases": "bob@coop.test"})["problems"]
        assert problem.startswith("t.csv line 3, aliases: 'bob@coop.test' is already on t.csv line 2")

    def test_a_sign_in_name_with_another_address_is_taken_unless_renamed(self) -> None:
        other = {**BOB, "login": "alice", "mail": "alice.martin@coop.test"}
        (problem,) = plan(other)["problems"]
        assert "'alice' is taken by alice@coop.test; choose another login" in problem
        assert attributes(plan(other, rename=True), "uid=alice")["mail"] == ["alice.martin@coop.test"]

    def test_a_main_account_does_not_leave_its_linked_ones_behind(self) -> None:
        (problem,) = plan({"login": "alice", "state": "absent"}, current=[ALICE, LINKED])["problems"]
        assert "state: kid would stay linked to 'alice'" in problem
        both = plan({"login": "alice", "state": "absent"}, {"login": "kid", "state": "absent"}, current=[ALICE, LINKED])
        assert both["begun"] == ["alice", "kid"]
        assert plan({"login": "alice", "state": "absent"}, {"login": "kid", "linked_to": ""}, current=[ALICE, LINKED])["entries"]

    def test_a_main_account_does_not_become_a_linked_one(self) -> None:
        (problem,) = plan(BOB, {"login": "alice", "linked_to": "bob"}, current=[ALICE, LINKED])["problems"]
        assert "linked_to: kid would stay linked to 'alice'" in problem

    def test_nobody_is_linked_to_who_leaves(self) -> None:
        (problem,) = plan({"login": "alice", "state": "absent"}, {**BOB, "linked_to": "alice"})["problems"]
        assert "'alice' does not stay" in problem


class TestContact:
    @pytest.mark.parametrize("contact", ["alice+x@coop.test", "a.dubois+x@coop.test", "Alice@coop.test", "dubois@famille.test"])
    def test_it_is_none_of_the_members_own_nor_of_those_with_a_tag(self, contact: str) -> None:
        (problem,) = plan({"login": "alice", "contact": contact})["problems"]
        assert f"contact: '{contact}' is the member's own; give one they can read" in problem

    @pytest.mark.parametrize("contact", ["bob+x@stranger.test", "alice@coop.test", "alice+bob@coop.test", "team@coop.test"])
    def test_it_may_be_elsewhere_or_somebody_elses(self, contact: str) -> None:
        team = {"dn": f"mail=team@coop.test,ou=aliases,{SUFFIX}", "mail": "team@coop.test"}
        team |= {"mailTarget": ["bob@coop.test", "alice@coop.test"]}
        result = plan({**BOB, "contact": contact}, current=[ALICE, team])
        assert attributes(result, "uid=bob")["contactAddress"] == [contact]

    def test_it_may_be_of_who_comes_in_the_same_run_and_not_of_who_goes(self) -> None:
        carl = {**BOB, "login": "carl", "mail": "carl@coop.test", "contact": "bob@coop.test"}
        assert plan(carl, BOB)["problems"] == []
        (problem,) = plan({**carl, "contact": "alice@coop.test"}, {"login": "alice", "state": "absent"}, skip_grace=True)[
            "problems"
        ]
        assert "contact: 'alice@coop.test' is nobody's here" in problem


class TestHousesMail:
    """What postmaster@ and the like are read by stays."""

    ROLES = [  # noqa: RUF012 # no test changes it
        {"dn": f"mail={mail},ou=aliases,{SUFFIX}", "mail": mail, "mailTarget": targets}
        for mail, targets in {
            "postmaster@coop.test": "alice@coop.test",
            "hello@coop.test": ["Alice+hello@coop.test", "zoe@coop.test"],
            "@famille.test": "a.dubois@coop.test",
        }.items()
    ]
    GOES = {"login": "alice", "state": "absent"}  # noqa: RUF012 # no test changes it

    def test_who_goes_at_once_reads_none_of_it(self) -> None:
        (problem,) = plan(self.GOES, current=[ALICE, *self.ROLES], skip_grace=True)["problems"]
        assert problem == (
            "t.csv line 2, state: mail to postmaster@coop.test, hello@coop.test, @famille.test goes to alice@coop.test, "
            "a.dubois@coop.test, which nobody would have then; name another address in coop_role_readers and coop_aliases and "
            "run playbooks/directory.yml first"
        )
        (problem,) = plan(self.GOES, current=[ALICE, self.ROLES[0]], skip_grace=True)["problems"]
        assert "name another address in coop_role_readers and run" in problem
        (problem,) = plan(self.GOES, current=[ALICE, self.ROLES[2]], skip_grace=True)["problems"]
        assert "name another address in coop_aliases and run" in problem
        zoe = {**ALICE, "dn": f"uid=zoe,ou=members,{SUFFIX}", "uid": "zoe", "mail": "bo@coop.test", "mailAlias": []}
        assert plan({"login": "zoe", "state": "absent"}, current=[ALICE, zoe, *self.ROLES], skip_grace=True)["removed"] == ["zoe"]

    def test_many_are_not_all_named(self) -> None:
        roles = [{**self.ROLES[0], "mail": f"r{number}@coop.test"} for number in range(12)]
        (problem,) = plan(self.GOES, current=[ALICE, *roles], skip_grace=True)["problems"]
        assert "mail to r0@coop.test, r1@coop.test, r2@coop.test, 9 more goes to alice@coop.test" in problem

    def test_the_grace_takes_nothing_and_who_takes_the_address_over_reads_on(self) -> None:
        assert plan(self.GOES, current=[ALICE, *self.ROLES])["begun"] == ["alice"]
        new = {**BOB, "aliases": "alice@coop.test"}
        assert plan(new, self.GOES, current=[ALICE, self.ROLES[0]], skip_grace=True)["removed"] == ["alice"]

    def test_a_purge_keeps_who_reads_it_with_their_main_account_and_removes_the_others(self) -> None:
        over = {"memberStatus": "suspended", "memberUntil": "2026-11-23"}
        kid, main = {**LINKED, **over}, {**ALICE, **over}
        role = {**self.ROLES[0], "mailTarget": "kid@coop.test"}
        zoe = {**main, "dn": f"uid=zoe,ou=members,{SUFFIX}", "uid": "zoe", "mail": "zoe@coop.test", "mailAlias": []}
        result = plan(current=[main, kid, zoe, role], purge=True)
        assert (result["problems"], result["removed"]) == ([], ["zoe"])
        assert result["kept"] == [
            "kid is kept: mail to postmaster@coop.test goes to kid@coop.test, which nobody would have then; name another address "
            "in coop_role_readers and run playbooks/directory.yml first",
            "alice is kept for kid, who can come back and is linked to it",
        ]
        assert plan(current=[main, kid, zoe], purge=True)["removed"] == ["alice", "kid", "zoe"]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"mail": "new@coop.test"}, "mail: mail to postmaster@coop.test, hello@coop.test goes to alice@coop.test, which"),
            ({"aliases": "dubois@famille.test"}, "aliases: mail to @famille.test goes to a.dubois@coop.test, which nobody"),
        ],
    )
    def test_an_address_that_is_changed_or_taken_off_reads_none_of_it(self, change: dict[str, str], says: str) -> None:
        (problem,) = plan({"login": "alice", **change}, current=[ALICE, *self.ROLES], rename=True)["problems"]
        assert f"t.csv line 2, {says}" in problem
        assert problem.endswith("and run playbooks/directory.yml first, or keep it as an alias")

    @pytest.mark.parametrize(
        "change",
        [
            {"mail": "new@coop.test", "aliases": "alice@coop.test a.dubois@coop.test"},
            {"mail": "a.dubois@coop.test", "aliases": "alice@coop.test"},
            {"mail": "alice@coop.test"},
            {"aliases": "a.dubois@coop.test"},
            {"language": "fr"},
        ],
    )
    def test_what_leaves_them_their_address_is_well(self, change: dict[str, str]) -> None:
        assert plan({"login": "alice", **change}, current=[ALICE, *self.ROLES], rename=True)["problems"] == []


class TestEntries:
    def test_a_new_member_has_everything_and_a_random_password(self) -> None:
        result = plan({**BOB, "groups": "board"})
        assert attributes(result, "uid=bob") == {
            "objectClass": ["inetOrgPerson", "perronMember"],
            "uid": ["bob"],
            "mail": ["bob@coop.test"],
            "givenName": ["Bob"],
            "sn": ["Peeters"],
            "cn": ["Bob Peeters"],
            "preferredLanguage": ["fr"],
            "memberPlan": ["basic"],
            "memberQuota": [str(5 * members.GIB)],
            "memberStatus": ["active"],
        }
        (entry,) = [entry for entry in result["entries"] if entry["dn"].startswith("uid=bob")]
        assert entry["password_mode"] == "initial"
        assert "password" not in entry
        assert attributes(result, "cn=board")["member"] == [f"uid=bob,ou=members,{SUFFIX}"]

    def test_a_column_that_is_not_there_leaves_what_is(self) -> None:
        assert attributes(plan({"login": "alice", "state": "suspended"}), "uid=alice") == {"memberStatus": ["suspended"]}
        suspended = {**ALICE, "memberStatus": "suspended"}
        assert "memberStatus" not in attributes(plan({"login": "alice", "language": "fr"}, current=[suspended]), "uid=alice")

    def test_an_empty_cell_means_the_default(self) -> None:
        row = {"login": "alice", "aliases": "", "language": "", "plan": "", "quota_gib": "", "contact": "", "state": ""}
        assert attributes(plan(row, current=[{**ALICE, "memberStatus": "suspended"}]), "uid=alice") == {
            "mailAlias": [],
            "preferredLanguage": ["fr"],
            "memberPlan": ["basic"],
            "memberQuota": [str(5 * members.GIB)],
            "contactAddress": [],
            "memberStatus": ["active"],
        }

    @pytest.mark.parametrize(
        ("row", "quota"),
        [({"plan": "family"}, 20), ({"plan": "family", "quota_gib": "7.5"}, 7.5), ({"quota_gib": "1"}, 1), ({}, 5)],
    )
    def test_the_quota_is_the_plans_unless_given(self, row: dict[str, str], quota: float) -> None:
        assert attributes(plan({**BOB, **row}), "uid=bob")["memberQuota"] == [str(int(quota * members.GIB))]

    def test_a_plan_that_was_taken_away_gives_nobody_nothing(self) -> None:
        current = [{**ALICE, "memberPlan": "old"}]
        linked = {**BOB, "linked_to": "alice"}
        for row in ({"login": "alice", "quota_gib": ""}, linked):
            assert "'old', which alice has, is no more in coop_plans" in plan(row, current=current)["problems"][0]
        assert plan({"login": "alice", "language": "fr"}, current=current)["problems"] == []
        moved = plan({"login": "alice", "plan": "basic"}, linked, current=current)
        assert moved["problems"] == [] and attributes(moved, "uid=bob")["memberPlan"] == ["basic"]

    def test_a_linked_account_has_its_mains_plan(self) -> None:
        result = plan({**BOB, "linked_to": "alice"})
        assert attributes(result, "uid=bob")["memberPlan"] == ["family"]
        assert attributes(result, "uid=bob")["memberMain"] == [ALICE["dn"]]

    def test_a_linked_account_may_come_before_its_main_in_the_file(self) -> None:
        kid = {**BOB, "login": "kid", "mail": "kid@coop.test", "linked_to": "bob"}
        result = plan(kid, {**BOB, "plan": "family"})
        assert [entry["dn"][:7] for entry in result["entries"]] == ["uid=bob", "uid=kid"]
        assert attributes(result, "uid=kid")["memberPlan"] == ["family"]

    def test_who_leaves_without_grace_frees_the_address_for_who_comes(self) -> None:
        rows = {**BOB, "aliases": "alice@coop.test"}, {"login": "alice", "state": "absent"}
        (problem,) = plan(*rows)["problems"]
        assert "'alice@coop.test' is taken by alice" in problem
        result = plan(*rows, skip_grace=True)
        assert [(entry["dn"][:7], entry.get("state")) for entry in result["entries"]] == [
            ("uid=ali", "absent"),
            ("uid=bob", None),
        ]
        assert result["removed"] == ["alice"]
        assert result["signed_out"] == ALICE_OUT

    def test_removing_who_is_not_there_is_no_mistake_and_is_said(self) -> None:
        result = plan({"login": "alcie", "state": "absent"}, current=[ALICE])
        assert result["problems"] == [] and result["removed"] == [] and result["entries"] == []
        (said,) = result["kept"]
        assert said.endswith("'alcie' is no member, so nothing is done; did you mean 'alice'?")

    @pytest.mark.parametrize("login", ["Alice", "alice@coop.test", ""])
    def test_who_is_to_go_is_named_as_the_directory_has_them(self, login: str) -> None:
        assert f"'{login}' is no login" in " ".join(plan({"login": login, "state": "absent"}, current=[ALICE])["problems"])

    def test_a_word_of_a_login_is_in_no_password_as_the_directory_would_refuse_it_later(self) -> None:
        jean = BOB | {"login": "jean-marc", "mail": "jean-marc@coop.test"}
        (problem,) = plan(jean | {"password": "Marc-velo-2026!"})["problems"]
        assert "it contains 'marc' of the login" in problem
        assert plan(jean | {"password": "Mar-velo-2026!"})["problems"] == []

    def test_groups_follow_and_an_empty_one_goes(self) -> None:
        moved = plan({"login": "alice", "groups": "cooperators"}, current=[ALICE, BOARD])
        assert attributes(moved, "cn=cooperators")["member"] == [ALICE["dn"]]
        assert {"dn": BOARD["dn"], "state": "absent"} in moved["entries"]
        gone = plan({"login": "alice", "state": "absent"}, current=[ALICE, BOARD], skip_grace=True)
        assert gone["entries"][0] == {"dn": BOARD["dn"], "state": "absent"}

    def test_who_leaves_is_out_of_the_groups_first_and_who_comes_is_in_them_last(self) -> None:
        kid = {**ALICE, "dn": LINKED["dn"], "uid": "kid", "mail": "kid@coop.test", "mailAlias": []}
        board = {**BOARD, "member": [ALICE["dn"], kid["dn"]]}
        rows = {"login": "alice", "state": "absent"}, {**BOB, "groups": ["board"]}
        found = plan(*rows, current=[ALICE, kid, board], skip_grace=True)["entries"]
        bob = f"uid=bob,ou=members,{SUFFIX}"
        assert [entry["dn"] for entry in found] == [BOARD["dn"], ALICE["dn"], bob, BOARD["dn"]]
        assert found[0]["attributes"]["member"] == [kid["dn"]]
        assert found[3]["attributes"]["member"] == [kid["dn"], bob]
        # nobody left in between: LDAP knows no empty group
        turned = plan(*rows, current=[ALICE, BOARD], skip_grace=True)["entries"]
        assert turned[0] == {"dn": BOARD["dn"], "state": "absent"}
        assert turned[3]["attributes"]["member"] == [bob]

    def test_suspended_members_are_signed_out_and_active_ones_are_not(self) -> None:
        assert plan({"login": "alice", "state": "suspended"})["signed_out"] == ALICE_OUT
        assert plan({"login": "alice", "language": "fr"})["signed_out"] == []

    def test_a_password_given_counts_for_a_new_member_only(self) -> None:
        given = {"password": "correct horse battery"}
        bob = plan({**BOB, **given})["entries"][0]
        assert (bob["password_mode"], bob["password"]) == ("initial", "correct horse battery")
        assert "password" not in plan({"login": "alice", **given})["entries"][0]

    def test_resend_resets_those_listed(self) -> None:
        assert plan({"login": "alice"}, resend=True)["entries"][0]["password_mode"] == "reset"
        assert "password_mode" not in plan({"login": "alice"})["entries"][0]


GONE = {**ALICE, "memberStatus": "suspended", "memberUntil": "2026-12-24"}
OVER = {**GONE, "memberUntil": "2026-11-23"}
DEVICE = {"dn": f"deviceId=x1,ou=devices,{SUFFIX}", "deviceOwner": ALICE["dn"]}
LEAVES = {"login": "alice", "state": "absent"}


class TestGrace:
    def test_who_leaves_is_suspended_until_a_day_and_keeps_the_rest(self) -> None:
        result = plan({**LEAVES, "groups": ""}, current=[ALICE, BOARD])
        assert result["entries"][0] == {
            "dn": ALICE["dn"],
            "attributes": {"memberStatus": ["suspended"], "memberUntil": ["2026-12-24"]},
        }
        assert attributes(result, "cn=board")["member"] == [ALICE["dn"]]
        assert (result["signed_out"], result["begun"], result["removed"]) == (ALICE_OUT, ["alice"], [])
        facts = {"login": "alice", "mail": "alice@coop.test", "name": "Alice Dubois", "until": "2026-12-24"}
        assert result["leaving"] == [{**facts, "language": "nl", "contact": "alice@stranger.test"}]

    def test_twice_is_once(self) -> None:
        for row in (LEAVES, {"login": "alice"}):
            result = plan(row, current=[GONE])
            assert all(entry.get("attributes") == {} for entry in result["entries"])
            assert (result["begun"], [leaver["until"] for leaver in result["leaving"]]) == ([], ["2026-12-24"])

    @pytest.mark.parametrize(("state", "status"), [("present", "active"), ("", "active"), ("suspended", "suspended")])
    def test_who_comes_back_has_a_status_and_no_day(self, state: str, status: str) -> None:
        result = plan({"login": "alice", "state": state}, current=[GONE, BOARD])
        assert attributes(result, "uid=alice") == {"memberStatus": [status], "memberUntil": []}
        assert attributes(result, "cn=board")["member"] == [ALICE["dn"]]
        assert (result["back"], result["leaving"]) == (["alice"], [])

    def test_a_change_does_not_bring_anybody_back(self) -> None:
        result = plan({"login": "alice", "language": "fr"}, current=[GONE])
        assert attributes(result, "uid=alice") == {"preferredLanguage": ["fr"]}
        assert (result["back"], len(result["leaving"])) == ([], 1)

    def test_an_address_stays_theirs(self) -> None:
        (problem,) = plan({**BOB, "aliases": "a.dubois@coop.test"}, current=[GONE])["problems"]
        assert "'a.dubois@coop.test' is taken by alice, who can come back until 2026-12-24; choose another" in problem

    def test_nobody_links_to_who_leaves_nor_comes_back_to_them(self) -> None:
        (problem,) = plan({**BOB, "linked_to": "alice"}, current=[GONE])["problems"]
        assert "'alice' does not stay" in problem
        kid = {**LINKED, "memberUntil": "2026-12-24"}
        (problem,) = plan({"login": "kid", "state": "present"}, current=[GONE, kid])["problems"]
        assert "'alice' does not stay" in problem
        assert plan({"login": "kid", "state": "present", "linked_to": ""}, current=[GONE, kid])["back"] == ["kid"]
        assert plan({"login": "kid", "state": "present"}, {**LEAVES, "state": "present"}, current=[GONE, kid])["back"]

    def test_nothing_goes_by_itself_nor_before_its_day(self) -> None:
        assert plan(LEAVES, current=[OVER])["removed"] == []
        for current in (ALICE, GONE, {**GONE, "memberUntil": "2026-11-24"}):
            assert plan(current=[current], purge=True)["removed"] == []

    def test_what_is_over_is_purged_with_groups_and_devices(self) -> None:
        result = plan(current=[OVER, BOARD, DEVICE], purge=True)
        gone = [BOARD["dn"], DEVICE["dn"], ALICE["dn"]]
        assert result["entries"][:3] == [{"dn": dn, "state": "absent"} for dn in gone]
        assert (result["removed"], result["leaving"]) == (["alice"], [])
        assert [removal["login"] for removal in result["removals"]] == ["alice"]

    def test_a_main_account_waits_for_its_linked_ones(self) -> None:
        kid = {**LINKED, "memberUntil": "2026-12-24"}
        result = plan(current=[OVER, kid], purge=True)
        assert result["removed"] == []
        assert result["kept"] == ["alice is kept for kid, who can come back and is linked to it"]
        assert plan(current=[OVER, {**kid, "memberUntil": "2026-11-01"}], purge=True)["removed"] == ["alice", "kid"]

    def test_an_interrupted_removal_goes_on_and_guards_the_login(self) -> None:
        pending = plan(current=[OVER], purge=True)["removals"]
        assert plan(current=[], purge=True, pending=pending)["removals"] == pending
        # it never happened
        assert plan(current=[OVER], pending=pending)["removals"] == []
        (problem,) = plan({**BOB, "login": "alice"}, current=[], pending=pending)["problems"]
        assert "mail of a former 'alice' waits to be removed; run -e member_purge=true first" in problem

    def test_a_receipt_says_who_and_until_when(self) -> None:
        templates = {"nl": "Tot $until\n\n$name ($login) vertrok op $today en blijft $welcome\n", "en": ""}
        leaving = plan(LEAVES)["leaving"]
        (receipt,) = members.receipts(leaving, "leaves", templates, "2026-11-24")
        assert receipt == {
            "name": "alice-leaves-2026-12-24.txt",
            "recipient": "alice@stranger.test",
            "subject": "Tot 24/12/2026",
            "body": "Alice Dubois (alice@coop.test) vertrok op 24/11/2026 en blijft $welcome\n",
        }
        removed = plan(current=[{**OVER, "preferredLanguage": "it", "contactAddress": [""]}], purge=True)["removals"]
        (receipt,) = members.receipts(removed, "removed", {"en": "On $today\n"}, "2026-11-24")
        assert (receipt["name"], receipt["subject"]) == ("alice-removed-2026-11-24.txt", "On 24 November 2026")
        assert receipt["recipient"] == ""

    @pytest.mark.parametrize("what", ["leaves", "removed"])
    @pytest.mark.parametrize("language", ["fr", "nl", "de", "en"])
    @pytest.mark.parametrize("cloud", [True, False])
    @pytest.mark.parametrize("mail", [True, False])
    def test_the_templates_say_what_a_member_needs(self, what: str, language: str, cloud: bool, mail: bool) -> None:
        text = (ROOT / f"playbooks/templates/{what}.{language}.txt.j2").read_text()
        template = jinja2.Template(text, undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
        there = {"nextcloud": cloud, "mail": mail}
        rendered = template.render(coop_name="Coop $5", groups={name: ["a"] for name, is_there in there.items() if is_there})
        leaver = {**plan(LEAVES)["leaving"][0], "language": language}
        if what == "removed":
            leaver["until"] = ""
        (receipt,) = members.receipts([leaver], what, {language: rendered}, "2026-11-24")
        day = {"leaves": "2026-12-24", "removed": "2026-11-24"}[what]
        for word in ("Alice Dubois", "alice@coop.test", "Coop $5", date.fromisoformat(day).strftime(members.DAY[language])):
            assert word in receipt["body"]
        assert receipt["subject"] and "$" not in receipt["body"].replace("Coop $5", "")
        # files go, too, where there are any
        assert bool(re.search(r"nuage|[Cc]loud", receipt["body"])) == cloud
        assert bool(re.search(r"courrier|[Mm]ail\b|Post\b", receipt["body"])) == mail

    def test_a_day_is_the_members_day(self) -> None:
        assert members.local_day(datetime(2026, 11, 24, 23, 30), "Europe/Brussels") == "2026-11-25"


class TestWelcome:
    templates = {"nl": "Dag $name\nbekend\n$login: $password\n", "en": "Hello\nknown\n$password\n"}  # noqa: RUF012 # no test changes it
    sender = {"name": "Coop", "address": "postmaster@coop.test"}  # noqa: RUF012 # no test changes it

    def welcome(self, spool: str, *current: dict[str, Any], by_mail: bool = True) -> dict[str, Any]:
        return members.welcome_messages(spool, current, self.templates, self.sender, by_mail)

    def test_in_the_members_language_with_the_last_password(self) -> None:
        found = self.welcome(f"{ALICE['dn']}\told\n{ALICE['dn']}\tnew\n", ALICE)
        (message,) = found["messages"]
        assert message["recipient"] == "alice@stranger.test"
        assert message["subject"] == "Dag Alice Dubois"
        assert message["body"] == "alice@coop.test: new\n"
        assert found["spool"] == f"{ALICE['dn']}\tnew\n"

    def test_a_password_the_member_knows_is_not_sent(self) -> None:
        (message,) = self.welcome(f"{ALICE['dn']}\t\n", ALICE)["messages"]
        assert message["body"] == "alice@coop.test: bekend\n"

    def test_without_contact_the_password_waits_and_without_password_nothing_does(self) -> None:
        silent = {key: value for key, value in ALICE.items() if key != "contactAddress"}
        found = self.welcome(f"{ALICE['dn']}\tsecret\n", silent)
        assert (found["messages"], found["unreachable"]) == ([], ["alice"])
        assert found["spool"] == f"{ALICE['dn']}\tsecret\n"
        assert self.welcome(f"{ALICE['dn']}\t\n", silent) == {"messages": [], "unreachable": [], "spool": ""}

    def test_where_there_is_no_mail_passwords_are_handed_over(self) -> None:
        spool = f"{ALICE['dn']}\tsecret\n"
        assert self.welcome(spool, ALICE, by_mail=False) == {"messages": [], "unreachable": ["alice"], "spool": spool}
        assert self.welcome(f"{ALICE['dn']}\t\n", ALICE, by_mail=False)["spool"] == ""

    def test_who_leaves_is_welcomed_when_they_are_back(self) -> None:
        spool = f"{ALICE['dn']}\tsecret\n"
        assert self.welcome(spool, GONE) == {"messages": [], "unreachable": [], "spool": spool}

    def test_who_is_no_member_is_forgotten(self) -> None:
        assert self.welcome(f"{ALICE['dn']}\tsecret\n")["spool"] == ""

    def test_what_was_sent_leaves_the_spool(self) -> None:
        assert members.welcome_left("a\t1\nb\t2\n", ["a"]) == "b\t2\n"

    @pytest.mark.parametrize("language", ["fr", "nl", "de", "en"])
    def test_the_templates_say_what_a_member_needs(self, language: str) -> None:
        text = (ROOT / f"playbooks/templates/welcome.{language}.txt.j2").read_text()
        template = jinja2.Template(text, undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
        house = {"coop_name": "Coop $5", "coop_mail_host": "mail.coop.test", "coop_domain": "coop.test"}
        assert "devices" not in template.render(**house, groups={})
        rendered = template.render(**house, groups={"devices": ["a"]})
        templates = {"nl": rendered, "en": ""}
        (message,) = members.welcome_messages(f"{ALICE['dn']}\tsecret\n", [ALICE], templates, self.sender, True)["messages"]
        pages = ("https://auth.coop.test/", "https://devices.coop.test/")
        for word in ("Alice Dubois", "alice@coop.test", "secret", "mail.coop.test", "993", "465", *pages):
            assert word in message["body"]
        assert "\n" not in message["subject"]


def test_role_addresses_exist_where_somebody_reads_them() -> None:
    assert members.role_aliases(["abuse"], ["coop.test", "famille.test"], []) == []
    assert members.role_aliases(["abuse"], ["coop.test", "famille.test"], ["alice@coop.test"]) == [
        {"mail": "abuse@coop.test", "targets": ["alice@coop.test"]},
        {"mail": "abuse@famille.test", "targets": ["alice@coop.test"]},
    ]


def test_rfc_2142_is_reserved() -> None:
    rules = yaml.safe_load((ROOT / "group_vars/all/members.yml").read_text())
    everywhere, here = set(rules["coop_reserved_everywhere"]), set(rules["coop_reserved"])
    assert everywhere >= {"postmaster", "abuse", "hostmaster", "webmaster", "security", "noc", "root", "admin"}
    assert everywhere | here >= {"info", "marketing", "sales", "support", "usenet", "news", "www", "uucp", "ftp"}


def test_the_handbook_explains_every_column_and_no_other() -> None:
    text = (ROOT / "docs/members.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(members.COLUMNS)
