"""What the journeys share: the lab's hosts, members made as a sysadmin makes them, and clients that run on `world`.

Every client is a program a person could type (swaks, curl, dig, openssl), run on `world`, so it crosses the network and
both firewalls, and trusts only what `world` trusts. Nothing sleeps a fixed time: `until` polls with a deadline.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[2]
COOP_HOSTS = ("dyle", "lesse", "meuse")


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`bin/lab` with these arguments."""
    return subprocess.run([ROOT / "bin/lab", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def playbook(name: str, *arguments: str) -> str:
    """Run a playbook over the lab; its output. It fails the test if the playbook does."""
    done = lab("run", f"playbooks/{name}.yml", *arguments)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def until[T](what: str, look: Callable[[], T], seconds: float = 30) -> T:
    """The first true answer of `look`, asked again until `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}; the last answer was {answer!r}")
        time.sleep(0.2)
    return answer


def token() -> str:
    """A subject no other message has."""
    return f"journey-{secrets.token_hex(6)}"


def new_password() -> str:
    """Whoever passes it on to a program cannot mistake it for an option: no dash in front."""
    return secrets.token_hex(12)


@dataclass(frozen=True)
class Member:
    """A member as the tests know one."""

    login: str
    mail: str
    password: str = field(repr=False)  # a failed test prints its members
    alias: str = ""


@dataclass(frozen=True)
class Answer:
    """What a client said: its exit code, and all it printed."""

    code: int
    text: str


REFUSED = 67  # curl: the user name or the password was not accepted
# swaks' exit codes: the stage at which a server refused
TLS, AUTH, MAIL, RCPT, DATA = 29, 28, 23, 24, 26


class Clients:
    """A member's and a stranger's programs, on `world`."""

    def __init__(self, world: Host, domain: str) -> None:
        self.world = world
        self.domain = domain
        self.server = f"mail.{domain}"

    def run(self, *command: str, stdin: str | None = None) -> Answer:
        line = shlex.join(command)
        if stdin is not None:
            line = f"printf %s {shlex.quote(stdin)} | {line}"
        done = self.world.run(f"timeout 120 {line} 2>&1" if stdin is None else f"{line} 2>&1")
        return Answer(done.rc, done.stdout)

    def swaks(self, *options: str) -> Answer:
        return self.run("swaks", "--timeout", "60", *options)

    def submit(
        self, member: Member, to: str, subject: str, *options: str, port: int = 465, password: str | None = None, sender: str = ""
    ) -> Answer:
        """Send as a member does: over TLS, verified, signed in."""
        tls = "--tls-on-connect" if port == 465 else "--tls"
        return self.swaks(
            "--server", self.server, "--port", str(port), tls, "--tls-verify-host",
            "--auth", "PLAIN", "--auth-user", member.mail, "--auth-password", password or member.password,
            "--from", sender or member.mail, "--to", to, "--header", f"Subject: {subject}", *options,
        )  # fmt: skip

    def curl(self, member: Member, path: str, *options: str, scheme: str = "imaps", password: str | None = None) -> Answer:
        """Read as a member does. curl verifies the certificate by itself."""
        return self.run(
            "curl", "--silent", "--show-error", "--user", f"{member.mail}:{password or member.password}",
            *options, f"{scheme}://{self.server}/{path}",
        )  # fmt: skip

    def find(self, member: Member, subject: str, folder: str = "INBOX") -> list[str]:
        """The numbers of the messages of that subject."""
        answer = self.curl(member, f"{folder}?SUBJECT%20{subject}")
        return [word for line in answer.text.splitlines() if line.startswith("* SEARCH") for word in line.split()[2:]]

    def receive(self, member: Member, subject: str, folder: str = "INBOX", seconds: float = 30) -> str:
        """The message of that subject, once it is in the member's mailbox."""
        numbers = until(f"'{subject}' in {folder} of {member.mail}", lambda: self.find(member, subject, folder), seconds)
        return self.curl(member, f"{folder};MAILINDEX={numbers[0]}").text

    def stranger_sends(self, to: str, subject: str, sender: str = "sarah@stranger.test", *options: str) -> Answer:
        """The stranger's own mail host takes a message for anywhere."""
        return self.swaks("--server", "127.0.0.1", "--from", sender, "--to", to, "--header", f"Subject: {subject}", *options)

    def stranger_receives(self, subject: str, name: str = "sarah", seconds: float = 30) -> str:
        """The message of that subject in a stranger's mailbox."""
        look = f"grep -lrF 'Subject: {subject}' /srv/mail/{name}/new | head -n 1 | xargs -r cat"
        return until(f"'{subject}' in the mailbox of {name}", lambda: self.world.run(look).stdout, seconds)

    def knock(self, address: str, port: int, seconds: int = 3) -> bool:
        """Does anything answer at that port?"""
        return self.world.run(f"timeout {seconds} bash -c '</dev/tcp/{address}/{port}' 2>/dev/null").rc == 0

    def serial(self, name: str, port: int) -> str:
        """The serial number of the certificate that is served at a port."""
        starttls = {25: "-starttls smtp", 587: "-starttls smtp", 4190: "-starttls sieve", 5432: "-starttls postgres"}.get(
            port, ""
        )
        return self.world.run(
            f"openssl s_client -connect {name}:{port} -servername {name} {starttls} </dev/null 2>/dev/null"
            " | openssl x509 -noout -serial"
        ).stdout.strip()


def evaluated(hosts: str, template: str) -> dict[str, Any]:
    """What a template is on each of these hosts of the lab's inventory, as Ansible fills it in."""
    state = ROOT / ".lab"
    environment = {
        "PERRON_STATE": str(state),
        "ANSIBLE_VAULT_PASSWORD_FILE": str(state / "vault-password"),
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "json",
        "ANSIBLE_STRATEGY": "linear",  # whatever playbooks run under: with Mitogen each host is a task of its own
    }
    done = subprocess.run(
        # the directory says which group_vars/ are a playbook's, and count more than an inventory's: as for our playbooks, none
        ["ansible", hosts, "-i", "groups.yml", "-i", "inventories/lab", "-i", ".lab/inventory",
         "--playbook-dir", "playbooks", "-c", "local",
         "-m", "ansible.builtin.debug", "-a", "msg={{ template }}", "-e", json.dumps({"template": template})],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    answers = json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]
    return {host: answer["msg"] for host, answer in answers.items()}


def need_app(name: str) -> None:
    """Of Nextcloud. One that is listed and not there fails its journey; but an inventory for the artefacts that somebody has
    may list fewer than the house does."""
    (listed,) = evaluated("nextcloud", "{{ nextcloud_apps | map(attribute='name') }}").values()
    if name not in listed:
        pytest.skip(f"not run: no artefact of {name}")  # as it is in UPSTREAM_DIR or nowhere


def the_office_alone_has(document: str, host: Host, clients: Clients, family: str) -> None:
    """A document's address with its token, on the host that both are on."""
    status = f"curl --silent {family} --output /dev/null --write-out '%%{{http_code}}' %s"
    office = "setpriv --reuid cool --clear-groups"
    given = host.run(f"{office} curl --silent {family} %s", document)
    assert "BaseFileName" in given.stdout, given
    assert clients.world.run(status, document).stdout == "403"
    # nor to the office, without the token of who opened it
    assert host.run(f"{office} {status}", document + "0").stdout == "403"


@pytest.fixture(scope="session")
def inventory() -> dict[str, Any]:
    """The variables of the lab's hosts, as Ansible has them."""
    command = ["ansible-inventory", "-i", "groups.yml", "-i", "inventories/lab", "--list"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ | {"PERRON_STATE": str(ROOT / ".lab")}
    )
    hostvars: dict[str, Any] = json.loads(done.stdout)["_meta"]["hostvars"]
    return hostvars


@pytest.fixture(scope="session")
def domain(inventory: dict[str, Any]) -> str:
    return str(inventory["world"]["coop_domain"])


def _host(name: str) -> Host:
    return testinfra.get_host(f"ssh://perron-{name}", ssh_config=str(ROOT / ".config/lab/ssh_config"))


@pytest.fixture(scope="session")
def world() -> Host:
    return _host("world")


@pytest.fixture(scope="session")
def coop() -> dict[str, Host]:
    """The cooperative's hosts."""
    return {name: _host(name) for name in COOP_HOSTS}


@pytest.fixture(scope="session")
def mail_host(coop: dict[str, Host]) -> Host:
    return coop["lesse"]


@pytest.fixture(scope="session")
def clients(world: Host, domain: str) -> Clients:
    return Clients(world, domain)


def write_members(path: Path, rows: list[dict[str, str]]) -> Path:
    """A CSV as a sysadmin would write it."""
    with path.open("w", newline="") as table:
        writer = csv.DictWriter(table, list({column: None for row in rows for column in row}))
        writer.writeheader()
        writer.writerows(rows)
    return path


# first name: family name, language, domain (none: the cooperative's), state
CAST = {
    "anna": ("Dupont", "fr", "", "present"),
    "bram": ("Peeters", "nl", "famille.test", "present"),
    "gerda": ("Maus", "de", "", "suspended"),
    "chloe": ("Smith", "en", "", "present"),
    "kim": ("Maes", "nl", "", "present"),
    "lou": ("Maes", "fr", "", "present"),
    "maud": ("Willems", "de", "", "present"),
    "nora": ("Claes", "nl", "", "present"),  # who leaves
    "ruth": ("Baert", "nl", "", "present"),  # who tries what is refused
    "otto": ("Jacobs", "nl", "", "present"),  # who forgets, and is reached elsewhere
}


@pytest.fixture(scope="session")
def demo(domain: str) -> Member:
    """Whom the lab begins with."""
    return Member("demo", f"demo@{domain}", (ROOT / ".lab/demo-password").read_text().strip())


@pytest.fixture(scope="session")
def members(domain: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Member]]:
    """The cast, by first name, under logins that no earlier run had; Anna has an alias, too."""
    run = secrets.token_hex(3)
    rows = [
        {
            "login": f"{name}{run}", "mail": f"{name}{run}@{home or domain}", "given_name": name.title(), "family_name": family,
            "language": language, "password": new_password(), "state": state,
            "aliases": f"anna.dupont.{run}@{domain}" if name == "anna" else "",
            "contact": "victor@stranger.test" if name == "otto" else "",
        }
        for name, (family, language, home, state) in CAST.items()
    ]  # fmt: skip
    table = write_members(tmp_path_factory.mktemp("members") / "members.csv", rows)
    playbook("member", "-e", f"members_csv={table}")
    made = [Member(row["login"], row["mail"], row["password"], row["aliases"]) for row in rows]
    yield dict(zip(CAST, made, strict=True))
    leaving = [{"login": row["login"], "state": "absent"} for row in rows]
    playbook("member", "-e", f"members_csv={write_members(table, leaving)}", "-e", "member_grace=skip")


def becomes(member: Member, state: str) -> None:
    """As a sysadmin says it."""
    playbook("member", "-e", json.dumps({"member": {"login": member.login, "state": state}}))


@contextmanager
def idling(world: Host, server: str, member: Member) -> Iterator[Callable[[], str]]:
    """An IMAP session that stays open, as a phone's does; what it was told so far."""
    unit = f"journeys-idle-{member.login}"
    says = f"a login {member.mail} {member.password}\\r\\nb select inbox\\r\\nc idle\\r\\n"
    connection = f"(printf '{says}'; tail -f /dev/null) | openssl s_client -quiet -connect {server}:993"
    world.check_output(f'systemd-run --collect --unit {unit} bash -c "{connection}"')
    since = f"@{int(time.time()) - 1}"

    def told() -> str:
        return world.run(f"journalctl --no-pager --since {since} -u {unit}").stdout

    try:
        until("the phone is signed in", lambda: "+ idling" in told())
        yield told
    finally:
        world.run(f"systemctl stop {unit}")


@pytest.fixture(scope="session")
def server(world: Host) -> Iterator[str]:
    """Where browsers are to be had."""
    from browser import browsers  # which stands on this file

    with browsers(world) as url:
        yield url


@pytest.fixture(scope="session")
def portal(domain: str) -> str:
    return f"https://auth.{domain}/"


@pytest.fixture(scope="session")
def webmail(domain: str) -> str:
    return f"https://webmail.{domain}/"


@pytest.fixture(scope="session")
def cloud(domain: str) -> str:
    return f"https://cloud.{domain}/"


@pytest.fixture
def forgiven(coop: dict[str, Host], inventory: dict[str, Any]) -> None:
    """Wrong passwords make the cloud slow down their address, which is everybody's here."""
    for address in (inventory["world"]["host_ipv4"], inventory["world"]["host_ipv6"]):
        coop["dyle"].run(f"nextcloud-occ security:bruteforce:reset {address}")


@pytest.fixture(scope="session")
def devices(domain: str) -> str:
    return f"https://devices.{domain}/"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failing journey shows what the mail host said meanwhile."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call" and report.failed:
        for name, units in {
            "lesse": "postfix* dovecot* rspamd*",
            "dyle": "slapd* knot* nextcloud* nginx",
            "meuse": "lemonldap-ng-fastcgi-server perron-devices nginx",
            "world": "postfix* opendkim* opendmarc*",
        }.items():
            wanted = " ".join(f"-u '{unit}'" for unit in units.split())
            since = f"--since @{int(call.start)}"
            said = _host(name).run(f"journalctl --no-pager -o short-precise {since} {wanted} | grep -v imap | tail -n 25").stdout
            report.sections.append((f"journal of {name}", said))
