"""The portal's configuration as data, and its words."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles/portal"
spec = importlib.util.spec_from_file_location("portal_filters", ROLE / "filter_plugins/portal.py")
assert spec and spec.loader
portal = importlib.util.module_from_spec(spec)
spec.loader.exec_module(portal)

MESSAGES = yaml.safe_load((ROLE / "files/messages.yml").read_text())
VARS = (ROLE / "vars/main.yml").read_text()


@pytest.fixture
def settings() -> dict[str, Any]:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    given = {name.removeprefix("portal_"): value for name, value in defaults.items()}
    return given | {
        "url": "https://auth.coop.test",
        "ldap_uri": "ldaps://ldap.coop.test",
        "ldap_suffix": "dc=coop,dc=test",
        "ldap_bind_dn": "cn=portal,ou=services,dc=coop,dc=test",
        "ldap_bind_password": "x" * 20,
        "database_host": "postgresql.coop.test",
        "database_password": "y" * 20,
        "mail_from": "no-reply@coop.test",
        "clients": [{"id": "app", "secret": "z" * 20, "redirect_uris": ["https://app.coop.test/in"], "plans": ["a.b", "c"]}],
        "tiles": [
            {
                "service": "app",
                "title": {"fr": "Essai", "nl": "Proef", "de": "Versuch", "en": "Trial"},
                "description": None,
                "url": "https://app.coop.test/",
                "plans": [],
            }
        ],
    }


def made(settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = portal.portal_configuration(settings, MESSAGES)
    return found


def test_every_word_is_there_in_the_four_languages() -> None:
    for key, texts in MESSAGES.items():
        assert set(texts) == {"fr", "nl", "de", "en"}, f"roles/portal/files/messages.yml: {key} has {', '.join(texts)}"
        assert all(isinstance(text, str) and text.strip() for text in texts.values()), key
        slots = {language: sorted(re.findall(r"\{\w+\}|%[sd]", text)) for language, text in texts.items()}
        assert len(set(map(tuple, slots.values()))) == 1, f"{key}: {slots}"
    assert set(portal.MAIL) <= set(MESSAGES)


def test_every_word_of_our_pages_is_there() -> None:
    for path in [*(ROLE / "files").glob("*.tpl"), *(ROLE / "templates").glob("*.tpl.j2")]:
        words = set(re.findall(r'tr(?:span|placeholder)="(\w+)"', path.read_text()))
        # what the role turns off
        words -= {"refreshrights", "notificationsExplorer", "decryptCipheredValue", "oidcConsents", "oidcConsentsFull"}
        assert not words - set(MESSAGES), f"{path.name}: {', '.join(sorted(words - set(MESSAGES)))}"


def test_the_page_of_the_web_server_speaks_all_of_them() -> None:
    assert set(yaml.safe_load(VARS)["__portal_unavailable"]) == {"fr", "nl", "de", "en"}


def test_every_variable_reaches_the_filters() -> None:
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {f"portal_{name}" for name in yaml.safe_load(VARS)["__portal_settings"]} == set(options)


def test_a_client_has_its_rule_and_no_more_than_it_asked_for(settings: dict[str, Any]) -> None:
    found = made(settings)["configuration"]
    options = found["oidcRPMetaDataOptions"]["app"]
    assert options["oidcRPMetaDataOptionsRule"] == r"$plan =~ /^(a\.b|c)$/"
    assert options["oidcRPMetaDataOptionsRequirePKCE"] == 1
    assert options["oidcRPMetaDataOptionsRefreshToken"] == 0
    assert "oidcRPMetaDataOptionsLogoutUrl" not in options
    assert found["cspFormAction"] == "'self' https://app.coop.test"
    settings["clients"][0] |= {"plans": [], "second_factor": True, "logout_url": "https://app.coop.test/out"}
    options = made(settings)["configuration"]["oidcRPMetaDataOptions"]["app"]
    assert options["oidcRPMetaDataOptionsRule"] == "1"
    assert options["oidcRPMetaDataOptionsAuthnLevel"] == 2
    assert options["oidcRPMetaDataOptionsLogoutType"] == "back"


def test_a_tile_is_named_in_each_language(settings: dict[str, Any]) -> None:
    found = made(settings)
    assert found["configuration"]["applicationList"]["services"]["tile_app"]["options"]["display"] == "on"
    assert {language: words["tile_app"] for language, words in found["messages"].items()} == settings["tiles"][0]["title"]


def test_without_a_mail_host_no_link_is_offered(settings: dict[str, Any]) -> None:
    assert made(settings)["configuration"]["portalDisplayResetPassword"] == 0
    settings["smtp_host"] = "mail.coop.test"
    found = made(settings)["configuration"]
    assert (found["portalDisplayResetPassword"], found["mailTimeout"], found["SMTPTLS"]) == (1, 1800, "starttls")


def test_a_group_must_have_a_second_factor(settings: dict[str, Any]) -> None:
    assert made(settings)["configuration"]["sfRequired"] == "0"
    settings["second_factor_groups"] = ["board", "administrators"]
    assert made(settings)["configuration"]["sfRequired"] == 'inGroup("board") or inGroup("administrators")'


def test_settings_of_the_sysadmin_prevail(settings: dict[str, Any]) -> None:
    settings["settings"] = {"timeout": 60}
    assert made(settings)["configuration"]["timeout"] == 60


def test_plugins_of_the_sysadmin_stand_beside_the_lock(settings: dict[str, Any]) -> None:
    assert made(settings)["configuration"]["customPlugins"] == " ".join(portal.PLUGINS)
    # beside them, the logger
    assert {*portal.PLUGINS, "PerronJournal"} == {path.stem for path in (ROLE / "files").glob("*.pm")}
    settings["settings"] = {"customPlugins": "::Plugins::PublicPages"}
    assert made(settings)["configuration"]["customPlugins"] == f"{' '.join(portal.PLUGINS)} ::Plugins::PublicPages"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "https://auth.coop.test/"}, "portal_url is"),
        ({"ldap_uri": "ldap://x"}, "portal_ldap_uri is"),
        ({"color": "blue"}, "portal_color is 'blue': write it as #rrggbb"),
        ({"logo": "logo.png"}, "portal_logo is 'logo.png': give it an SVG file"),
        ({"processes": 0}, "portal_processes is 0: give it 1 or more"),
        ({"clients": [{"id": "A", "secret": "short"}]}, "the secret of 'A' has under 20 characters"),
        ({"second_factor_groups": ['x") or 1 or inGroup("']}, "is no name of a group"),
    ],
)
def test_what_does_not_hold_is_named(settings: dict[str, Any], change: dict[str, Any], said: str) -> None:
    assert portal.portal_problems(settings) == []
    assert said in "\n".join(portal.portal_problems(settings | change))
