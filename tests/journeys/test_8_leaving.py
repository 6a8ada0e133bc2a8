"""A member leaves: with a copy of all they have, shut out at once, back within the grace, gone with their mail after it."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import mailbox
import secrets
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from browser import browser
from conftest import AUTH, RCPT, REFUSED, Clients, Member, lab, new_password, playbook, token, until
from testinfra.host import Host

SKIP = ("-e", "member_grace=skip")


def state(login: str, word: str, *arguments: str) -> str:
    return playbook("member", "-e", json.dumps({"member": {"login": login, "state": word}}), *arguments)


@pytest.fixture(scope="module")
def ines(domain: str) -> Iterator[Member]:
    """A member who will leave, under a login no earlier run had."""
    login, password = f"ines{secrets.token_hex(3)}", new_password()
    facts = {"login": login, "mail": f"{login}@{domain}", "given_name": "Inès", "family_name": "Lambert", "language": "fr"}
    facts |= {"password": password, "contact": "victor@stranger.test", "groups": "cooperators"}
    playbook("member", "-e", json.dumps({"member": facts}))
    yield Member(login, facts["mail"], password)
    state(login, "absent", *SKIP)


@pytest.fixture(scope="module")
def letter(clients: Clients, ines: Member) -> str:
    """The subject of a message that is in Inès' mailbox, read and flagged."""
    subject = token()
    assert clients.stranger_sends(ines.mail, subject).code == 0
    clients.receive(ines, subject)
    (number,) = clients.find(ines, subject)
    marked = clients.curl(ines, "INBOX", "--request", f"STORE {number} +FLAGS (\\Seen \\Flagged)")
    assert marked.code == 0, marked.text
    made = clients.curl(ines, "", "--request", 'CREATE "Famille/photos.2026"')
    assert made.code == 0, made.text
    copied = clients.curl(ines, "INBOX", "--request", f'COPY {number} "Famille/photos.2026"')
    assert copied.code == 0, copied.text
    return subject


def messages(archive: Path, folder: str, place: Path) -> dict[str, mailbox.mboxMessage]:
    """By subject, as any program that reads mbox has them."""
    with zipfile.ZipFile(archive) as contents:
        box = mailbox.mbox(contents.extract(f"mail/{folder}.mbox", place), create=False)
    return {str(message["Subject"]): message for message in box}


def receipts(world: Host, member: Member) -> list[str]:
    """What the stranger's mailbox that is the member's contact has of letters that an account was closed."""
    listing = world.run("ls /srv/mail/victor/new 2>/dev/null").stdout.split()
    parsed = [
        email.message_from_string(world.check_output("cat /srv/mail/victor/new/%s", name), policy=email.policy.default)
        for name in listing
    ]
    bodies = [letter.get_body(("plain",)) for letter in parsed if "est fermé" in letter["Subject"]]
    return [text for body in bodies if body and member.mail in (text := str(body.get_content()))]


def test_a_member_takes_everything_along(
    clients: Clients, coop: dict[str, Host], ines: Member, letter: str, tmp_path: Path
) -> None:
    asked = ("-e", json.dumps({"member_export": ines.login, "member_export_to": str(tmp_path / "exports")}))
    printed = playbook("member", *asked)
    archive = tmp_path / f"exports/{ines.login}.zip"
    assert str(archive) in printed and hashlib.sha256(archive.read_bytes()).hexdigest() in printed

    inbox = messages(archive, "INBOX", tmp_path)
    assert set(inbox[letter].get_flags()) == set("ROF")
    # word for word what a mail program reads
    read = email.message_from_string(clients.receive(ines, letter), policy=email.policy.compat32)
    assert str(inbox[letter].get_payload()).split() == str(read.get_payload()).split()
    assert inbox[letter]["Message-ID"] == read["Message-ID"]
    assert letter in messages(archive, "Famille/photos.2026", tmp_path)

    with zipfile.ZipFile(archive) as contents:
        names = set(contents.namelist())
        text = {name: contents.read(name).decode() for name in ("profile.json", "profile.ldif", "README.txt", "SHA256SUMS")}
    profile = json.loads(text["profile.json"])
    assert (profile["mail"], profile["contactAddress"]) == ([ines.mail], ["victor@stranger.test"])
    assert f"mail: {ines.mail}\n" in text["profile.ldif"]
    assert "userPassword" not in "".join(text.values())
    assert "Votre courrier" in text["README.txt"]
    assert {line[66:] for line in text["SHA256SUMS"].splitlines()} == names - {"SHA256SUMS"}
    for host in coop.values():
        assert host.run("find /srv/mail /tmp /var/tmp -maxdepth 2 -name '*.zip' -o -maxdepth 2 -name '.export*'").stdout == ""

    # neither twice nor for nobody
    again = lab("run", "playbooks/member.yml", *asked)
    assert again.returncode != 0 and "is there already" in " ".join(again.stdout.split())
    asked = ("-e", json.dumps({"member_export": "nobody-at-all", "member_export_to": str(tmp_path / "none")}))
    unknown = lab("run", "playbooks/member.yml", *asked)
    assert unknown.returncode != 0 and "is no member" in unknown.stdout
    assert not (tmp_path / "none").exists()


def test_who_leaves_is_out_at_once_and_back_with_the_old_mail(clients: Clients, world: Host, ines: Member, letter: str) -> None:
    assert clients.curl(ines, "").code == 0
    printed = " ".join(state(ines.login, "absent").split())
    assert f"{ines.login} left: shut out from now on" in printed
    for scheme in ("imaps", "pop3s"):
        assert clients.curl(ines, "", scheme=scheme).code == REFUSED
    assert clients.submit(ines, ines.mail, token()).code == AUTH
    receipt = until("the receipt", lambda: receipts(world, ines))[-1]
    assert "Bonjour Inès Lambert" in receipt and "De même les fichiers, agendas et contacts dans le nuage" in receipt, receipt

    # mail is still received, and waits
    subject = token()
    assert clients.stranger_sends(ines.mail, subject).code == 0
    assert "came back" in state(ines.login, "present")
    until("Inès signs in again", lambda: clients.curl(ines, "").code == 0)
    clients.receive(ines, subject)
    clients.receive(ines, letter)
    assert clients.find(ines, letter, "Famille/photos.2026")


def test_after_the_last_day_a_purge_takes_all_of_it(
    clients: Clients, coop: dict[str, Host], mail_host: Host, domain: str, ines: Member, server: str, portal: str, webmail: str
) -> None:
    with browser(server, "fr") as page:
        page.sign_in(portal, ines.mail, ines.password)
        page.open(webmail)
        page.see("body.task-mail")

    def known_to_the_webmail() -> bool:
        asked = "SELECT username FROM users JOIN identities USING (user_id)"
        return ines.login in coop["meuse"].check_output("runuser -u postgres -- psql -XAtd webmail -c %s", asked).split()

    def known_to_the_portal() -> bool:
        """Their second factors would be in it, and in the way of whoever had the login next."""
        tool = "/usr/share/lemonldap-ng/bin/lemonldap-ng-sessions --user portal --group portal"
        count = f"{tool} count --persistent --where _session_uid=%s"
        return coop["meuse"].check_output(count, ines.login) != "0"

    state(ines.login, "absent")
    assert known_to_the_webmail() and known_to_the_portal()
    home = f"/srv/mail/{ines.login}"
    playbook("member", "-e", "member_purge=true")
    assert mail_host.file(home).exists, "the last day has not passed"

    suffix = ",".join(f"dc={part}" for part in domain.split("."))
    change = f"dn: uid={ines.login},ou=members,{suffix}\nchangetype: modify\nreplace: memberUntil\nmemberUntil: %s\n"
    command = "printf %s | ldapmodify -Q -Y EXTERNAL -H ldapi:///"
    # the last day itself still counts
    for day, stays in ((datetime.now(ZoneInfo("Europe/Brussels")).date().isoformat(), True), ("2020-01-31", False)):
        coop["dyle"].check_output(command, change % day)
        playbook("member", "-e", "member_purge=true")
        assert mail_host.file(home).exists is stays
    assert not known_to_the_webmail() and not known_to_the_portal()
    assert clients.curl(ines, "").code == REFUSED
    gone = clients.swaks("--server", clients.server, "--from", "sarah@stranger.test", "--to", ines.mail, "--quit-after", "RCPT")
    assert (gone.code, "550 5.1.1" in gone.text) == (RCPT, True), gone.text
