"""Mail goes where it should, in both address families, and each side can prove whose it is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from conftest import Clients, Member, token, until
from testinfra.host import Host


def now(host: Host) -> str:
    """The host's time, as journalctl takes it."""
    return host.check_output("date '+%F %T'")


def verified(host: Host, since: str) -> str:
    """The servers to which the host's mail went over TLS that was verified, `name[address]:port` each."""
    return host.run(f"journalctl --no-pager --since '{since}' | grep -o 'Verified TLS connection established to [^ ]*'").stdout


@pytest.mark.parametrize(("sender", "recipient"), [("anna", "bram"), ("bram", "anna")])
def test_member_to_member(clients: Clients, members: dict[str, Member], sender: str, recipient: str) -> None:
    """Of the cooperative's domain and of a domain of the member's own."""
    subject = token()
    sent = clients.submit(members[sender], members[recipient].mail, subject)
    assert sent.code == 0, sent.text
    clients.receive(members[recipient], subject)


def test_an_address_of_the_cooperative_is_read_and_written_from_by_who_is_named(
    clients: Clients, demo: Member, domain: str
) -> None:
    asked, answered = token(), token()
    assert clients.stranger_sends(f"info@{domain}", asked).code == 0
    clients.receive(demo, asked)
    assert clients.submit(demo, "sarah@stranger.test", answered, sender=f"info@{domain}").code == 0
    assert "dkim=pass" in clients.stranger_receives(answered)


def test_an_alias_reaches_its_member_and_may_be_written_from(clients: Clients, members: dict[str, Member]) -> None:
    subject = token()
    anna = members["anna"]
    sent = clients.submit(anna, anna.alias.replace("@", "+lists@"), subject, sender=anna.alias)
    assert sent.code == 0, sent.text
    clients.receive(anna, subject)


@pytest.fixture
def forwards(mail_host: Host, members: dict[str, Member]) -> Iterator[Member]:
    """Bram's mail goes on to a stranger, and says that he is away."""
    bram = members["bram"]
    script = 'require ["copy", "vacation"]; redirect :copy "sarah@stranger.test"; vacation "Away until Monday.";'
    mail_host.check_output(f"printf %s '{script}' | doveadm sieve put -a -u {bram.mail} away")
    yield bram
    mail_host.check_output(f"doveadm sieve deactivate -u {bram.mail}; doveadm sieve delete -u {bram.mail} away")


def test_what_a_member_has_forwarded_and_answered_leaves(clients: Clients, members: dict[str, Member], forwards: Member) -> None:
    """By the mail store, which sends for members."""
    subject = token()
    assert clients.submit(members["anna"], forwards.mail, subject).code == 0
    clients.receive(forwards, subject)
    assert "dkim=pass" in clients.stranger_receives(subject)
    clients.receive(members["anna"], "Auto:")


@pytest.mark.parametrize("sender", ["anna", "bram"])
def test_member_to_stranger(clients: Clients, members: dict[str, Member], sender: str) -> None:
    """The stranger's own checkers find DKIM, SPF and DMARC in order, and TLS on the way."""
    subject = token()
    sent = clients.submit(members[sender], "sarah@stranger.test", subject)
    assert sent.code == 0, sent.text
    message = clients.stranger_receives(subject)
    for check in ("dkim=pass", "spf=pass", "dmarc=pass"):
        assert check in message, message
    assert re.search(r"using TLSv1\.[23]", message), message


@pytest.mark.parametrize(("recipient", "mx", "family"), [("v4", "mx4", "[10."), ("v6", "mx6", "[IPv6:fd53:")])
def test_the_way_to_the_stranger_is_verified(
    clients: Clients, members: dict[str, Member], mail_host: Host, recipient: str, mx: str, family: str
) -> None:
    """Over each address family, by DANE: the stranger's key is in a signed zone. TLS with just anyone would be `Untrusted`."""
    subject = token()
    began = now(mail_host)
    assert clients.submit(members["anna"], f"sarah@{recipient}.stranger.test", subject).code == 0
    message = clients.stranger_receives(subject)
    assert family in message.split("\tby mx.stranger.test")[0], message
    assert f"{mx}.stranger.test[" in verified(mail_host, began)


def test_nothing_of_the_member_s_home_travels(
    clients: Clients, members: dict[str, Member], inventory: dict[str, dict[str, str]]
) -> None:
    """The address a member wrote from is nobody's business."""
    subject = token()
    assert clients.submit(members["anna"], "sarah@stranger.test", subject).code == 0
    message = clients.stranger_receives(subject)
    assert inventory["world"]["host_ipv4"] not in message.split("\n\n")[0]
    assert inventory["world"]["host_ipv6"] not in message.split("\n\n")[0]


@pytest.mark.parametrize("sender", ["sarah@v4.stranger.test", "sarah@v6.stranger.test"])
@pytest.mark.parametrize("recipient", ["anna", "bram"])
def test_stranger_to_member(clients: Clients, members: dict[str, Member], sender: str, recipient: str) -> None:
    """Over IPv4 and over IPv6; the stranger verified the cooperative's key by DANE."""
    subject = token()
    began = now(clients.world)
    sent = clients.stranger_sends(members[recipient].mail, subject, sender)
    assert sent.code == 0, sent.text
    message = clients.receive(members[recipient], subject)
    for check in ("dkim=pass", "spf=pass", "dmarc=pass"):
        assert check in message, message
    v4 = "v4" in sender
    assert re.search(rf"from mx\.stranger\.test \(\S+ {r'\[10[.]' if v4 else r'\[IPv6:'}", message), message
    assert f"{clients.server}[{'10.' if v4 else 'fd53:'}" in verified(clients.world, began)


@pytest.fixture
def little_room(coop: dict[str, Host], mail_host: Host, members: dict[str, Member], domain: str) -> Iterator[Member]:
    """Maud has room for a mebibyte."""
    maud, directory = members["maud"], coop["dyle"]
    suffix = ",".join(f"dc={label}" for label in domain.split("."))
    dn = f"uid={maud.login},ou=members,{suffix}"
    entry = directory.check_output(f"ldapsearch -QLLL -Y EXTERNAL -H ldapi:/// -o ldif-wrap=no -s base -b {dn} memberQuota")
    (before,) = re.findall(r"^memberQuota: (.*)$", entry, re.MULTILINE)

    def quota(size: str) -> None:
        change = f"dn: {dn}\nchangetype: modify\nreplace: memberQuota\nmemberQuota: {size}\n"
        directory.check_output("printf %s | ldapmodify -Q -Y EXTERNAL -H ldapi:///", change)
        mail_host.check_output("doveadm auth cache flush")  # or the old one is good for a minute

    quota(str(2**20))
    yield maud
    quota(before)


def test_who_has_little_room_left_is_told(clients: Clients, world: Host, little_room: Member) -> None:
    """Once it is, and by mail: whoever writes it must be let to the mail server."""
    small, large = token(), token()
    assert clients.stranger_sends(little_room.mail, small).code == 0
    clients.receive(little_room, small)
    assert not clients.find(little_room, "Postfach")
    world.check_output("head -c 640K /dev/urandom | base64 -w 76 >/tmp/large-one")
    assert clients.stranger_sends(little_room.mail, large, "sarah@stranger.test", "--body", "@/tmp/large-one").code == 0
    clients.receive(little_room, large)
    assert "Ihr Postfach ist zu 80 % voll" in clients.receive(little_room, "Postfach")


def test_mail_to_a_suspended_member_is_kept(clients: Clients, members: dict[str, Member], mail_host: Host) -> None:
    subject = token()
    assert clients.stranger_sends(members["gerda"].mail, subject).code == 0
    until(
        "the message in gerda's mailbox",
        lambda: mail_host.run(f"doveadm search -u {members['gerda'].mail} mailbox INBOX subject {subject}").stdout,
    )
