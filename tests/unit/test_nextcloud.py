"""What the role nextcloud makes of what it reads, without a Nextcloud."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[2] / "roles/nextcloud"
spec = importlib.util.spec_from_file_location("nextcloud_filters", ROLE / "filter_plugins/nextcloud.py")
assert spec and spec.loader
nextcloud = importlib.util.module_from_spec(spec)
spec.loader.exec_module(nextcloud)

PATHS = {
    "nextcloud-server-34": "/var/cache/upstream/nextcloud-server-34/34.0.4/nextcloud-34.0.4.tar.bz2",
    "nextcloud-app-deck": "/var/cache/upstream/nextcloud-app-deck/1.18.5/deck-v1.18.5.tar.gz",
}
PROVIDER = {"clientId": "nextcloud", "scope": "openid", "settings": {"mappingUid": "sub", "uniqueUid": False}}
STATE: dict[str, Any] = {
    "config": {
        "system": {"version": "34.0.4.1", "secret": "x", "loglevel": 2},
        "apps": {
            "files": {"default_quota": "5 GB", "enabled": "yes"},
            "deck": {"enabled": '["large"]'},
            "tasks": {"enabled": "no"},
        },
    },
    "provider": {
        "id": 1,
        "clientId": "nextcloud",
        "scope": "openid",
        "settings": {"mappingUid": "sub", "uniqueUid": False, "x": 1},
    },
}
NOTHING = {"delete": [], "import": False, "enable": [], "disable": [], "tie": False}


def plan(state: dict[str, Any], values: dict[str, Any] | None = None, on: tuple[str, ...] = (), off: tuple[str, ...] = ()) -> Any:
    return nextcloud.nextcloud_plan(state, {"loglevel": 2}, values or {}, on, off, PROVIDER)


def test_versions_are_the_pins() -> None:
    server, deck = nextcloud.nextcloud_code(PATHS, "nextcloud-server-34", ["deck"], "/srv")
    assert (server["path"], server["link"], server["target"]) == ("/srv/code/34.0.4", "/srv/code/current", "34.0.4")
    assert (deck["path"], deck["link"], deck["target"]) == (
        "/srv/apps/deck/1.18.5",
        "/srv/custom_apps/deck",
        "../apps/deck/1.18.5",
    )


def test_what_is_there_is_left_and_a_stand_in_gives_way_to_the_artefact() -> None:
    code = nextcloud.nextcloud_code(PATHS, "nextcloud-server-34", ["deck"], "/srv")
    lines = ["/srv/code/34.0.4 ", "/srv/code/current 34.0.4", "/srv/apps/deck/1.18.5 ", "/srv/apps/deck/1.18.5/.stand-in "]
    names = lambda those: [place["artefact"] for place in those]  # noqa: E731 # a word for what the lines below say four times
    assert names(nextcloud.not_unpacked(code, lines, ["nextcloud-app-deck"])) == []
    assert names(nextcloud.not_unpacked(code, lines, [])) == ["nextcloud-app-deck"]
    assert names(nextcloud.not_unpacked(code, [], [])) == list(PATHS)
    assert names(nextcloud.not_linked(code, lines)) == ["nextcloud-app-deck"]
    assert nextcloud.nextcloud_moves(code, lines) == []
    gone = ["/srv/custom_apps/polls ../apps/polls/9", "/srv/custom_apps/deck ../apps/deck/1"]
    assert nextcloud.no_longer(gone, code) == ["/srv/custom_apps/polls"]


def test_what_moves_is_what_is_linked_to_another_version() -> None:
    code = nextcloud.nextcloud_code(PATHS, "nextcloud-server-34", ["deck"], "/srv")
    lines = ["/srv/code/33.0.9 ", "/srv/code/current 33.0.9", "/srv/custom_apps/deck ../apps/deck/1.18.4"]
    moves = nextcloud.nextcloud_moves(code, lines)
    assert nextcloud.nextcloud_said(moves, code) == "Nextcloud 33.0.9 -> 34.0.4, deck 1.18.4 -> 1.18.5"
    assert nextcloud.not_linked(code, lines) == code and nextcloud.move_flaws(moves) == []
    # of an app that never was on nothing is in the database
    state = {"config": {"apps": {"core": {"installed_version": "33"}, "deck": {"enabled": "no"}}}}
    assert [move["name"] for move in nextcloud.nextcloud_moves(code, lines, state)] == ["Nextcloud"]
    state["config"]["apps"]["deck"]["installed_version"] = "1.18.4"
    assert nextcloud.nextcloud_moves(code, lines, state) == nextcloud.nextcloud_moves(code, lines, {"config": {}}) == moves
    assert nextcloud.nextcloud_said([], code).startswith("Nothing moves: Nextcloud 34.0.4")
    assert "its database follows" in nextcloud.nextcloud_said([], code, behind=True)


@pytest.mark.parametrize(
    ("name", "was", "new", "said"),
    [
        ("Nextcloud", "34.0.3", "34.0.4", ""),
        ("Nextcloud", "33.0.9", "34.0.4", ""),
        ("Nextcloud", "32.0.1", "34.0.4", "33 is next"),
        ("Nextcloud", "34.0.5", "34.0.4", "is older than 34.0.5"),
        ("Nextcloud", "34.0.10", "34.0.9", "is older than 34.0.10"),
        ("deck", "1.9.0", "1.18.5", ""),
        ("deck", "1.18.5", "3.0.0", ""),
        ("deck", "1.18.5", "1.9", "is older than 1.18.5"),
    ],
)
def test_upgrades_go_one_major_version_at_a_time_and_never_back(name: str, was: str, new: str, said: str) -> None:
    flaws = nextcloud.move_flaws([{"name": name, "artefact": "the-pin", "from": was, "version": new}])
    assert [flaw for flaw in flaws if said in flaw and flaw.startswith(f"the-pin: {new} ")] == flaws and bool(flaws) == bool(said)


def test_apps_that_were_on_stay_on() -> None:
    assert nextcloud.enabled_of(STATE, ["deck", "tasks", "absent"]) == ["deck"]
    assert nextcloud.upgrade_flaws(STATE, ["deck"]) == []
    assert nextcloud.upgrade_flaws(STATE, ["deck", "tasks"]) == [
        "tasks was turned off, as its version is none for this Nextcloud"
    ]


def test_status_php_is_judged_by_what_is_due() -> None:
    good = {"installed": True, "maintenance": False, "needsDbUpgrade": False, "version": "34.0.4.1"}
    flaws = nextcloud.answer_flaws
    assert flaws(good) == flaws(good, version="34.0.4") == flaws(good | {"maintenance": True}, closed=True) == []
    assert flaws(good, version="34.0.5") == ["status.php says 34.0.4.1"]
    assert flaws({}) and flaws(good | {"installed": False}) and flaws(good | {"maintenance": True})
    assert flaws(good | {"needsDbUpgrade": True}) and not flaws(good | {"needsDbUpgrade": True}, behind=True)


def test_there_is_room_for_a_snapshot_or_it_is_said_how_much_there_is() -> None:
    assert nextcloud.room_flaws("10 10", "/srv") == []
    assert "room for 9 MiB" in nextcloud.room_flaws("10 9", "/srv")[0]


def test_a_failure_is_said_by_its_command_or_by_its_message() -> None:
    assert (
        nextcloud.what_failed({"msg": "non-zero return code", "stdout": "a\nUpdate failed\n", "stderr": "b"})
        == "a / Update failed / b"
    )
    assert nextcloud.what_failed({"msg": "deck was turned off", "stdout": ""}) == "deck was turned off"


def test_a_failure_is_not_lost_in_where_it_was_thrown_and_how_far_it_was() -> None:
    bars = "\n".join(f"   {number}/40 [->--------------------------]   {number}%" for number in range(40))
    trace = "\n".join(f"#{number} /var/lib/nextcloud/code/33.0.3/occ(33): call()" for number in range(14))
    said = f"Updating database schema\nTypeError: none given\nStack trace:\n{trace}\n#14 {{main}}\n"
    failed = "Updating database schema / TypeError: none given"
    assert nextcloud.what_failed({"rc": 1, "stdout": said, "stderr": f" Starting ...\n{bars}\n\n"}) == failed
    assert nextcloud.what_failed({"rc": 5, "stdout": "\n".join("abcdefghijklm"), "stderr": "z"}).split(" / ") == [
        *"defghijklm",
        "z",
    ]


def test_who_was_killed_says_nothing_so_it_is_said() -> None:
    failed = nextcloud.what_failed({"rc": 255, "stdout": "Updating database schema", "stderr": ""})
    assert failed.startswith("Updating database schema / it was killed; journalctl -u upgrade-nextcloud")
    fatal = "PHP Fatal error:  Allowed memory size of 536870912 bytes exhausted"
    assert nextcloud.what_failed({"rc": 255, "stdout": "", "stderr": fatal}) == fatal


@pytest.mark.parametrize(
    ("said", "flaws"),
    [
        ("[]", []),
        ("integrity:check-core can not be used on git checkouts", []),
        ('{"FILE_MISSING":{"dist/a.js":{"expected":"0","current":""}}}', ["missing: dist/a.js"]),
        (
            json.dumps({"INVALID_HASH": {f"core/{number}": {} for number in range(7)}, "EXTRA_FILE": {"x.php": {}}}),
            ["changed: core/0, core/1, core/2, core/3, core/4 and 2 more", "not its maker's: x.php"],
        ),
        ('{"EXCEPTION":{"class":"X","message":"Signature data not found."}}', ["Signature data not found."]),
    ],
)
def test_code_that_is_not_its_makers_is_named(said: str, flaws: list[str]) -> None:
    assert nextcloud.integrity_flaws(f"Nextcloud is in maintenance mode\n{said}\n") == flaws


def test_only_what_differs_is_done() -> None:
    assert plan(STATE, {"files": {"default_quota": "5 GB"}}, on=("deck",), off=("tasks", "absent")) == NOTHING
    assert plan(STATE, {"files": {"default_quota": "6 GB"}})["import"] is True
    assert plan(STATE, on=("tasks",), off=("deck",)) == NOTHING | {"enable": ["tasks"], "disable": ["deck"]}
    strange = json.loads(json.dumps(STATE))
    strange["config"]["system"]["defaultapp"] = "x"
    strange["provider"]["settings"]["mappingUid"] = "email"
    assert plan(strange) == NOTHING | {"delete": ["defaultapp"], "tie": True}


def test_a_value_is_the_same_typed_and_as_text() -> None:
    typed = {"config": {"apps": {"a": {"on": True, "off": False, "size": 5}}}, "provider": STATE["provider"]}
    assert plan(typed, {"a": {"on": "1", "off": "0", "size": "5"}})["import"] is False
    assert plan(typed, {"a": {"on": "0"}})["import"] is True


def test_nothing_read_is_nothing_there() -> None:
    state = nextcloud.nextcloud_state('status {"installed": false}\nconfig \nprovider Provider not found\n')
    assert state == {"status": {"installed": False}, "config": {}, "provider": {}, "admin": {}}
    assert plan(state)["tie"] is True


def test_values_that_nextcloud_would_not_take_are_named() -> None:
    assert nextcloud.value_flaws({"a": {"on": "yes", "size": 5, "none": ""}}, {"x": False, "y": [], "z": ""}) == []
    wrong = nextcloud.value_flaws({"a": {"on": True, "off": None, "some": ["x"], "half": 1.5}}, {"x": None})
    said = (
        "nextcloud_app_settings.a.on",
        "nextcloud_app_settings.a.off",
        "nextcloud_app_settings.a.some",
        "nextcloud_app_settings.a.half",
    )
    assert [flaw.split(":")[0] for flaw in wrong] == [*said, "nextcloud_settings.x"]


def test_values_are_written_as_php_reads_them() -> None:
    assert nextcloud.php(r"\OC\Memcache' . 'x") == r"'\\OC\\Memcache\' . \'x'"
    assert nextcloud.php({"a": [True, 1, 1.5], "b": {}}) == "[\n  'a' => [\n    true,\n    1,\n    1.5,\n  ],\n  'b' => [],\n]"


def test_the_web_server_has_a_way_to_what_tells_clients_as_long_as_its_app_is_listed() -> None:
    given = yaml.safe_load((ROLE.parents[1] / "group_vars/nextcloud.yml").read_text())
    given |= {"coop_domain": "coop.test", "coop_languages": ["fr", "nl"]}
    extra = trust_as_template(given["nextcloud_manifest"]["vhosts"][0]["extra"])

    def has_way(apps: list[dict[str, Any]]) -> bool:
        text = str(Templar(loader=DataLoader(), variables=given | {"nextcloud_apps": apps}).template(extra))
        assert "location = /robots.txt" in text and "{%" not in text
        return (
            re.search(r"location \^~ /push/ \{[^}]*proxy_pass http://unix:/run/nextcloud-push/push.sock;\n\}\n", text) is not None
        )

    assert has_way(given["nextcloud_apps"]) and not has_way([{"name": "deck"}])
