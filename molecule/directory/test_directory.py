"""The directory answers whom it should, and nobody else; member.yml brings members to what is asked."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import os
import shlex
import subprocess
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from conftest import CONTAINER, ROOT, Run, eventually

SUFFIX = "dc=coop,dc=test"
SECRET = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "password").read_text().strip()
MEMBERS = f"ou=members,{SUFFIX}"
POSTFIX = (f"cn=postfix,ou=services,{SUFFIX}", f"postfix-{SECRET}")
DOVECOT = (f"cn=dovecot,ou=services,{SUFFIX}", f"dovecot-{SECRET}")
DEVICES = (f"cn=devices,ou=services,{SUFFIX}", f"devices-{SECRET}")
DEVICES_MAY = ["uid", "mail", "memberStatus", "memberDevices", "deviceId", "deviceOwner", "deviceAddress", "deviceName"]
SPOOL = "/var/lib/perron-members/initial-passwords"
CA = "/etc/certificates/directory/root.pem"
PASSWORD = "correct horse battery staple"
SINK = "systemd-run --quiet --unit=sink python3 /run/sink.py /run/sink"
MEMBER = {"given_name": "Zoë", "family_name": "D'Hondt", "password": PASSWORD}


def sh(host: Any, command: str) -> Any:
    return host.run(f"export LDAPTLS_CACERT={CA}; {command}".replace("%", "%%"))


def whoami(host: Any, dn: str, password: str) -> Any:
    return sh(host, f"ldapwhoami -x -H ldaps://{CONTAINER} -D {shlex.quote(dn)} -w {shlex.quote(password)}")


def search(host: Any, who: tuple[str, str], query: str, base: str = SUFFIX) -> Any:
    dn, password = map(shlex.quote, who)
    return sh(host, f"ldapsearch -LLL -o ldif-wrap=no -x -H ldaps://{CONTAINER} -D {dn} -w {password} -b {base} {query}")


def as_root(host: Any, command: str, ldif: str = "") -> Any:
    return sh(host, f"{command.replace(' ', ' -Q -Y EXTERNAL -H ldapi:/// ', 1)} <<'.'\n{ldif}\n.")


def read(host: Any, dn: str, attribute: str) -> list[str]:
    found = as_root(host, f"ldapsearch -LLL -o ldif-wrap=no -s base -b '{dn}' {attribute}").stdout
    return [line.split(": ", 1)[1] for line in found.splitlines() if line.lower().startswith(f"{attribute}:".lower())]


@pytest.fixture(scope="module")
def play(play: Run) -> Run:  # the same, with this scenario's secrets, and a mail host if asked
    secrets = {"vault_directory_postfix": POSTFIX[1], "vault_directory_dovecot": DOVECOT[1]}
    secrets |= {"vault_directory_devices": DEVICES[1]}

    def run(playbook: str, *arguments: str, mail: bool = False) -> subprocess.CompletedProcess[str]:
        return play(playbook, *arguments, groups=["directory", "mail"] if mail else ["directory"], variables=secrets)

    return run


@pytest.fixture(scope="module")
def member(play: Run) -> Run:
    def run(row: dict[str, Any] | Path, *arguments: str, mail: bool = False, fails: bool = False) -> Any:
        given = f"members_csv={row}" if isinstance(row, Path) else json.dumps({"member": row})
        done = play("playbooks/member.yml", "-e", given, *arguments, mail=mail)
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def purge(play: Run) -> Run:
    def run(*arguments: str) -> Any:
        done = play("playbooks/member.yml", "-e", "member_purge=true", *arguments, mail=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def members(member: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Those whom most tests ask for, by one run."""
    path = tmp_path_factory.mktemp("members") / "members.csv"
    path.write_text(
        "login,mail,given_name,family_name,password,aliases,contact,groups,linked_to\n"
        f"alice,alice@coop.test,Zoë,D'Hondt,{PASSWORD},a.dubois@famille.test,,board,\n"
        f"bob,bob@coop.test,Zoë,D'Hondt,{PASSWORD},,bob@stranger.test,board cooperators,\n"
        f"kid,kid@coop.test,Zoë,D'Hondt,{PASSWORD},,,,bob\n"
    )
    member(path)


@pytest.fixture(scope="module")
def alice(members: None) -> str:
    return f"uid=alice,{MEMBERS}"


@pytest.fixture(scope="module")
def bob(members: None) -> str:
    return f"uid=bob,{MEMBERS}"


@pytest.fixture(scope="module")
def kid(members: None) -> str:
    """Linked to bob."""
    return f"uid=kid,{MEMBERS}"


class TestDaemon:
    def test_only_the_encrypted_port_answers(self, host: Any) -> None:
        assert host.socket("tcp://0.0.0.0:636").is_listening, host.run("journalctl -u slapd -n 50").stdout
        assert host.socket("tcp://:::636").is_listening
        assert not host.socket("tcp://0.0.0.0:389").is_listening
        assert sh(host, f"ldapwhoami -x -H ldap://{CONTAINER}").rc != 0

    @pytest.mark.parametrize(
        ("offer", "right"),
        [
            ("-tls1_3 -groups X25519MLKEM768", True),
            ("-tls1_3 -groups X25519", True),
            ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", True),
            ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256", False),
            ("-tls1_2 -cipher AES128-GCM-SHA256", False),
            ("-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256", False),
            ("-tls1_1 -cipher ALL:@SECLEVEL=0", False),
        ],
    )
    def test_tls(self, host: Any, offer: str, right: bool) -> None:
        found = sh(host, f"openssl s_client -connect localhost:636 -CAfile {CA} -verify_return_error {offer} </dev/null 2>&1")
        assert ("Verify return code: 0 (ok)" in found.stdout and "Cipher is (NONE)" not in found.stdout) is right, found.stdout

    def test_the_name_is_verified(self, host: Any) -> None:
        dn, password = map(shlex.quote, POSTFIX)
        said = sh(host, f"ldapwhoami -x -H ldaps://127.0.0.1 -D {dn} -w {password}")
        assert said.rc != 0 and "Can't contact LDAP server" in said.stderr, said.stderr
        assert whoami(host, *POSTFIX).rc == 0

    def test_it_is_confined(self, host: Any) -> None:
        score = host.check_output("systemd-analyze security slapd.service | tail -n 1")
        assert float(score.split(": ")[1].split()[0]) <= 4.0, score
        pid = host.check_output("systemctl show --value -p MainPID slapd")
        status = host.check_output(f"cat /proc/{pid}/status")
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        assert host.check_output(f"ps -o user= -p {pid}").strip() == "openldap"

    def test_it_comes_back_when_killed(self, host: Any) -> None:
        host.check_output("systemctl kill --signal=KILL slapd")
        assert eventually(lambda: whoami(host, *POSTFIX).rc == 0), host.run("journalctl -u slapd -n 50").stdout

    def test_a_renewed_certificate_is_served(self, host: Any) -> None:
        serial = "openssl s_client -connect localhost:636 </dev/null 2>/dev/null | openssl x509 -noout -serial"
        before = host.check_output(serial)
        host.check_output(
            "cd /etc/certificates/directory && openssl req -x509 -key privkey.pem -days 2 -subj /CN=ldap.coop.test "
            "-CA chain.pem -CAkey intermediate.key -addext basicConstraints=critical,CA:false "
            f"-addext subjectAltName=DNS:ldap.coop.test,DNS:{CONTAINER} -out leaf.pem && cat leaf.pem chain.pem >fullchain.pem"
        )
        assert host.check_output(serial) == before
        host.check_output("/etc/certificates/reload.d/directory")
        assert host.check_output(serial) != before


class TestWhoSeesWhat:
    def test_nobody_unnamed_sees_anything(self, host: Any, alice: str) -> None:
        for base in (SUFFIX, alice, "''", "cn=Subschema", "cn=Monitor"):
            found = sh(host, f"ldapsearch -x -H ldaps://{CONTAINER} -b {base} -s base")
            assert found.rc != 0
            assert "dn:" not in found.stdout

    def test_a_service_signs_in_with_its_password_only(self, host: Any) -> None:
        assert whoami(host, *POSTFIX).rc == 0
        assert whoami(host, POSTFIX[0], "wrong").rc == 49
        assert whoami(host, POSTFIX[0], DOVECOT[1]).rc == 49

    def test_a_service_sees_its_attributes_only(self, host: Any, alice: str) -> None:
        def names(who: tuple[str, str]) -> set[str]:
            found = search(host, who, "mail=alice@coop.test '*' '+'").stdout
            return {line.split(":")[0] for line in found.splitlines() if line} - {"dn", "objectClass"}

        assert names(POSTFIX) == {"mail", "mailAlias", "uid"}
        assert names(DOVECOT) == {"mail", "mailAlias", "uid", "memberQuota", "memberStatus"}

    def test_what_a_service_does_not_see_it_cannot_search_by(self, host: Any, alice: str) -> None:
        assert alice in search(host, DOVECOT, "memberStatus=active uid").stdout
        assert alice not in search(host, POSTFIX, "memberStatus=active uid").stdout
        assert alice not in search(host, DOVECOT, "'userPassword=*' uid").stdout

    def test_an_alias_leads_somewhere(self, host: Any) -> None:
        assert "mailTarget: alice@coop.test" in search(host, POSTFIX, "mail=postmaster@coop.test").stdout
        assert "mailTarget" not in search(host, DOVECOT, "mail=postmaster@coop.test").stdout

    def test_services_and_policies_are_nobodys_business(self, host: Any) -> None:
        for base in (f"ou=services,{SUFFIX}", f"ou=policies,{SUFFIX}"):
            assert "dn:" not in search(host, POSTFIX, "", base).stdout

    def test_a_service_writes_nothing(self, host: Any, alice: str) -> None:
        change = f"dn: {alice}\nchangetype: modify\nreplace: mailAlias\nmailAlias: x@coop.test"
        done = sh(host, f"ldapmodify -x -H ldaps://{CONTAINER} -D {POSTFIX[0]} -w {POSTFIX[1]} <<'.'\n{change}\n.")
        assert done.rc == 50

    def test_a_member_sees_themselves_and_no_other(self, host: Any, alice: str, bob: str) -> None:
        assert "mail: alice@coop.test" in search(host, (alice, PASSWORD), "", alice).stdout
        assert "userPassword" not in search(host, (alice, PASSWORD), "", alice).stdout
        assert "dn:" not in search(host, (alice, PASSWORD), "", bob).stdout
        assert "dn:" not in search(host, (alice, PASSWORD), "mail=*").stdout

    def test_an_address_that_a_member_has_is_none_of_the_houses(self, host: Any, play: Run, alice: str) -> None:
        aliases = [{"mail": f"{name}@famille.test", "targets": ["bob@coop.test"]} for name in ("treasurer", "a.dubois")]
        given = {"directory_suffix": SUFFIX, "directory_services": [], "directory_aliases": aliases}
        done = play("playbooks/directory.yml", "--tags", "directory_configure", "-e", json.dumps(given))
        assert done.returncode != 0
        assert f"a.dubois@famille.test is an address of {alice}; take it from there" in " ".join(done.stdout.split())
        # nothing was: not the one that is free, and no service lost its account
        assert "mailTarget" not in search(host, POSTFIX, "mail=treasurer@famille.test").stdout

    def test_a_services_account_follows_the_variable(self, host: Any, play: Run) -> None:
        fewer = {"directory_services": [{"name": "postfix", "password": "a-new-one-for-postfix", "may": ["mail"]}]}
        vault = {"directory_suffix": SUFFIX, "directory_lockout_failures": 3, "directory_lockout_seconds": 10}
        alias = {"directory_aliases": [{"mail": "postmaster@coop.test", "targets": ["alice@coop.test"]}]}
        done = play("playbooks/directory.yml", "--tags", "directory_configure", "-e", json.dumps(vault | fewer))
        assert done.returncode == 0, done.stdout
        assert whoami(host, POSTFIX[0], "a-new-one-for-postfix").rc == 0
        assert whoami(host, *POSTFIX).rc == 49
        assert whoami(host, *DOVECOT).rc == 49
        assert "dn:" not in search(host, (POSTFIX[0], "a-new-one-for-postfix"), "mail=postmaster@coop.test").stdout
        services = [
            {"name": "postfix", "password": POSTFIX[1], "may": ["mail", "mailAlias", "mailTarget", "uid"]},
            {"name": "dovecot", "password": DOVECOT[1], "may": ["mail", "mailAlias", "uid", "memberQuota", "memberStatus"]},
            {"name": "devices", "password": DEVICES[1], "may": DEVICES_MAY, "devices": True},
        ]
        back = json.dumps(vault | alias | {"directory_services": services})
        assert play("playbooks/directory.yml", "--tags", "directory_configure", "-e", back).returncode == 0
        assert whoami(host, *POSTFIX).rc == 0
        assert whoami(host, *DOVECOT).rc == 0


class TestPasswords:
    def test_the_right_one_enters_and_the_wrong_one_does_not(self, host: Any, alice: str) -> None:
        assert whoami(host, alice, PASSWORD).rc == 0
        assert whoami(host, alice, PASSWORD + "x").rc == 49
        assert whoami(host, alice, PASSWORD).rc == 0

    def change(self, host: Any, dn: str, old: str, new: str) -> Any:
        old, new = map(shlex.quote, (old, new))
        return sh(host, f"ldappasswd -x -H ldaps://{CONTAINER} -D {dn} -w {old} -a {old} -s {new}")

    def test_a_member_changes_it(self, host: Any, bob: str) -> None:
        assert self.change(host, bob, PASSWORD, "another horse, another battery").rc == 0
        assert whoami(host, bob, PASSWORD).rc == 49
        assert whoami(host, bob, "another horse, another battery").rc == 0
        assert self.change(host, bob, "another horse, another battery", PASSWORD).rc == 0

    def test_not_without_the_old_one_and_not_to_a_weak_one(self, host: Any, bob: str) -> None:
        new = shlex.quote("another horse, another battery")
        assert sh(host, f"ldappasswd -x -H ldaps://{CONTAINER} -D {bob} -w {shlex.quote(PASSWORD)} -s {new}").rc != 0
        for weak in ("short", "bob-is-my-password"):
            assert "Constraint violation (19)" in self.change(host, bob, PASSWORD, weak).stdout
        assert whoami(host, bob, PASSWORD).rc == 0

    def test_not_another_members(self, host: Any, alice: str, bob: str) -> None:
        password = shlex.quote(PASSWORD)  # both have the same, so it is not the old one that is missing
        command = f"ldappasswd -x -H ldaps://{CONTAINER} -D {alice} -w {password} -a {password} -s another-battery {bob}"
        assert sh(host, command).rc != 0
        assert whoami(host, bob, PASSWORD).rc == 0

    def test_it_is_kept_as_argon2_and_a_services_as_sha512(self, host: Any, alice: str) -> None:
        for dn, kept in ((alice, "{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$"), (POSTFIX[0], "{SSHA512}")):
            stored = as_root(host, f"ldapsearch -LLL -o ldif-wrap=no -s base -b {dn} userPassword").stdout
            encoded = stored.split("userPassword:: ")[1].split()[0]
            assert host.check_output(f"echo {encoded} | base64 -d").startswith(kept)

    def test_wrong_ones_lock_a_member_out_for_a_while(self, host: Any, bob: str) -> None:
        for _ in range(3):
            assert whoami(host, bob, "wrong").rc == 49
        assert whoami(host, bob, PASSWORD).rc == 49
        assert eventually(lambda: whoami(host, bob, PASSWORD).rc == 0)

    def test_nobody_can_lock_a_service_out(self, host: Any) -> None:
        for _ in range(5):
            assert whoami(host, POSTFIX[0], "wrong").rc == 49
        assert whoami(host, *POSTFIX).rc == 0


class TestDevices:
    """A device has a password of its own; who makes it can do little else."""

    SECRET = "dev234-abcde-fghjk-mnpqr"
    DN = f"deviceId=dev234,ou=devices,{SUFFIX}"

    def change(self, host: Any, ldif: str, who: tuple[str, str] = DEVICES) -> Any:
        return sh(host, f"ldapmodify -x -H ldaps://{CONTAINER} -D {who[0]} -w {shlex.quote(who[1])} <<'.'\n{ldif}\n.")

    def add(self, host: Any, owner: str, name: str = "dev234", who: tuple[str, str] = DEVICES) -> Any:
        entry = (
            f"dn: deviceId={name},ou=devices,{SUFFIX}\nchangetype: add\nobjectClass: perronDevice\ndeviceId: {name}\n"
            f"deviceOwner: {owner}\ndeviceAddress: {read(host, owner, 'mail')[0]}\ndeviceName: Phone\n"
            f"pwdPolicySubentry: cn=devices,ou=policies,{SUFFIX}\nuserPassword: {self.SECRET.replace('dev234', name)}"
        )
        return self.change(host, entry, who)

    @pytest.fixture
    def device(self, host: Any, bob: str) -> Iterator[str]:
        assert self.add(host, bob).rc == 0
        yield self.DN
        as_root(host, f"ldapdelete {self.DN}")

    def test_its_password_opens_and_another_does_not(self, host: Any, device: str) -> None:
        assert whoami(host, device, self.SECRET).rc == 0
        assert whoami(host, device, self.SECRET + "x").rc == 49

    def test_it_dies_with_its_member(self, host: Any, device: str, bob: str) -> None:
        status = f"dn: {bob}\nchangetype: modify\nreplace: memberStatus\nmemberStatus: "
        as_root(host, "ldapmodify -v", status + "suspended")
        assert whoami(host, device, self.SECRET).rc == 49
        as_root(host, "ldapmodify -v", status + "active")
        assert whoami(host, device, self.SECRET).rc == 0

    def test_only_its_maker_makes_it(self, host: Any, alice: str, device: str) -> None:
        for who in (POSTFIX, DOVECOT, (alice, PASSWORD)):
            assert self.add(host, alice, "dev999", who).rc == 50
            # one that may not see it is told that there is none
            assert self.change(host, f"dn: {device}\nchangetype: delete", who).rc in (32, 50)
        assert whoami(host, device, self.SECRET).rc == 0

    @pytest.mark.parametrize(
        "change",
        [
            "replace: userPassword\nuserPassword: abcdefghijklmnopqrstuvwxyz",
            "replace: deviceOwner\ndeviceOwner: {alice}",
            "replace: deviceAddress\ndeviceAddress: alice@coop.test",
        ],
    )
    def test_nobody_changes_it(self, host: Any, device: str, alice: str, change: str) -> None:
        assert self.change(host, f"dn: {device}\nchangetype: modify\n{change.format(alice=alice)}").rc == 50

    def test_its_maker_sees_no_password_and_nothing_else_of_a_member(self, host: Any, device: str, bob: str) -> None:
        found = search(host, DEVICES, "deviceId=dev234 '*' '+'").stdout
        assert "deviceOwner: uid=bob" in found and "userPassword" not in found
        seen = search(host, DEVICES, "uid=bob '*' '+'").stdout
        names = {line.split(":")[0] for line in seen.splitlines() if line} - {"dn", "objectClass"}
        assert names == {"uid", "mail", "memberStatus"}

    def test_its_maker_closes_a_members_own_password_and_does_not_open_it(self, host: Any, bob: str) -> None:
        def switch(how: str, who: tuple[str, str] = DEVICES) -> int:
            return int(self.change(host, f"dn: {bob}\nchangetype: modify\n{how}: memberDevices{TRUE[how]}", who).rc)

        TRUE = {"add": "\nmemberDevices: TRUE", "delete": "", "replace": "\nmemberDevices: FALSE"}  # noqa: N806 # a table
        assert switch("add", (bob, PASSWORD)) == 50
        assert switch("add") == 0
        assert switch("delete") == switch("replace") == 50
        assert read(host, bob, "memberDevices") == ["TRUE"]
        as_root(host, "ldapmodify -v", f"dn: {bob}\nchangetype: modify\ndelete: memberDevices")

    def test_its_maker_changes_nothing_else(self, host: Any, bob: str) -> None:
        for attribute in ("mailAlias: x@coop.test", "memberStatus: active", "userPassword: abcdefghijklmnopqrstuvwxyz"):
            name = attribute.split(":")[0]
            assert self.change(host, f"dn: {bob}\nchangetype: modify\nreplace: {name}\n{attribute}").rc == 50
        assert self.change(host, f"dn: {bob}\nchangetype: delete").rc == 50


class TestConsistency:
    ENTRY = (
        f"dn: uid=%s,{MEMBERS}\nobjectClass: inetOrgPerson\nobjectClass: perronMember\nuid: %s\ncn: x\nsn: x\nmemberPlan: basic\n"
        "memberQuota: 1\nmemberStatus: %s\npreferredLanguage: fr\nmail: %s\n"
    )

    @pytest.mark.parametrize(
        ("status", "mail", "code"),
        [
            ("active", "eve@coop.test", 0),
            ("active", "alice@coop.test", 19),
            ("active", "eve@coop.test\nmailAlias: A.Dubois@famille.test", 19),
            ("active", "eve@coop.test\nmail: eve2@coop.test", 19),
            ("retired", "eve@coop.test", 19),
            ("active", "eve@coop.test\nmemberUntil: 2026-12-24", 0),
            ("active", "eve@coop.test\nmemberUntil: soon", 19),
        ],
    )
    def test_an_address_belongs_to_one_entry(self, host: Any, alice: str, status: str, mail: str, code: int) -> None:
        done = as_root(host, "ldapadd ", self.ENTRY % ("eve", "eve", status, mail))
        as_root(host, "ldapdelete ", f"uid=eve,{MEMBERS}")
        assert done.rc == code, done.stderr

    def test_who_is_deleted_leaves_the_groups(self, host: Any, alice: str) -> None:
        as_root(host, "ldapadd ", self.ENTRY % ("eve", "eve", "active", "eve@coop.test"))
        group = f"cn=board,ou=groups,{SUFFIX}"
        as_root(host, "ldapmodify ", f"dn: {group}\nchangetype: modify\nadd: member\nmember: uid=eve,{MEMBERS}")
        assert read(host, f"uid=eve,{MEMBERS}", "memberOf") == [group]
        assert as_root(host, "ldapdelete ", f"uid=eve,{MEMBERS}").rc == 0
        assert f"uid=eve,{MEMBERS}" not in read(host, group, "member")
        assert alice in read(host, group, "member")

    def test_a_dump_restores(self, host: Any, alice: str) -> None:
        dump = "/var/backups/directory/directory.ldif"
        for command in yaml.safe_load((ROOT / "group_vars/directory.yml").read_text())["directory_manifest"]["backup"]["before"]:
            host.check_output(command.replace("{{ directory_suffix }}", SUFFIX))
        assert f"dn: {alice}" in host.check_output(f"cat {dump}")
        assert host.run(f"runuser -u nobody -- cat {dump}").rc != 0
        assert host.run(f"runuser -u openldap -- slapadd -u -f /etc/ldap/slapd.conf <{dump}").rc == 0
        assert host.run(f"(cat {dump}; echo garbage) | runuser -u openldap -- slapadd -u -f /etc/ldap/slapd.conf").rc != 0
        host.check_output("systemctl stop slapd && rm /var/lib/ldap/*.mdb")
        host.check_output(f"runuser -u openldap -- slapadd -q -f /etc/ldap/slapd.conf <{dump} && systemctl start slapd")
        assert whoami(host, alice, PASSWORD).rc == 0


@pytest.fixture(scope="module")
def mail_host(host: Any) -> Iterator[Any]:
    """A mail server that keeps what it is given, and in the place of what ends sessions something that says it was asked."""
    host.check_output("mkdir -p /run/sink /srv/mail")
    sink = (Path(__file__).parent / "sink.py").read_text()
    host.check_output(f"cat >/run/sink.py <<'.'\n{sink.replace('%', '%%')}\n.")
    host.check_output(SINK)
    script = '#!/bin/sh\\necho "$@" | tee -a /run/ended\\n'
    host.check_output(f"printf '{script}' >/usr/local/lib/dovecot-sessions && chmod +x /usr/local/lib/dovecot-sessions")
    assert eventually(lambda: host.socket("tcp://127.0.0.1:25").is_listening)
    yield host
    host.check_output("systemctl stop sink; rm -rf /run/sink /run/sink.py /run/ended /usr/local/lib/dovecot-sessions /srv/mail")


class TestMembers:
    def test_suspended_is_refused_and_signed_out_until_present_again(self, mail_host: Any, member: Run, alice: str) -> None:
        member({"login": "alice", "state": "suspended"}, mail=True)
        assert whoami(mail_host, alice, PASSWORD).rc == 49
        assert mail_host.check_output("cat /run/ended") == "once"
        # mail for them is still delivered: their addresses are found
        assert alice in search(mail_host, POSTFIX, "mailAlias=a.dubois@famille.test").stdout
        assert "changed=0" in member({"login": "alice", "language": "fr"}).stdout
        assert whoami(mail_host, alice, PASSWORD).rc == 49
        member({"login": "alice", "state": "present"})
        assert whoami(mail_host, alice, PASSWORD).rc == 0

    def test_a_file_twice_changes_nothing_the_second_time(self, host: Any, member: Run, tmp_path: Path) -> None:
        path = tmp_path / "members.csv"
        lines = [f"m{i},m{i}@coop.test,M,Number {i},cooperators,m.{i}@famille.test" for i in range(300)]
        path.write_text("\n".join(["login,mail,given_name,family_name,groups,aliases", *lines, ""]))
        assert "changed=0" not in member(path, "--check").stdout
        assert read(host, f"uid=m7,{MEMBERS}", "mail") == []
        first = member(path)
        assert "Nobody can write to" in first.stdout
        assert read(host, f"uid=m7,{MEMBERS}", "memberOf") == [f"cn=cooperators,ou=groups,{SUFFIX}"]
        second = member(path)
        assert "changed=0" in second.stdout, second.stdout
        # each has a password of their own, which works, and which nobody else reads
        waiting = dict(line.split("\t") for line in host.check_output(f"cat {SPOOL}").splitlines())
        numbered = {dn: password for dn, password in waiting.items() if dn.startswith("uid=m")}
        assert len(numbered) == len(set(numbered.values())) == 300
        assert host.file(SPOOL).mode == 0o600
        assert whoami(host, f"uid=m7,{MEMBERS}", numbered[f"uid=m7,{MEMBERS}"]).rc == 0
        assert not set(numbered.values()) & set(first.stdout.split())
        path.write_text("\n".join(["login,state", *(f"m{i},absent" for i in range(300))]))
        member(path, "-e", "member_grace=skip")
        assert read(host, f"uid=m7,{MEMBERS}", "mail") == []
        assert not [dn for dn in read(host, f"cn=cooperators,ou=groups,{SUFFIX}", "member") if dn.startswith("uid=m")]

    def test_nothing_is_applied_if_a_line_is_wrong_and_all_are_named(
        self, host: Any, member: Run, alice: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "broken.csv"
        path.write_text(
            "login;mail;given_name;family_name\n"
            "right;right@coop.test;R;Ight\n"
            "postmaster;pm@coop.test;P;M\n"
            "carl;alice@coop.test;C;Arl\n"
            "right;right2@coop.test;R;Ight\n"
            "short;short@coop.test\n"
            "dora;dora@elsewhere.test;D;Ora\n"
        )
        # what Ansible prints wraps its lines
        said = " ".join(member(path, fails=True).stdout.split())
        for problem in (
            "line 3, login: ''postmaster'' is reserved; choose another",
            "line 4, mail: ''alice@coop.test'' is taken by alice; choose another",
            "line 5, login: ''right'' is already on broken.csv line 2",
            "line 6: 2 cells under 4 columns",
            "line 7, mail: ''dora@elsewhere.test'': domain ''elsewhere.test'' is unknown",
        ):
            assert problem in said
        assert read(host, f"uid=right,{MEMBERS}", "mail") == []

    def test_letters_that_are_not_utf_8_are_named(self, member: Run, tmp_path: Path) -> None:
        path = tmp_path / "latin.csv"
        path.write_bytes("login,mail,given_name,family_name\nrene,rene@coop.test,René,X\n".encode("latin-1"))
        assert "UTF-8" in member(path, fails=True).stdout

    def test_one_or_a_file_and_words_that_are_known(self, play: Run, member: Run) -> None:
        done = play("playbooks/member.yml")
        assert done.returncode != 0 and "give either a member" in done.stdout
        assert "leave it out, or say" in member(LEAVES, "-e", "member_grace=now", fails=True).stdout

    def test_the_new_are_welcomed_in_their_language_once(self, mail_host: Any, member: Run) -> None:
        row = {"given_name": "Zoë", "family_name": "D'Hondt", "mail": "zoe@coop.test", "language": "nl"}
        row |= {"login": "zoe", "contact": "zoe@stranger.test"}
        # no mail host yet: nobody is told that a message will come
        said = " ".join(member(row).stdout.split())
        assert "Nobody can write to" in said and "there is no host in the group mail" in said and "No message went" not in said
        refused = {**row, "login": "noel", "mail": "noel@coop.test", "contact": "refused@stranger.test"}
        said = " ".join(member(refused, mail=True).stdout.split())
        assert "No message went to refused@stranger.test" in said
        text = mail_host.run("cat /run/sink/zoe@stranger.test").stdout
        message = email.message_from_string(text, policy=email.policy.default)
        assert message["Subject"] == "Welkom bij Coopérative d'essai"
        assert message["From"].addresses[0].addr_spec == "postmaster@coop.test"
        body = message.get_content()
        assert "Dag Zoë D'Hondt" in body
        password = body.split("Wachtwoord: ")[1].split()[0]
        assert whoami(mail_host, f"uid=zoe,{MEMBERS}", password).rc == 0
        assert password not in mail_host.check_output(f"cat {SPOOL}")
        assert f"uid=noel,{MEMBERS}" in mail_host.check_output(f"cat {SPOOL}")
        # once
        mail_host.check_output("rm /run/sink/*")
        assert "changed=0" in member(row, mail=True).stdout
        assert not mail_host.file("/run/sink/zoe@stranger.test").exists
        # unless asked for again, with a password of its own
        member({"login": "zoe"}, "-e", "member_welcome=resend", mail=True)
        again = mail_host.check_output("cat /run/sink/zoe@stranger.test")
        assert password not in again
        assert whoami(mail_host, f"uid=zoe,{MEMBERS}", password).rc == 49

    def test_a_main_account_leaves_with_its_linked_ones_and_devices_with_their_member(
        self, host: Any, member: Run, bob: str, kid: str
    ) -> None:
        assert TestDevices().add(host, kid, "dev777").rc == 0
        device = TestDevices.DN.replace("dev234", "dev777")
        member(MEMBER | {"login": "kid", "mail": "kiddo@coop.test"}, "-e", "member_rename=true")
        assert read(host, device, "deviceAddress") == ["kiddo@coop.test"]
        said = " ".join(member({"login": "bob", "state": "absent"}, fails=True).stdout.split())
        assert "kid would stay linked to ''bob''" in said
        assert whoami(host, bob, PASSWORD).rc == 0
        member({"login": "kid", "state": "absent"}, "-e", "member_grace=skip")
        assert read(host, kid, "mail") == read(host, device, "deviceId") == []

    def test_who_reads_mail_of_the_house_does_not_go(self, member: Run, alice: str) -> None:
        done = member({"login": "alice", "state": "absent"}, "-e", "member_grace=skip", "--check", fails=True)
        assert "mail to postmaster@coop.test goes to alice@coop.test" in " ".join(done.stdout.split())


LEO = MEMBER | {"login": "leo", "mail": "leo@coop.test", "aliases": "leo@famille.test", "groups": "board", "language": "de"}
LEAVES = {"login": "leo", "state": "absent"}


def today() -> date:
    """The members' day, which is not UTC's between midnight here and there."""
    return datetime.now(ZoneInfo("Europe/Brussels")).date()


@pytest.fixture(scope="module")
def entry(mail_host: Any, member: Run) -> str:
    """Leo's entry, as the playbook made it."""
    member({**LEO, "contact": "leo@stranger.test"}, mail=True)
    return str(as_root(mail_host, f"ldapsearch -LLL -o ldif-wrap=no -s base -b uid=leo,{MEMBERS}").stdout)


@pytest.fixture
def leo(mail_host: Any, entry: str) -> str:
    """A member with mail, put back where an earlier test removed them: of whom nothing was left."""
    dn = f"uid=leo,{MEMBERS}"
    mail_host.check_output("rm -rf /run/ended /var/lib/perron-members/re*")
    if read(mail_host, dn, "uid") == []:
        board = f"dn: cn=board,ou=groups,{SUFFIX}\nchangetype: modify\nadd: member\nmember: {dn}"
        assert as_root(mail_host, "ldapadd ", entry).rc == as_root(mail_host, "ldapmodify ", board).rc == 0
    mail_host.check_output("for i in leo leonie; do mkdir -p /srv/mail/$i/Maildir/cur; touch /srv/mail/$i/Maildir/cur/1; done")
    mail_host.check_output("rm -f /run/sink/*")
    return dn


class TestLeaving:
    RECEIPTS = "/var/lib/perron-members/receipts"

    def until(self, host: Any, dn: str, day: str) -> None:
        """Move the last day, not the clock."""
        change = f"dn: {dn}\nchangetype: modify\nreplace: memberUntil\nmemberUntil: {day}"
        assert as_root(host, "ldapmodify ", change).rc == 0

    def test_who_leaves_is_shut_out_and_told_and_comes_back_with_all_they_had(
        self, mail_host: Any, member: Run, leo: str
    ) -> None:
        attributes = "mail", "mailAlias", "memberPlan", "memberQuota", "memberOf", "preferredLanguage", "memberStatus"
        before = {name: read(mail_host, leo, name) for name in attributes}
        assert whoami(mail_host, leo, PASSWORD).rc == 0
        # mail is down: the receipt waits
        mail_host.check_output("systemctl stop sink")
        said = " ".join(member(LEAVES, mail=True).stdout.split())
        mail_host.check_output(SINK)
        assert eventually(lambda: mail_host.socket("tcp://127.0.0.1:25").is_listening)
        assert "Not sent yet: leo-leaves-" in said and "localhost:25: " in said
        assert whoami(mail_host, leo, PASSWORD).rc == 49
        # all the rest stays, and mail still finds them
        assert leo in search(mail_host, POSTFIX, "mailAlias=leo@famille.test").stdout
        assert leo in read(mail_host, f"cn=board,ou=groups,{SUFFIX}", "member")
        (day,) = read(mail_host, leo, "memberUntil")
        assert date.fromisoformat(day) - today() in (timedelta(days=30), timedelta(days=29))
        assert f"leo left: shut out from now on, all kept as it was. To bring one back, state: present until {day}" in said

        member(LEAVES, mail=True)
        assert set(mail_host.check_output("cat /run/ended").split()) == {"once"}  # by either run
        assert mail_host.run(f"ls {self.RECEIPTS}/unsent").stdout == ""
        text = mail_host.check_output("cat /run/sink/leo@stranger.test")
        message = email.message_from_string(text, policy=email.policy.default)
        german = date.fromisoformat(day).strftime("%d.%m.%Y")
        assert (
            message["Subject"] == f"Ihr Konto bei Coopérative d'essai ist geschlossen; Sie können bis zum {german} zurückkommen"
        )
        body = message.get_content()
        assert "Guten Tag Zoë D'Hondt" in body and "leo@coop.test" in body and german in body
        receipt = mail_host.file(f"{self.RECEIPTS}/leo-leaves-{day}.txt")
        assert receipt.mode == 0o600 and mail_host.file(self.RECEIPTS).mode == 0o700
        assert body.split() == receipt.content_string.split("\n\n", 1)[1].split()
        mail_host.check_output("rm /run/sink/*")

        # nothing changes once it is done, and a change of something else does not let them in
        assert "changed=0" in member(LEAVES).stdout
        member({**LEAVES, "language": "de"}, mail=True)
        assert not mail_host.file("/run/sink/leo@stranger.test").exists
        assert "leo came back, with all they had" in member({"login": "leo", "state": "present"}).stdout
        assert whoami(mail_host, leo, PASSWORD).rc == 0
        assert {name: read(mail_host, leo, name) for name in attributes} == before
        assert read(mail_host, leo, "memberUntil") == []
        assert mail_host.file("/srv/mail/leo/Maildir/cur/1").exists
        member(LEAVES, "-e", "member_grace=skip", mail=True)
        assert read(mail_host, leo, "uid") == []

    def test_nothing_goes_before_the_day_and_all_of_it_after(self, mail_host: Any, member: Run, purge: Run, leo: str) -> None:
        member(LEAVES, mail=True)
        # the last day itself still counts; whoever moves it tells the member
        self.until(mail_host, leo, today().isoformat())
        assert f"leo-leaves-{today()}" in purge().stdout
        assert "changed=0" in purge().stdout
        self.until(mail_host, leo, "2020-01-31")
        # asked for by name it is: nothing goes by itself
        member(LEAVES, mail=True)
        assert "leo: removed" in purge("--check").stdout
        assert mail_host.file("/srv/mail/leo").exists and read(mail_host, leo, "uid") == ["leo"]

        mail_host.check_output("rm -f /run/sink/*")
        assert "leo: removed, mail included" in " ".join(purge().stdout.split())
        assert read(mail_host, leo, "uid") == []
        assert leo not in read(mail_host, f"cn=board,ou=groups,{SUFFIX}", "member")
        assert not mail_host.file("/srv/mail/leo").exists
        assert mail_host.file("/srv/mail/leonie/Maildir/cur/1").exists
        assert "gelöscht" in email.message_from_string(
            mail_host.check_output("cat /run/sink/leo@stranger.test"), policy=email.policy.default
        ).get_content()  # fmt: skip
        assert "changed=0" in purge().stdout

    def test_where_there_is_no_mail_all_is_handed_over(
        self, mail_host: Any, member: Run, play: Run, leo: str, tmp_path: Path
    ) -> None:
        said = " ".join(member(LEAVES).stdout.split())
        assert "Receipts in " in said and "Not sent yet" not in said
        (day,) = read(mail_host, leo, "memberUntil")
        receipt = mail_host.file(f"{self.RECEIPTS}/leo-leaves-{day}.txt").content_string
        assert receipt.startswith("To: \n") and "Guten Tag Zoë D'Hondt" in receipt and "Post" not in receipt
        # the profile alone
        asked = {"member_export": "leo", "member_export_to": str(tmp_path / "exports")}
        done = play("playbooks/member.yml", "-e", json.dumps(asked))
        assert done.returncode == 0, done.stdout + done.stderr
        archive = tmp_path / "exports/leo.zip"
        assert archive.stat().st_mode & 0o777 == 0o600
        with zipfile.ZipFile(archive) as opened:
            texts = {name: opened.read(name) for name in opened.namelist()}
        sums = texts.pop("SHA256SUMS").decode()
        assert sums == "".join(f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in texts.items())
        assert set(texts) == {"README.txt", "profile.json", "profile.ldif"}
        assert b"mail/ " not in texts["README.txt"] and json.loads(texts["profile.json"])["mail"] == ["leo@coop.test"]
        assert "export" not in mail_host.check_output("ls -A /var/lib/perron-members")
        member(LEAVES, "-e", "member_grace=skip", mail=True)

    def test_a_removal_that_was_interrupted_goes_on(self, mail_host: Any, member: Run, purge: Run, leo: str) -> None:
        member(LEAVES, "-e", "member_grace=skip")  # there was no mail host
        assert read(mail_host, leo, "uid") == []
        mail_host.check_output("test -d /srv/mail/leo")
        # as if it had been stopped before the mail host's turn
        pending = [{"login": "leo", "mail": "leo@coop.test", "name": "L", "until": "", "language": "de", "contact": ""}]
        mail_host.check_output("echo %s >/var/lib/perron-members/removals.json", json.dumps(pending))
        assert "run -e member_purge=true first" in " ".join(member(LEO, fails=True).stdout.split())
        purge()
        assert not mail_host.file("/srv/mail/leo").exists
        assert not mail_host.file("/var/lib/perron-members/removals.json").exists
        # the login is free again
        member(LEO)
        assert whoami(mail_host, leo, PASSWORD).rc == 0
