"""What Dovecot's configuration takes from elsewhere."""

from __future__ import annotations

import re
from runpy import run_path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from conftest import ROOT

DEVICES = (ROOT / "roles/devices/files/devices.py").read_text()
OWN: dict[str, Any] = yaml.safe_load((ROOT / "roles/dovecot/vars/main.yml").read_text())


def test_a_member_whose_mailbox_fills_up_is_told_in_each_language() -> None:
    path = ROOT / "roles/dovecot/files/quota-warning"
    texts = run_path(str(path))["TEXTS"]
    assert set(texts) == {"fr", "nl", "de", "en"}
    for subject, body in texts.values():
        assert subject.format("90") and (subject.count("{}"), body.count("{}")) == (1, 2)


def shape() -> str:
    (found,) = re.findall(r"if\('~', '([^']*)', password, 'none-'\)", OWN["__dovecot_device"])
    return str(found)


def test_what_devices_makes_gives_its_name_to_dovecot() -> None:
    """Or no device that is made from then on would sign in."""
    (alphabet,) = re.findall(r'^ALPHABET = "(\w+)"$', DEVICES, re.MULTILINE)
    assert 'device = random_text(6)\n        password = "-".join([device, *(random_text(5) for _ in range(4))])' in DEVICES
    for letter in alphabet:
        assert re.search(shape(), "-".join([letter * 6, *[letter * 5] * 4]))
    for letter in set(map(chr, range(33, 127))) - {*alphabet}:
        assert not re.search(shape(), "-".join([letter * 6, *["a" * 5] * 4])), letter


@pytest.mark.parametrize("other", ["", "none", "abcdef", "abcdef-", "abcdef" + "-abcde" * 3, "abcdef" + "-abcde" * 5, "-" * 26])
def test_nothing_else_does(other: str) -> None:
    assert not re.search(shape(), other)


SUFFIX = "dc=coop,dc=test"
BOARD, ADMINISTRATORS = (f"cn={name},ou=groups,{SUFFIX}" for name in ("board", "administrators"))


@pytest.mark.parametrize(
    ("hosts", "portal", "groups"),
    [
        (["p"], {"portal_second_factor_groups": ["board", "administrators"]}, [BOARD, ADMINISTRATORS]),
        (["p"], {"portal_second_factor_groups": []}, []),
        (["p"], {}, []),
        ([], {}, []),
        (None, {}, []),
    ],
)
def test_the_portals_groups_are_dovecots(hosts: list[str] | None, portal: dict[str, Any], groups: list[str]) -> None:
    wired = yaml.safe_load((ROOT / "group_vars/mail/dovecot.yml").read_text())["dovecot_ldap_devices_groups"]
    named = {"directory": ["d"]} | ({} if hosts is None else {"portal": hosts})
    inventory = {"groups": named, "hostvars": {"d": {"directory_suffix": SUFFIX}, "p": portal}}
    assert list(Templar(loader=DataLoader(), variables=inventory).template(trust_as_template(wired))) == groups


@pytest.mark.parametrize(
    ("base", "groups", "wanted"),
    [
        ("", [], ""),
        (f"ou=devices,{SUFFIX}", [], "(!(memberDevices=TRUE))"),
        ("", [BOARD], f"(!(memberOf={BOARD}))"),
        (
            f"ou=devices,{SUFFIX}",
            [BOARD, ADMINISTRATORS],
            f"(!(memberDevices=TRUE))(!(memberOf={BOARD}))(!(memberOf={ADMINISTRATORS}))",
        ),
    ],
)
def test_whose_own_password_opens_mail(base: str, groups: list[str], wanted: str) -> None:
    given = {"dovecot_ldap_devices_base": base, "dovecot_ldap_devices_groups": groups}
    assert Templar(loader=DataLoader(), variables=given).template(trust_as_template(OWN["__dovecot_own_password"])) == wanted
