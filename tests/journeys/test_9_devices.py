"""A phone is set up in a minute: a second factor, a password of the device's own, a profile; and the end of it."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from browser import Browser, browser, totp
from conftest import AUTH, REFUSED, Clients, Member, idling, token, until
from testinfra.host import Host


@pytest.fixture(scope="module")
def lou(members: dict[str, Member]) -> Member:
    return members["lou"]


@pytest.fixture(scope="module")
def page(server: str, lou: Member, portal: str) -> Iterator[Browser]:
    """Lou's browser, signed in at the portal with the password alone."""
    with browser(server) as person:
        person.sign_in(portal, lou.mail, lou.password)
        assert person.at_home(portal)
        yield person


@pytest.fixture(scope="module")
def secret(page: Browser, lou: Member, portal: str, devices: str) -> str:
    """Of Lou's code app, without which there is no device."""
    page.open(devices)
    page.read("second facteur")
    assert not page.driver.find_elements("css selector", "#name")
    page.keep("devices-no-second-factor")
    assert not page.obstacles()
    return page.register_second_factor(portal)


@pytest.fixture(scope="module")
def phone(page: Browser, lou: Member, devices: str, secret: str) -> Member:
    """Lou, as the phone signs in."""
    made = page.make_device(devices, "Téléphone")
    page.keep("devices-made")
    assert not page.obstacles()
    assert page.hosts_asked() <= {devices.split("/")[2]}
    return replace(lou, password=made)


def test_with_a_code_they_are_in_and_not_without(server: str, lou: Member, portal: str, secret: str) -> None:
    with browser(server) as other:
        for code, enters in (("000000", False), (totp(secret, 1), True)):
            other.sign_in(portal, lou.mail, lou.password)
            other.fill({"input[name=code]": code})
            assert other.at_home(portal) is enters


def test_the_device_opens_mail_and_their_own_password_does_not(clients: Clients, lou: Member, phone: Member) -> None:
    assert clients.curl(phone, "").code == 0
    assert clients.submit(phone, phone.mail, token()).code == 0
    assert clients.curl(lou, "").code == REFUSED
    assert clients.submit(lou, lou.mail, token()).code == AUTH


def accounts(world: Host, url: str) -> list[dict[str, str]]:
    """What Apple's device finds in the profile, which is signed by a certificate that world trusts."""
    world.check_output(f"curl -sSf -o /run/profile {url}")
    verify = "openssl cms -verify -inform DER -in /run/profile -purpose any"
    world.check_output(f"{verify} -CAfile /etc/ssl/certs/ca-certificates.crt -out /run/profile.plist")
    assert world.run(f"{verify} -no-CAfile -no-CApath -no-CAstore").rc != 0
    found: list[dict[str, str]] = plistlib.loads(world.file("/run/profile.plist").content)["PayloadContent"]
    return found


def test_apples_profiles_drive_a_login(world: Host, clients: Clients, page: Browser, phone: Member, devices: str) -> None:
    """Mail's values open the mailbox; those of calendars lead to who asks for a password and names no other way in."""
    page.open(devices)
    page.keep("devices")
    assert not page.obstacles()
    link = re.search(rf"{devices}p/[\w.-]+", page.driver.page_source)
    assert link
    (account,) = accounts(world, f"{link[0]}/mail.mobileconfig")
    incoming = {key.removeprefix("IncomingMailServer"): value for key, value in account.items()}
    assert incoming["UseSSL"] and incoming["Username"] == phone.mail
    url = f"imaps://{incoming['HostName']}:{incoming['PortNumber']}/"
    assert clients.run("curl", "-sS", "--user", f"{incoming['Username']}:{phone.password}", url).code == 0
    outgoing = {key.removeprefix("OutgoingMailServer"): value for key, value in account.items()}
    sent = clients.swaks(
        "--server", outgoing["HostName"], "--port", str(outgoing["PortNumber"]), "--tls-on-connect", "--tls-verify-host",
        "--auth", "PLAIN", "--auth-user", outgoing["Username"], "--auth-password", phone.password,
        "--from", account["EmailAddress"], "--to", phone.mail, "--header", f"Subject: {token()}",
    )  # fmt: skip
    assert outgoing["UseSSL"] and sent.code == 0, sent.text
    for kind, values in zip(("CalDAV", "CardDAV"), accounts(world, f"{link[0]}/calendar.mobileconfig"), strict=True):
        assert values[f"{kind}Username"] == phone.login
        found = clients.run(
            "curl",
            "-sL",
            "--write-out",
            "%{http_code}",
            "-X",
            "PROPFIND",
            f"https://{values[f'{kind}HostName']}/.well-known/{kind.lower()}",
        )
        assert found.text.endswith("401"), found.text
    page.open(link[0])
    page.keep("devices-phone")
    assert not page.obstacles()


def test_a_revoked_device_is_out_at_once(clients: Clients, world: Host, page: Browser, phone: Member, devices: str) -> None:
    with idling(world, clients.server, phone) as told:
        page.open(devices)
        page.see("ul.devices form button").click()
        until("the open session ends", lambda: "* BYE" in told(), 60)
    assert clients.curl(phone, "").code == REFUSED
    assert clients.submit(phone, phone.mail, token()).code == AUTH
