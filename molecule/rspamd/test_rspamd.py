"""What rspamd promises, asked of the running daemon as Postfix would ask it, with an independent verifier of signatures."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
from conftest import eventually

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
STRANGER, FORGER = "192.0.2.10", "192.0.2.66"
SERVICES = ("192.0.2.7", "2001:db8::7")
STORE = "valkey-cli -s /run/valkey/valkey.sock"


def letter(
    sender: str = "sarah@stranger.test", to: str = "anna@coop.test", body: str = "Bonjour,\nà demain.", extra: str = ""
) -> str:
    return (
        f"From: Somebody <{sender}>\nTo: {to}\nSubject: See you\nDate: {formatdate()}\n"
        f"Message-ID: <{time.monotonic_ns()}@{sender.partition('@')[2]}>\n{extra}"
        f"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{body}\n"
    )


class Mail:
    def __init__(self, host: Any) -> None:
        self.host = host

    def python(self, program: str, text: str, *arguments: str) -> str:
        line = f"printf %s {shlex.quote(text)} | python3 /usr/local/lib/{program} {shlex.join(arguments)}"
        done = self.host.run(line)
        journal = self.host.run("journalctl -u rspamd -o cat -n 30").stdout if done.rc else ""
        assert done.rc == 0, done.stderr + journal
        return str(done.stdout)

    def send(
        self, message: str, sender: str, ip: str = STRANGER, user: str = "", recipients: tuple[str, ...] = ("anna@coop.test",)
    ) -> tuple[str, str]:
        """The reply of the filter, "" where it lets the message pass, and the message as it then is."""
        name = {STRANGER: "mx.stranger.test"}.get(ip, "somewhere.test")
        order = {"ip": ip, "name": name, "user": user, "sender": sender, "recipients": recipients, "message": message}
        answer = json.loads(self.python("milter.py", json.dumps(order)))
        return answer["reply"], answer["message"]

    def submit(self, message: str, sender: str = "anna@coop.test", user: str = "anna@coop.test", **more: Any) -> tuple[str, str]:
        return self.send(message, sender, FORGER, user, **{"recipients": ("sarah@stranger.test",)} | more)

    def sign(self, message: str, domain: str = "stranger.test") -> str:
        return self.python("dkim_check.py", message, "sign", domain, "s", "/root/stranger.key")

    def signatures(self, message: str) -> set[str]:
        return set(self.python("dkim_check.py", message, "verify").splitlines())


@pytest.fixture
def mail(host: Any) -> Mail:
    return Mail(host)


def both(domain: str, verdict: str = "pass") -> set[str]:
    return {f"rsa-sha256 {domain} rsa1 {verdict}", f"ed25519-sha256 {domain} ed1 {verdict}"}


def headers(message: str) -> str:
    return message.split("\n\n")[0]


# What members send


@pytest.mark.parametrize("sender", ["anna@coop.test", "anna@famille.test"])
def test_a_member_s_message_is_signed_twice_whichever_address_is_used(mail: Mail, sender: str) -> None:
    reply, message = mail.submit(letter(sender, "sarah@stranger.test"), sender)
    domain = sender.partition("@")[2]
    assert (reply, mail.signatures(message)) == ("", both(domain))
    assert mail.signatures(message.replace("demain", "jamais")) == both(domain, "fail")
    assert "X-Spam" not in message
    assert "Authentication-Results" not in message


def test_what_the_host_writes_is_signed_and_a_private_network_is_not_the_host(mail: Mail) -> None:
    sender = "postmaster@coop.test"
    _, message = mail.send(letter(sender), sender, "127.0.0.1")
    assert mail.signatures(message) == both("coop.test")
    for ip in ("10.89.53.10", "fd53:c00b::10"):
        reply, message = mail.send(letter(sender), sender, ip)
        assert reply.startswith("554 5.7.1"), reply
        assert not mail.signatures(message)


def test_a_domain_that_is_not_ours_is_not_signed_for(mail: Mail) -> None:
    sender = "anna@elsewhere.test"
    reply, message = mail.submit(letter(sender), sender)
    assert (reply, mail.signatures(message)) == ("", set())


@pytest.mark.parametrize(
    "message",
    [
        letter("bram@coop.test"),
        letter("sarah@stranger.test"),
        letter("anna@coop.test>, <bram@coop.test"),
        letter("anna@coop.test", extra="From: Bram <bram@coop.test>\n"),
        letter("anna@coop.test").replace("From: ", "X-From: "),
        letter("bram@coop.test").replace("Somebody", '"anna@coop.test"'),
    ],
    ids=["another member", "a stranger", "two addresses", "two headers", "no header", "own address as name"],
)
def test_from_that_is_not_the_sender_is_refused(mail: Mail, message: str) -> None:
    assert mail.submit(message)[0] == "554 5.7.1 From does not match the sender"


def test_from_may_differ_in_case_and_name_only(mail: Mail) -> None:
    assert mail.submit(letter("Anna@Coop.test"))[0] == ""


def test_a_tagged_address_is_its_member_s(mail: Mail) -> None:
    tagged = "anna+shop@coop.test"
    for address in (tagged, "Anna+Shop@coop.test", "anna@coop.test"):
        reply, message = mail.submit(letter(address), tagged)
        assert (reply, mail.signatures(message)) == ("", both("coop.test"))
    for address in (f"{tagged}>, <bram@coop.test", f"bram@coop.test>, <{tagged}", "bram+shop@coop.test", "bram@coop.test"):
        assert mail.submit(letter(address), tagged)[0] == "554 5.7.1 From does not match the sender"


@pytest.mark.parametrize("ip", SERVICES)
def test_a_service_of_another_host_writes_as_its_sender_only(mail: Mail, ip: str) -> None:
    sender = "no-reply@coop.test"
    reply, message = mail.send(letter(sender, extra="Reply-To: anna@coop.test\n"), sender, ip)
    assert (reply, mail.signatures(message)) == ("", both("coop.test"))
    for address, envelope in (("anna@coop.test", sender), (f"{sender}>, <anna@coop.test", sender), ("anna@coop.test", "")):
        reply, message = mail.send(letter(address), envelope, ip)
        assert reply == "554 5.7.1 From does not match the sender"
        assert not mail.signatures(message)


def test_what_the_host_itself_writes_needs_no_sender(mail: Mail) -> None:
    """Bounces and automatic replies have none, and a member's redirection is from whoever wrote the message."""
    for sender, envelope in (("postmaster@coop.test", ""), ("sarah@stranger.test", "anna@coop.test")):
        assert mail.send(letter(sender), envelope, "127.0.0.1")[0] == ""


def test_a_receipt_has_no_sender_and_is_its_member_s(mail: Mail) -> None:
    assert mail.submit(letter("anna@coop.test"), "")[0] == ""
    assert mail.submit(letter("bram@coop.test"), "")[0].startswith("554 5.7.1")


def test_members_are_not_judged_but_gtube_is_refused(mail: Mail) -> None:
    spam = letter("anna@coop.test", body="VIAGRA!!! CLICK http://192.0.2.9/ NOW $$$").replace("Date:", "X-Date:")
    assert mail.submit(spam)[0] == ""
    assert mail.submit(letter("anna@coop.test", body=GTUBE))[0].startswith("554 5.7.1")


def test_recipient_1441_of_a_day_waits_and_other_members_do_not(host: Any, mail: Mail) -> None:
    def write(user: str, recipients: int) -> str:
        people = tuple(f"friend{number}@stranger.test" for number in range(recipients))
        return mail.submit(letter(user), user, user, recipients=people)[0]

    user = "busy@coop.test"
    host.check_output(f"{STORE} del perron:recipients:{user}")
    assert [write(user, 480) for _ in range(3)] == ["", "", ""]
    assert write(user, 1) == "451 4.7.1 Too many recipients in 24 hours"
    assert write("Busy@coop.test", 1).startswith("451"), "in another case it is the same member"
    assert write("anna@coop.test", 1) == ""
    # a day later: what was counted is older than that
    host.check_output(
        f"for message in $({STORE} zrange perron:recipients:{user} 0 -1); do "
        f"{STORE} zincrby perron:recipients:{user} -86401 $message; done"
    )
    assert write(user, 1) == ""


def test_what_a_member_s_script_sends_counts_and_the_host_s_own_does_not(host: Any, mail: Mail) -> None:
    member, reply_from, people = "sieve@coop.test", "away@coop.test", tuple(f"friend{n}@stranger.test" for n in range(1440))
    key = f"{STORE} zcard 'perron:recipients:%s'"
    keys = (member, f"<>{member}", f"<>{reply_from}", "other@coop.test")
    host.check_output(f"{STORE} del " + " ".join(shlex.quote(f"perron:recipients:{each}") for each in keys))

    def write(
        envelope: str, sender: str = "sarah@stranger.test", script: bool = True, ip: str = "127.0.0.1", many: int = 1
    ) -> str:
        message = letter(sender, extra="X-Sieve: Pigeonhole Sieve 2.4.1\n" if script else "")
        return mail.send(message, envelope, ip, recipients=people[:many])[0]

    too_many = "451 4.7.1 Too many recipients in 24 hours"
    # the house's own, and a stranger who writes that header
    assert write(member, script=False, many=1440) == ""
    write(member, member, ip=FORGER)
    write("no-reply@coop.test", "no-reply@coop.test", ip=SERVICES[0])
    assert [host.check_output(key % each) for each in (member, "no-reply@coop.test")] == ["0", "0"]
    # a redirection, which counts with what the member writes
    assert write(member, many=1440) == ""
    assert write(member) == too_many
    assert write("sieve+list@coop.test") == too_many, "tagged, it is the same member"
    assert mail.submit(letter(member), member, member)[0] == too_many
    assert write("other@coop.test") == ""
    assert write(member, script=False) == ""
    # automatic replies, by whom they are from, and apart: a script may name another member
    assert write("", member) == ""
    assert write("", reply_from, many=1440) == ""
    assert write("", reply_from) == too_many
    assert mail.submit(letter(reply_from), reply_from, reply_from)[0] == ""
    assert write("", reply_from, script=False) == ""


# What strangers send


def test_a_stranger_s_good_message_passes_unmarked_and_with_its_results(mail: Mail) -> None:
    lies = "Authentication-Results: mail.coop.test; dmarc=pass (lie)\nX-Spam: Yes\n"
    reply, message = mail.send(mail.sign(letter(extra=lies)), "sarah@stranger.test")
    assert reply == ""
    assert all(check in message for check in ("dkim=pass", "spf=pass", "dmarc=pass")), headers(message)
    assert "lie" not in headers(message)
    assert "X-Spam: Yes" not in message


def test_either_of_spf_and_dkim_is_enough(mail: Mail) -> None:
    assert mail.send(letter(), "sarah@stranger.test")[0] == ""
    assert mail.send(mail.sign(letter()), "sarah@stranger.test", FORGER)[0] == ""


def test_what_fails_dmarc_meets_the_policy_of_its_domain(mail: Mail) -> None:
    refused, _ = mail.send(letter(), "sarah@stranger.test", FORGER)
    # which says what there is to mend
    assert refused.startswith("554 5.7.1 Neither DKIM nor SPF passes"), refused
    tampered = mail.sign(letter()).replace("demain", "jamais")
    assert mail.send(tampered, "sarah@stranger.test", FORGER)[0].startswith("554 5.7.1")
    # the envelope is the forger's own: SPF passes, for a domain nobody sees
    assert mail.send(letter(), "forger@careless.test")[0].startswith("554 5.7.1")

    reply, marked = mail.send(letter("willy@wary.test"), "willy@wary.test", FORGER)
    assert reply == ""
    assert "X-Spam: Yes" in marked
    # p=none leaves it to the score
    assert not mail.send(letter("carl@careless.test"), "carl@careless.test", FORGER)[0].startswith("554")


def test_our_own_domain_from_outside_is_refused(mail: Mail) -> None:
    assert mail.send(letter("bram@coop.test"), "bram@coop.test", FORGER)[0].startswith("554 5.7.1")


def test_gtube_is_refused_whoever_s_it_is(mail: Mail) -> None:
    reply, _ = mail.send(mail.sign(letter(body=GTUBE)), "sarah@stranger.test")
    assert reply.startswith("554 5.7.1"), reply


def test_what_is_suspicious_comes_back_later(host: Any, mail: Mail) -> None:
    """Greylisting, of a score alone: test_a_stranger_s_good_message shows that others are not delayed."""
    unknown = f"carl.{time.monotonic_ns()}@careless.test"
    odd = letter(unknown, body=f"Bonjour,\n{unknown}").replace("Date:", "X-Date:").replace("Message-ID:", "X-ID:")
    reply, _ = mail.send(odd, unknown, FORGER, recipients=("bram@coop.test",))
    assert reply.startswith("451 4.7.1"), reply


def test_what_comes_in_is_sealed_for_whom_it_is_forwarded_to(mail: Mail) -> None:
    _, message = mail.send(mail.sign(letter()), "sarah@stranger.test")
    assert "d=coop.test" in message.partition("ARC-Seal:")[2].partition("\n\n")[0]
    assert mail.python("dkim_check.py", message, "arc").strip() == "pass"
    assert mail.python("dkim_check.py", message.replace("demain", "jamais"), "arc").strip() == "fail"
    # on its way through a forwarder it lost SPF and kept its seal
    _, forwarded = mail.send(message, "sarah@stranger.test", FORGER, recipients=("bram@famille.test",))
    assert "arc=pass" in forwarded


def test_what_members_move_to_junk_is_learnt(host: Any) -> None:
    """Over the controller, as Dovecot does it. That it knows a message the second time shows that the store keeps it."""
    words = " ".join(f"casino{number} win" for number in range(40))
    message = shlex.quote(f"Subject: {time.monotonic_ns()}\n\n{words} {time.monotonic_ns()}\n")
    learn = f"printf %s {message} | rspamc -h 127.0.0.1:11334 learn_spam"
    assert "success = true" in host.check_output(learn)
    assert "already learned as spam" in host.check_output(learn)


# Beside the mail


@pytest.fixture
def no_valkey(host: Any) -> Iterator[None]:
    host.check_output("systemctl stop valkey-server")
    yield
    host.check_output("systemctl start valkey-server")


@pytest.mark.usefixtures("no_valkey")
def test_without_valkey_mail_passes_and_is_signed_and_judged(mail: Mail) -> None:
    reply, message = mail.submit(letter("anna@coop.test", "sarah@stranger.test"))
    assert (reply, mail.signatures(message)) == ("", both("coop.test"))
    assert mail.send(mail.sign(letter()), "sarah@stranger.test")[0] == ""
    assert mail.send(letter(), "sarah@stranger.test", FORGER)[0].startswith("554 5.7.1")


def test_nothing_is_sent_anywhere_else(host: Any, mail: Mail) -> None:
    """Counted before the unit's own wall, which would drop it: not even an attempt is made."""
    host.check_output(
        "nft 'table inet count { chain output { type filter hook output priority 0;"
        ' meta skuid _rspamd oifname != lo counter comment "out"; }; }\''
    )

    def packets() -> int:
        return int(host.check_output("nft list table inet count").partition("packets ")[2].split()[0])

    try:
        links = "http://casino.example/ https://bit.ly/x"
        host.check_output("systemctl restart rspamd; timeout 60 sh -c 'until rspamc stat >/dev/null 2>&1; do sleep 0.2; done'")
        asked = host.check_output("date +%s")
        mail.send(mail.sign(letter(body=links * 3)), "sarah@stranger.test")
        assert packets() == 0
        names = host.check_output(f"journalctl -u unbound --since @{asked} -o cat | grep -o ' 127.0.0.1 [^ ]*' || :")
        strangers = {name.split()[1] for name in names.splitlines()}
        assert "stranger.test." in strangers, "the resolver's log shows what was asked"
        own = ("stranger.test.", ".arpa.", "coop.test.")
        assert {name for name in strangers if not name.endswith(own)} == set()
        host.run("setpriv --reuid _rspamd --clear-groups timeout 1 bash -c '</dev/tcp/192.0.2.99/443'")
        assert packets() > 0, "the counter counts"
    finally:
        host.check_output("nft delete table inet count")


def test_only_this_host_gets_in(host: Any) -> None:
    address = host.check_output("hostname -I").split()[0]
    for port in (11332, 11334):
        assert host.run(f"timeout 2 bash -c '</dev/tcp/127.0.0.1/{port}'").rc == 0
        assert host.run(f"timeout 2 bash -c '</dev/tcp/{address}/{port}'").rc != 0
    assert "11333" not in host.check_output("ss -Hltn")


def test_the_unit_is_hardened(host: Any) -> None:
    score = host.check_output("systemd-analyze security --no-pager rspamd | tail -n 1")
    assert float(score.split(":")[1].split()[0]) <= 4.0, score
    assert set(host.check_output("systemctl show --value -p IPAddressDeny rspamd").split()) == {"0.0.0.0/0", "::/0"}


def test_it_is_back_when_it_is_killed(host: Any) -> None:
    before = host.check_output("systemctl show --value -p MainPID rspamd")
    host.check_output(f"kill -9 {before}")
    answers = "timeout 2 bash -c '</dev/tcp/127.0.0.1/11332'"
    # its workers, which answer on without it, go at once
    assert eventually(lambda: host.check_output("systemctl show --value -p MainPID rspamd") not in (before, "0"), 10)
    assert eventually(lambda: host.run(answers).rc == 0, 10)


def test_keys_are_the_daemon_s_alone(host: Any) -> None:
    key = "/etc/dkim/coop.test.rsa1.key"
    assert host.run(f"setpriv --reuid _rspamd --regid _rspamd --clear-groups head -c 1 {key}").rc == 0
    assert host.run(f"setpriv --reuid nobody --regid nogroup --clear-groups head -c 1 {key}").rc != 0
