"""A security key (WebAuthn) is a second factor: the portal asks for it, and a password without it opens nothing."""

from __future__ import annotations

from browser import browser
from conftest import Member, until


def test_in_with_the_key_and_not_with_another(server: str, portal: str, members: dict[str, Member]) -> None:
    maud = members["maud"]
    with browser(server, "de") as person:
        person.plug_in_a_security_key()
        person.sign_in(portal, maud.mail, maud.password)
        assert person.at_home(portal)
        person.open(f"{portal}2fregisters/webauthn")
        person.see("#keyName").send_keys("Schl")
        person.keep("portal-security-key")
        assert not person.obstacles()
        person.read("Ihr zweiter Faktor ist eingerichtet")

        person.open(f"{portal}?logout=1")
        person.sign_in(portal, maud.mail, maud.password)
        person.see("#retrybutton")  # the page asks the key by itself
        until("the key was asked", lambda: not person.driver.find_elements("css selector", "#retrybutton"))
        assert person.at_home(portal)

    with browser(server, "de") as stranger:
        stranger.plug_in_a_security_key()
        stranger.sign_in(portal, maud.mail, maud.password)
        stranger.see("#retrybutton")
        stranger.keep("portal-security-key-asked")
        assert not stranger.obstacles()
        stranger.read("hat vom Schlüssel keine Antwort erhalten")
        assert not stranger.at_home(portal)
