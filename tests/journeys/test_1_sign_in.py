"""A member signs in, over TLS and with the right password; nobody else does, and nothing else answers."""

from __future__ import annotations

import re

import pytest
from conftest import AUTH, REFUSED, Clients, Member, becomes, token, until


@pytest.mark.parametrize("scheme", ["imaps", "pop3s"])
@pytest.mark.parametrize("family", ["--ipv4", "--ipv6"])
def test_a_member_reads(clients: Clients, members: dict[str, Member], scheme: str, family: str) -> None:
    answer = clients.curl(members["anna"], "", family, scheme=scheme)
    assert answer.code == 0, answer.text


@pytest.mark.parametrize("scheme", ["imaps", "pop3s"])
def test_a_wrong_password_reads_nothing(clients: Clients, members: dict[str, Member], scheme: str) -> None:
    assert clients.curl(members["anna"], "", scheme=scheme, password="not hers").code == REFUSED


@pytest.mark.parametrize("scheme", ["imaps", "pop3s"])
def test_a_suspended_member_reads_nothing(clients: Clients, members: dict[str, Member], scheme: str) -> None:
    assert clients.curl(members["gerda"], "", scheme=scheme).code == REFUSED


@pytest.mark.parametrize("port", [465, 587])
@pytest.mark.parametrize("family", ["-4", "-6"])
def test_a_member_submits(clients: Clients, members: dict[str, Member], port: int, family: str) -> None:
    subject = token()
    answer = clients.submit(members["anna"], members["anna"].mail, subject, family, port=port)
    assert answer.code == 0, answer.text
    clients.receive(members["anna"], subject)


@pytest.mark.parametrize("port", [465, 587])
def test_a_wrong_password_submits_nothing(clients: Clients, members: dict[str, Member], port: int) -> None:
    answer = clients.submit(members["anna"], members["bram"].mail, token(), port=port, password="not hers")
    assert (answer.code, "535 5.7.8" in answer.text) == (AUTH, True), answer.text


@pytest.mark.parametrize("port", [465, 587])
def test_a_suspended_member_submits_nothing(clients: Clients, members: dict[str, Member], port: int) -> None:
    answer = clients.submit(members["gerda"], members["anna"].mail, token(), port=port)
    assert (answer.code, "535 5.7.8" in answer.text) == (AUTH, True), answer.text


@pytest.mark.parametrize("port", [25, 587])
def test_no_sign_in_without_tls(clients: Clients, members: dict[str, Member], port: int) -> None:
    anna = members["anna"]
    answer = clients.swaks(
        "--server", clients.server, "--port", str(port), "--auth", "PLAIN", "--auth-user", anna.mail,
        "--auth-password", anna.password, "--from", anna.mail, "--to", anna.mail,
    )  # fmt: skip
    assert answer.code == AUTH, answer.text
    assert anna.password not in answer.text, "the password was sent in the clear"
    assert "250-STARTTLS" in answer.text or "250 STARTTLS" in answer.text, "no answer to EHLO: this test proves nothing"
    assert not re.search(r"250[- ]AUTH", answer.text), "sign-in was offered before TLS"


@pytest.mark.parametrize("port", [143, 110])
def test_plain_text_ports_do_not_answer(clients: Clients, members: dict[str, Member], port: int) -> None:
    assert not clients.knock(clients.server, port)
    assert clients.knock(clients.server, 993), "993 must answer, or this test proves nothing"


def test_a_member_again_once_no_longer_suspended(clients: Clients, members: dict[str, Member]) -> None:
    """Suspension closes what was open a moment ago, and its end opens it again."""
    chloe = members["chloe"]
    assert clients.curl(chloe, "").code == 0
    try:
        becomes(chloe, "suspended")
        assert clients.curl(chloe, "").code == REFUSED
    finally:
        becomes(chloe, "present")
    until("chloe signs in again", lambda: clients.curl(chloe, "").code == 0)
