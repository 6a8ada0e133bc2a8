"""A machine that will not do is told so in one message, with the mend, before anything is begun on it."""

from __future__ import annotations

import subprocess
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
