"""What Nextcloud's host promises, asked of the running daemons. A real Nextcloud and its stand-in pass the same."""

import base64
import contextlib
import functools
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from conftest import ROOT, eventually

NAME = "cloud.coop.test"
URL = f"https://{NAME}"
HOME = "/var/lib/nextcloud"
VALKEY = "valkey-cli -s /run/valkey/valkey.sock"
BASE = "ou=members,dc=coop,dc=test"
STATE = "/usr/local/lib/nextcloud/state"


class Answer:
    def __init__(self, run):
        head, _, self.text = run.stdout.replace("\r\n", "\n").partition("\n\n")
        first, *lines = head.splitlines() or [""]
        self.status = int(first.split()[1]) if run.rc == 0 else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.location = self.headers.get("location", "")


@pytest.fixture(scope="module")
def get(host):
    def ask(path, *options, at="127.0.0.1"):
        command = ["curl", "-sSi", "--path-as-is", "--max-time", "60", "--resolve", f"{NAME}:443:{at}", *options, URL + path]
        return Answer(host.run(" ".join(["%s"] * len(command)), *command))

    return ask


@pytest.fixture(scope="module")
def status(get):
    def ask():
        answer = get("/status.php")
        return json.loads(answer.text) if answer.status == 200 else {}

    return ask


@pytest.fixture(scope="module")
def occ(host):
    def run(*words):
        return host.run("nextcloud-occ " + " ".join(["%s"] * len(words)), *words)

    return run


@pytest.fixture(scope="module")
def role(play):
    """The role once more, as an operator runs its playbook, with what the scenario has given it."""
    password = (Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "password").read_text().strip()
    given = {
        "vault_portal_nextcloud": f"portal-{password}",
        "vault_postgresql_nextcloud": f"nextcloud-{password}",
        "vault_directory_nextcloud": f"directory-{password}",
        "nextcloud_memory_percent": 10,
        "nextcloud_trusted_proxies": ["127.0.0.1"],
        "nextcloud_apps": [{"name": "calendar"}, {"name": "contacts"}, {"name": "notify_push"}, {"name": "user_oidc"}],
        "upstream_standins": str(ROOT / "tests/standins"),
    }

    def run(playbook="nextcloud", how=play, **variables):
        return how(f"playbooks/{playbook}.yml", groups=["coop", "directory", "nextcloud"], variables=given | variables)

    return run


@pytest.fixture(scope="module")
def upgrade(role):
    return functools.partial(role, "upgrade")


def changes(run):
    """Tasks that changed something."""
    assert run.returncode == 0, run.stdout + run.stderr
    said, found = "", set()
    for line in run.stdout.splitlines():
        if line.startswith(("TASK [", "RUNNING HANDLER [")):
            said = re.sub(r".*\[(?:nextcloud : )?(.*)\].*", r"\1", line)
        elif line.startswith("changed: "):
            found.add(said)
    return found


def plain(run):
    """What it said, in one line."""
    return " ".join((run.stdout + run.stderr).split())


def pins(**versions):
    """The house's pins, some of them at other versions; with no artefact of those there is a stand-in."""
    those = yaml.safe_load((ROOT / "group_vars/all/upstream.yml").read_text())["upstream_pins"]
    for pin in those:
        if (new := versions.get(pin["name"].replace("-", "_"))) and pin["version"] != new:
            pin |= {"url": f"https://maker.test/stand-in-{new}.tar.gz", "version": new, "sha256": "0" * 64}
    return {"upstream_pins": those}


def state(host):
    """What the role reads: {status, config, provider}."""
    lines = [line.partition(" ") for line in host.check_output(STATE).splitlines()]
    return {name: json.loads(said) for name, _, said in lines if said.startswith("{")}


def since(host, unit):
    """When it began to run; nothing if it does not."""
    shown = host.check_output(f"systemctl show -p ActiveState,ActiveEnterTimestampMonotonic {unit}")
    return shown if "ActiveState=active" in shown else ""


def journal(host, *patterns):
    run = host.run("journalctl -o cat --no-pager -t nextcloud")
    return [line for line in run.stdout.splitlines() if all(pattern in line for pattern in patterns)]


# --- another version ----------------------------------------------------------------------------------------------------

# What the scenario has installed, and what is next
BEFORE = {"nextcloud_server": "nextcloud-server-33"}
OLD, NEW = (
    "".join(pin["version"] for pin in pins()["upstream_pins"] if pin["name"] == f"nextcloud-server-{n}") for n in (33, 34)
)
LATER = f"{int(NEW.split('.')[0]) + 1}.0.0"
TABLE = f"oc_since_{NEW.split('.')[0]}"  # what the stand-in's upgrade makes
SQL = "runuser -u postgres -- psql -Atq nextcloud -c %s"


@pytest.fixture(scope="module")
def older(host):
    if host.check_output(f"readlink {HOME}/code/current") != OLD:
        pytest.skip("not run: no artefact of the version before")


@pytest.fixture(scope="module")
def standin(host):
    if not host.file(f"{HOME}/code/current/.stand-in").exists:
        pytest.skip("not run: no artefact that fails, or of a version after the next")


@pytest.fixture
def everything(host, status):
    """What an upgrade that failed leaves as it was; a member's file is there."""
    file = f"{HOME}/data/alice/files/letter.txt"
    host.check_output(f"install -D -o nextcloud -g nextcloud -m 0640 /etc/hostname {file}")

    def look():
        dump = host.check_output("runuser -u postgres -- pg_dump nextcloud")
        return {
            # but for the marks of the last job and of the last test of what tells clients
            "database": [line for line in dump.splitlines() if not re.search(r"lastcron|\tcookie\t|restrict ", line)],
            "status": status(),
            "links": host.check_output(f"find {HOME}/code/current {HOME}/custom_apps -type l -printf '%p %l\\n' | sort"),
            "configuration": host.check_output(f"cd {HOME}/config && stat -c '%n %U %a' * && cat *"),
            "files": host.check_output(f"find {HOME}/data/alice -printf '%p %T@ %u %m\\n'; cat {file}"),
        }

    return look


@contextlib.contextmanager
def held(host, table):
    """Who would change the table waits."""
    lock = f"BEGIN; LOCK TABLE {table} IN SHARE MODE; SELECT pg_sleep(3600)"
    host.check_output(f"systemd-run -q --collect --unit=holder -E PGAPPNAME=holder {SQL}", lock)
    assert eventually(lambda: host.check_output(SQL, "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)'"))
    try:
        yield
    finally:
        end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'holder'"
        host.check_output(SQL, end)


def test_another_version_is_no_days_work(role, status, older):
    before = status()
    run = role()
    assert run.returncode != 0 and f"Nextcloud {OLD} -> {NEW}: playbooks/upgrade.yml brings it there" in plain(run), plain(run)
    assert status() == before and "changed=0" in run.stdout


def test_an_upgrade_that_is_killed_is_returned_from(host, role, upgrade, begin, play, get, status, everything, older, standin):
    before = everything()
    with held(host, "oc_appconfig"):
        process = upgrade(how=begin)
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE%'"
        assert eventually(lambda: host.check_output(SQL, waiting) or process.poll() is not None, 180)
        second = upgrade()
        assert second.returncode != 0 and "an upgrade is going on: upgrade-nextcloud.service runs" in plain(second), plain(second)
        assert host.check_output(SQL, waiting) and process.poll() is None  # the first knows nothing of it
        subprocess.run(["pkill", "-KILL", "-f", process.args[4]], check=True)  # its inventory: all processes of this run have it
        assert process.wait() == -signal.SIGKILL
        answer = get("/apps/files/", "-H", "Accept-Language: nl")
        assert answer.status == 503 and "De cloud wordt bijgewerkt" in answer.text, answer.text
        assert get("/remote.php/dav/", "-X", "PROPFIND").status == 503 and get("/push/test/cookie").status == 503
        host.check_output("pkill -KILL -f '[o]cc upgrade'")
    assert host.check_output(SQL, f"SELECT to_regclass('{TABLE}')")  # in the middle
    # the host starts anew: members stay out, and nothing but the playbook goes on
    host.check_output("systemctl start nextcloud-php nextcloud-members nextcloud-push")
    assert host.run("systemctl is-active nextcloud-members nextcloud-push").stdout.split() == ["inactive"] * 2
    assert get("/login").status == 503 and status()["maintenance"] is True
    for run in (role(**BEFORE), play("playbooks/nextcloud_remove.yml", "-e", "remove_from=coop", groups=["coop"])):
        assert run.returncode != 0 and "an upgrade of Nextcloud was interrupted" in plain(run), plain(run)
    run = upgrade(**BEFORE)
    assert "Return to the snapshot" in changes(run) and f"Nothing moves: Nextcloud {OLD}" in plain(run)
    assert everything() == before


def test_an_upgrade_that_fails_returns_and_says_why(host, upgrade, everything, older, standin):
    host.check_output(SQL, f"SET ROLE nextcloud; CREATE TABLE {TABLE} (in_the_way text)")
    before = everything()
    run = upgrade()
    assert run.returncode != 0 and f"Nextcloud {OLD} -> {NEW} failed. Nextcloud is back at the version before" in plain(run)
    assert re.search(rf"Bring the database to them: .*{TABLE}.* already exists", plain(run).replace("\\", "")), plain(run)
    assert everything() == before
    host.check_output(SQL, f"DROP TABLE {TABLE}")


def test_an_upgrade_that_may_not_be_stops_nothing(host, upgrade, everything, older, standin):
    before = everything()
    run = upgrade(**pins(nextcloud_server_34=LATER, nextcloud_app_calendar="1.0.0"))
    assert run.returncode != 0 and "Nothing was stopped" in plain(run)
    assert f"{LATER} does not follow {OLD}; upgrades go one major version at a time" in plain(run)
    assert "nextcloud-app-calendar: 1.0.0 is older than" in plain(run)
    host.check_output(f"mount -t tmpfs -o size=1m,mode=0700 none {HOME}/snapshots")
    try:
        run = upgrade()
    finally:
        host.check_output(f"umount {HOME}/snapshots")
    assert run.returncode != 0 and re.search(r"Nothing was stopped.*has room for [01] MiB", plain(run)), plain(run)
    assert everything() == before


def test_a_snapshot_that_fails_takes_no_room_and_stops_nothing_for_long(host, upgrade, everything, older, standin):
    # there is room for the database, and none for what somebody keeps beside the configuration
    host.check_output(f"mount -t tmpfs -o size=64m,mode=0700 none {HOME}/snapshots")
    host.check_output(f"dd if=/dev/urandom of={HOME}/config/large bs=1M count=64 status=none")
    try:
        run = upgrade()
        assert run.returncode != 0 and "Nextcloud is back at the version before, members are let in" in plain(run), plain(run)
        assert "Take the snapshot: " in plain(run) and "No space left on device" in plain(run), plain(run)
        assert host.check_output(f"ls -A {HOME}/snapshots") == ""
    finally:
        host.check_output(f"umount {HOME}/snapshots && rm {HOME}/config/large")
    # nor does one take the way back from an upgrade away
    host.check_output(f"mkdir -p {HOME}/snapshots/last && touch {HOME}/config/upgrade.config.php")
    try:
        run = host.run("/usr/local/lib/nextcloud/snapshot take")
        assert run.rc != 0 and "an upgrade is unfinished" in run.stderr
        assert host.file(f"{HOME}/snapshots/last").is_directory
    finally:
        host.check_output(f"rmdir {HOME}/snapshots/last; rm {HOME}/config/upgrade.config.php")


def test_it_goes_to_the_next_version_and_says_so_first(host, role, upgrade, everything, occ, older):
    before, ran = everything(), since(host, "nextcloud-push")
    secret = re.search(r"'dbpassword' => '([^']+)'", before["configuration"])[1]
    run = upgrade()
    assert {"Take the snapshot", "Link the new versions", "Bring the database to them", "Let members in"} <= changes(run)
    assert 0 < run.stdout.find(f"Nextcloud {OLD} -> {NEW}") < run.stdout.find("TASK [nextcloud : Stop")
    assert secret not in run.stdout + run.stderr
    after = everything()
    assert after["files"] == before["files"] and after["database"] != before["database"]
    assert after["status"]["version"].startswith(f"{NEW}.") and after["status"]["maintenance"] is False
    for user in ("www-data", "nextcloud"):
        assert host.run(f"setpriv --reuid={user} --regid={user} --clear-groups ls {HOME}/snapshots/last").rc != 0
    assert "oc_appconfig" in host.check_output(f"pg_restore --list {HOME}/snapshots/last/database")
    assert since(host, "nextcloud-push") not in ("", ran) and occ("notify_push:self-test").rc == 0
    again = upgrade()
    assert changes(again) == set() and f"Nothing moves: Nextcloud {NEW}" in plain(again)
    assert changes(role()) == set()  # nothing is left to do


def test_an_upgrade_whose_checks_fail_returns(host, upgrade, everything, occ, standin):
    before = everything()
    host.check_output("systemctl stop nextcloud-php")  # as one that was killed before its snapshot leaves it
    run = upgrade(**pins(nextcloud_server_34=LATER, nextcloud_app_calendar="6.99.0", nextcloud_app_notify_push="9.0.0"))
    assert run.returncode != 0 and "contacts was turned off, as its version is none for this Nextcloud" in plain(run), plain(run)
    assert re.search(
        f"Nextcloud {NEW} -> {LATER}, calendar [0-9.]+ -> 6.99.0, notify_push [0-9.]+ -> 9.0.0 failed. Nextcloud is back at the "
        "version before",
        plain(run),
    )
    assert everything() == before
    # what tells clients is of the version of the app again
    assert occ("notify_push:self-test").rc == 0
    # one that was interrupted in the middle of its return
    host.check_output(SQL, "DROP TABLE oc_appconfig")
    host.check_output("/usr/local/lib/nextcloud/snapshot return")
    assert everything() == before


# --- what it serves -----------------------------------------------------------------------------------------------------


def test_it_is_installed_and_of_the_version_that_is_linked(host, status):
    said = status()
    assert said["installed"] is True and said["maintenance"] is False and said["needsDbUpgrade"] is False, said
    assert said["version"].startswith(host.check_output(f"readlink {HOME}/code/current") + ".")


def test_signing_in_is_the_portals_and_nobody_elses(get):
    seen = get("/")
    while seen.status in (301, 302, 303) and "user_oidc" not in seen.location:
        seen = get(urlsplit(seen.location).path)
    assert "/apps/user_oidc/login/" in seen.location, (seen.status, seen.headers, seen.text[:1000])


def test_there_is_a_way_to_each_client(get):
    for name in ("carddav", "caldav"):
        answer = get(f"/.well-known/{name}")
        assert answer.status == 301 and answer.location == f"{URL}/remote.php/dav/"
    assert get("/remote.php/dav/", "-X", "PROPFIND").status == 401
    assert get("/ocs/v2.php/cloud/user", "-H", "OCS-APIRequest: true").status == 401
    assert json.loads(get("/ocs-provider/").text)["version"] == 2


@pytest.mark.parametrize("path", ["/core/css/server.css", "/core/img/logo/logo.svg", "/custom_apps/contacts/img/app.svg"])
def test_what_pages_are_made_of_is_served(get, path):
    answer = get(path)
    assert answer.status == 200 and re.match(r"text/css|image/svg", answer.headers["content-type"]), answer.headers


@pytest.mark.parametrize("suffix", ["bcmap", "ftl", "pfb", "properties"])
def test_what_the_viewer_of_pdf_is_made_of_is_served(host, get, suffix):
    file = f"{HOME}/code/current/core/x.{suffix}"
    host.check_output(f"echo viewer >{file}")
    try:
        answer = get(f"/core/x.{suffix}")
        assert answer.status == 200 and answer.text == "viewer\n", answer.headers
    finally:
        host.check_output(f"rm {file}")


def test_what_is_the_same_for_all_is_compressed_and_pages_are_not(host, get):
    file = f"{HOME}/code/current/core/x.css"
    host.check_output(f"printf %01000d 0 >{file}")
    try:
        answer = get("/core/x.css", "--compressed")
        assert answer.headers["content-encoding"] == "gzip" and answer.text == "0" * 1000, answer.headers
    finally:
        host.check_output(f"rm {file}")
    answer = get("/status.php", "--compressed")
    assert answer.text and "content-encoding" not in answer.headers  # what one says of a member could be told by its length


def test_what_is_sent_whole_waits_on_the_disk_and_not_in_memory(host):
    private = "/systemd-private-*-nextcloud-php.service-*"
    host.check_output("truncate -s 16M /root/whole")
    host.check_output(
        f"systemd-run --quiet --collect --unit=sending curl -sS --limit-rate 1M -o /dev/null --resolve {NAME}:443:127.0.0.1"
        f" -F file=@/root/whole {URL}/login"
    )
    try:
        assert eventually(lambda: host.check_output(f"find /var/tmp{private} -name 'php*' -size +100k"))
        assert host.check_output(f"find /tmp{private} -type f") == ""
    finally:
        host.check_output("systemctl stop sending; rm /root/whole")


def test_a_module_of_scripts_is_one(host, get):
    path = host.check_output(f"cd {HOME}/code/current && find dist apps -name '*.mjs' | head -n 1")
    if not path:
        pytest.skip("this Nextcloud has none")
    assert get(f"/{path}").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path",
    """
    /data/.ncdata /data/ /config/config.php /config/perron.config.php /config/config.sample.php /occ /console.php /version.php
    /cron.php /.git/config /.htaccess /.user.ini /lib/base.php /lib/private/Config.php /3rdparty/composer.json /updater/index.php
    /custom_apps/../config/perron.config.php /custom_apps/..%2fconfig%2fperron.config.php /core/%2e%2e/config/config.php
    /custom_apps/calendar/../../config/config.php /apps//../config/config.php /index.php.bak /status.php%00.css
    /apps/files/appinfo/info.xml /custom_apps/calendar/appinfo/info.xml /core/css/../../version.php /core/css/server.css/x.php
    /custom_apps/calendar/appinfo/x.php /composer.json /COPYING /unavailable /data/../../../../etc/passwd.css
    /custom_apps/../config/x.css /custom_apps/../../../../etc/passwd
    """.split(),  # noqa: SIM905 # a list of this length is read in lines
)
def test_nothing_else_is(get, path):
    answer = get(path)
    assert answer.status in (400, 401, 404), answer.status  # 401: a page of an app's, for members
    assert not re.search(r"<\?php|\$CONFIG|dbpassword|root:x:|<info", answer.text), answer.text[:300]


def test_headers_are_what_nextcloud_asks_for(get):
    seen = get("/nothere").headers
    assert seen["x-content-type-options"] == "nosniff" and seen["x-frame-options"] == "SAMEORIGIN"
    assert seen["x-robots-tag"] == "noindex, nofollow" and seen["x-permitted-cross-domain-policies"] == "none"
    assert int(re.search(r"max-age=(\d+)", seen["strict-transport-security"])[1]) >= 15552000
    assert "x-powered-by" not in seen


def test_another_name_is_nobodys(host, get, address):
    run = host.run("curl -sS --resolve other.coop.test:443:127.0.0.1 https://other.coop.test/")
    assert run.rc != 0
    assert get("/status.php", "-H", "Host: other.coop.test").status == 421
    # were it to reach Nextcloud: it knows one name
    other = ["-H", "X-Forwarded-Host: other.coop.test"]
    assert get("/status.php", *other).status == 400 and get("/login", *other).status == 400
    # and who is no proxy has no say in it
    assert get("/status.php", *other, at=address).status == 200


# --- who asks -----------------------------------------------------------------------------------------------------------


def test_the_clients_own_address_is_seen_behind_a_proxy_and_no_other_is_believed(host, get, address):
    def wrong(member, at):
        answer = get("/remote.php/dav/", "-u", f"{member}:wrong", "-H", "X-Forwarded-For: 203.0.113.7", at=at)
        assert answer.status == 401
        lines = eventually(lambda: journal(host, "Login failed", member))
        assert lines, host.run("journalctl -n 20 --no-pager").stdout
        return json.loads(lines[-1])

    behind, forged = wrong("mallory", "127.0.0.1"), wrong("trudy", address)
    assert behind["remoteAddr"] == "203.0.113.7" and "203.0.113.7" in behind["message"]
    assert forged["remoteAddr"] == address and "203.0.113.7" not in forged["message"]


def test_the_log_is_the_journals_alone(host):
    assert journal(host, "Login failed")
    assert host.run(f"find {HOME} -name 'nextcloud.log*'").stdout == ""


# --- configuration ------------------------------------------------------------------------------------------------------


def test_what_is_declared_counts(host):
    now = state(host)
    system = now["config"]["system"]
    assert system["default_phone_region"] == "BE" and system["default_language"] == "fr"
    assert (system["appstoreenabled"], system["has_internet_connection"], system["updatechecker"]) == (False, False, False)
    assert now["config"]["apps"]["files"]["default_quota"] == "5 GB"
    theming = now["config"]["apps"]["theming"]
    assert (theming["name"], theming["primary_color"]) == ("Coopérative d'essai", "#1f4e79")
    assert now["provider"]["discoveryEndpoint"] == "https://auth.coop.test/.well-known/openid-configuration"
    assert now["provider"]["settings"]["mappingUid"] == "sub" and now["provider"]["settings"]["uniqueUid"] is False
    assert now["provider"]["settings"]["groupWhitelistRegex"] == "/^(?!admin$)/"
    assert now["admin"]["email"] == "postmaster@coop.test"


def test_what_a_sysadmin_sets_counts_at_once(status, occ):
    assert status()["maintenance"] is False
    try:
        occ("maintenance:mode", "--on")
        assert status()["maintenance"] is True
    finally:
        occ("maintenance:mode", "--off")
    assert status()["maintenance"] is False


def test_its_apps_are_on_and_those_that_ask_elsewhere_are_off(host):
    apps = state(host)["config"]["apps"]
    for name in ("calendar", "notify_push", "user_oidc"):
        assert apps[name]["enabled"] == "yes" and apps[name]["installed_version"]
        assert host.file(f"{HOME}/custom_apps/{name}").is_symlink
    for name in ("survey_client", "twofactor_totp", "updatenotification", "weather_status", "firstrunwizard"):
        assert apps.get(name, {}).get("enabled", "no") == "no", name


def test_an_app_can_be_a_plans_or_nobodys_and_the_portals_secret_another(host, role, get):
    apps = [{"name": "calendar", "groups": ["large"]}, {"name": "user_oidc"}]
    changed = changes(role(nextcloud_apps=apps, vault_portal_nextcloud="another"))
    assert {"Import the apps' values, as they differ", "Tie it to the portal"} <= changed
    assert json.loads(state(host)["config"]["apps"]["calendar"]["enabled"]) == ["large"]
    apps = state(host)["config"]["apps"]
    assert apps["contacts"]["enabled"] == "no" and get("/custom_apps/contacts/img/app.svg").status == 404
    assert apps["notify_push"]["enabled"] == "no" and get("/push/test/cookie").status == 503
    assert host.run("systemctl list-unit-files --no-legend 'nextcloud-push*'").stdout == ""


def test_what_somebody_changed_is_put_back(host, role, occ, get):
    occ("config:system:set", "loglevel", "--value=0", "--type=integer")  # declared, so it never counts
    occ("config:system:set", "defaultapp", "--value=calendar")  # declared by nobody
    occ("config:app:set", "files", "default_quota", "--value=999 GB")
    occ("user:setting", "admin", "settings", "email", "somebody@else.test")
    occ("app:disable", "calendar")
    occ("app:enable", "weather_status")
    occ("user_oidc:provider", "portal", "--scope=openid")
    host.check_output(f"echo >>{HOME}/config/perron.config.php && echo pm.max_children = 1 >>/etc/nextcloud/php-fpm.conf")
    drifted = state(host)
    assert drifted["config"]["system"]["loglevel"] == 2 and drifted["config"]["system"]["defaultapp"] == "calendar"
    assert drifted["config"]["apps"]["files"]["default_quota"] == "999 GB" and drifted["provider"]["scope"] == "openid"
    run = role()  # with the apps and the secret as they were before, too
    assert "nextcloud-server-34" in run.stdout and ("STAND-IN" in run.stdout or "the artefact" in run.stdout)
    assert changes(run) == {
        "Link what is new",
        "See whether the portal's secret is another",
        "Declare what has secrets",
        "Lay down its directories, and what nothing is restarted for",
        "Configure its daemons",
        "Write the unit of what tells clients",
        "Enable its apps",
        "Add what tables lack",
        "Disable the others",
        "Take away system values that nobody declares",
        "Import the apps' values, as they differ",
        "Say where its administrators are reached",
        "Tie it to the portal",
        "Keep which secret that was, and that nothing is being installed",
        "Restart nextcloud",
        "Restart nextcloud-members",
        "Restart nextcloud-push",
        "Run what did not run",
    }
    now = state(host)
    assert "defaultapp" not in now["config"]["system"] and now["config"]["apps"]["files"]["default_quota"] == "5 GB"
    assert now["config"]["apps"]["calendar"]["enabled"] == "yes" and now["config"]["apps"]["weather_status"]["enabled"] == "no"
    assert now["config"]["apps"]["contacts"]["enabled"] == "yes" and get("/custom_apps/contacts/img/app.svg").status == 200
    assert now["provider"]["scope"] == "openid email profile" and since(host, "nextcloud-push")
    assert now["admin"]["email"] == "postmaster@coop.test"


def test_an_app_that_does_not_fit_is_said_and_gives_way_to_one_that_does(host, role, occ, standin):
    apps = {"nextcloud_apps": [{"name": name} for name in ("calendar", "contacts", "notes", "notify_push", "user_oidc")]}
    run = role(**apps, **pins(nextcloud_app_notes="0.1"))
    assert run.returncode != 0 and "it is not compatible with this version of the server" in plain(run), plain(run)
    assert "Link what is new" in changes(role(**apps))
    assert "notes" in json.loads(occ("app:list", "--output=json").stdout)["enabled"]
    # now it has a past, and there is no way back
    run = role(**apps, **pins(nextcloud_app_notes="0.1"))
    assert run.returncode != 0 and re.search(r"notes [0-9.]+ -> 0.1: playbooks/upgrade.yml brings it", plain(run)), plain(run)
    changes(role())


def test_an_app_that_works_for_all_or_not_at_all_is_nobodys_alone(host, role, everything):
    before = everything()
    run = role(
        nextcloud_apps=[
            {"name": "user_oidc"},
            {"name": "calendar", "groups": ["large"]},
            {"name": "richdocuments", "groups": ["large"]},
        ]
    )
    assert run.returncode != 0 and "nextcloud_apps: richdocuments cannot be for some groups alone" in plain(run), plain(run)
    assert everything() == before


# --- who is a member ----------------------------------------------------------------------------------------------------


def ldif(login, **says):
    entry = {
        "uid": login, "cn": login, "sn": login, "mail": f"{login}@coop.test", "preferredLanguage": "fr", "memberPlan": "basic",
        "memberQuota": 5 * 2**30, "memberStatus": "active",
    } | says  # fmt: skip
    lines = [f"dn: uid={login},{BASE}", "objectClass: inetOrgPerson", "objectClass: perronMember"]
    return "\n".join(lines + [f"{name}: {value}" for name, value in entry.items()]) + "\n\n"


@pytest.fixture(scope="module")
def directory(host):
    def write(tool, text):
        run = host.run(f"printf '%%s' %s | {tool} -Q -Y EXTERNAL -H ldapi:///", text)
        assert run.rc == 0, run.stderr

    write("ldapadd", ldif("ann") + ldif("bob", memberPlan="family", memberQuota=20 * 2**30))
    board = "cn=board,ou=groups,dc=coop,dc=test"
    write("ldapadd", f"dn: {board}\nobjectClass: groupOfNames\ncn: board\nmember: uid=ann,{BASE}\n")

    def change(login, **says):
        changes = "-\n".join(f"replace: {name}\n{name}: {value}\n" for name, value in says.items())
        write("ldapmodify", f"dn: uid={login},{BASE}\nchangetype: modify\n{changes}")

    yield change
    write("ldapdelete", f"{board}\nuid=ann,{BASE}\nuid=bob,{BASE}\n")


@pytest.fixture(scope="module")
def accounts(host, directory, occ):
    """Of members who have signed in, and of one who is none any more; what Nextcloud has of them."""
    sql = "runuser -u postgres -- psql -qAtd nextcloud -c %s"
    host.check_output(
        sql, "INSERT INTO oc_user_oidc (user_id, display_name) VALUES ('ann', 'Ann'), ('bob', 'Bob'), ('zoe', 'Zoe')"
    )

    def has(login):
        off = host.check_output(
            sql,
            f"SELECT 1 FROM oc_preferences WHERE userid = '{login}' AND configkey = 'enabled' AND configvalue = 'false'",  # noqa: S608 # the logins are this test's own
        )
        quota = host.check_output(sql, f"SELECT configvalue FROM oc_preferences WHERE userid = '{login}' AND configkey = 'quota'")  # noqa: S608 # the logins are this test's own
        groups = host.check_output(sql, f"SELECT gid FROM oc_group_user WHERE uid = '{login}' ORDER BY gid").split()  # noqa: S608 # the logins are this test's own
        return {"enabled": not off, "quota": quota, "groups": groups}

    yield has
    for login in ("ann", "bob", "zoe"):
        occ("user:delete", login)


@pytest.fixture(scope="module")
def token(accounts, occ):
    """A password that Ann gave a program."""
    return occ("user:auth-tokens:add", "-n", "ann").stdout.split()[-1]


@pytest.fixture(scope="module")
def phone(token, get):
    """That program: does it get in?"""
    return lambda secret=token: (
        get("/remote.php/dav/files/ann/", "-X", "PROPFIND", "-H", "Depth: 0", "-u", f"ann:{secret}").status
    )


def test_groups_and_quota_are_the_directorys(directory, accounts):
    assert eventually(lambda: accounts("ann")["groups"] == ["board", "plan-basic"]), accounts("ann")
    assert eventually(lambda: accounts("bob") == {"enabled": True, "quota": f"{20 * 2**30} B", "groups": ["plan-family"]}), (
        accounts("bob")
    )
    assert accounts("ann")["quota"] == ""  # the quota of whoever has no other
    directory("bob", memberPlan="basic", memberQuota=5 * 2**30)
    assert eventually(lambda: accounts("bob") == {"enabled": True, "quota": f"{5 * 2**30} B", "groups": ["plan-basic"]}), (
        accounts("bob")
    )
    # a little more, too
    directory("bob", memberQuota=21 * 2**28)
    assert eventually(lambda: accounts("bob")["quota"] == f"{21 * 2**28} B"), accounts("bob")


def test_who_is_no_member_is_shut_out(accounts):
    assert eventually(lambda: not accounts("zoe")["enabled"])
    assert accounts("ann")["enabled"] and accounts("bob")["enabled"]


def test_what_a_member_gave_a_password_ends_with_the_membership(directory, phone):
    assert phone() == 207 and phone("wrong") == 401
    directory("ann", memberStatus="suspended")
    assert eventually(lambda: phone() in (401, 503)), phone()  # the real one says that the user is disabled
    directory("ann", memberStatus="active")
    assert eventually(lambda: phone() == 207), phone()


def test_without_the_directory_accounts_stay_as_they_are(host, directory, accounts, phone):
    host.check_output("systemctl stop slapd")
    try:
        since = host.check_output("date +%s")
        said = f"journalctl -u nextcloud-members -o cat --since @{since} | grep 'the directory does not answer'"
        assert eventually(lambda: host.run(said).rc == 0), host.run("journalctl -u nextcloud-members -n 20").stdout
        assert phone() == 207
    finally:
        host.check_output("systemctl start slapd")
    directory("bob", memberStatus="suspended")
    assert eventually(lambda: not accounts("bob")["enabled"])


# --- who is told of changes ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listening(tls, address, login, password):
    """A client that is told of changes (RFC 6455), over the web server; gives what reads the next message."""
    with socket.create_connection((address, 443), 30) as plain, tls.wrap_socket(plain, server_hostname=NAME) as connection:
        connection.sendall(
            f"GET /push/ws HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n".encode()
        )
        for text in (login, password):  # with a mask of zeros
            connection.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text.encode())
        with connection.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 101 ")
            while answer.readline().strip():
                pass

            def following():
                head = answer.read(2)
                return answer.read(head[1]).decode()

            yield following


def test_who_shows_a_programs_password_is_told_of_what_is_theirs(host, tls, address, token):
    with listening(tls, address, "ann", token) as told:
        assert told() == "authenticated"
        for member in ("bob", "ann"):  # what Nextcloud says when somebody shares with them
            host.check_output(f"{VALKEY} publish notify_user_share_created %s", json.dumps({"user": member}))
        assert told() == "notify_file"
        # Bob's would have come first
        host.check_output(f"{VALKEY} publish notify_custom %s", json.dumps({"user": "ann", "message": "the_end"}))
        assert told() == "the_end"
    with listening(tls, address, "ann", "wrong") as refused:
        assert "Invalid credentials" in refused()


def test_who_shows_nothing_is_told_nothing(host, get):
    host.check_output(f"{VALKEY} set test-token the-token")
    assert get("/push/test/cookie", "-H", "token: the-token").text.isdigit()
    assert get("/push/test/cookie", "-H", "token: wrong").status == 500 and get("/push/test/cookie").status == 400
    assert get("/push/ws").status == 400 and get("/push/").status == 404
    # and nobody says from which address they come
    stranger = "setpriv --reuid=nobody --regid=nogroup --clear-groups"
    assert host.run(f"{stranger} curl -s --unix-socket /run/nextcloud-push/push.sock http://x/").rc == 7
    web = "setpriv --reuid=www-data --regid=www-data --clear-groups"
    assert host.run(f"{web} curl -s --unix-socket /run/nextcloud-push/push.sock http://x/").rc == 0


# --- what it stands on --------------------------------------------------------------------------------------------------


def test_valkey_has_sessions_and_cache(host, get):
    host.check_output(f"{VALKEY} flushall")
    get("/login")
    get("/remote.php/dav/", "-X", "PROPFIND", "-u", "oscar:wrong")
    keys = host.check_output(f"{VALKEY} keys '*'").splitlines()
    assert any(key.startswith("nextcloud_session:") for key in keys) and any(
        not key.startswith("nextcloud_session:") for key in keys
    ), keys


SIGN_IN = "/apps/user_oidc/login/1"


def test_a_stranger_fills_no_disk(host):
    """PHP keeps a form on the disk before Nextcloud asks who that is, and no file."""

    def says(method, path, mib):
        ask = "curl -so /dev/null -w '%%{http_code}' --http1.1 --max-time 5 --resolve %s -X %s -H %s %s"
        return int(host.run(ask, f"{NAME}:443:127.0.0.1", method, f"Content-Length: {mib * 2**20}", URL + path).stdout)

    for path in ("/index.php/login", "/login", "/ocs/v2.php/cloud/user"):
        assert says("POST", path, 257) == says("PUT", path, 257) == 413, path
    assert says("POST", "/push/ws", 2) == 413
    assert says("PUT", "/remote.php/dav/files/oscar/large", 17 * 1024) == 413


@pytest.mark.parametrize("unit", ["valkey-server", "postgresql@17-main"])
def test_without_it_there_is_a_clear_page_and_then_nextcloud_again(host, get, status, occ, role, unit):
    assert occ("notify_push:self-test").rc == 0
    assert get(SIGN_IN).status in (302, 303, 404)  # there is no portal here
    host.check_output(f"systemctl stop {unit}")
    try:
        answer = get(SIGN_IN, "-H", "Accept-Language: nl")
        assert answer.status == 503 and "De cloud antwoordt niet" in answer.text, answer.text
        assert occ("notify_push:self-test").rc != 0
        if unit != "valkey-server":
            assert get("/status.php").status >= 500  # what watches is told
            assert host.run("nextcloud-occ app:list").rc != 0
            # and it is not taken for one that is to be installed
            run = role()
            assert run.returncode != 0 and "is installed, and does not say what it is; is its database" in plain(run), plain(run)
            assert not host.file(f"{HOME}/config/CAN_INSTALL").exists
    finally:
        host.check_output(f"systemctl start {unit}")
    assert eventually(lambda: status().get("installed")), host.run("journalctl -n 30 --no-pager -u nextcloud-php").stdout
    assert eventually(lambda: get(SIGN_IN).status in (302, 303, 404))
    assert eventually(lambda: occ("notify_push:self-test").rc == 0), occ("notify_push:self-test").stdout


def test_without_php_there_is_a_page_in_the_members_language(host, get, status):
    host.check_output("systemctl stop nextcloud-php")
    try:
        for language, words in (("nl", "De cloud antwoordt niet"), ("de-AT", "Die Cloud antwortet nicht"), ("xx", "Le nuage ne")):
            answer = get("/apps/files/", "-H", f"Accept-Language: {language}")
            assert answer.status == 503 and words in answer.text
    finally:
        host.check_output("systemctl start nextcloud-php")
    assert eventually(status)


def test_a_timer_runs_the_jobs(host, occ):
    assert host.check_output("systemctl is-enabled nextcloud-cron.timer") == "enabled"
    assert host.check_output("systemctl show --value -p NextElapseUSecRealtime nextcloud-cron.timer")
    occ("config:app:set", "core", "lastcron", "--value=1")
    host.check_output("systemctl start nextcloud-cron.service")
    assert host.check_output("systemctl show --value -p Result nextcloud-cron.service") == "success"
    assert int(state(host)["config"]["apps"]["core"]["lastcron"]) > 1
    assert state(host)["config"]["apps"]["core"]["backgroundjobs_mode"] == "cron"


# --- how it runs --------------------------------------------------------------------------------------------------------


def test_jobs_that_are_stopped_in_the_middle_did_not_fail(host):
    with held(host, "oc_appconfig"):
        host.check_output("systemctl start --no-block nextcloud-cron.service")
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name <> 'holder'"
        assert eventually(lambda: host.check_output(SQL, waiting))
        host.check_output("systemctl stop nextcloud-cron.service")
    assert host.run("systemctl is-failed nextcloud-cron.service").stdout.strip() == "inactive"


def test_the_units_are_hardened(host):
    for unit in ("nextcloud-php", "nextcloud-cron", "nextcloud-members", "nextcloud-push"):
        line = host.check_output(f"systemd-analyze security --no-pager {unit} | tail -n 1")
        assert float(line.split(":")[1].split()[0]) <= 2.0, line
        shown = host.check_output(f"systemctl show -p User,NoNewPrivileges,MemoryDenyWriteExecute,ProtectSystem {unit}").split()
        compiles = "no" if unit == "nextcloud-php" else "yes"
        assert sorted(shown) == [
            f"MemoryDenyWriteExecute={compiles}",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "User=nextcloud",
        ]


def test_what_tells_clients_sees_no_files_of_theirs(host):
    def lists(unit):
        pid = host.check_output(f"systemctl show --value -p MainPID {unit}")
        inside = f"nsenter --target {pid} --mount setpriv --reuid=nextcloud --regid=nextcloud --clear-groups"
        return host.run(f"{inside} ls {HOME}/data").rc

    assert lists("nextcloud-php") == 0 and lists("nextcloud-push") != 0


def test_workers_are_as_many_as_memory_has_room_for(host):
    limit = int(host.check_output("systemctl show --value -p MemoryMax nextcloud-php")) >> 20
    total = int(host.check_output("awk '/MemTotal/ {print $2}' /proc/meminfo")) >> 10
    assert abs(limit - total // 10) <= 2
    assert f"pm.max_children = {limit // 128}\n" in host.file("/etc/nextcloud/php-fpm.conf").content_string


def test_only_nextcloud_reads_its_secrets_and_members_files(host):
    secrets = (
        f"{HOME}/config/config.php",
        f"{HOME}/config/perron.config.php",
        f"{HOME}/data",
        "/etc/nextcloud/apps.json",
        "/etc/nextcloud/members.json",
    )
    for path in secrets:
        for user, reads in (("www-data", False), ("nobody", False), ("nextcloud", True)):
            run = host.run(f"setpriv --reuid={user} --regid={user.replace('nobody', 'nogroup')} --clear-groups test -r {path}")
            assert (run.rc == 0) == reads, (path, user)
    # and it changes no code
    assert host.check_output(f"find {HOME}/code {HOME}/apps {HOME}/custom_apps ! -user root -o -perm /022 ! -type l") == ""
    stranger = "setpriv --reuid=nobody --regid=nogroup --clear-groups"
    assert host.run(f"{stranger} curl -s --unix-socket /run/nextcloud/php.sock http://x/").rc == 7


def test_no_other_php_server_runs(host):
    assert host.run("systemctl is-active php8.4-fpm").stdout.strip() != "active"
    assert set(host.check_output("ps -o user:20= -C php-fpm8.4").split()) == {"nextcloud"}


def test_who_has_a_public_link_is_not_in_the_log(host, get):
    token = "aSecretToken42"
    paths = ("/s/{}", "/index.php/apps/forms/s/{}", "/apps/files_sharing/publicpreview/{}", "/apps/calendar/p/{}/Sports",
             "/remote.php/dav/public-calendars/{}/", "/ocs/v2.php/apps/cospend/api/v1/public/projects/{}/pass")  # fmt: skip
    for path in paths:
        get(path.format(token))
        logged = path.split("{}")[0]
        assert eventually(lambda logged=logged: f"{logged}- " in host.check_output("tail -n 20 /var/log/nginx/access.log")), path
    assert host.run("grep -r %s /var/log/nginx", token).rc == 1


def test_no_password_is_in_the_journal(host):
    password = re.search(r"'dbpassword' => '([^']+)'", host.file(f"{HOME}/config/perron.config.php").content_string)[1]
    assert password not in host.check_output("journalctl --no-pager -o cat")


# --- the end ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def remove(play):
    def run(purge="", *words, groups=()):
        words = ("-e", "remove_from=coop", "-e", f"purge={purge}", *words)
        return play("playbooks/nextcloud_remove.yml", *words, groups=["coop", "postgresql", *groups])

    return run


@pytest.fixture
def instance(host):
    """Which Nextcloud it is: what is installed anew has another."""
    return lambda: state(host)["config"]["system"]["instanceid"]


def test_removed_it_leaves_what_is_members_and_says_where(host, remove, role, status, instance):
    before = instance()
    wrong = remove("yes")
    assert wrong.returncode != 0 and f"give it their directory, {HOME}/data" in plain(wrong) and status()
    run = remove()
    assert changes(run) and f"Left are members' files in {HOME}/data" in plain(run).replace("''", "'"), plain(run)
    assert status() == {} and host.run("systemctl list-unit-files --no-legend 'nextcloud-*'").stdout == ""
    assert sorted(host.check_output(f"ls {HOME}").split()) == ["config", "data"]
    assert changes(remove()) == set()
    changes(role())
    assert status()["installed"] is True and instance() == before


def test_an_installation_that_was_interrupted_begins_anew_over_its_own_remains_alone(host, role, occ, status):
    kept = "runuser -u postgres -- psql -Atqc \"SELECT gid FROM oc_groups WHERE gid = 'left-over'\" nextcloud"
    assert occ("group:add", "left-over").rc == 0
    host.check_output(f"sed -i \"/'installed' =>/d\" {HOME}/config/config.php")
    # a configuration that was lost is no reason to lose what is in the database
    run = role()
    assert run.returncode != 0 and "is a Nextcloud's already" in plain(run).replace("''", "'"), plain(run)
    assert not status().get("installed") and host.check_output(kept) == "left-over"
    # where its account is made, but nothing says that it is installed, the real one refuses to be
    host.check_output("touch /etc/nextcloud/installing")
    assert "Install Nextcloud" in changes(role())
    assert status()["installed"] is True and host.check_output(kept) == ""
    assert not host.file("/etc/nextcloud/installing").exists and changes(role()) == set()


def test_back_with_newer_pins_it_waits_for_the_upgrade(host, remove, role, upgrade, status, instance, standin):
    before = instance()
    assert changes(remove())
    patched = re.sub(r"\d+$", lambda last: str(int(last[0]) + 1), NEW)
    newer = pins(nextcloud_server_34=patched)
    run = role(**newer)
    assert run.returncode != 0 and f"the database is of Nextcloud {NEW}" in plain(run), plain(run)
    of_contacts = f"sed -i s/max-version=.34./max-version=%s/ {HOME}/custom_apps/contacts/appinfo/info.xml"
    host.check_output(of_contacts, '"33"')
    run = upgrade(**newer)
    assert run.returncode != 0 and "contacts was turned off" in plain(run), plain(run)
    assert "The database is as it was, and members wait until it is upgraded" in plain(run) and status()["needsDbUpgrade"] is True
    # the way out: taken away once more, it comes back with the pins of before
    assert changes(remove()) and changes(role())
    assert status()["version"].startswith(f"{NEW}.") and status()["needsDbUpgrade"] is False and instance() == before
    assert changes(remove()) and role(**newer).returncode != 0
    assert "Bring the database to them" in changes(upgrade(**newer))
    assert status()["version"].startswith(f"{patched}.") and status()["needsDbUpgrade"] is False and instance() == before


def test_purged_nothing_of_members_is_left_but_a_database_that_is_still_named(host, remove):
    databases = "runuser -u postgres -- psql -Atqc 'SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles'"
    before = set(host.check_output(databases).split())
    named = {"postgresql_databases": [{"name": "nextcloud", "role": "nextcloud", "password": "of-the-host-that-has-it-now"}]}
    wanted = remove(f"{HOME}/data", groups=["nextcloud"])
    assert wanted.returncode != 0 and "is still in the group nextcloud" in plain(wanted), plain(wanted)
    nowhere = remove("", "-e", "remove_from=nowhere")
    assert nowhere.returncode != 0 and "the inventory has no host 'nowhere'" in plain(nowhere).replace("''", "'"), plain(nowhere)
    # whoever is Nextcloud's user there is not root for it
    planted = "if (posix_getuid() === 0) { touch('/root/owned'); }"
    host.check_output(f"echo %s >>{HOME}/config/perron.config.php", planted)
    # where the files are the host knows, whatever its variables say now
    moved = remove(f"{HOME}/data", "-e", "nextcloud_data=/srv/elsewhere", "-e", json.dumps(named), "--check")
    assert "postgresql : Drop the database" not in changes(moved) and "Purge what is members'" in changes(moved), plain(moved)
    assert "The database nextcloud stays" in plain(moved)
    run = remove(f"{HOME}/data", "-e", "nextcloud_data=/srv/elsewhere")
    assert {"postgresql : Drop the database", "postgresql : Drop the role", "Purge what is members'"} <= changes(run), plain(run)
    assert host.check_output(f"ls {HOME}") == "" and not host.file("/root/owned").exists
    assert before - set(host.check_output(databases).split()) == {"nextcloud"}
    assert changes(remove(f"{HOME}/data")) == set()
