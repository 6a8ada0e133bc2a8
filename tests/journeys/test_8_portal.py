"""A member signs in once, in a browser and in their own language; who may not, does not."""

from __future__ import annotations

import re

import pytest
from browser import browser
from conftest import Member, playbook, until
from testinfra.host import Host


@pytest.mark.parametrize(("name", "language", "word"), [("anna", "fr", "Mot de passe"), ("bram", "nl", "Wachtwoord")])
def test_a_member_signs_in(server: str, portal: str, members: dict[str, Member], name: str, language: str, word: str) -> None:
    with browser(server, language) as page:
        page.open(portal)
        page.read(word)
        page.keep(f"portal-sign-in-{language}")
        assert not page.obstacles()
        assert page.hosts_asked() <= {portal.split("/")[2]}

        page.sign_in(portal, members[name].mail, members[name].password)
        assert page.at_home(portal)
        until("it is read aloud in it", lambda: page.spoken() == language)
        page.keep(f"portal-menu-{language}")
        assert not page.obstacles()
        assert page.hosts_asked() <= {portal.split("/")[2]}


@pytest.mark.parametrize(("name", "password"), [("anna", "not hers"), ("gerda", ""), ("nobody", "whatever it is")])
def test_who_is_refused(server: str, portal: str, members: dict[str, Member], name: str, password: str) -> None:
    """A wrong password, a suspended member with the right one, and somebody who is not there: all the same answer."""
    member = members.get(name) or Member(name, f"{name}@{portal.split('.', 1)[1].rstrip('/')}", password)
    with browser(server, "en") as page:
        page.sign_in(portal, member.mail, password or member.password)
        page.see(".alert-danger, .alert-warning, .message-negative")
        page.keep(f"portal-refused-{name}")
        assert not page.obstacles()
        assert not page.at_home(portal)


def test_what_else_a_member_meets_there_is_for_everybody(server: str, portal: str, members: dict[str, Member]) -> None:
    with browser(server, "de") as page:
        page.open(f"{portal}resetpwd")
        page.see("input[name=mail]")
        page.keep("portal-reset-de")
        assert not page.obstacles()
        page.sign_in(portal, members["anna"].mail, members["anna"].password)
        assert page.at_home(portal)
        for name, (path, css) in {
            "password": ("#password", "#password"),
            "history": ("#loginHistory", "#loginHistory"),
            "factors": ("2fregisters", "a[href*='2fregisters/totp']"),
            "code": ("2fregisters/totp", "#secret"),
        }.items():
            page.open("about:blank")
            page.open(f"{portal}{path}")
            page.see(css)
            page.keep(f"portal-{name}-de")
            assert not page.obstacles(), path
            assert page.hosts_asked() <= {portal.split("/")[2]}


@pytest.mark.parametrize("path", ["fr/", "nl/", "de/iphone.html", "en/thunderbird.html", "nl/calendar.html"])
def test_the_public_pages_are_for_everybody(server: str, domain: str, path: str) -> None:
    with browser(server, path[:2]) as page:
        page.open(f"https://{domain}/{path}")
        page.keep(f"front-{path.removesuffix('.html').strip('/').replace('/', '-')}")
        assert not page.obstacles()
        assert page.hosts_asked() <= {domain}


def test_a_check_says_what_a_run_would_save_and_saves_nothing(coop: dict[str, Host]) -> None:
    newest = "$(ls -v /var/lib/portal/configurations/lmConf-*.json | tail -n 1)"
    look = f"sha256sum /var/lib/portal/configuration.json {newest}; ls /run/portal-configuration.json 2>/dev/null || :"
    before = coop["meuse"].check_output(look)
    said = playbook("portal", "--check", "--tags", "portal_configure", "-e", "portal_reset_minutes=61")
    assert re.search(r"Say whether it differs\] \*+\nchanged: \[meuse\]", said), said
    assert coop["meuse"].check_output(look) == before
