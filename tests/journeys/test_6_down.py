"""What members sign in with is down: the page says so in their language, sends nobody in circles, and is back by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from browser import Browser, browser
from conftest import Member, until
from test_9_webmail import inbox, sign_in
from testinfra.host import Host

BACK = 30
PORTAL = {"fr": "La connexion n'est pas possible pour le moment", "nl": "Aanmelden lukt nu even niet"}
WEBMAIL = {"fr": "La messagerie web ne répond pas", "nl": "De webmail antwoordt niet"}
CLOUD = {"fr": "Le nuage ne répond pas", "nl": "De cloud antwoordt niet"}
DIRECTORY = {"fr": "L'annuaire des membres ne répond pas", "nl": "De ledenlijst antwoordt niet"}
SESSIONS = {"fr": "Les sessions ne peuvent pas être ouvertes", "nl": "Er kunnen nu geen sessies geopend worden"}
FORM = "input[name=password]"


@contextmanager
def down(host: Host, unit: str) -> Iterator[None]:
    host.check_output("systemctl is-active %s", unit)
    host.check_output("systemctl stop %s", unit)
    try:
        yield
    finally:
        host.check_output("systemctl start %s", unit)


def says(person: Browser, words: dict[str, str], language: str, name: str) -> None:
    """The page that is open: these words and no other language's, and it is nobody's dead end."""
    person.read(words[language])
    assert not [word for spoken, word in words.items() if spoken != language and word in person.text()], person.text()
    assert person.spoken() == language
    person.keep(f"down-{name}-{language}")
    # that it asks again by itself takes nothing from who reads it: there is nothing else on it
    assert not [found for found in person.obstacles() if "meta-refresh" not in found]


@pytest.mark.fault
def test_without_the_database_pages_say_so_and_are_back_by_themselves(
    coop: dict[str, Host], members: dict[str, Member], server: str, portal: str, webmail: str, cloud: str
) -> None:
    anna = members["anna"]
    with ExitStack() as open_ones:
        readers, visitors, late = (
            {language: open_ones.enter_context(browser(server, language)) for language in PORTAL} for _ in range(3)
        )
        for language in PORTAL:
            sign_in(readers[language], anna, webmail, portal)
            late[language].open(portal)
            late[language].see(FORM)
        with down(coop["meuse"], "postgresql@17-main"):
            for language in PORTAL:
                # a form from before
                late[language].fill({"input[name=user]": anna.login, FORM: anna.password})
                says(late[language], SESSIONS, language, "sessions")
                for person, url, words, name in (
                    (visitors[language], portal, PORTAL, "portal"),
                    (readers[language], cloud, CLOUD, "cloud"),
                    (readers[language], webmail, WEBMAIL, "webmail"),
                ):
                    person.open(url)
                    says(person, words, language, name)
                    assert person.status() in (500, 502, 503, 504) and person.driver.current_url.startswith(url)
        began = time.monotonic()
        # nobody touches anything: a page that says so asks again
        for language in PORTAL:
            visitors[language].see(FORM, BACK)
            inbox(readers[language], BACK)
            late[language].sign_in(portal, anna.login, anna.password)
            assert late[language].at_home(portal)
        assert time.monotonic() - began < BACK


@pytest.mark.fault
def test_without_the_directory_the_portal_says_so_and_is_back_by_itself(
    coop: dict[str, Host], members: dict[str, Member], server: str, portal: str, webmail: str
) -> None:
    anna = members["anna"]
    with ExitStack() as open_ones:
        reader = open_ones.enter_context(browser(server, "fr"))
        sign_in(reader, anna, webmail, portal)
        others = {language: open_ones.enter_context(browser(server, language)) for language in DIRECTORY}
        with down(coop["dyle"], "slapd"):
            for language, other in others.items():
                other.sign_in(portal, anna.login, anna.password)
                says(other, DIRECTORY, language, "directory")
            # who is signed in stays so
            assert reader.at_home(portal)
            reader.open(webmail)
            inbox(reader)

        def enters(other: Browser) -> bool:
            other.sign_in(portal, anna.login, anna.password)
            return other.at_home(portal)

        for other in others.values():
            until("they sign in again", lambda other=other: enters(other), BACK)
