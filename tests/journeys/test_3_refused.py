"""What must be refused is refused, with the right code and at the right stage."""

from __future__ import annotations

import re

from conftest import DATA, MAIL, RCPT, Answer, Clients, Member, token
from testinfra.host import Host

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


def refused(answer: Answer, stage: int, code: str) -> None:
    assert (answer.code, code in answer.text) == (stage, True), f"not {code} at stage {stage}:\n{answer.text[-3000:]}"


def at_the_door(clients: Clients, sender: str, recipient: str, *options: str) -> Answer:
    """Straight to the cooperative's port 25, from an address that is nobody's mail host."""
    return clients.swaks("--server", clients.server, "--from", sender, "--to", recipient, *options)


def test_relaying(clients: Clients, members: dict[str, Member]) -> None:
    refused(at_the_door(clients, "sarah@stranger.test", "victor@stranger.test"), RCPT, "554 5.7.1")


def test_relaying_as_if_a_member(clients: Clients, members: dict[str, Member]) -> None:
    refused(at_the_door(clients, members["anna"].mail, "victor@stranger.test"), RCPT, "554 5.7.1")


def test_another_member_s_address_as_sender(clients: Clients, members: dict[str, Member]) -> None:
    answer = clients.submit(members["anna"], "sarah@stranger.test", token(), sender=members["bram"].mail)
    refused(answer, RCPT, "553 5.7.1")


def test_a_stranger_s_address_as_sender(clients: Clients, members: dict[str, Member]) -> None:
    answer = clients.submit(members["anna"], "victor@stranger.test", token(), sender="sarah@stranger.test")
    refused(answer, RCPT, "553 5.7.1")


def test_another_member_s_address_in_the_from_line(clients: Clients, members: dict[str, Member]) -> None:
    """What people see is the From line: the envelope alone proves nothing to them."""
    answer = clients.submit(members["anna"], "sarah@stranger.test", token(), "--h-From", members["bram"].mail)
    refused(answer, DATA, "554 5.7.1 From does not match the sender")


def test_an_unknown_recipient(clients: Clients, members: dict[str, Member], domain: str) -> None:
    refused(at_the_door(clients, "sarah@stranger.test", f"nobody@{domain}"), RCPT, "550 5.1.1")


def test_a_message_too_large(clients: Clients, members: dict[str, Member], world: Host) -> None:
    """At MAIL, where the client announces the size, before it sends a byte."""
    world.run("head -c 80M /dev/zero | base64 -w 76 > /tmp/large")
    answer = clients.submit(members["anna"], members["bram"].mail, token(), "--body", "@/tmp/large")
    assert answer.code in (MAIL, DATA), answer.text[-2000:]
    assert "552 5.3.4" in answer.text


def test_a_thousand_recipients(clients: Clients, members: dict[str, Member]) -> None:
    many = ",".join(f"friend{number}@stranger.test" for number in range(1000))
    answer = clients.submit(members["anna"], many, token(), "--quit-after", "RCPT")
    assert "452 4.5.3" in answer.text, answer.text[-2000:]
    assert answer.text.count("250 2.1.5") < 1000


def test_mail_that_fails_dmarc_under_reject(clients: Clients, members: dict[str, Member]) -> None:
    """sarah's domain says: reject what is not from our host and not signed by us."""
    answer = at_the_door(clients, "sarah@stranger.test", members["anna"].mail, "--header", f"Subject: {token()}")
    refused(answer, DATA, "5.7.1")


def test_the_pattern_all_spam_filters_know(clients: Clients, members: dict[str, Member]) -> None:
    """Through the stranger's own host DKIM, SPF and DMARC are in order: the body alone is refused."""
    subject = token()
    assert clients.stranger_sends(members["anna"].mail, subject, "sarah@stranger.test", "--body", GTUBE).code == 0
    # the stranger's own host tells of it, and cites the message
    message = clients.stranger_receives(subject)
    assert "Undelivered Mail Returned to Sender" in message
    assert re.search(r"said: 55\d 5\.7\.1", message), message
    assert not clients.find(members["anna"], subject)
