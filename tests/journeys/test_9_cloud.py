"""The cloud: in by the portal and out with it; what a member may have there is the directory's word, and ends with it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import zipfile
from pathlib import Path

import pytest
from browser import Browser, browser
from conftest import Clients, Member, becomes, lab, need_app, playbook, until
from testinfra.host import Host

FIELDS = ("input[name=user]", "input[name=password]")

# The menu that has it is drawn by a script
WAY_OUT = """
const link = document.querySelector("a[href*='/logout']");
return link ? link.href : JSON.parse(atob(document.getElementById("initial-state-core-settingsNavEntries").value)).logout.href;
"""


@pytest.fixture(scope="module")
def host(coop: dict[str, Host], inventory: dict[str, dict[str, str]], cloud: str) -> Host:
    """Where the cloud is."""
    return coop["dyle"]


def sign_in(person: Browser, member: Member, cloud: str, portal: str) -> None:
    """From the cloud's own address, as a bookmark would."""
    person.open(cloud)
    person.at(portal)
    person.fill({FIELDS[0]: member.login, FIELDS[1]: member.password})
    person.at(cloud)
    person.see("#header")
    forgets(person)


def forgets(person: Browser) -> None:
    """The cookie that would renew a session is gone, which it is after a second."""
    until("the session is all there is", lambda: person.driver.get_cookie("nc_token") is None, 5)


def out(person: Browser, cloud: str, portal: str) -> bool:
    """Whether the cloud sends to the portal, which asks who it is."""
    person.open(cloud)
    return person.driver.current_url.startswith(portal) and bool(person.driver.find_elements("css selector", FIELDS[1]))


def account(host: Host, member: Member) -> dict[str, str]:
    """What the cloud has of a member."""
    said = host.run("nextcloud-occ user:info --output=json %s", member.login)
    return json.loads(said.stdout) if said.rc == 0 else {}


def test_signed_in_at_the_portal_there_is_no_second_prompt(
    host: Host, members: dict[str, Member], server: str, cloud: str, portal: str
) -> None:
    anna = members["anna"]
    assert account(host, anna) == {}
    with browser(server) as person:
        person.sign_in(portal, anna.login, anna.password)
        until("the portal's tiles", lambda: not person.driver.find_elements("css selector", FIELDS[1]))
        person.open(cloud)
        person.at(cloud)
        person.see("#header")
        person.keep("cloud")
        assert person.hosts_asked() <= {cloud.split("/")[2]}
    has = account(host, anna)
    assert has["user_id"] == anna.login and has["quota"] == "5 GB" and has["groups"] == ["plan-basic"], has


def test_who_asked_for_two_services_before_signing_in_gets_the_last_one(
    members: dict[str, Member], server: str, cloud: str, webmail: str, portal: str
) -> None:
    with browser(server) as person:
        for service in (cloud, webmail, cloud):
            person.open(service)
            person.at(portal)
        person.fill({FIELDS[0]: members["anna"].login, FIELDS[1]: members["anna"].password})
        person.at(cloud)
        person.see("#header")


def test_another_password_opens_nothing(members: dict[str, Member], server: str, cloud: str, portal: str) -> None:
    with browser(server) as person:
        person.open(cloud)
        person.at(portal)
        person.fill({FIELDS[0]: members["anna"].login, FIELDS[1]: "not-her-password"})
        person.see(".alert-danger, .alert-warning, .message-negative")
        assert out(person, cloud, portal)


def test_no_password_gets_around_the_portal(clients: Clients, members: dict[str, Member], cloud: str) -> None:
    anna = members["anna"]
    for path in ("remote.php/dav/", "ocs/v2.php/cloud/user?format=json"):
        said = clients.run(
            "curl", "-so", "/dev/null", "-w", "%{http_code}", "-H", "OCS-APIRequest: true",
            "-u", f"{anna.login}:{anna.password}", cloud + path,
        )  # fmt: skip
        assert said.text == "401", (path, said.text)
    # nor by Nextcloud's own form, which is there for whoever asks for it
    ask = ("curl", "-sS", "--cookie", "/run/around", "--cookie-jar", "/run/around")
    clients.world.run("rm -f /run/around")
    shown = clients.run(*ask, f"{cloud}login?direct=1")
    fields = {"user": anna.login, "password": anna.password, "timezone": "", "timezone_offset": "", "rememberme": "1"}
    fields |= {"requesttoken": "".join(re.findall(r'data-requesttoken="([^"]+)"', shown.text)[:1])}
    form = [word for name, value in fields.items() for word in ("--data-urlencode", f"{name}={value}")]
    clients.run(*ask, "--header", f"Origin: {cloud.rstrip('/')}", *form, f"{cloud}login?direct=1")
    said = clients.run(
        *ask, "-o", "/dev/null", "-w", "%{http_code}", "-H", "OCS-APIRequest: true", f"{cloud}ocs/v2.php/cloud/user?format=json"
    )
    assert said.text == "401", said.text


def test_signing_out_on_either_side_ends_both(members: dict[str, Member], server: str, cloud: str, portal: str) -> None:
    with browser(server, "nl") as person:
        sign_in(person, members["bram"], cloud, portal)
        assert not out(person, cloud, portal)
        person.open(f"{portal}?logout=1")
        assert out(person, cloud, portal)
        sign_in(person, members["bram"], cloud, portal)
        person.open(person.driver.execute_script(WAY_OUT))
        person.see(FIELDS[1])
        assert not person.at_home(portal)


GONE = -2  # Valkey's word for a key that ended since it was listed


def test_a_session_that_nobody_used_for_long_is_the_portals_to_renew(
    host: Host, members: dict[str, Member], server: str, cloud: str, portal: str
) -> None:
    with browser(server) as person:
        sign_in(person, members["bram"], cloud, portal)
        valkey = "valkey-cli -s /run/valkey/valkey.sock"
        found = host.check_output(f"{valkey} --scan --pattern 'nextcloud_session:*' | grep -v _LOCK").split()
        left = [int(host.check_output(f"{valkey} ttl {key}")) for key in found]
        assert found and all(seconds > 9 * 3600 or seconds == GONE for seconds in left), left
        host.check_output(f"{valkey} del {' '.join(found)}")
        assert not out(person, cloud, portal)  # which knows who it is, still
        forgets(person)
        person.open(f"{portal}?logout=1")
        assert out(person, cloud, portal)


def test_who_administers_it_is_no_word_of_the_portals(
    host: Host, members: dict[str, Member], server: str, cloud: str, portal: str
) -> None:
    bram, chloe = members["bram"], members["chloe"]

    def comes(member: Member) -> None:
        with browser(server) as person:
            sign_in(person, member, cloud, portal)

    comes(bram)
    host.check_output("nextcloud-occ group:adduser admin %s", bram.login)
    suffix = host.check_output(
        "ldapsearch -Q -LLL -Y EXTERNAL -H ldapi:/// -s base -b '' namingContexts | sed -n 's/^namingContexts: //p'"
    )
    group = f"cn=admin,ou=groups,{suffix}"
    ldif = f"dn: {group}\nobjectClass: groupOfNames\ncn: admin\nmember: uid={chloe.login},ou=members,{suffix}\n"
    host.check_output(f"printf '{ldif}' | ldapadd -Q -Y EXTERNAL -H ldapi:///")
    try:
        comes(bram)
        assert sorted(account(host, bram)["groups"]) == ["admin", "plan-basic"]
        comes(chloe)
        assert account(host, chloe)["groups"] == ["plan-basic"]
    finally:
        host.check_output(f"ldapdelete -Q -Y EXTERNAL -H ldapi:/// {group}")
        host.check_output("nextcloud-occ group:removeuser admin %s", bram.login)


def test_another_plan_is_another_quota_and_another_group(
    host: Host, members: dict[str, Member], server: str, cloud: str, portal: str
) -> None:
    lou = members["lou"]
    with browser(server) as person:
        sign_in(person, lou, cloud, portal)
    playbook("member", "-e", json.dumps({"member": {"login": lou.login, "plan": "family"}}))
    until("the plan's group", lambda: account(host, lou)["groups"] == ["plan-family"])
    until("the plan's quota", lambda: account(host, lou)["quota"] == f"{20 * 2**30} B")


def test_calendars_and_contacts_are_found_from_an_address(clients: Clients, members: dict[str, Member], cloud: str) -> None:
    for member in (members["anna"], members["bram"]):  # of the cooperative's domain, and of their own
        domain = member.mail.split("@")[1]
        for service in ("caldavs", "carddavs"):
            answer = clients.run("dig", "+short", "SRV", f"_{service}._tcp.{domain}").text.split()
            assert answer[2:] == ["443", f"{cloud.split('/')[2]}."], answer
            assert "path=/remote.php/dav/" in clients.run("dig", "+short", "TXT", f"_{service}._tcp.{domain}").text
    for service in ("caldav", "carddav"):
        said = clients.run("curl", "-sI", f"{cloud}.well-known/{service}").text
        assert f"location: {cloud}remote.php/dav/" in said.lower(), said


def test_who_shows_no_password_that_holds_is_told_of_no_change(clients: Clients, members: dict[str, Member], cloud: str) -> None:
    need_app("notify_push")
    code = ("curl", "-so", "/dev/null", "-w", "%{http_code}", "--http1.1")
    assert clients.run(*code, f"{cloud}push/test/cookie").text == "400"  # it answers, and wants a token
    assert clients.run(*code, f"{cloud}push/elsewhere").text == "404"
    name = cloud.split("/")[2]
    hello = (
        f"GET /push/ws HTTP/1.1\\r\\nHost: {name}\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
        "Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n"
    )
    # text frames with a mask of zeros (RFC 6455): a member's login, and their password, which is for the portal alone
    for text in (members["anna"].login, members["anna"].password):
        hello += f"\\x81\\x{0x80 | len(text):02x}\\x00\\x00\\x00\\x00{text}"
    connect = f"openssl s_client -quiet -verify_return_error -connect {name}:443"
    readable = "tr -d '\\200-\\377'"  # without the frames' first bytes, which are no text
    said = clients.run("bash", "-c", f"printf %b {shlex.quote(hello)} | {connect} | {readable}").text
    assert "101 Switching Protocols" in said and "err: " in said and "authenticated" not in said, said


def test_what_is_there_comes_along_with_the_mailbox(
    host: Host, members: dict[str, Member], server: str, cloud: str, portal: str, tmp_path: Path
) -> None:
    need_app("user_migration")
    bram, never = members["bram"], members["kim"]
    with browser(server) as person:
        sign_in(person, bram, cloud, portal)
    where = tmp_path / "exports"
    asked = {"member_export": f"{bram.login} {never.login}", "member_export_to": str(where)}
    said = playbook("member", "-e", json.dumps(asked))
    archive = where / f"{bram.login}+cloud.zip"
    assert str(archive) in said and hashlib.sha256(archive.read_bytes()).hexdigest() in said
    assert archive.stat().st_mode & 0o77 == 0
    with zipfile.ZipFile(archive) as contents:
        assert json.loads(contents.read("user.json"))["uid"] == bram.login
    # who never signed in has a mailbox alone
    assert sorted(path.name for path in where.glob("*.zip")) == [archive.name, f"{bram.login}.zip", f"{never.login}.zip"]
    assert host.run("ls -A /var/lib/nextcloud | grep export").stdout == ""


def test_who_leaves_leaves_nothing_there(host: Host, members: dict[str, Member], server: str, cloud: str, portal: str) -> None:
    nora = members["nora"]
    with browser(server) as person:
        sign_in(person, nora, cloud, portal)
    assert account(host, nora)
    becomes(nora, "absent")  # within the grace all is kept, and shut
    until("the account is shut", lambda: not account(host, nora)["enabled"])
    goes = ("-e", json.dumps({"member": {"login": nora.login, "state": "absent"}}), "-e", "member_grace=skip")
    host.check_output("nextcloud-occ maintenance:mode --on")
    try:
        refused = lab("run", "playbooks/member.yml", *goes)
        assert refused.returncode != 0 and "still to be removed from it" in " ".join(refused.stdout.split()), refused.stdout[
            -2000:
        ]
    finally:
        host.check_output("nextcloud-occ maintenance:mode --off")
    playbook("member", *goes)
    assert account(host, nora) == {} and host.run("ls /var/lib/nextcloud/data/%s", nora.login).rc != 0
