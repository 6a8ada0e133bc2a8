"""Bans: what a manifest may say of them, and which lines count. The lines are real ones, of Debian 13's daemons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from bans import BAN, ban_flaws
from conftest import ROOT, Coop
from manifests import ban_jails, manifests

BANS = [{"name": "sign-in", "journal": "_SYSTEMD_UNIT=x.service", "failures": ["^x <HOST>$"], "ports": [993, "5000-5010"]}]
DOVECOT = "mail dovecot[52]: "
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "roles/fail2ban/meta/argument_specs.yml").read_text())["argument_specs"]["main"]


def test_a_jail_is_the_services_on_its_hosts(coop: Coop) -> None:
    coop.mail["bans"] = BANS
    house = manifests(coop.hostvars, coop.groups)
    wanted = BANS[0] | {"name": "mail-sign-in", "ports": ["993", "5000-5010"]}
    assert ban_jails(house, "b") == [wanted]
    assert ban_jails(house, "a") == []
    assert ban_flaws(ban_jails(house, "b")) == []


def test_the_role_and_the_manifest_have_one_vocabulary() -> None:
    options = SPEC["options"]["fail2ban_jails"]["options"]
    assert {key: option["type"] for key, option in options.items()} == {key: option["type"] for key, option in BAN.items()}
    assert all(option["required"] for option in [*options.values(), *BAN.values()])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Sign in"}, "mail_manifest.bans: Sign in: will not do as a name"),
        ({"journal": "dovecot.service"}, "sign-in.journal: 'dovecot.service' selects nothing"),
        ({"failures": []}, "sign-in.failures: is empty"),
        ({"failures": ["^x"]}, "sign-in.failures: '^x' must say once where the address is, as <HOST>"),
        ({"failures": ["^x( <HOST>"]}, "sign-in.failures: '^x( <HOST>' is no regular expression"),
        ({"failures": ["x <HOST>"]}, "must begin with ^"),
        ({"ports": ["imaps"]}, "sign-in.ports: 'imaps' is neither a port nor a range"),
        ({"prots": ["993"]}, "mail_manifest.bans[0].prots: unknown key, did you mean 'ports'?"),
    ],
)
def test_what_does_not_hold_is_named_with_its_mend(coop: Coop, change: dict[str, Any], said: str) -> None:
    coop.mail["bans"] = [BANS[0] | change]
    with pytest.raises(AnsibleFilterError, match=re.escape(said)):
        manifests(coop.hostvars, coop.groups)


def counted(file: str, manifest: str, name: str, line: str) -> str | None:
    """The address that a line counts against."""
    bans = yaml.safe_load(Path(ROOT / file).read_text())[manifest]["bans"]
    for pattern in next(ban["failures"] for ban in bans if ban["name"] == name):
        # as fail2ban reads it: addresses only, as usedns=no has it
        if found := re.search(pattern.replace("<HOST>", r"(?P<host>\d+(?:\.\d+){3}|[0-9a-fA-F:]*:[0-9a-fA-F:]+)"), line):
            return str(found["host"])
    return None


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (
            "auth-worker(bob@coop.test,192.0.2.24)<5215><Smg60gxhfNMKWTYY>: request [7]: ldap: Password mismatch (for LDAP bind)",
            "192.0.2.24",
        ),
        ("auth-worker(nobody@coop.test,2001:db8::2)<5215><Oj10xQxh8sUKWTYY>: request [2]: ldap: unknown user", "2001:db8::2"),
        # from Postfix, which names no session
        ("auth-worker(ann@coop.test,192.0.2.50)<4334>: request [9]: passwd-file: Password mismatch", "192.0.2.50"),
        (
            "auth(?,192.0.2.24,sasl:plain)<A8qwxQxh1uoKWTYY>: plain: Username character disallowed by auth_username_chars:"
            " 0x2c (username: x,6.6.6.6,<a>)",
            "192.0.2.24",
        ),
        # the same failure again, as its connection ended
        (
            "imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed):"
            " user=<bob@coop.test>, method=PLAIN, rip=192.0.2.24, lip=192.0.2.1, TLS: Connection closed, session=<x>",
            None,
        ),
        # the directory was down: nobody's fault
        (
            "imap-login: Login aborted: Connection closed (auth service reported temporary failure, 1 attempts in 2 secs)"
            " (temp_fail): user=<bob@coop.test>, method=PLAIN, rip=192.0.2.24, lip=192.0.2.1, TLS, session=<x>",
            None,
        ),
        ("auth-worker(5246): Error: ldap(ldaps://ldap.coop.test): Can't connect to server: ldaps://ldap.coop.test", None),
        ("imap-login: Logged in: user=<ann@coop.test>, method=PLAIN, rip=192.0.2.36, lip=192.0.2.1, TLS, session=<x>", None),
    ],
)
def test_what_dovecot_says(line: str, address: str | None) -> None:
    assert counted("group_vars/mail/mail.yml", "mail_manifest", "sign-in", DOVECOT + line) == address


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("disconnect from unknown[192.0.2.50] ehlo=1 auth=0/1 quit=1 commands=2/3", "192.0.2.50"),
        ("disconnect from a.test[2001:db8::2] ehlo=1 auth=0/3 commands=1/4", "2001:db8::2"),
        ("disconnect from a.test[192.0.2.50] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5", None),
        ("disconnect from a.test[192.0.2.50] ehlo=1 auth=1 quit=1 commands=3", None),
    ],
)
def test_what_postfix_says(line: str, address: str | None) -> None:
    assert counted("group_vars/mail/mail.yml", "mail_manifest", "port-25", f"mail postfix/smtpd[43]: {line}") == address
    other = f"mail postfix/submission/smtpd[43]: {line}"
    assert counted("group_vars/mail/mail.yml", "mail_manifest", "port-25", other) is None, "Dovecot says those"


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("[warn] Bad password for bob (192.0.2.19)", "192.0.2.19"),
        ("[warn] x (6.6.6.6) was not found in LDAP directory (2001:db8::2)", "2001:db8::2"),
        ("[error] Error when binding to LDAP server: Invalid credentials", None),
        ("[notice] User ann connected from LDAP (192.0.2.19)", None),
        ("[notice] OIDC login failed: Redirect URI https://[warn] Bad password for x (6.6.6.6) not allowed", None),
    ],
)
def test_what_the_portal_says(line: str, address: str | None) -> None:
    said = f"web llng-fastcgi-server[10515]: [Tue Nov 24 22:20:29 2026] [LLNG:10515] {line}"
    assert counted("group_vars/portal.yml", "portal_manifest", "sign-in", said) == address


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("Connection closed by authenticating user root 2001:db8:1:50::2 port 49557 [preauth]", "2001:db8:1:50::2"),
        ("Connection reset by invalid user x 192.0.2.9 port 49557 [preauth]", "192.0.2.9"),
        ("Disconnecting authenticating user root 192.0.2.9 port 4: Too many authentication failures [preauth]", "192.0.2.9"),
        # a name that looks like the rest of the line
        ("Connection closed by invalid user x 6.6.6.6 port 1: y [preauth] 192.0.2.9 port 4 [preauth]", "192.0.2.9"),
        ("Connection closed by 192.0.2.9 port 4 [preauth]", None),
        ("Failed publickey for root from 192.0.2.9 port 4 ssh2: ED25519 SHA256:15QEJZr6", None),
        ("Accepted publickey for root from 192.0.2.9 port 4 ssh2: ED25519 SHA256:15QEJZr6", None),
        ("Disconnected from user root 192.0.2.9 port 4", None),
    ],
)
def test_what_sshd_says(line: str, address: str | None) -> None:
    assert counted("group_vars/base.yml", "base_manifest", "ssh", f"host sshd-session[43]: {line}") == address
