"""The conventions of the repository, so that nobody has to remember them (CONTRIBUTING.md).

PERRON_ROOT: another tree to judge, as the test of bin/new-role does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(os.environ.get("PERRON_ROOT", Path(__file__).resolve().parents[2]))
ROLES = sorted(path for path in ROOT.glob("roles/*") if path.is_dir())
PLAYBOOKS = sorted(ROOT.glob("playbooks/**/*.yml"))
NOT_OURS = {".git", ".venv", ".lab", ".cache", "__pycache__", ".mypy_cache", ".ruff_cache", ".ansible"}
# The rest of the Internet in the lab and what serves the lab alone: they may know the lab's names
OF_THE_LAB = {"roles/world", "playbooks/lab", "inventories", "tests", "molecule"}


class Loader(yaml.CSafeLoader):
    """YAML with Ansible's own tags."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))  # type: ignore[no-untyped-call]


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=Loader)  # noqa: S506 # a safe one


def specs(role: Path) -> dict[str, Any]:
    path = role / "meta/argument_specs.yml"
    assert path.exists(), f"{role.name}: meta/argument_specs.yml is missing; bin/new-role shows what it looks like"
    return dict(load(path)["argument_specs"])


def options(role: Path, entry: str = "main") -> dict[str, Any]:
    return dict(specs(role).get(entry, {}).get("options") or {})


def texts(*places: Path) -> Iterator[tuple[str, str]]:
    """Path below the root, and text, of our own files there."""
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and not NOT_OURS & set(path.relative_to(ROOT).parts):
                yield str(path.relative_to(ROOT)), path.read_text(errors="replace")


def without_comments(text: str) -> str:
    return re.sub(r"\{#.*?#\}|^\s*#.*$|\s#\s.*$", "", text, flags=re.MULTILINE | re.DOTALL if "{#" in text else re.MULTILINE)


def tasks(content: Any) -> Iterator[dict[str, Any]]:
    """Every task of a file, those in blocks and plays too."""
    for item in content or []:
        if isinstance(item, dict):
            yield item
            for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
                yield from tasks(item.get(key))


@pytest.fixture(params=ROLES, ids=[role.name for role in ROLES])
def role(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


# A role's interface


def test_defaults_are_what_is_specified(role: Path) -> None:
    spec, defaults = options(role), load(role / "defaults/main.yml") or {}
    required = {name for name, option in spec.items() if option.get("required")}
    assert set(defaults) == set(spec) - required, (
        "defaults/main.yml and the options of meta/argument_specs.yml must name the same"
    )
    for name in defaults:
        assert "default" in spec[name], (
            f"{name}: say the default in meta/argument_specs.yml too, the documentation comes from there"
        )
        assert spec[name]["default"] == defaults[name], f"{name}: two defaults; make them one"


def test_every_option_is_described_and_bears_the_roles_name(role: Path) -> None:
    for name, option in options(role).items():
        assert option.get("description"), f"{name}: needs a description"
        assert option.get("type"), f"{name}: needs a type"
        assert name.startswith(f"{role.name}_"), f"{name}: must begin with {role.name}_"


def test_a_role_reads_its_own_variables_only(role: Path) -> None:
    others = [other for other in ROLES if other != role and (other / "meta/argument_specs.yml").exists()]
    theirs = {name for other in others for entry in specs(other) for name in options(other, entry)}
    theirs -= {name for entry in specs(role) for name in options(role, entry)} | {"secure_logging"}
    theirs -= {"member", "house", "purge"}  # words, too
    places = [role / part for part in ("defaults", "tasks", "templates", "handlers", "vars") if (role / part).exists()]
    # what it gives to the entry point of another is that one's to name
    other_roles = {"ansible.builtin.include_role", "ansible.builtin.import_role"}
    includes = [task for path in role.glob("tasks/**/*.yml") for task in tasks(load(path)) if other_roles & set(task)]
    theirs -= {name for task in includes for name in task.get("vars") or {}}
    for path, text in texts(*places):
        read = theirs & set(re.findall(r"(?<![\w.'\"/-])[a-z_]\w*", without_comments(text)))
        assert not read, f"{path}: reads {', '.join(sorted(read))}; give the role a variable, and wire it in group_vars/"


def test_the_role_says_what_it_is(role: Path) -> None:
    info = load(role / "meta/main.yml")["galaxy_info"]
    assert info["license"] == "AGPL-3.0-or-later" and info["description"] and info["min_ansible_version"] == "2.21"
    assert {"name": "Debian", "versions": ["trixie"]} in info["platforms"]


def test_the_table_is_fresh(role: Path) -> None:
    run = subprocess.run([ROOT / "bin/role-docs", "--check", role.name], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_scenario_tries_good_and_bad_input(role: Path) -> None:
    scenario = ROOT / "molecule" / role.name
    for name in ("molecule.yml", "converge.yml", "test_*.py"):
        assert any(scenario.glob(name)), f"molecule/{role.name}/{name} is missing; bin/new-role shows what it looks like"
    converge = "".join(path.read_text() for path in sorted(scenario.glob("*.yml")))
    assert "rescue:" in converge, "invalid input is refused: a block in converge.yml whose rescue reads the message"


# Itself, what makes the secrets that it asks for, and what begins with a playbook that begins with it
WITHOUT_PREFLIGHT = {"preflight.yml", "secrets.yml", "site.yml"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("playbooks/*.yml")), ids=lambda path: path.name)
def test_a_playbook_begins_with_preflight(path: Path) -> None:
    first = load(path)[0].get("ansible.builtin.import_playbook")
    if path.name == "site.yml":
        assert load(path.with_name(first))[0].get("ansible.builtin.import_playbook") == "preflight.yml"
    else:
        assert (first == "preflight.yml") != (path.name in WITHOUT_PREFLIGHT), (
            f"playbooks/{path.name}: its first entry imports preflight.yml"
        )


# How it does it


def test_the_table_of_contents_has_the_tags(role: Path) -> None:
    main = load(role / "tasks/main.yml")
    if role.name == "packages":  # has those of the role that imports it
        assert not any("tags" in task for task in main)
        return
    allowed = {role.name, f"{role.name}_install", f"{role.name}_configure"}
    for task in main:
        tags = set(task.get("tags") or [])
        assert role.name in tags, f"'{task.get('name')}' of tasks/main.yml: needs the tag {role.name}"
        assert tags <= allowed, f"'{task.get('name')}' of tasks/main.yml: only the tags {', '.join(sorted(allowed))}"
    imports = [task for task in main if set(task) & {"ansible.builtin.import_tasks", "ansible.builtin.include_tasks"}]
    assert imports == main, "tasks/main.yml is a table of contents: tasks are in the files that it imports"


def test_a_rescue_ends_in_a_failure(role: Path) -> None:
    """With any_errors_fatal, what one host rescues ends the run of all the others, silently: `ignore_errors` does not."""
    for path in role.glob("tasks/**/*.yml"):
        for task in tasks(load(path)):
            assert "rescue" not in task or "ansible.builtin.fail" in task["rescue"][-1], (
                f"{path.relative_to(ROOT)}: {task['name']}: to go on after a failure, register it and say ignore_errors"
            )


# Of a set that restarts a daemon: named by a variable or an item, a unit, or for others to read
NOT_READ = "{|/systemd/|^/etc/certificates/reload.d/|^/etc/logrotate.d/|^/etc/sudoers.d/"


def test_units_say_what_a_restart_is_for(role: Path) -> None:
    """Or the handler of a run that was killed is lost for good: base compares what a unit says it reads with its last start."""
    if role.name == "world":  # the lab's
        return
    said = " ".join(line for _, text in texts(role) for line in re.findall("^X-Reads=(.*)", text, re.MULTILINE))
    for path in role.glob("tasks/**/*.yml"):
        for task in tasks(load(path)):
            called = " ".join(task["notify"] if isinstance(task.get("notify"), list) else [task.get("notify", "")])
            if not re.search("Restart|Reload (?!systemd)", called):
                continue
            for entry in task.get("file_set", {}).get("files", []):
                read = entry["dest"]
                if entry.get("state") not in ("directory", "link") and not re.search(NOT_READ, read):
                    assert any(fnmatch(read, pattern) or read.startswith(f"{pattern}/") for pattern in said.split()), (
                        f"{path.relative_to(ROOT)}: {task['name']}: add {read} to X-Reads= in the unit's file or drop-in"
                    )


def test_debian_packages_come_by_the_role_packages(role: Path) -> None:
    for path in role.glob("tasks/**/*.yml"):
        for task in tasks(load(path)):
            arguments = task.get("ansible.builtin.apt") or {}
            assert role.name == "packages" or "name" not in arguments or "state" in arguments, (
                f"{path.relative_to(ROOT)}: {task['name']}: import the role packages, whose README has an example"
            )


def test_what_the_role_packages_is_given_is_judged_here(role: Path) -> None:
    """And not on each host in each run, as it is the same in all of them."""
    known = load(ROOT / "roles/packages/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    for path in role.glob("tasks/**/*.yml"):
        for task in tasks(load(path)):
            imported = task.get("ansible.builtin.import_role") or {}
            if imported.get("name") == "packages":
                where = f"{path.relative_to(ROOT)}: {task['name']}"
                assert imported == {"name": "packages", "rolespec_validate": False}, f"{where}: import it as its README has it"
                given = task["vars"]
                assert not given.keys() - known.keys(), f"{where}: the role packages knows {', '.join(known)}"
                assert isinstance(given["packages_names"], list | str), f"{where}: packages_names is a list"
                assert isinstance(given.get("packages_started", True), bool), f"{where}: packages_started is a boolean"


def test_templates_are_placed_in_sets(role: Path) -> None:
    for path in role.glob("tasks/**/*.yml"):
        for task in tasks(load(path)):
            assert "ansible.builtin.template" not in task or role.name == "world", (
                f"{path.relative_to(ROOT)}: {task['name']}: place it by file_set, in a set with what belongs to it"
            )


def test_templates_say_who_manages_them(role: Path) -> None:
    for path in sorted(role.glob("templates/**/*.j2")):
        if path.name.endswith(".json.j2"):  # JSON has no comments
            continue
        # a script's first line is its interpreter's; #jinja2: is Ansible's own
        head = [line for line in path.read_text().splitlines() if not line.startswith(("#!", "#jinja2:"))][:1]
        assert head and "ansible_managed | comment" in head[0], (
            f"{path.relative_to(ROOT)}: begin with {{{{ ansible_managed | comment }}}}"
        )


def test_secrets_are_hidden_by_choice_and_nothing_waits_blindly(role: Path) -> None:
    files = [*role.glob("tasks/**/*.yml"), *role.glob("handlers/*.yml")]
    for path in files:
        for task in tasks(load(path)):
            assert task.get("no_log") is not True, f'{path.relative_to(ROOT)}: {task["name"]}: no_log: "{{{{ secure_logging }}}}"'
            assert "ansible.builtin.pause" not in task, f"{path.relative_to(ROOT)}: {task['name']}: wait for what is awaited"


# The house


def test_every_group_has_a_playbook() -> None:
    def below(children: dict[str, Any]) -> dict[str, list[str]]:
        """Groups, and the groups below each."""
        found: dict[str, list[str]] = {}
        for name, group in children.items():
            inner = (group or {}).get("children") or {}
            found[name] = list(inner) or found.get(name, [])
            found |= {child: names for child, names in below(inner).items() if names or child not in found}
        return found

    groups = below(load(ROOT / "groups.yml")["all"]["children"])
    played = {play["hosts"] for path in PLAYBOOKS for play in load(path) or [] if "hosts" in play}
    played = {name for hosts in played for name in re.split(r"[:,&!\[]", hosts)}
    parts = {child for name in groups if name in played and name != "coop" for child in groups[name]}  # dns_primary is dns's
    assert not set(groups) - played - parts - {"coop"}, "a group of groups.yml without a playbook"
    assert not {path.stem for path in ROOT.glob("group_vars/*.yml")} - set(groups) - new_roles(), (
        "a file of group_vars/ without a group in groups.yml is never read"
    )


def new_roles() -> set[str]:
    """What bin/new-role just laid out has no group yet."""
    return {name for name in [os.environ.get("PERRON_NEW_ROLE")] if name}


def test_the_platform_is_all_its_playbooks_that_carry_a_service() -> None:
    plays = load(ROOT / "playbooks/site.yml")
    imported = {play.get("ansible.builtin.import_playbook", play.get("import_playbook")) for play in plays} - {None}
    missing = {name for name in imported if not (ROOT / "playbooks" / name).exists()}
    assert not missing, f"playbooks/site.yml imports what is not there: {', '.join(sorted(missing))}"
    groups = {path.stem for path in ROOT.glob("group_vars/*.yml")} - new_roles()
    left_out = {path.name for path in PLAYBOOKS if path.stem in groups and path.parent.name == "playbooks"} - imported
    assert not left_out, f"playbooks/site.yml does not import {', '.join(sorted(left_out))}"


def test_on_a_fresh_host_the_archive_is_found_until_there_is_a_resolver() -> None:
    """The firewall lets nobody but the resolver ask other name servers; a lab's apt asks none, and would not notice."""
    order = [play.get("ansible.builtin.import_playbook") for play in load(ROOT / "playbooks/site.yml")]
    assert order.index("resolver.yml") < order.index("firewall.yml")


def test_playbooks_use_roles_that_are_there() -> None:
    there = {role.name for role in ROLES}
    for path in PLAYBOOKS:
        for task in tasks(load(path)):
            used = [entry if isinstance(entry, str) else entry["role"] for entry in task.get("roles") or []]
            for key in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
                used += [task[key]["name"]] if key in task else []
            unknown = {name for name in used if "{{" not in name} - there
            assert not unknown, f"{path.relative_to(ROOT)}: no role {', '.join(sorted(unknown))}"


def test_nothing_but_inventories_names_a_cooperative() -> None:
    names = re.compile(r"\b(coop|famille|stranger)\.test\b")
    for path, text in texts(*(ROOT / part for part in ("roles", "playbooks", "group_vars", "filter_plugins", "groups.yml"))):
        if not any(path.startswith(place) for place in OF_THE_LAB):
            assert not names.search(text), f"{path}: names the lab's cooperative; say it with a variable, or with coop.example"


def test_no_file_knows_where_it_was_written() -> None:
    private = re.compile(r"(?<![\w.$}])/(?:work|home/[a-z]\w*|Users/\w+)/")
    for path, text in texts(ROOT):
        if path != str(Path(__file__).relative_to(Path(__file__).resolve().parents[2])):
            found = private.search(text)
            assert not found, f"{path}: '{found and found[0]}' is a path of one machine"


@pytest.mark.skipif("PERRON_NEW_ROLE" in os.environ, reason="it is this test's own run")
def test_a_new_role_keeps_the_conventions(tmp_path: Path) -> None:
    for name in ("bin", "roles", "molecule", "playbooks", "group_vars", "filter_plugins", ".config", "groups.yml"):
        subprocess.run(["cp", "-r", ROOT / name, tmp_path / name], check=True)
    laid_out = subprocess.run([tmp_path / "bin/new-role", "greeter"], capture_output=True, text=True, check=False)
    assert laid_out.returncode == 0, laid_out.stderr
    again = subprocess.run([tmp_path / "bin/new-role", "greeter"], capture_output=True, text=True, check=False)
    assert again.returncode != 0 and "nothing was written" in again.stderr
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            Path(__file__),
            "-k",
            "greeter or playbook or group or cooperative",
        ],
        env=os.environ | {"PERRON_ROOT": str(tmp_path), "PERRON_NEW_ROLE": "greeter"},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0 and "passed" in run.stdout, run.stdout


def test_journeys_find_what_they_share() -> None:
    """Said here in seconds, and not by the first journey, half an hour later."""
    directory = ROOT / "tests/journeys"
    names = [path.stem for path in directory.glob("test_*.py")]
    run = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(names)}"], cwd=directory, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
