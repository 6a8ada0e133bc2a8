"""The module that places files, run as Ansible runs it, on the machine itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT


def placed(*files: dict[str, Any], check: bool = False, **variables: Any) -> dict[str, Any]:
    """What the module answers, and as `shown` all of what Ansible says."""
    command = ["ansible", "-i", "localhost,", "-c", "local", "localhost", "-m", "file_set", "-a", json.dumps({"files": files})]
    command += ["-e", json.dumps(variables)] + (["--check", "--diff"] if check else [])
    as_json = os.environ | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    said = subprocess.run(command, cwd=ROOT, env=as_json, stdout=subprocess.PIPE, text=True).stdout
    answer, _ = json.JSONDecoder().raw_decode(said[said.index("=> ") + 3 :])
    return dict(answer) | {"shown": said}


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o7777)


def test_files_directories_and_links_in_one_go(tmp_path: Path) -> None:
    page = tmp_path / "page.html.j2"
    page.write_text("# {{ ansible_managed }}\n{% if true %}\n<p>{{ title }} {{ item }}</p>\n{% endif %}\n")
    there = tmp_path / "there"
    languages = [{"name": "fr"}, {"name": "nl"}]
    files = [
        {"dest": f"{there}/deep", "state": "directory", "mode": "2750"},
        {
            "dest": f"{there}/deep/{{item[name]}}.html",
            "template": str(page),
            "each": languages,
            "mode": "0640",
        },
        {"dest": f"{there}/as-it-is", "copy": str(page), "mode": "0755"},
        {"dest": f"{there}/written", "content": "été\n", "mode": "0600"},
        {"dest": f"{there}/link", "state": "link", "src": "written"},
    ]
    first = placed(*files, title="Bonjour")
    assert first["changed"] and len(first["written"]) == 6, first
    assert (there / "deep/fr.html").read_text() == "# Ansible managed\n<p>Bonjour {'name': 'fr'}</p>\n"
    assert (there / "as-it-is").read_text() == page.read_text()
    assert (there / "link").read_text() == "été\n"
    assert [mode(there / name) for name in ("deep", "deep/nl.html", "as-it-is", "written")] == [
        "0o2750",
        "0o640",
        "0o755",
        "0o600",
    ]
    assert not placed(*files, title="Bonjour")["changed"]

    (there / "written").chmod(0o666)
    (there / "as-it-is").write_text("someone else's\n")
    (there / "link").unlink()
    (there / "link").symlink_to("/dev/null")
    mended = placed(*files, title="Bonjour")
    assert sorted(mended["written"]) == [f"{there}/{name}" for name in ("as-it-is", "link", "written")]
    assert mode(there / "written") == "0o600" and (there / "link").read_text() == "été\n"


def test_one_that_its_judge_refuses_keeps_the_others_from_being_placed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    bad.write_text("fine\n")
    judge = "grep -x fine %s"
    said = placed(
        {"dest": str(good), "content": "fine\n", "mode": "0644", "validate": judge},
        {"dest": str(bad), "content": "wrong\n", "mode": "0644", "validate": judge},
    )
    assert said["msg"].startswith(f"{bad}: stays as it is, grep refuses the new one (1)"), said
    assert not good.exists() and bad.read_text() == "fine\n"


def test_a_check_changes_nothing_and_knows_what_a_run_would(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("before\n")
    files = [
        {"dest": str(old), "content": "after\n", "mode": "0644", "group": "made-by-then"},
        {"dest": f"{tmp_path}/none/new", "content": "new\n", "mode": "0644", "validate": "installed-by-then %s"},
    ]
    said = placed(*files, check=True)
    assert said["written"] == [str(old), f"{tmp_path}/none/new"], said
    assert "-before\n+after\n" in said["shown"] and "+new\n" in said["shown"]
    assert [path.name for path in tmp_path.iterdir()] == ["old"] and old.read_text() == "before\n"


def test_a_file_that_is_there_by_a_condition(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    gone = {"dest": str(path), "state": "absent", "template": "/not/looked/at.j2", "mode": "0644"}
    assert placed(gone)["written"] == [str(path)] and not path.exists()
    assert not placed(gone)["changed"]


@pytest.mark.parametrize("contents", [{}, {"content": "", "copy": "x"}])
def test_a_file_has_one_content(tmp_path: Path, contents: dict[str, str]) -> None:
    said = placed(
        {"dest": f"{tmp_path}/first", "content": "", "mode": "0644"}, {"dest": f"{tmp_path}/file", "mode": "0644"} | contents
    )
    assert f"{tmp_path}/file: a file has one of template, copy, content, a directory or a link none" in said["msg"], said
    assert not (tmp_path / "first").exists()


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"dest": "file", "content": ""}, "says no mode"),
        ({"dest": "taken", "content": "", "mode": "0644"}, "is a directory, and is to be none"),
        ({"dest": "taken/file/x", "content": "", "mode": "0644"}, "there is no directory"),
        ({"dest": "taken/file", "state": "directory", "mode": "0755"}, "is to be a directory, and is none"),
        (
            {"dest": "file", "content": "", "mode": "0644", "owner": "nobody-here"},
            "its owner is to be nobody-here, whom this host",
        ),
    ],
)
def test_refused_before_anything_is_placed(tmp_path: Path, entry: dict[str, str], complaint: str) -> None:
    """By the host's half alone, which looks at it."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("")
    wrong = entry | {"dest": f"{tmp_path}/{entry['dest']}"}
    given = {"ANSIBLE_MODULE_ARGS": {"files": [{"dest": f"{tmp_path}/first", "content": "", "mode": "0644"}, wrong]}}
    done = subprocess.run([sys.executable, ROOT / "library/file_set.py"], input=json.dumps(given), capture_output=True, text=True)
    said = json.loads(done.stdout)
    assert said["msg"].startswith(f"{wrong['dest']}: {complaint}"), said
    assert not (tmp_path / "first").exists()


# What Ansible would tell the host's journal, which nobody here may read
SPY = """import runpy, sys
from ansible.module_utils.basic import AnsibleModule
AnsibleModule.log = lambda self, said, log_args=None: print(said, file=sys.stderr)
runpy.run_path(sys.argv.pop(), run_name="__main__")
"""


def test_the_journal_is_not_told_what_a_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "file"
    given = {"ANSIBLE_MODULE_ARGS": {"files": [{"dest": str(path), "content": "what it holds\n", "mode": "0644"}]}}
    command = [sys.executable, "-c", SPY, str(ROOT / "library/file_set.py")]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True)
    assert "Invoked with files=NOT_LOGGING_PARAMETER" in done.stderr and "what it holds" not in done.stderr, done.stderr
    assert json.loads(done.stdout)["written"] == [str(path)] and path.read_text() == "what it holds\n"
