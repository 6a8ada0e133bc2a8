"""What postfix promises, asked of the running daemon by mail clients and servers."""

import contextlib
import itertools
import re
import shlex
import smtplib
import socket
import subprocess
import time
from email.message import EmailMessage

import pytest
from conftest import AUTHORITY, eventually

NAME = "mail.coop.test"
PASSWORD = "correct-Horse-7"
SUBJECTS = (f"message-{time.time_ns()}-{number}" for number in itertools.count())


@pytest.fixture(scope="module", autouse=True)
def began(host):
    """Empty mailboxes and queue, also when the tests run again on the same host; gives the journal's cursor."""
    host.check_output(
        "systemctl stop postfix; postsuper -d ALL; systemctl restart dovecot filter; rm -rf /srv/mail/* /run/sink/*"
    )
    cursor = host.check_output("journalctl -n 0 --show-cursor -o cat").rpartition("cursor: ")[2]
    host.check_output("systemctl start postfix")
    return cursor


class Smtp(smtplib.SMTP):
    """SMTP to an address, its certificate checked against the server's name; within TLS at once on port 465."""

    def __init__(self, address, port, tls):
        self.tls = tls
        super().__init__(address, port, "client.stranger.test", 30)
        self._host = NAME

    def _get_socket(self, host, port, timeout):
        plain = socket.create_connection((host, port), timeout)
        return self.tls.wrap_socket(plain, server_hostname=NAME) if port == 465 else plain


@pytest.fixture
def connect(address, tls):
    with contextlib.ExitStack() as stack:

        def session(port=25, member=None, password=PASSWORD):
            smtp = stack.enter_context(Smtp(address, port, tls))
            smtp.ehlo()
            if port == 587:
                assert smtp.starttls(context=tls)[0] == 220
                smtp.ehlo()
            if member:
                smtp.login(f"{member}@coop.test", password)
            return smtp

        yield session


def message(subject, sender="someone@stranger.test", recipient="ann@coop.test", **headers):
    mail = EmailMessage()
    for name, value in {"From": sender, "To": recipient, "Subject": subject, **headers}.items():
        mail[name] = value
    mail.set_content("Salut\n")
    return mail.as_bytes()


def refusal(smtp, sender, recipient):
    """Code and enhanced code of the first refusal, from MAIL FROM to RCPT TO; None if there was none."""
    for code, text in (smtp.mail(sender), smtp.rcpt(recipient)):
        if code != 250:
            smtp.rset()
            return code, text.decode().split()[0]
    smtp.rset()
    return None


def test_a_neighbour_without_an_address_beyond_the_wire_sends_nothing(host, address):
    (link,) = re.findall(r"fe80:[0-9a-f:]+", host.check_output("ip -6 -brief address show dev eth0 scope link"))
    route = subprocess.run(["ip", "route", "get", address], check=True, capture_output=True, text=True).stdout
    with smtplib.SMTP(f"{link}%{re.search(r'dev (\S+)', route)[1]}", 25, "client.stranger.test", 30) as smtp:
        smtp.ehlo()
        assert refusal(smtp, "bob@coop.test", "ann@coop.test") == (554, "5.7.1")


def arrived(host, member, subject):
    found = host.run("doveadm search -u %s@coop.test mailbox %s header subject %s", member, "*", subject)
    return len(found.stdout.split("\n")) - 1


def received(host, member, subject):
    assert eventually(lambda: arrived(host, member, subject)), log(host)
    return arrived(host, member, subject)


def log(host):
    return host.run("journalctl -n 40 -o cat -u postfix -u dovecot").stdout


# --- reception --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipient", "members"),
    [
        ("ann@coop.test", ["ann"]),
        ("ANN@Coop.test", ["ann"]),
        ("ann+list@coop.test", ["ann"]),
        ("annie@coop.test", ["ann"]),
        ("ann@famille.test", ["ann"]),
        ("ann+list@famille.test", ["ann"]),
        ("whoever@famille.test", ["ann"]),
        ("info@coop.test", ["ann", "bob"]),
        ("bob@coop.test", ["bob"]),
        ("sue@coop.test", ["sue"]),
        ("postmaster@coop.test", ["ann"]),
        ("postmaster@mail.coop.test", ["ann"]),
    ],
)
def test_mail_reaches_whose_address_it_is_and_nobody_else(host, connect, recipient, members):
    subject = next(SUBJECTS)
    assert connect().sendmail("someone@stranger.test", [recipient], message(subject)) == {}
    for member in members:
        assert received(host, member, subject) == 1
    for member in {"ann", "bob", "sue", "max"} - set(members):
        assert arrived(host, member, subject) == 0


def test_what_is_not_for_us_is_refused(connect):
    smtp = connect()
    assert refusal(smtp, "someone@stranger.test", "ann@coop.test") is None
    assert refusal(smtp, "someone@stranger.test", "nobody@coop.test") == (550, "5.1.1")
    assert refusal(smtp, "someone@stranger.test", "other@elsewhere.test") == (554, "5.7.1")
    assert refusal(smtp, "ann@coop.test", "other@elsewhere.test") == (554, "5.7.1")
    assert refusal(smtp, "someone@stranger.test", "ann%elsewhere.test@coop.test") == (554, "5.7.1")


def test_an_oversize_message_is_refused_before_it_is_sent(connect):
    smtp = connect()
    assert smtp.mail("someone@stranger.test", ["SIZE=2097152"])[0] == 250
    smtp.rset()
    code, text = smtp.mail("someone@stranger.test", ["SIZE=2097153"])
    assert (code, text.split()[0]) == (552, b"5.3.4")


def test_nobody_can_ask_who_is_a_member(connect):
    assert connect().verify("ann")[0] == 502
    assert connect().expn("info")[0] in (500, 502)


def test_this_host_s_own_mail_reaches_the_postmaster(host):
    subject = next(SUBJECTS)
    host.check_output("printf 'Subject: %%s\\n\\ncron says\\n' %s | /usr/sbin/sendmail root", subject)
    assert received(host, "ann", subject) == 1


def test_this_host_s_own_processes_may_send_out(host):
    subject = next(SUBJECTS)
    host.check_output(
        "swaks --silent 2 --server 127.0.0.1 --from postmaster@coop.test --to far@stranger.test --h-Subject %s", subject
    )
    assert eventually(lambda: sent(host, subject)), log(host)


def sent(host, subject):
    """The message as the other domain's server took it."""
    found = host.run("grep -l -r --include=*.eml -e %s /run/sink", subject).stdout.split()
    return host.file(found[0]).content_string if found else None


def from_a_service(host, source, sender, recipient, subject):
    host.check_output("ip address replace %s dev lo nodad", source)
    bare = source.split("/")[0]
    return host.run(
        f"swaks --silent 2 --server '[{bare}]' --local-interface {bare} --from {sender} --to {recipient} --h-Subject {subject}"
    )


@pytest.mark.parametrize("source", ["192.0.2.7/32", "2001:db8::7/128"])
def test_a_service_of_another_host_writes_as_its_own_sender_and_as_nobody_else(host, source):
    subject = next(SUBJECTS)
    assert from_a_service(host, source, "no-reply@coop.test", "far@stranger.test", subject).rc == 0, log(host)
    assert eventually(lambda: sent(host, subject)), log(host)
    for recipient in ("far@stranger.test", "ann@coop.test"):
        assert from_a_service(host, source, "ann@coop.test", recipient, next(SUBJECTS)).rc != 0
    assert from_a_service(host, "192.0.2.8/32", "no-reply@coop.test", "far@stranger.test", next(SUBJECTS)).rc != 0


# --- sign-in ----------------------------------------------------------------------------------------------------------


def test_nobody_signs_in_on_port_25(connect, tls):
    smtp = connect()
    assert not smtp.has_extn("auth")
    assert smtp.docmd("AUTH", "PLAIN AGFubgBhbm4=")[0] == 503
    smtp.starttls(context=tls)
    smtp.ehlo()
    assert not smtp.has_extn("auth")


def test_no_password_travels_in_the_clear_on_port_587(address, tls):
    with Smtp(address, 587, tls) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")
        assert smtp.docmd("AUTH", "PLAIN AGFubgBhbm4=")[0] in (503, 530)
        assert smtp.mail("ann@coop.test")[0] == 530


@pytest.mark.parametrize("port", [465, 587])
def test_submission_is_for_members_who_sign_in(host, connect, port):
    subject = next(SUBJECTS)
    smtp = connect(port, "ann")
    assert smtp.sendmail("ann@coop.test", ["bob@coop.test"], message(subject, "ann@coop.test", "bob@coop.test")) == {}
    assert received(host, "bob", subject) == 1
    anonymous = connect(port)
    assert anonymous.has_extn("auth")
    assert refusal(anonymous, "ann@coop.test", "bob@coop.test") == (554, "5.7.1")


@pytest.mark.parametrize(("member", "password"), [("ann", "wrong"), ("sue", PASSWORD), ("nobody", PASSWORD)])
def test_wrong_password_suspended_and_unknown_are_refused(connect, member, password):
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        connect(465, member, password)
    assert refused.value.smtp_code == 535


def test_who_is_suspended_sends_nothing_more_by_a_connection_that_is_open(host, connect):
    """Postfix itself would let them go on: it judged the sign-in, once."""

    def becomes(status):
        changes = f"dn: uid=bob,ou=members,dc=coop,dc=test\nchangetype: modify\nreplace: memberStatus\nmemberStatus: {status}\n"
        host.check_output(f"printf %s {shlex.quote(changes)} | ldapmodify -Q -Y EXTERNAL -H ldapi:///")

    bob, ann = connect(465, "bob"), connect(465, "ann")
    assert refusal(bob, "bob@coop.test", "ann@coop.test") is None
    becomes("suspended")
    try:
        assert refusal(bob, "bob@coop.test", "ann@coop.test") == (554, "5.7.1")
        assert refusal(ann, "ann@coop.test", "bob@coop.test") is None  # who still receives
    finally:
        becomes("active")
    assert refusal(bob, "bob@coop.test", "ann@coop.test") is None


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("ann@coop.test", None),
        ("ann+shop@coop.test", None),
        ("annie@coop.test", None),
        ("ann@famille.test", None),
        ("info@coop.test", None),
        ("bob@coop.test", (553, "5.7.1")),
        ("nobody@coop.test", (553, "5.7.1")),
        ("someone@stranger.test", (553, "5.7.1")),
        ("max@famille.test", None),  # her domain's catch-all
    ],
)
def test_a_member_sends_as_her_own_addresses_only(connect, sender, expected):
    assert refusal(connect(465, "ann"), sender, "other@stranger.test") == expected


def test_another_member_cannot_send_as_hers(connect):
    assert refusal(connect(465, "bob"), "annie@coop.test", "other@stranger.test") == (553, "5.7.1")
    assert refusal(connect(465, "bob"), "whoever@famille.test", "other@stranger.test") == (553, "5.7.1")


def test_a_message_does_not_tell_where_its_author_is(host, connect):
    subject = next(SUBJECTS)
    smtp = connect(465, "ann")
    own = smtp.sock.getsockname()[0]
    headers = {"X-Originating-IP": "[192.0.2.7]", "User-Agent": "Thunderbird", "Received": f"from laptop ([{own}])"}
    smtp.sendmail("ann@coop.test", ["far@stranger.test"], message(subject, "ann@coop.test", "far@stranger.test", **headers))
    text = eventually(lambda: sent(host, subject))
    assert text, log(host)
    assert re.search(r"^Received: by mail\.coop\.test ", text, re.M), text
    for secret in (own, "client.stranger.test", "192.0.2.7", "Thunderbird", "laptop"):
        assert secret not in text


def test_a_message_that_is_attached_stays_as_it_is(host, connect):
    subject = next(SUBJECTS)
    attached = "Received: from spammer.test\r\nUser-Agent: Spam\r\nSubject: Win\r\n\r\nMoney\r\n"
    head = f"From: ann@coop.test\r\nTo: far@stranger.test\r\nSubject: {subject}\r\nUser-Agent: Mutt\r\nMIME-Version: 1.0"
    text = f"{head}\r\nContent-Type: message/rfc822\r\n\r\n{attached}"
    connect(465, "ann").sendmail("ann@coop.test", ["far@stranger.test"], text)
    arrived = eventually(lambda: sent(host, subject))
    assert "Received: from spammer.test" in arrived and "User-Agent: Spam" in arrived, arrived
    assert "Mutt" not in arrived


def test_too_many_recipients_are_refused(connect):
    smtp = connect(465, "ann")
    assert smtp.mail("ann@coop.test")[0] == 250
    answers = []
    with contextlib.suppress(smtplib.SMTPServerDisconnected):
        for number in range(1000):
            code, text = smtp.rcpt(f"far{number}@stranger.test")
            answers.append((code, text.decode().split()[0]))
            if code == 421:
                break
    assert answers[:100] == [(250, "2.1.5")] * 100
    assert set(answers[100:-1]) == {(452, "4.5.3")}
    # and who insists is sent away before the message could be handed over
    assert answers[-1][0] == 421
    assert len(answers) < 250


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["25 -starttls smtp", "465", "587 -starttls smtp"])
def test_tls_is_new_enough(host, port):
    connect = f"openssl s_client -CAfile {AUTHORITY} -verify_return_error -verify_hostname {NAME} -connect 127.0.0.1:{port}"
    good = host.run(f"{connect} </dev/null")
    assert good.rc == 0, good.stderr
    assert "X25519MLKEM768" in good.stdout
    older = host.run(f"{connect} -tls1_2 </dev/null")
    assert older.rc == 0
    assert "Extended master secret: yes" in older.stdout
    for old in ("-tls1_1 -cipher ALL@SECLEVEL=0", "-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA"):
        assert host.run(f"{connect} {old} </dev/null").rc != 0


def test_twenty_messages_for_one_mailbox_are_delivered_at_the_first_attempt(host, connect, began):
    subject = next(SUBJECTS)
    smtp = connect()
    for _ in range(20):
        assert smtp.sendmail("someone@stranger.test", ["bob@coop.test"], message(subject)) == {}
    assert eventually(lambda: arrived(host, "bob", subject) == 20), log(host)
    assert "status=deferred" not in host.check_output("journalctl -o cat --after-cursor=%s", began)


def test_the_log_is_free_of_complaints(host, began):
    lines = host.check_output("journalctl -o cat -u postfix --after-cursor=%s", began).splitlines()
    assert [line for line in lines if "status=sent" in line]
    complaints = [line for line in lines if re.match(r"(warning|error|fatal|panic):", line)]
    # what the tests above did on purpose: wrong passwords, outdated TLS
    provoked = re.compile(
        "SASL (PLAIN|LOGIN) authentication failed|TLS library problem: .*(unsupported protocol|no shared cipher)"
    )
    assert [line for line in complaints if not provoked.search(line)] == []


# --- who else is kept out ---------------------------------------------------------------------------------------------


def test_the_directory_s_password_is_postfix_s_own(host):
    for reader, good in (("postfix", True), ("nobody", False)):
        read = host.run(
            "setpriv --reuid %s --regid %s --clear-groups cat /etc/postfix/members.cf",
            reader,
            reader.replace("body", "group"),
        )
        assert (read.rc == 0) == good


def test_the_unit_is_hardened(host):
    score = host.check_output("systemd-analyze security --no-pager postfix | tail -n 1")
    assert float(score.split(":")[1].split()[0]) <= 4.0, score
    assert host.check_output("systemctl show --value -p NoNewPrivileges postfix") == "yes"


# --- faults: deferred, nothing lost -----------------------------------------------------------------------------------


@contextlib.contextmanager
def stopped(host, unit):
    host.check_output("systemctl stop %s", unit)
    try:
        yield
    finally:
        host.check_output("systemctl start %s", unit)


def test_a_directory_that_is_down_defers(host, connect):
    with stopped(host, "slapd"):
        assert refusal(connect(), "someone@stranger.test", "ann@coop.test") == (451, "4.3.0")
        assert refusal(connect(), "someone@stranger.test", "nobody@coop.test") == (451, "4.3.0")
    assert eventually(lambda: refusal(connect(), "someone@stranger.test", "ann@coop.test") is None), log(host)


def test_a_filter_that_is_down_defers(host, connect):
    def attempt():
        return refusal(connect(), "someone@stranger.test", "ann@coop.test")

    with stopped(host, "filter"):
        assert attempt() == (451, "4.7.1")
        own = host.run("swaks --silent 2 --server 127.0.0.1 --from root@coop.test --to ann@coop.test")
        assert own.rc in (23, 24) and " 451 4.7.1 " in own.stdout + own.stderr, own  # at MAIL or RCPT
    assert eventually(lambda: attempt() is None)


def test_while_dovecot_is_down_mail_waits(host, connect):
    subject = next(SUBJECTS)
    with stopped(host, "dovecot"):
        assert connect().sendmail("someone@stranger.test", ["ann@coop.test"], message(subject)) == {}
        assert eventually(lambda: "dsn=4.4.1" in log(host)), log(host)
    host.check_output("postqueue -f")
    assert received(host, "ann", subject) == 1


def test_a_killed_postfix_comes_back_and_has_lost_nothing(host, connect):
    subject = next(SUBJECTS)
    with stopped(host, "dovecot"):
        assert connect().sendmail("someone@stranger.test", ["ann@coop.test"], message(subject)) == {}
        host.check_output("systemctl kill -s KILL postfix")
    assert eventually(lambda: answers(connect), 10), log(host)
    host.check_output("postqueue -f")
    assert received(host, "ann", subject) >= 1


def answers(connect):
    with contextlib.suppress(OSError, smtplib.SMTPException):
        return connect()


def test_a_renewed_certificate_is_served(host, address, tls):
    def served(port):
        with contextlib.suppress(OSError, smtplib.SMTPException), Smtp(address, port, tls) as smtp:
            if port != 465:
                smtp.starttls(context=tls)
            return smtp.sock.getpeercert()["serialNumber"]

    before = served(25)
    assert before
    host.check_output(
        "cd /etc/certificates && openssl req -x509 -key mail/privkey.pem -subj /CN=mail.coop.test -days 30"
        f" -CA {AUTHORITY} -CAkey authority.key -addext subjectAltName=DNS:{NAME},DNS:ldap.coop.test"
        " -addext basicConstraints=critical,CA:FALSE -out mail/fullchain.pem && reload.d/postfix"
    )
    for port in (25, 465, 587):
        assert eventually(lambda port=port: served(port) not in (None, before)), port
