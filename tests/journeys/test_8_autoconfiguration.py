"""What mail programs ask to set themselves up leads to a working login, in the cooperative's domain and in a member's own."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from conftest import AUTH, REFUSED, Clients, Member, token

OUTLOOK = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"


def thunderbird(clients: Clients, member: Member) -> tuple[str, str, str, str]:
    """IMAP host and port, submission host and port, of the file that Thunderbird asks for."""
    zone = member.mail.partition("@")[2]
    said = clients.run("curl", "-sSf", f"https://autoconfig.{zone}/mail/config-v1.1.xml?emailaddress={member.mail}")
    assert said.code == 0, said.text
    provider = ET.fromstring(said.text).find("emailProvider")  # noqa: S314 # our own
    assert provider is not None
    first = [
        provider.find(f"{way}[socketType='SSL']") for way in ("incomingServer[@type='imap']", "outgoingServer[@type='smtp']")
    ]
    assert all(server is not None and server.findtext("username") == "%EMAILADDRESS%" for server in first)
    imap, smtp = ([str(server.findtext(key)) for key in ("hostname", "port")] for server in first if server is not None)
    return imap[0], imap[1], smtp[0], smtp[1]


def outlook(clients: Clients, member: Member) -> tuple[str, str, str, str]:
    zone = member.mail.partition("@")[2]
    asked = (
        '<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>'
        f"<EMailAddress>{member.mail}</EMailAddress></Request></Autodiscover>"
    )
    url = f"https://autodiscover.{zone}/autodiscover/autodiscover.xml"
    said = clients.run("curl", "-sSf", "--data", asked, "--header", "Content-Type: text/xml", url)
    assert said.code == 0, said.text
    found = {
        protocol.findtext(f"{OUTLOOK}Type"): protocol
        for protocol in ET.fromstring(said.text).iter(f"{OUTLOOK}Protocol")  # noqa: S314 # our own
    }
    imap, smtp = ([str(found[kind].findtext(f"{OUTLOOK}{key}")) for key in ("Server", "Port")] for kind in ("IMAP", "SMTP"))
    return imap[0], imap[1], smtp[0], smtp[1]


def records(clients: Clients, member: Member) -> tuple[str, str, str, str]:
    """RFC 6186 and 8314, as Apple's and others' programs do."""
    zone = member.mail.partition("@")[2]
    lines = [clients.run("dig", "+short", f"_{name}._tcp.{zone}", "SRV").text.split() for name in ("imaps", "submissions")]
    (_, _, imap_port, imap), (_, _, smtp_port, smtp) = lines
    return imap.rstrip("."), imap_port, smtp.rstrip("."), smtp_port


@pytest.mark.parametrize("way", [thunderbird, outlook, records])
@pytest.mark.parametrize("name", ["anna", "bram"])
def test_it_leads_to_a_working_login(clients: Clients, members: dict[str, Member], way, name: str) -> None:  # type: ignore[no-untyped-def]
    member = members[name]
    imap, imap_port, smtp, smtp_port = way(clients, member)
    for password, code, sent in ((member.password, 0, 0), ("not theirs", REFUSED, AUTH)):
        read = clients.run("curl", "-sS", "--user", f"{member.mail}:{password}", f"imaps://{imap}:{imap_port}/")
        assert read.code == code, read.text
        swaks = clients.swaks(
            "--server", smtp, "--port", smtp_port, "--tls-on-connect", "--tls-verify-host", "--auth", "PLAIN",
            "--auth-user", member.mail, "--auth-password", password, "--from", member.mail, "--to", member.mail,
            "--header", f"Subject: {token()}",
        )  # fmt: skip
        assert swaks.code == sent, swaks.text
