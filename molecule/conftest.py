"""What the scenarios' tests share. pytest finds the fixtures by itself; the rest is imported from `conftest`."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from testinfra.backend import BACKENDS
from testinfra.backend.base import CommandResult
from testinfra.backend.ssh import SshBackend

ROOT = Path(__file__).parents[1]
SSH_CONFIG = ROOT / ".config/lab/ssh_config"
CONTAINER = os.environ["PERRON_CONTAINER"]
# Who signs the certificates of scenarios that need one
AUTHORITY = "/usr/local/share/ca-certificates/scenario.crt"
Run = Callable[..., subprocess.CompletedProcess[str]]


class Ssh(SshBackend):
    """testinfra takes exit code 255 for SSH's own; other commands have it, too (LDAP's tools, Perl that dies): 254 here."""

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        return self.run_ssh(f"{self.get_command(command, *args)}\ncode=$?; exit $((code == 255 ? 254 : code))")


BACKENDS["ssh"] = f"{__name__}.{Ssh.__name__}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure, what its host's journal said meanwhile: a time-out alone tells nothing of its cause."""
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and host:
        journal = host.run(f"journalctl --since @{call.start:.0f} -n 100 -o short-precise --no-hostname")
        report.sections.append(("Journal of the host", journal.stdout))
    return report


def eventually[T](look: Callable[[], T], seconds: float = 60) -> T:
    """The first true answer; the last one if none came in time."""
    deadline = time.monotonic() + seconds
    while not (answer := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    """The container's own."""
    return str(host.check_output("hostname -I").split()[0])


@pytest.fixture(scope="module")
def tls(host: Any) -> ssl.SSLContext:
    """A client that trusts the scenario's authority alone."""
    return ssl.create_default_context(cadata=host.file(AUTHORITY).content_string)


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.Popen[str]]:
    """Starts a playbook with the real groups and group_vars, the scenario's container being the host of all groups named."""
    where = tmp_path_factory.mktemp("inventory")
    # Beside the inventory, as the real ones have it: what is in the inventory itself gives way to the house's defaults
    house = {
        "coop_domain": "coop.test",
        "coop_member_domains": ["famille.test"],
        "coop_name": "Coopérative d'essai",
        "secure_logging": True,
        # an inventory of one host does not hold; preflight has a scenario of its own
        "__preflight_done": True,
    }
    host = {
        "ansible_ssh_common_args": f"-F {SSH_CONFIG}",
    }
    (where / "group_vars").mkdir()
    (where / "group_vars/all.yml").write_text(json.dumps(house))

    def start(
        playbook: str, *arguments: str, groups: Sequence[str], variables: Mapping[str, Any] | None = None
    ) -> subprocess.Popen[str]:
        hosts = {"hosts": {CONTAINER: host | dict(variables or {})}}
        inventory = where / f"{'-'.join(groups)}.yml"
        inventory.write_text(json.dumps({"all": {"children": dict.fromkeys(groups, hosts)}}))
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            # facts are gathered once, as production does it
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(where / "facts"),
            "ANSIBLE_FORCE_COLOR": "false",
            "PWD": str(ROOT),
        }
        command = ["ansible-playbook", "-i", "groups.yml", "-i", str(inventory), playbook, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    return start


@pytest.fixture(scope="module")
def play(begin: Callable[..., subprocess.Popen[str]]) -> Run:
    """Runs such a playbook."""

    def run(*arguments: str, **given: Any) -> subprocess.CompletedProcess[str]:
        process = begin(*arguments, **given)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    return run
