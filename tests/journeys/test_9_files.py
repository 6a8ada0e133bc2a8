"""What members do in the cloud, with the programs they have: these need Nextcloud itself, and say so where there is none."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from browser import Browser, browser
from conftest import Answer, Clients, Member, need_app, playbook, the_office_alone_has, until
from testinfra.host import Host

MIB = 1 << 20
CHUNK = 64 * MIB
WHERE = "/run/journey-files"  # on world


class Cloud:
    """The cloud as a program of a member's sees it: HTTP, with a password of its own."""

    def __init__(self, clients: Clients, url: str, member: Member) -> None:
        self.clients, self.url, self.member = clients, url, member
        self.files = f"{url}remote.php/dav/files/{member.login}"
        self.uploads = f"{url}remote.php/dav/uploads/{member.login}"

    def ask(self, url: str, *options: str, user: str = "") -> Answer:
        """The status is the answer's code."""
        said = self.clients.run(
            "curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", "--user",
            user or f"{self.member.login}:{self.member.password}", *options, url,
        )  # fmt: skip
        text, _, status = said.text.rpartition("\n")
        assert said.code == 0, said.text
        return Answer(int(status), text)

    def put(self, name: str, text: str) -> int:
        return self.ask(f"{self.files}/{name}", "--request", "PUT", "--data-binary", text).code

    def send(self, url: str, file: str) -> int:
        return self.ask(url, "--upload-file", file).code

    def get(self, name: str) -> str:
        return self.ask(f"{self.files}/{name}").text

    def ask_api(self, method: str, path: str, /, **values: str | int) -> Answer:
        """The OCS API."""
        fields = [word for key, value in values.items() for word in ("--data-urlencode", f"{key}={value}")]
        json_please = ("-H", "OCS-APIRequest: true", "-H", "Accept: application/json")
        return self.ask(f"{self.url}ocs/v2.php/{path}", "--request", method, *json_please, *fields)

    def api(self, method: str, path: str, /, **values: str | int) -> dict[str, object]:
        """What it has to say, once it did what was asked."""
        said = self.ask_api(method, path, **values)
        assert said.code == 200, said.text
        data: dict[str, object] = json.loads(said.text)["ocs"]["data"]
        return data


pytestmark = pytest.mark.usefixtures("forgiven")


@pytest.fixture(scope="module", autouse=True)
def product(coop: dict[str, Host]) -> None:
    if coop["dyle"].file("/var/lib/nextcloud/code/current/.stand-in").exists:
        pytest.skip("not run: no artefact")


# What the button on the page of one's devices does
NEW_PASSWORD = """
const told = arguments[arguments.length - 1];
fetch("/settings/personal/authtokens", {
  method: "POST",
  headers: {"Content-Type": "application/json", "requesttoken": document.head.dataset.requesttoken},
  body: JSON.stringify({name: "A program"}),
}).then(answer => answer.text()).then(told);
"""


def grant(person: Browser, cloud: str, portal: str, member: Member) -> Member:
    """Signed in, they make a password for a program, and get it once."""
    person.open(cloud)
    person.at(portal)
    person.fill({"input[name=user]": member.login, "input[name=password]": member.password})
    person.at(cloud)
    person.see("#header")
    given = json.loads(person.driver.execute_async_script(NEW_PASSWORD))
    assert given["loginName"] == member.login, given
    return replace(member, password=given["token"])


@pytest.fixture(scope="module")
def programs(
    members: dict[str, Member], clients: Clients, world: Host, server: str, cloud: str, portal: str
) -> Iterator[dict[str, Cloud]]:
    """Programs of Anna's, Chloe's and Bram's."""
    world.check_output(f"mkdir -p {WHERE}")
    made = {}
    for name in ("anna", "chloe", "bram"):
        with browser(server, "en") as person:
            made[name] = Cloud(clients, cloud, grant(person, cloud, portal, members[name]))
    yield made
    world.check_output(f"rm -rf {WHERE}")


# By Nextcloud's own names; docs/nextcloud.md says why
EXPLAINED = {
    "BruteForceThrottler",
    "ForwardedForHeaders",
    "TwoFactorConfiguration",
    "PhpImagickModule",
    "MimeTypeMigrationAvailable",
}
# what was unpacked is what the pin's checksum says, and the copies at hand are not whole; playbooks/upgrade.yml asks for it
CHECKED_ELSEWHERE = {"CodeIntegrity"}


def test_its_own_checks_find_nothing_that_is_not_explained(coop: dict[str, Host]) -> None:
    coop["dyle"].check_output("systemctl start nextcloud-cron.service")  # its timer may not have yet
    groups = json.loads(coop["dyle"].run("nextcloud-occ setupchecks --output=json").stdout).values()
    checks = {name.split("\\")[-1]: check for group in groups for name, check in group.items()}
    assert len(checks) > 30, checks
    said = {name for name, check in checks.items() if check["severity"] != "success"}
    assert said <= EXPLAINED | CHECKED_ELSEWHERE, {name: checks[name] for name in said}


def test_a_program_has_a_password_of_its_own(programs: dict[str, Cloud], members: dict[str, Member]) -> None:
    anna = programs["anna"]
    assert anna.ask(anna.files, "--request", "PROPFIND").code == 207
    assert anna.ask(anna.files, "--request", "PROPFIND", user=f"{anna.member.login}:{members['anna'].password}").code == 401
    # and it opens nothing of another's
    bram = programs["bram"]
    assert bram.put("private.txt", "for nobody else") == 201
    assert anna.ask(f"{bram.files}/private.txt").code in (403, 404)
    assert "private" not in anna.ask(bram.files, "--request", "PROPFIND").text


def test_a_gibibyte_goes_up_in_chunks_and_comes_back(programs: dict[str, Cloud], world: Host) -> None:
    anna, upload = programs["anna"], f"{programs['anna'].uploads}/{secrets.token_hex(8)}"
    world.check_output(
        f"head -c {1024 * MIB} /dev/urandom >{WHERE}/large && split -b {CHUNK} -d -a 5 {WHERE}/large {WHERE}/part."
    )
    to = ("-H", f"Destination: {anna.files}/large", "-H", f"OC-Total-Length: {1024 * MIB}")
    assert anna.ask(upload, "--request", "MKCOL", *to).code == 201
    for number, part in enumerate(world.check_output(f"ls {WHERE}/part.*").split(), start=1):
        assert anna.ask(f"{upload}/{number:05}", "--upload-file", part, *to).code == 201
    assert anna.ask(f"{upload}/.file", "--request", "MOVE", *to).code == 201
    anna.ask(f"{anna.files}/large", "--output", f"{WHERE}/back")
    assert world.run(f"cmp {WHERE}/large {WHERE}/back").rc == 0
    world.check_output(f"rm {WHERE}/part.* {WHERE}/back {WHERE}/large")
    assert anna.ask(f"{anna.files}/large", "--request", "DELETE").code == 204


def test_another_member_edits_what_is_shared_with_them_and_nobody_else(programs: dict[str, Cloud]) -> None:
    anna, bram, chloe = programs["anna"], programs["bram"], programs["chloe"]
    assert anna.put("plan.txt", "first") == 201
    anna.api(
        "POST", "apps/files_sharing/api/v1/shares", path="/plan.txt", shareType=0, shareWith=bram.member.login, permissions=3
    )
    assert bram.get("plan.txt") == "first"
    assert bram.put("plan.txt", "second") == 204
    assert anna.get("plan.txt") == "second"
    assert chloe.ask(f"{chloe.files}/plan.txt").code == 404
    assert chloe.ask(f"{anna.files}/plan.txt").code in (403, 404)


def test_a_public_link_asks_for_its_password(programs: dict[str, Cloud], cloud: str) -> None:
    anna = programs["anna"]
    assert anna.put("minutes.txt", "what was said") == 201
    word = secrets.token_hex(12)
    link = anna.api("POST", "apps/files_sharing/api/v1/shares", path="/minutes.txt", shareType=3, password=word)
    public = f"{cloud}public.php/webdav"
    assert anna.ask(public, user=f"{link['token']}:{word}").text == "what was said"
    assert anna.ask(public, user=f"{link['token']}:another").code == 401
    assert anna.ask(public, user=f"{link['token']}:").code == 401
    assert "what was said" not in anna.ask(f"{cloud}s/{link['token']}/download", user=":").text


def test_the_byte_too_many_is_refused(programs: dict[str, Cloud], coop: dict[str, Host], world: Host, domain: str) -> None:
    chloe, host = programs["chloe"], coop["dyle"]
    base = ",".join(f"dc={label}" for label in domain.split("."))
    search = f"ldapsearch -QLLL -Y EXTERNAL -H ldapi:/// -o ldif-wrap=no -b {base}"
    entry = host.check_output(f"{search} '(uid={chloe.member.login})' memberQuota")
    (dn,) = re.findall(r"^dn: (.*)$", entry, re.MULTILINE)
    (before,) = re.findall(r"^memberQuota: (.*)$", entry, re.MULTILINE)

    def quota(size: str, *also: str) -> None:
        ldif = f"dn: {dn}\\nchangetype: modify\\nreplace: memberQuota\\nmemberQuota: {size}\\n"
        host.check_output(f"printf '{ldif}' | ldapmodify -Q -Y EXTERNAL -H ldapi:///")
        until(
            "the quota of the directory",
            lambda: (
                host.run(f"nextcloud-occ user:setting {chloe.member.login} files quota").stdout.strip() in (f"{size} B", *also)
            ),
        )

    try:
        quota(str(10 * MIB))
        used = int(re.findall(r"quota-used-bytes>(\d+)<", quota_of(chloe))[0])
        world.check_output(
            f"head -c {10 * MIB - used + 1} /dev/urandom >{WHERE}/much; head -c {10 * MIB - used} {WHERE}/much >{WHERE}/all"
        )
        assert chloe.send(f"{chloe.files}/much", f"{WHERE}/much") == 507
        assert chloe.ask(f"{chloe.files}/much").code == 404
        assert chloe.send(f"{chloe.files}/all", f"{WHERE}/all") == 201
    finally:
        chloe.ask(f"{chloe.files}/all", "--request", "DELETE")
        quota(before, "5 GB")  # which Nextcloud may have it written as


@contextmanager
def little_room(host: Host, program: Cloud) -> Iterator[str]:
    """What a member has is on a disk of its own, of 64 MiB; the directory."""
    home = f"/var/lib/nextcloud/data/{program.member.login}"

    def again() -> None:
        """The service sees other disks from its next start on."""
        host.check_output("systemctl restart nextcloud-php")
        until("the cloud", lambda: program.ask(program.files, "--request", "PROPFIND", "-H", "Depth: 0").code == 207)

    host.check_output(f"cp -a {home} {home}.kept && mount -t tmpfs -o size=64M tmpfs {home} && cp -aT {home}.kept {home}")
    again()
    try:
        yield home
    finally:
        host.check_output(f"rm -rf {home}.kept && cp -a {home} {home}.kept && umount --lazy {home}")
        host.check_output(f"rm -rf {home} && mv {home}.kept {home}")
        again()


def test_a_disk_that_fills_during_an_upload_loses_no_file(programs: dict[str, Cloud], coop: dict[str, Host], world: Host) -> None:
    chloe, host = programs["chloe"], coop["dyle"]
    world.check_output(f"head -c {20 * MIB} /dev/urandom >{WHERE}/photos")
    with little_room(host, chloe) as home:
        assert chloe.send(f"{chloe.files}/before", f"{WHERE}/photos") == 201
        # slow enough that the disk fills on its way
        slow = f"curl -s -o /dev/null -w '%{{http_code}}' -u {chloe.member.login}:{chloe.member.password} --limit-rate 4M"
        world.check_output(f"({slow} -T {WHERE}/photos {chloe.files}/during >{WHERE}/said; touch {WHERE}/over) >/dev/null 2>&1 &")
        until("the upload's beginning", lambda: host.run(f"find {home} -name '*.part' -size +1M | grep .").rc == 0)
        assert "No space left" in host.run(f"cat /dev/zero >{home}/full").stderr
        until("its end", lambda: world.file(f"{WHERE}/over").exists)
        assert world.file(f"{WHERE}/said").content_string >= "500"
        assert chloe.ask(f"{chloe.files}/during").code == 404
        assert chloe.send(f"{chloe.files}/after", f"{WHERE}/photos") == 507
        chloe.ask(f"{chloe.files}/before", "--output", f"{WHERE}/back")
        assert world.run(f"cmp {WHERE}/photos {WHERE}/back").rc == 0
        host.check_output(f"rm {home}/full")
        assert chloe.send(f"{chloe.files}/during", f"{WHERE}/photos") == 201
    chloe.ask(f"{chloe.files}/during", "--output", f"{WHERE}/back")
    assert world.run(f"cmp {WHERE}/photos {WHERE}/back").rc == 0
    for name in ("before", "during"):
        assert chloe.ask(f"{chloe.files}/{name}", "--request", "DELETE").code == 204


# One file after the other until it is to stop: its number, and what the cloud said of it
UPLOADS = """cd {where}/many
n=0
while [ ! -e ../enough ]; do
  n=$((n + 1))
  head -c 20000 /dev/urandom >$n
  echo $n $(curl -s -o /dev/null -w '%{{http_code}}' --max-time 60 -u {user} -T $n {files}/many-$n) >>../told
done
touch ../over
"""


@pytest.mark.parametrize(("name", "unit"), [("dyle", "valkey-server"), ("meuse", "postgresql@17-main")])
def test_what_was_acknowledged_is_there_whatever_goes_down(
    programs: dict[str, Cloud], coop: dict[str, Host], world: Host, name: str, unit: str
) -> None:
    anna, host = programs["anna"], coop[name]
    loop = UPLOADS.format(where=WHERE, files=anna.files, user=f"{anna.member.login}:{anna.member.password}")
    world.check_output(f"rm -rf {WHERE}/many {WHERE}/told {WHERE}/enough {WHERE}/over; mkdir {WHERE}/many")

    def told() -> dict[str, str]:
        return dict(line.split() for line in world.run(f"cat {WHERE}/told").stdout.splitlines())

    def last(count: int) -> list[str]:
        return list(told().values())[-count:]

    world.check_output(f"printf %s {shlex.quote(loop)} >{WHERE}/loop && (sh {WHERE}/loop >/dev/null 2>&1 &)")
    try:
        until("five uploads", lambda: last(5) == ["201"] * 5)
        host.check_output(f"systemctl stop {unit}")
        until("refusals", lambda: all(code >= "500" for code in last(3)), 180)
        host.check_output(f"systemctl start {unit}")
        until("five more", lambda: last(5) == ["201"] * 5, 180)
    finally:
        host.check_output(f"systemctl start {unit}")
        world.check_output(f"touch {WHERE}/enough")
        until("its end", lambda: world.file(f"{WHERE}/over").exists)
    assert set(told().values()) <= {"201", "500", "503"}, told()
    for number, said in told().items():
        there = anna.ask(f"{anna.files}/many-{number}", "--output", f"{WHERE}/back").code
        # the others are there whole, or not at all
        assert there == 200 if said == "201" else there in (200, 404), (number, said, there)
        if there == 200:
            assert world.run(f"cmp {WHERE}/many/{number} {WHERE}/back").rc == 0, (number, said)
            assert anna.ask(f"{anna.files}/many-{number}", "--request", "DELETE").code == 204


def quota_of(program: Cloud) -> str:
    body = '<d:propfind xmlns:d="DAV:"><d:prop><d:quota-used-bytes/><d:quota-available-bytes/></d:prop></d:propfind>'
    return program.ask(f"{program.files}/", "--request", "PROPFIND", "-H", "Depth: 0", "--data", body).text


@pytest.fixture(scope="module")
def install(world: Host) -> None:
    """The clients that nothing else needs."""
    world.check_output("apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends"
                       " nextcloud-desktop-cmd vdirsyncer")  # fmt: skip


@pytest.mark.usefixtures("install")
def test_a_computer_keeps_a_folder_in_step(programs: dict[str, Cloud], clients: Clients, world: Host, cloud: str) -> None:
    bram = programs["bram"]

    def sync(folder: str, password: str = "") -> Answer:
        return clients.run(
            "nextcloudcmd", "--non-interactive", "--silent", "--user", bram.member.login,
            "--password", password or bram.member.password, f"{WHERE}/{folder}", cloud.rstrip("/"),
        )  # fmt: skip

    world.check_output(f"mkdir -p {WHERE}/desk {WHERE}/laptop && echo 'from the desk' >{WHERE}/desk/note.txt")
    assert sync("desk").code == 0
    assert bram.get("note.txt") == "from the desk\n"
    assert sync("laptop").code == 0
    assert world.check_output(f"cat {WHERE}/laptop/note.txt") == "from the desk"
    world.check_output(f"echo 'from the laptop' >{WHERE}/laptop/note.txt")
    assert sync("laptop").code == 0 and sync("desk").code == 0
    assert "from the laptop" in world.check_output(f"cat {WHERE}/desk/note*")
    assert sync("desk", "another").code != 0


EVENT = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//journey//EN
BEGIN:VEVENT
UID:{id}
DTSTAMP:20261101T120000Z
DTSTART:20261201T180000Z
DTEND:20261201T200000Z
SUMMARY:General assembly
END:VEVENT
END:VCALENDAR
"""
TASK = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//journey//EN
BEGIN:VTODO
UID:{id}
DTSTAMP:20261101T120000Z
SUMMARY:Write the minutes
END:VTODO
END:VCALENDAR
"""
CARD = """BEGIN:VCARD
VERSION:3.0
UID:{id}
FN:Sarah Stranger
EMAIL:sarah@stranger.test
END:VCARD
"""
# vdirsyncer looks for calendars and contacts as RFC 6764 says, from the cloud's name alone; a list of tasks it makes
VDIRSYNCER = """[general]
status_path = "{where}/status/"
[pair calendar]
a = "calendar_here"
b = "calendar_there"
collections = ["personal", "tasks"]
[storage calendar_here]
type = "filesystem"
path = "{where}/calendars/"
fileext = ".ics"
[storage calendar_there]
type = "caldav"
url = "{cloud}"
username = "{login}"
password = "{password}"
[pair contacts]
a = "contacts_here"
b = "contacts_there"
collections = ["contacts"]
[storage contacts_here]
type = "filesystem"
path = "{where}/contacts/"
fileext = ".vcf"
[storage contacts_there]
type = "carddav"
url = "{cloud}"
username = "{login}"
password = "{password}"
"""


@pytest.mark.usefixtures("install")
def test_an_event_a_task_and_a_contact_reach_the_other_device(
    programs: dict[str, Cloud], clients: Clients, world: Host, cloud: str
) -> None:
    anna = programs["anna"].member

    def device(name: str, password: str) -> Answer:
        where = f"{WHERE}/{name}"
        config = VDIRSYNCER.format(where=where, cloud=cloud, login=anna.login, password=password)
        world.check_output(f"mkdir -p {where}/calendars/personal {where}/calendars/tasks {where}/contacts/contacts")
        world.check_output(f"printf %s '{config}' >{where}/config")
        run = f"yes | vdirsyncer -c {where}/config discover && vdirsyncer -c {where}/config sync"
        return clients.run("sh", "-c", run)

    for path, text in {"calendars/personal/e.ics": EVENT, "calendars/tasks/t.ics": TASK, "contacts/contacts/c.vcf": CARD}.items():
        filled = text.format(id=secrets.token_hex(8))
        world.check_output(
            "install -D /dev/null %s && printf %%s %s >%s", f"{WHERE}/phone/{path}", filled, f"{WHERE}/phone/{path}"
        )
    there = device("phone", anna.password)
    assert there.code == 0, there.text
    assert device("tablet", anna.password).code == 0
    assert device("stolen", "another").code != 0
    read = world.check_output(f"cat {WHERE}/tablet/calendars/*/* {WHERE}/tablet/contacts/contacts/*")
    assert all(words in read for words in ("General assembly", "Write the minutes", "Sarah Stranger")), read


@pytest.mark.parametrize("family", ["--ipv4", "--ipv6"])
def test_a_document_that_is_open_is_given_to_the_office_and_to_nobody_else(
    programs: dict[str, Cloud], coop: dict[str, Host], clients: Clients, family: str
) -> None:
    need_app("richdocuments")
    anna = programs["anna"]
    assert anna.put("letter.odt", "no office reads this one") in (201, 204)
    wanted = '<d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop><oc:fileid/></d:prop></d:propfind>'
    found = re.search(r"fileid>(\d+)<", anna.ask(f"{anna.files}/letter.odt", "--request", "PROPFIND", "--data", wanted).text)
    assert found
    app = f"{anna.url}index.php/apps/richdocuments"
    opened = anna.ask(f"{app}/token", "-H", "OCS-APIRequest: true", "--data", f"fileId={found[1]}")
    assert opened.code == 200, opened.text
    document = f"{app}/wopi/files/{found[1]}?access_token={json.loads(opened.text)['token']}"
    the_office_alone_has(document, coop["dyle"], clients, family)


def test_two_members_share_a_budget(programs: dict[str, Cloud]) -> None:
    need_app("cospend")
    anna, bram, chloe = programs["anna"], programs["bram"], programs["chloe"]
    projects, trip = "apps/cospend/api/v1/projects", f"trip{secrets.token_hex(4)}"
    anna.api("POST", projects, id=trip, name="A trip")
    ids = [
        int(str(anna.api("POST", f"{projects}/{trip}/members", name=one.member.login, userId=one.member.login)["id"]))
        for one in (anna, bram)
    ]
    both = ",".join(map(str, ids))
    assert bram.ask_api("GET", f"{projects}/{trip}").code in (401, 403, 404)
    anna.api("POST", f"{projects}/{trip}/user-share", userId=bram.member.login, accessLevel=2)
    bram.api(
        "POST", f"{projects}/{trip}/bills", what="Train", payer=ids[1], payedFor=both, amount=50, date="2026-11-01", repeat="n"
    )
    assert "Train" in anna.ask_api("GET", f"{projects}/{trip}/bills").text
    owed = anna.ask_api("GET", f"{projects}/{trip}/settlement").text
    assert re.search(r'"amount": ?25\b', owed), owed
    assert chloe.ask_api("GET", f"{projects}/{trip}").code in (401, 403, 404)


def test_all_of_it_comes_along_with_who_leaves_and_another_nextcloud_takes_it(
    programs: dict[str, Cloud], coop: dict[str, Host], tmp_path: Path
) -> None:
    need_app("user_migration")
    chloe, bram, name = programs["chloe"], programs["bram"], "Été à la mer.txt"
    login, dav = chloe.member.login, f"{chloe.url}remote.php/dav"
    assert chloe.put(quote(name), "Où est la plage ?") == 201
    assert chloe.put(quote(name), "À Ostende.") == 204
    assert chloe.ask(f"{dav}/calendars/{login}/to-do", "--request", "MKCALENDAR").code == 201
    for where, text in {
        f"calendars/{login}/personal": EVENT, f"calendars/{login}/to-do": TASK, f"addressbooks/users/{login}/contacts": CARD,
    }.items():  # fmt: skip
        one = secrets.token_hex(8)
        assert chloe.ask(f"{dav}/{where}/{one}", "--request", "PUT", "--data-binary", text.format(id=one)).code == 201
    playbook("member", "-e", json.dumps({"member_export": login, "member_export_to": str(tmp_path / "exports")}))
    with zipfile.ZipFile(tmp_path / f"exports/{login}+cloud.zip") as archive:
        has = {entry: archive.read(entry).decode(errors="replace") for entry in archive.namelist()}
    assert has[f"files/files/{name}"] == "À Ostende."
    assert "Où est la plage ?" in [text for entry, text in has.items() if entry.startswith("files/files_versions/")]
    calendars = "".join(text for entry, text in has.items() if re.fullmatch(r"dav/calendars/.+\.(ics|data)", entry))
    assert "General assembly" in calendars and "Write the minutes" in calendars
    assert any("Sarah Stranger" in text for entry, text in has.items() if re.fullmatch(r"dav/address_books/.+\.vcf", entry)), has
    # elsewhere is another account here
    assert bram.ask(f"{bram.files}/{quote(name)}").code == 404
    there, host = "/var/lib/nextcloud/data/.cloud.zip", coop["dyle"]
    try:
        subprocess.run(["podman", "cp", tmp_path / f"exports/{login}+cloud.zip", f"perron-dyle:{there}"], check=True, timeout=60)
        host.check_output(f"chown nextcloud: {there}")
        host.check_output(f"echo yes | nextcloud-occ user:import --user=%s {there}", bram.member.login)  # its account is there
    finally:
        host.check_output(f"rm -f {there}")
    assert bram.get(quote(name)) == "À Ostende."
    migrated = {"calendars/%s/migrated-to-do": "Write the minutes", "addressbooks/users/%s/migrated-contacts": "Sarah Stranger"}
    for where, what in migrated.items():
        assert what in bram.ask(f"{dav}/{where % bram.member.login}?export").text
