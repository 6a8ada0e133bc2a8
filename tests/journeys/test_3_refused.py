"""What must be refused is refused, with the right code and at the right stage."""

from __future__ import annotations

import re

from conftest import DATA, RCPT, Answer, Clients, Member, token
from testinfra.host import Host

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


def refused(answer: Answer, stage: int, code: str) -> None:
    """At that stage, and what swaks marks as the server's refusal begins so."""
    said = re.findall(r"^<[*~]\* +(.*)$", answer.text, re.MULTILINE)
    assert answer.code == stage and said, f"not {code} at stage {stage}:\n{answer.text[-3000:]}"
    assert f"{said[0]} ".startswith(f"{code} "), said


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


def test_a_message_too_large_that_says_so(clients: Clients) -> None:
    """At MAIL, where the client announces the size, before it sends a byte. What EHLO says is what counts, to the byte."""
    program = f"""import smtplib
door = smtplib.SMTP("{clients.server}")
door.ehlo()
limit = int(door.esmtp_features["size"])
for size in (limit, limit + 1):
    print(*door.mail("sarah@stranger.test", [f"SIZE={{size}}"]))
    door.rset()
"""
    taken, *too_large = clients.run("python3", "-", stdin=program).text.splitlines()
    assert taken.startswith("250 b'2.1.0 ")
    assert too_large == ["552 b'5.3.4 Message size exceeds fixed limit'"]


def test_a_message_too_large_that_does_not(clients: Clients, members: dict[str, Member], world: Host) -> None:
    """Swaks announces no size: once the message is there."""
    world.run("head -c 80M /dev/zero | base64 -w 76 > /tmp/large")
    answer = clients.submit(members["anna"], members["bram"].mail, token(), "--body", "@/tmp/large")
    refused(answer, DATA, "552 5.3.4")


def test_a_thousand_recipients(clients: Clients, members: dict[str, Member], mail_host: Host) -> None:
    """As many as the house allows; of the others a client is told that they are for another message (RFC 5321, 4.5.3.1.10)."""
    many = ",".join(f"friend{number}@stranger.test" for number in range(1000))
    answer = clients.submit(members["anna"], many, token(), "--quit-after", "RCPT")
    allowed = int(mail_host.check_output("postconf -h -P submissions/inet/smtpd_recipient_limit"))
    codes = re.findall(r"^<[-~*]+[>*]? +(\d{3} \d\.\d\.\d) ", answer.text.split("RCPT TO", 1)[1], re.MULTILINE)
    assert codes[:allowed] == ["250 2.1.5"] * allowed, answer.text[-2000:]
    assert set(codes[allowed : 2 * allowed]) == {"452 4.5.3"}, answer.text[-2000:]


def test_mail_that_fails_dmarc_under_reject(clients: Clients, members: dict[str, Member]) -> None:
    """sarah's domain says: reject what is not from our host and not signed by us."""
    answer = at_the_door(clients, "sarah@stranger.test", members["anna"].mail, "--header", f"Subject: {token()}")
    # for that, and not because it looks like spam, too
    refused(answer, DATA, "554 5.7.1 Neither DKIM nor SPF passes for the sender's domain,")


def test_the_pattern_all_spam_filters_know(clients: Clients, members: dict[str, Member]) -> None:
    """Through the stranger's own host DKIM, SPF and DMARC are in order: the body alone is refused."""
    subject = token()
    assert clients.stranger_sends(members["anna"].mail, subject, "sarah@stranger.test", "--body", GTUBE).code == 0
    # the stranger's own host tells of it, and cites the message
    message = clients.stranger_receives(subject)
    assert "Undelivered Mail Returned to Sender" in message
    said = re.search(r"said: (\S+ \S+) .*? \(in reply to (.*?) command\)", " ".join(message.split()))
    assert said and said.groups() == ("554 5.7.1", "end of DATA"), message
    assert not clients.find(members["anna"], subject)
