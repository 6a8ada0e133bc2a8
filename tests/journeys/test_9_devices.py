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


@pytest.fixture(scope="module")
def link(page: Browser, phone: Member, devices: str) -> str:
    """What the QR code leads to."""
    page.open(devices)
    page.keep("devices")
    assert not page.obstacles()
    found = re.search(rf"{devices}p/[\w.-]+", page.driver.page_source)
    assert found
    return found[0]


def test_apples_profile_drives_a_login(world: Host, clients: Clients, page: Browser, phone: Member, link: str) -> None:
    (account,) = accounts(world, f"{link}/mail.mobileconfig")
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
    page.open(link)
    page.keep("devices-phone")
    assert not page.obstacles()


@pytest.fixture(scope="module")
def app_password(page: Browser, coop: dict[str, Host], lou: Member, cloud: str) -> str:
    """The cloud's own, for a program; it knows whom the portal signed in there."""
    page.open(cloud)
    page.at(cloud)
    page.see("#header")
    return coop["dyle"].check_output("nextcloud-occ user:auth-tokens:add -n %s", lou.login).split()[-1]


def propfind(clients: Clients, url: str, login: str, password: str, *what: str) -> str:
    """What a program of theirs is told there: the answer, and its status behind it."""
    names = "".join(f"<{name}/>" for name in what)
    space = 'xmlns="DAV:" xmlns:CalDAV="urn:ietf:params:xml:ns:caldav" xmlns:CardDAV="urn:ietf:params:xml:ns:carddav"'
    signed_in = ("--user", f"{login}:{password}") if login else ()
    return clients.run(
        "curl", "-sSL", "--write-out", "\n%{http_code}", "-X", "PROPFIND", *signed_in, "-H", "Depth: 0",
        "-H", "Content-Type: application/xml", "--data", f"<propfind {space}><prop>{names}</prop></propfind>", url,
    ).text  # fmt: skip


@pytest.mark.usefixtures("forgiven")
def test_apples_profile_of_calendars_drives_a_sign_in(
    world: Host, clients: Clients, phone: Member, app_password: str, link: str
) -> None:
    """By its host and its name alone: whoever asks at the host's /.well-known is led on (RFC 6764)."""
    found = accounts(world, f"{link}/calendar.mobileconfig")
    for kind, values in zip(("CalDAV", "CardDAV"), found, strict=True):
        login = values[f"{kind}Username"]
        assert values[f"{kind}UseSSL"] and login == phone.login and f"{kind}Password" not in values
        url = f"https://{values[f'{kind}HostName']}:{values[f'{kind}Port']}/.well-known/{kind.lower()}"
        for name, password, status in (
            (login, app_password, "207"),
            (login, app_password[:-1] + ("0" if app_password[-1] != "0" else "1"), "401"),
            (login, phone.password, "401"),  # which is mail's
            ("", "", "401"),
        ):
            said = propfind(clients, url, name, password, "current-user-principal")
            assert said.splitlines()[-1] == status, (name == login, status, said)


@pytest.mark.usefixtures("forgiven")
def test_and_finds_what_is_theirs(
    world: Host, clients: Clients, coop: dict[str, Host], cloud: str, app_password: str, link: str
) -> None:
    if coop["dyle"].file("/var/lib/nextcloud/code/current/.stand-in").exists:
        pytest.skip("not run: no artefact")  # what stands in has no calendars
    for kind, home in {"CalDAV": "calendar-home-set", "CardDAV": "addressbook-home-set"}.items():
        (values,) = (account for account in accounts(world, f"{link}/calendar.mobileconfig") if f"{kind}HostName" in account)
        ask = (values[f"{kind}Username"], app_password)
        url = f"https://{values[f'{kind}HostName']}/.well-known/{kind.lower()}"
        for name in ("current-user-principal", f"{kind}:{home}", "resourcetype"):
            said = propfind(clients, url, *ask, name)
            assert said.splitlines()[-1] == "207", (url, said)
            if name != "resourcetype":
                inside = re.search(rf"<\w+:{name.split(':')[-1]}>\s*<\w+:href>([^<]+)", said)
                assert inside and f"/{ask[0]}/" in inside[1], said
                url = cloud + inside[1].lstrip("/")


def test_a_revoked_device_is_out_at_once(clients: Clients, world: Host, page: Browser, phone: Member, devices: str) -> None:
    with idling(world, clients.server, phone) as told:
        page.open(devices)
        page.see("ul.devices form button").click()
        until("the open session ends", lambda: "* BYE" in told(), 60)
    assert clients.curl(phone, "").code == REFUSED
    assert clients.submit(phone, phone.mail, token()).code == AUTH
