"""A machine that will not do is told so in one message, with the mend, before anything is begun on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT

# what the machine has, in the place of its own commands; what is asked of it; what is said
MACHINES = {
    "another system": (
        "printf 'ID=ubuntu\\nVERSION_ID=24.04\\n' >$run/os-release; system=$run/os-release",
        "supported_system",
        "unsupported system 'ubuntu 24.04'",
        "Debian 12 or 13",
    ),
    "no room for containers": (
        "df() { echo 3G; }",
        "disk_space",
        "3 GiB free under /var/lib, the lab needs 8",
        "free some space",
    ),
    "no room for packages": (
        "df() { case $3 in /var/lib) echo 50G ;; *) echo 2G ;; esac; }",
        "disk_space",
        "2 GiB free under /var/cache/perron, the lab needs 3",
        "free some space",
    ),
    "no podman to be had": (
        "dpkg-query() { return 1; }; apt-get() { echo 'E: Unable to locate package podman'; return 100; }",
        "controller_packages",
        "apt could not install",
        "does 'apt-get update' work?",
    ),
    "an old Python": ("command() { return 1; }", "find_python", "no Python 3.12 or later with venv", "apt install python3-venv"),
    "no archive": ("apt-get() { :; }", "apt_mirror debian", "apt on this machine lists no archive 'debian'", "sources.list.d"),
}


def told(directory: Path, machine: str, asked: str) -> subprocess.CompletedProcess[str]:
    script = f"cd {ROOT}; . bin/lib.sh; run={directory}; {machine}; {asked}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("machine", "asked", "wrong", "mend"), MACHINES.values(), ids=MACHINES)
def test_what_will_not_do_is_said_with_its_mend(tmp_path: Path, machine: str, asked: str, wrong: str, mend: str) -> None:
    done = told(tmp_path, machine, asked)
    assert done.returncode == 1, done.stdout + done.stderr
    said = done.stderr.split("\n  mend: ")
    assert len(said) == 2 and wrong in said[0] and mend in said[1], done.stderr


def test_a_machine_that_will_do_is_told_nothing(tmp_path: Path) -> None:
    for machine, asked in (
        ("printf 'ID=debian\\nVERSION_ID=\"13\"\\n' >$run/os-release; system=$run/os-release", "supported_system"),
        ("df() { echo 50G; }", "disk_space"),
    ):
        done = told(tmp_path, machine, asked)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


def test_what_was_cut_short_fails_the_run(tmp_path: Path) -> None:
    """A check that ends without a word, for want of memory say, is none that passed."""
    functions = subprocess.run(
        ["sed", "-n", r"/^check() {/,/^}/p;/^beside() {/,/^}/p;/^all_beside() {/,/^}/p;/^table() {/,/^}/p", ROOT / "bin/test"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    script = f"set -euo pipefail; logs={tmp_path}; results={tmp_path}/results; parallel=2; declare -a processes=(); {functions}"
    good = "beside check unit one true; beside check unit two true"
    for checks, code in ((good, 0), (f"{good}; beside sh -c 'kill -9 $$'", 1), ("beside check unit three false", 1)):
        (tmp_path / "results").write_text("")
        done = subprocess.run(
            ["bash", "-c", f"{script}\n{checks}; all_beside; table"], capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr


# bin/lab itself, in a place of its own: nothing of the machine is asked or touched
STUBS = {
    # a world container of the checkout in `holder`, which runs if there is a file `running`
    "bin/podman": """
        here=$(dirname "$0")/..
        echo "$*" >>"$here/podman.log"
        case $* in
          inspect*perron-world) cat "$here/holder" 2>/dev/null ;;
          "ps --quiet"*) [ ! -e "$here/running" ] || echo 4711 ;;
          "ps --all --filter label=perron="*) printf '%s\\n' 'perron-world host' 'perron-dyle host' 'perron-apt cache' ;;
        esac""",
    "stubs/ansible-inventory": 'echo \'{"_meta": {"hostvars": {}}}\'',
    "stubs/ssh-keygen": "",
    # (a step of `up` that takes long, and a process of its own that it waits for)
    "stubs/ansible-playbook": 'sleep 300 & echo $! >"$PERRON_STATE/../child"; wait',
}
MACHINE = """
run={0}/run cache={0}/cache
as_root() {{ :; }}
supported_system() {{ :; }}
forget_the_dead() {{ :; }}
foundation() {{ :; }}
virtual_environment() {{ :; }}
apt_mirror() {{ echo http://archive.test/debian; }}
no_bridge() {{ :; }}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in STUBS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{textwrap.dedent(text)}\n")
        (tmp_path / name).chmod(0o755)
    shutil.copy(ROOT / "bin/lab", tmp_path / "bin/lab")
    (tmp_path / "bin/lib.sh").write_text((ROOT / "bin/lib.sh").read_text() + MACHINE.format(tmp_path))
    return tmp_path


def lab(checkout: Path, *words: str) -> subprocess.Popen[str]:
    """A group of its own, as a terminal's shell makes it, which hears Ctrl-C though these tests may run where nobody does."""
    return subprocess.Popen(
        [checkout / "bin/lab", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=os.environ | {"PATH": f"{checkout}/stubs:{os.environ['PATH']}"},
    )  # fmt: skip


def one_message(process: subprocess.Popen[str], seconds: float = 20) -> tuple[str, str]:
    """What it says as it fails, and the mend."""
    _, said = process.communicate(timeout=seconds)
    assert process.returncode == 1, said
    assert said.count("mend: ") == 1, said
    wrong, mend = said.split("\n  mend: ")
    assert wrong.startswith("\nlab: ") and wrong.count("\n") == 1, said
    return wrong, mend.strip()


def alive(checkout: Path) -> bool:
    """Is what the step began still there?"""
    process = Path("/proc", (checkout / "child").read_text().strip(), "stat")
    return process.exists() and process.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def until(what: str, look: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def under_way(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """A `bin/lab` in the middle of a step."""
    process = lab(checkout)
    until("a step begins", lambda: (checkout / "child").exists() and (checkout / "child").read_text().endswith("\n"))
    yield process
    if alive(checkout):  # a proof that failed
        os.kill(int((checkout / "child").read_text()), signal.SIGKILL)
    process.kill()


def test_another_checkout_is_told_who_has_the_lab(checkout: Path) -> None:
    other = checkout / "other"
    (other / "bin").mkdir(parents=True)
    (checkout / "holder").write_text(f"{other}\n")
    (checkout / "running").touch()
    for words in ((), ("destroy",), ("status",)):
        if words == ("status",):
            (checkout / ".venv/bin").mkdir(parents=True)
            shutil.copy(checkout / "stubs/ssh-keygen", checkout / ".venv/bin/ansible-playbook")
        wrong, mend = one_message(lab(checkout, *words))
        assert wrong.endswith(f"the lab of this machine belongs to {other}")
        assert mend == f"use it there, or free it with {other}/bin/lab destroy"
    assert " rm " not in (checkout / "podman.log").read_text().replace("\n", " ")
    assert not (checkout / "child").exists()


@pytest.mark.parametrize("left", ["its directory is gone", "its world does not run"])
def test_what_another_checkout_left_behind_is_cleared_away(checkout: Path, left: str) -> None:
    other = checkout / "other"
    if left == "its directory is gone":
        (checkout / "running").touch()
    else:
        (other / "bin").mkdir(parents=True)
    (checkout / "holder").write_text(f"{other}\n")
    process = lab(checkout, "destroy")
    said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert f"removing what {other} left behind" in said[0]
    removed = [line for line in (checkout / "podman.log").read_text().splitlines() if line.startswith("rm ")]
    # the apt cache is the machine's
    assert removed[0] == "rm --force --time 0 perron-world perron-dyle", removed


def test_one_at_a_time(checkout: Path, under_way: subprocess.Popen[str]) -> None:
    wrong, mend = one_message(lab(checkout))
    assert wrong.endswith("another bin/lab is at work on this machine")
    assert mend.startswith("wait until it ends, or end it: kill ")
    assert under_way.poll() is None and alive(checkout)
    # as it says; and then there is room
    subprocess.run(["bash", "-c", mend.rsplit(": ", 1)[1]], check=True)
    assert "interrupted" in one_message(under_way)[0]
    until("its child ends", lambda: not alive(checkout))
    process = lab(checkout, "destroy")
    assert process.wait(timeout=20) == 0, process.communicate()


def test_what_outlives_a_killed_one_is_ended_as_it_says(checkout: Path, under_way: subprocess.Popen[str]) -> None:
    under_way.kill()
    under_way.wait()
    assert alive(checkout)
    _, mend = one_message(lab(checkout))
    subprocess.run(["bash", "-c", mend.rsplit(": ", 1)[1]], check=True)
    until("its child ends", lambda: not alive(checkout))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda sent: sent.name)
@pytest.mark.parametrize("whom", [os.kill, os.killpg], ids=["it alone", "its group, as a terminal does"])
def test_interrupted(
    checkout: Path, under_way: subprocess.Popen[str], sent: signal.Signals, whom: Callable[[int, int], None]
) -> None:
    whom(under_way.pid, sent)
    wrong, mend = one_message(under_way)
    assert wrong.endswith("interrupted")
    assert mend == "run bin/lab again: it goes on where it was"
    until("its child ends", lambda: not alive(checkout))


def test_a_step_that_fails_is_the_last(checkout: Path) -> None:
    stub = checkout / "stubs/ansible-playbook"
    stub.write_text(f"#!/bin/sh\necho 'fatal: no room' && touch {checkout}/child$(ls {checkout} | grep -c child) && exit 2\n")
    wrong, mend = one_message(lab(checkout))
    assert wrong.endswith("playbooks/secrets.yml did not end well") and "bin/lab goes on from there" in mend
    assert (checkout / "child0").exists() and not (checkout / "child1").exists()


@pytest.mark.parametrize(
    "words", [("dance",), ("up", "now"), ("destroy", "everything"), ("run",), ("shell", "yser")], ids=" ".join
)
def test_words_it_does_not_know(checkout: Path, words: tuple[str, ...]) -> None:
    (checkout / "bin/podman").write_text('#!/bin/sh\n[ "$1 $2" != "container exists" ]\n')
    process = lab(checkout, *words)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.count("mend: usage: bin/lab ") == 1, said
    assert not (checkout / "child").exists()


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help_is_no_failure(checkout: Path, word: str) -> None:
    process = lab(checkout, word)
    said, wrong = process.communicate(timeout=20)
    assert (process.returncode, wrong) == (0, "")
    assert said.startswith("usage: bin/lab ")
