"""What dovecot promises, asked of the running daemon by mail clients."""

import base64
import contextlib
import hashlib
import imaplib
import json
import mailbox
import os
import poplib
import re
import socket
import tempfile
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import AUTHORITY, ROOT, eventually

NAME = "mail.coop.test"
PASSWORD = "correct-Horse-7"
STRANGER = "stranger@stranger.test"
LMTP = "/run/dovecot/lmtp"
# Prints one [code, text] a message: [recipient, headers, size of the body, sender] each, all of them at once
DELIVER = f"""
import concurrent.futures, json, smtplib, sys
def deliver(item):
    recipient, headers, size, sender = item
    message = ''.join(f'{{k}}: {{v}}\\r\\n' for k, v in headers.items()) + '\\r\\n' + ('x' * 76 + '\\r\\n') * (size // 78 + 1)
    with smtplib.LMTP({LMTP!r}) as lmtp:
        lmtp.ehlo('scenario.test')
        for code, text in (lmtp.mail(sender), lmtp.rcpt(recipient)):
            if code != 250:
                return code, text.decode()
        code, text = lmtp.data(message)
        return code, text.decode()
items = json.load(sys.stdin)
with concurrent.futures.ThreadPoolExecutor(len(items)) as pool:
    print(json.dumps(list(pool.map(deliver, items))))
"""


def deliver_all(host, items):
    run = host.run("echo %s | python3 -c %s", json.dumps(items), DELIVER)
    assert run.rc == 0, run.stderr + host.run("journalctl -n 30 -u dovecot").stdout
    return json.loads(run.stdout)


def deliver(host, recipient, size=100, sender=STRANGER, **headers):
    items = [[recipient, {"From": STRANGER, "To": recipient, **headers}, size, sender]]
    return tuple(deliver_all(host, items)[0])


def directory(host, change):
    run = host.run("echo %s | ldapmodify -Q -Y EXTERNAL -H ldapi:///", change)
    assert run.rc == 0, run.stderr


def auth(host, member, password=PASSWORD):
    return host.run("doveadm auth test %s@coop.test %s", member, password).rc == 0


@pytest.fixture(scope="module", autouse=True)
def began(host):
    """Empty mailboxes, also when the tests run again on the same host; gives the journal's cursor."""
    host.check_output("systemctl stop dovecot; rm -rf /srv/mail/* /run/sink/*")
    cursor = host.check_output("journalctl -n 0 --show-cursor -o cat").rpartition("cursor: ")[2]
    host.check_output("systemctl start dovecot")
    return cursor


class Imap(imaplib.IMAP4):
    """IMAPS at an address, its certificate checked against the server's name."""

    def __init__(self, address, tls):
        self.tls = tls
        super().__init__(address, 993, 20)

    def _create_socket(self, timeout):
        return self.tls.wrap_socket(socket.create_connection((self.host, self.port), timeout), server_hostname=NAME)

    def count(self, mailbox, *criteria):
        status, _ = self.select(mailbox)
        assert status == "OK", mailbox
        return len(self.search(None, *(criteria or ["ALL"]))[1][0].split())


@pytest.fixture
def imap(address, tls):
    with contextlib.ExitStack() as stack:

        def login(member, password=PASSWORD):
            session = stack.enter_context(Imap(address, tls))
            session.login(f"{member}@coop.test", password)
            return session

        yield login


@pytest.fixture
def sieve(address, tls):
    """Runs ManageSieve commands as a member until one fails, gives the last answer."""

    def run(member, *commands):
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection((address, 4190), 20))

            def answers(file):
                while not re.match(rb"(OK|NO|BYE)\b", (line := file.readline())):
                    assert line
                return line.decode()

            answers(connection.makefile("rb"))
            connection.sendall(b"STARTTLS\r\n")
            answers(connection.makefile("rb"))
            secure = stack.enter_context(tls.wrap_socket(connection, server_hostname=NAME))
            file = secure.makefile("rb")
            answers(file)
            token = base64.b64encode(f"\0{member}@coop.test\0{PASSWORD}".encode()).decode()
            for command in (f'AUTHENTICATE "PLAIN" "{token}"', *commands):
                secure.sendall(command.encode() + b"\r\n")
                last = answers(file)
                if not last.startswith("OK"):
                    break
            return last

    def put(member, script):
        return run(member, f'PUTSCRIPT "s" {{{len(script)}+}}\r\n{script}', 'SETACTIVE "s"')

    return put


def sink(host, words):
    return host.run("grep -l -r --include=*.eml -e %s /run/sink", words).stdout.split()


# --- who gets in -----------------------------------------------------------------------------------------------------


def test_a_member_signs_in_and_only_with_the_password(imap):
    imap("ann")
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        imap("ann", "wrong")


def test_nobody_else_signs_in(host):
    assert auth(host, "ann")
    assert not auth(host, "ann", "wrong")
    assert not auth(host, "ann", "")
    assert not auth(host, "nobody")
    assert not auth(host, "*")


def test_a_suspended_member_is_refused_and_still_receives(host):
    assert not auth(host, "sue")
    assert deliver(host, "sue@coop.test")[0] == 250


def test_suspending_works_at_once(host):
    change = "dn: uid=bob,ou=members,dc=coop,dc=test\nchangetype: modify\nreplace: memberStatus\nmemberStatus: {}\n"
    assert auth(host, "bob")
    directory(host, change.format("suspended"))
    try:
        assert not auth(host, "bob")
    finally:
        directory(host, change.format("active"))
    assert auth(host, "bob")


def test_pop3(host, address, tls):
    assert deliver(host, "bob@coop.test", Subject="by pop")[0] == 250
    for password, good in ((PASSWORD, True), ("wrong", False)):
        pop = poplib.POP3.__new__(poplib.POP3_SSL)
        raw = socket.create_connection((address, 995), 20)
        pop.sock = tls.wrap_socket(raw, server_hostname=NAME)
        pop.file, pop._debugging = pop.sock.makefile("rb"), 0
        pop.welcome = pop._getresp()
        pop.user("bob@coop.test")
        if good:
            pop.pass_(password)
            assert pop.stat()[0] >= 1
        else:
            with pytest.raises(poplib.error_proto, match="AUTH"):
                pop.pass_(password)
        pop.quit()


@pytest.mark.parametrize("port", [143, 110, 2000, 24, 587, 465])
def test_no_other_port_answers(address, port):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, port), 5)


def test_managesieve_offers_no_sign_in_before_tls(address):
    with socket.create_connection((address, 4190), 20) as connection:
        file = connection.makefile("rwb")
        capabilities = b""
        while not (line := file.readline()).startswith(b"OK"):
            capabilities += line
        assert b'"STARTTLS"' in capabilities
        assert b'"SASL" ""' in capabilities
        file.write(b'AUTHENTICATE "PLAIN" "' + base64.b64encode(b"\0ann@coop.test\0" + PASSWORD.encode()) + b'"\r\n')
        file.flush()
        assert file.readline().startswith(b"NO")


@pytest.mark.parametrize("port", ["993", "995", "4190 -starttls sieve"])
def test_tls_is_new_enough(host, port):
    connect = f"openssl s_client -CAfile {AUTHORITY} -verify_return_error -verify_hostname {NAME} -connect localhost:{port}"
    good = host.run(f"{connect} </dev/null")
    assert good.rc == 0, good.stderr
    assert "X25519MLKEM768" in good.stdout
    assert host.run(f"{connect} -tls1_2 </dev/null").rc == 0
    for old in ("-tls1_1 -cipher ALL@SECLEVEL=0", "-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA"):
        assert host.run(f"{connect} {old} </dev/null").rc != 0


# --- devices ----------------------------------------------------------------------------------------------------------

SUFFIX = "dc=coop,dc=test"


def device_password(name):
    return f"{name}-abcde-fghjk-mnpqr-stuvw"


@pytest.fixture
def device(host):
    """Makes devices with the rights of the service that does, gives their passwords; nothing is left of them."""
    secret = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "password").read_text().strip()
    as_devices = f"-x -H ldaps://ldap.coop.test -D cn=devices,ou=services,{SUFFIX} -w {secret}"
    made = []

    def make(name, member):
        entry = (
            f"dn: deviceId={name},ou=devices,{SUFFIX}\nobjectClass: perronDevice\ndeviceId: {name}\n"
            f"deviceOwner: uid={member},ou=members,{SUFFIX}\ndeviceAddress: {member}@coop.test\ndeviceName: Phone\n"
            f"pwdPolicySubentry: cn=devices,ou=policies,{SUFFIX}\nuserPassword: {device_password(name)}\n"
        )
        switch = f"dn: uid={member},ou=members,{SUFFIX}\nchangetype: modify\nadd: memberDevices\nmemberDevices: TRUE\n"
        done = host.run("echo %s | ldapadd " + as_devices, entry)
        assert done.rc == 0, done.stderr
        host.run("echo %s | ldapmodify " + as_devices, switch)  # it is there from the second device on
        made.append((name, member))
        return device_password(name)

    make.revoke = lambda name: host.check_output(f"ldapdelete {as_devices} deviceId={name},ou=devices,{SUFFIX}")
    yield make
    for name, member in made:
        host.run(f"ldapdelete -Q -Y EXTERNAL -H ldapi:/// deviceId={name},ou=devices,{SUFFIX}")
        change = f"dn: uid={member},ou=members,{SUFFIX}\nchangetype: modify\nreplace: memberDevices\n"
        host.run("echo %s | ldapmodify -Q -Y EXTERNAL -H ldapi:///", change)


def test_a_device_signs_in_and_the_members_own_password_no_longer_does(host, imap, device):
    imap("bob")
    password = device("dev234", "bob")
    imap("bob", password)
    for wrong in (PASSWORD, password + "x", "dev234", "dev234-", "*-abcde", device_password("dev999")):
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            imap("bob", wrong)
    imap("ann")


def refused(imap, member, password, said="AUTHENTICATIONFAILED"):
    with pytest.raises(imaplib.IMAP4.error, match=said):
        imap(member, password)


@pytest.fixture
def counted(host):
    """Runs what signs in, gives the lines of it that count as failures of whoever signs in (mail_manifest.bans)."""
    bans = yaml.safe_load((ROOT / "group_vars/mail/mail.yml").read_text())["mail_manifest"]["bans"]
    (failures,) = (ban["failures"] for ban in bans if ban["name"] == "sign-in")
    patterns = [pattern.replace("<HOST>", r"[0-9a-fA-F:.]+") for pattern in failures]

    def run(*attempts):
        host.check_output("journalctl --sync")
        cursor = host.check_output("journalctl -n 0 --show-cursor -o cat").rpartition("cursor: ")[2]
        for attempt in attempts:
            attempt()
        host.check_output("journalctl --sync")
        lines = host.check_output("journalctl -u dovecot --no-pager --after-cursor=%s", cursor).splitlines()
        # as fail2ban has them: `host dovecot[1]: …`, without the time
        lines = [line.split(maxsplit=3)[-1] for line in lines]
        return [line for line in lines if any(re.search(pattern, line) for pattern in patterns)]

    return run


def test_who_signs_in_counts_as_no_failure_and_who_fails_as_one(imap, device, counted):
    """Two lists of passwords are asked: what one of them does not have is no failure, and both together are one."""
    password = device("dev234", "bob")
    assert counted(lambda: imap("bob", password), lambda: imap("ann")) == []
    for member, wrong in (
        ("bob", PASSWORD),
        ("bob", "wrong"),
        ("bob", f"{password[:-1]}x"),
        ("ann", "wrong"),
        ("ann", device_password("dev999")),
        ("nobody", "wrong"),
    ):
        lines = counted(lambda member=member, wrong=wrong: refused(imap, member, wrong))
        assert len(lines) == 1, (member, wrong, lines)


def test_a_device_is_its_members_only(host, device):
    password = device("dev234", "bob")
    assert auth(host, "bob", password)
    assert not auth(host, "ann", password)
    assert not auth(host, "*", password)
    assert not auth(host, "sue", device("dev235", "sue")), "a suspended member's device"


@pytest.fixture
def join(host):
    """Puts a member into a group, which is gone afterwards."""
    made = []

    def into(group, member):
        made.append(f"cn={group},ou=groups,{SUFFIX}")
        entry = f"dn: {made[-1]}\nchangetype: add\nobjectClass: groupOfNames\ncn: {group}\n"
        directory(host, f"{entry}member: uid={member},ou=members,{SUFFIX}\n")

    yield into
    for group in made:
        host.run("ldapdelete -Q -Y EXTERNAL -H ldapi:/// %s", group)


def test_in_some_groups_a_device_signs_in_and_their_own_password_does_not(host, imap, join, device):
    """Nobody waits for the first device: what one may do without is another's second factor."""
    session = idle(imap("bob"))
    join("board", "bob")
    assert ended(session), host.run("journalctl -n 20 -u dovecot-sessions").stdout
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        imap("bob")
    imap("bob", device("dev234", "bob"))
    directory(host, f"dn: uid=bob,ou=members,{SUFFIX}\nchangetype: modify\nreplace: memberDevices\n")
    assert not auth(host, "bob")
    # other groups, and members of none
    join("choir", "ann")
    assert auth(host, "ann")
    join("administrators", "ann")
    assert not auth(host, "ann")


def ended(session):
    """Whether the server ended an idle session, in time."""
    session.sock.settimeout(20)
    session.state = "LOGOUT"  # nothing is left to sign out of
    return any(b"BYE" in line for line in iter(session.readline, b""))


def idle(session):
    session.select("INBOX")
    session.send(b"a1 IDLE\r\n")
    assert session.readline().startswith(b"+ ")
    return session


def test_the_first_device_ends_sessions_of_the_members_own_password(host, imap, device):
    session = idle(imap("bob"))
    device("dev234", "bob")
    assert ended(session), host.run("journalctl -n 20 -u dovecot-sessions").stdout


def test_a_revoked_device_is_out_and_another_comes_back(host, imap, device):
    lost, kept = device("dev234", "bob"), device("dev235", "bob")
    session, busy, bystander = idle(imap("bob", lost)), imap("bob", kept), idle(imap("ann"))
    device.revoke("dev234")
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        imap("bob", lost)
    assert ended(session), host.run("journalctl -n 20 -u dovecot-sessions").stdout
    assert busy.noop()[0] == "OK", "a session of another device's ended, too"
    imap("bob", kept)
    bystander.send(b"DONE\r\n")
    while not bystander.readline().startswith(b"a1 OK"):
        pass


def test_a_device_nobody_saw_while_it_lived_is_out_too(host, imap, device):
    """Each session knows its own device, though another opened one a moment before."""
    host.check_output("systemctl stop dovecot-sessions")
    kept, password = device("dev235", "bob"), device("dev234", "bob")
    imap("bob", kept)
    session = idle(imap("bob", password))
    device.revoke("dev234")
    host.check_output("systemctl start dovecot-sessions")
    assert ended(session), host.run("journalctl -n 20 -u dovecot-sessions").stdout
    # a session that nothing is wrong with is left alone, by two looks and more
    other = idle(imap("bob", kept))
    opened = host.check_output("doveadm -f json who -1 bob@coop.test")
    assert '"user_opened_by":"dev235"' in opened, opened
    with pytest.raises(TimeoutError):
        ended(other)


def test_ending_sessions_leaves_nothing_spinning(host, imap, device):
    """As anvil did after `doveadm kick`."""
    session = idle(imap("bob"))
    device("dev234", "bob")
    assert ended(session), host.run("journalctl -n 20 -u dovecot-sessions").stdout

    def spent():
        return int(host.check_output("ps -o times= -C anvil"))

    before = spent()
    assert not eventually(lambda: spent() > before + 2, 6)


def test_sessions_of_a_suspended_member_end(host, imap):
    change = "dn: uid=bob,ou=members,dc=coop,dc=test\nchangetype: modify\nreplace: memberStatus\nmemberStatus: {}\n"
    session = idle(imap("bob"))
    directory(host, change.format("suspended"))
    try:
        assert ended(session), host.run("journalctl -n 20 -u dovecot-sessions").stdout
    finally:
        directory(host, change.format("active"))


@pytest.fixture
def change_password(host):
    """Gives members another password; they have the first one again afterwards."""
    change = "dn: uid={},ou=members,dc=coop,dc=test\nchangetype: modify\nreplace: userPassword\nuserPassword: {}\n"
    changed = []

    def run(member, password):
        changed.append(member)
        directory(host, change.format(member, password))

    yield run
    for member in changed:
        directory(host, change.format(member, PASSWORD))


def test_another_password_ends_the_sessions_of_the_one_before(host, imap, device, change_password):
    before, on_device = idle(imap("ann")), imap("bob", device("dev234", "bob"))
    change_password("bob", "another-Horse-8")
    change_password("ann", "another-Horse-8")
    assert ended(before), host.run("journalctl -n 20 -u dovecot-sessions").stdout
    # what the new one began stays, by two looks and more, also while somebody guesses
    after = idle(imap("ann", "another-Horse-8"))
    refused(imap, "ann", PASSWORD)
    with pytest.raises(TimeoutError):
        ended(after)
    assert on_device.noop()[0] == "OK", "a session of a device's ended, too"


# --- what becomes of mail ---------------------------------------------------------------------------------------------


def test_mail_arrives_and_unknown_recipients_are_refused(host, imap):
    assert deliver(host, "ann@coop.test", Subject="plain")[0] == 250
    assert deliver(host, "Ann+list@coop.test", Subject="detail")[0] == 250
    session = imap("ann")
    assert session.count("INBOX", "SUBJECT", "plain") == 1
    assert session.count("INBOX", "SUBJECT", "detail") == 1
    code, text = deliver(host, "nobody@coop.test")
    assert (code, text[:5]) == (550, "5.1.1")


def test_special_folders_are_there_and_say_what_they_are(imap):
    folders = b"\n".join(imap("bob").list()[1]).decode()
    for name in ("Drafts", "Sent", "Junk", "Trash", "Archive"):
        assert re.search(rf"\\{name}\b.* {name}$", folders, re.M), folders
    subscribed = b"\n".join(imap("bob").lsub()[1]).decode()
    assert "Archive" in subscribed


def test_spam_goes_to_junk_and_nothing_else_does(host, imap):
    assert deliver(host, "ann@coop.test", Subject="bad", **{"X-Spam": "Yes"})[0] == 250
    assert deliver(host, "ann@coop.test", Subject="good", **{"X-Spam": "No"})[0] == 250
    session = imap("ann")
    assert session.count("Junk", "SUBJECT", "bad") == 1
    assert session.count("INBOX", "SUBJECT", "bad") == 0
    assert session.count("INBOX", "SUBJECT", "good") == 1


def test_moving_into_and_out_of_junk_teaches_and_other_moves_do_not(host, imap):
    def taught():
        return host.run("cat /srv/mail/ann/taught").stdout.splitlines()

    def move(source, target):
        assert session.count(source, "SUBJECT", "lesson") == 1
        number = session.search(None, "SUBJECT", "lesson")[1][0].decode()
        assert session._simple_command("MOVE", number, target)[0] == "OK"

    host.run("rm -f /srv/mail/ann/taught*")
    assert deliver(host, "ann@coop.test", Subject="lesson")[0] == 250
    session = imap("ann")
    move("INBOX", "Archive")
    assert taught() == []
    move("Archive", "Junk")
    assert taught() == ["--connect 127.0.0.1:11334 learn_spam"]
    assert "Subject: lesson" in host.file("/srv/mail/ann/taught.message").content_string
    move("Junk", "INBOX")
    assert taught()[1:] == ["--connect 127.0.0.1:11334 learn_ham"]
    move("INBOX", "Junk")
    move("Junk", "Trash")
    assert len(taught()) == 3


def test_quota_comes_from_the_directory_and_full_is_temporary(host, imap):
    session = imap("max")
    usage = b" ".join(item[0] if isinstance(item, list) else item for item in session.getquotaroot("INBOX")[1])
    assert b"STORAGE" in usage
    assert b" 1024)" in usage
    assert sink(host, "Ihr Postfach max@coop.test") == []
    assert deliver(host, "max@coop.test", size=850_000)[0] == 250
    warnings = eventually(lambda: sink(host, "max@coop.test"))
    assert warnings, host.run("journalctl -n 30 -u dovecot").stdout
    text = host.file(warnings[0]).content_string
    assert "Auto-Submitted: auto-generated" in text
    # whom the mail transfer agent is open to (mail_manifest.egress)
    assert text.splitlines()[0] == "USER:vmail"
    assert "Ihr_Postfach" in text.replace(" ", "_")
    # the message that crosses the limit is taken, the next is not
    assert deliver(host, "max@coop.test", size=400_000)[0] == 250
    code, answer = deliver(host, "max@coop.test", size=400_000)
    assert (code, answer[:5]) == (452, "4.2.2")
    assert deliver(host, "bob@coop.test", size=400_000)[0] == 250


def test_a_member_s_own_script_runs_for_that_member(host, imap, sieve):
    assert sieve("bob", 'require ["fileinto"]; if header "subject" "sorted" { fileinto "Archive"; }').startswith("OK")
    for member in ("ann", "bob"):
        assert deliver(host, f"{member}@coop.test", Subject="sorted")[0] == 250
    assert imap("bob").count("Archive", "SUBJECT", "sorted") == 1
    assert imap("ann").count("INBOX", "SUBJECT", "sorted") == 1
    # and spam is put away before it
    assert deliver(host, "bob@coop.test", Subject="sorted", **{"X-Spam": "Yes"})[0] == 250
    assert imap("bob").count("Archive", "SUBJECT", "sorted") == 1


def test_a_broken_script_and_one_that_runs_programs_are_refused(sieve):
    assert sieve("bob", "this is no script").startswith("NO")
    assert sieve("bob", 'require "vnd.dovecot.pipe"; pipe "learn" ["x", "spam"];').startswith("NO")


def test_nobody_notifies_in_the_name_of_another(sieve):
    notify = 'require "enotify"; notify :from "ann@coop.test" "mailto:far@stranger.test";'
    assert sieve("bob", notify).startswith("NO")
    for name in ("reject", "ereject"):
        assert sieve("bob", f'require "{name}"; {name} "in the name of postmaster";').startswith("NO")
    # what else is Pigeonhole's stays
    assert sieve("bob", 'require ["fileinto", "imap4flags", "vacation", "duplicate"]; keep;').startswith("OK")


def test_redirection_and_automatic_reply_leave_by_the_relay(host, sieve):
    script = 'require ["vacation"]; redirect "far@stranger.test"; vacation :days 1 "Je suis en vacances";'
    try:
        assert sieve("bob", script).startswith("OK")
        assert deliver(host, "bob@coop.test", Subject="holiday", **{"X-Spam": "Yes"})[0] == 250
        assert deliver(host, "bob@coop.test", Subject="onward")[0] == 250
        redirected = eventually(lambda: sink(host, "^RCPT TO:<far@stranger.test>"))
        assert redirected
        assert "MAIL FROM:<bob@coop.test>" in host.file(redirected[0]).content_string
        assert eventually(lambda: sink(host, "en vacances"))
        assert sink(host, "holiday") == []
    finally:
        sieve("bob", "keep;")


def test_a_bounce_is_kept_whatever_a_script_does_with_it(host, imap, sieve):
    """Sent on without a sender, it is nobody's any more if it does not arrive."""
    try:
        assert sieve("bob", 'redirect "dead@stranger.test";').startswith("OK")
        assert deliver(host, "bob@coop.test", Subject="letter")[0] == 250
        assert deliver(host, "bob@coop.test", Subject="undeliverable", sender="")[0] == 250
        assert eventually(lambda: sink(host, "letter"))
        assert [imap("bob").count("INBOX", "SUBJECT", word) for word in ("letter", "undeliverable")] == [0, 1]
    finally:
        sieve("bob", "keep;")
    # once, where nothing else is done with it, and not at all if it is spam
    for member in ("ann", "bob"):
        assert deliver(host, f"{member}@coop.test", Subject="returned", sender="")[0] == 250
        assert deliver(host, f"{member}@coop.test", Subject="backscatter", sender="", **{"X-Spam": "Yes"})[0] == 250
        session = imap(member)
        assert [session.count("INBOX", "SUBJECT", word) for word in ("returned", "backscatter")] == [1, 0], member
        assert session.count("Junk", "SUBJECT", "backscatter") == 1


@pytest.mark.parametrize(
    ("words", "script"),
    [
        ("as it is", 'redirect "far@stranger.test";'),
        ("as it comes", 'require "variables"; set "to" "far@stranger.test"; redirect "${to}";'),
    ],
)
def test_a_suspended_member_has_nothing_sent_on(host, imap, sieve, words, script):
    change = f"dn: uid=bob,ou=members,{SUFFIX}\nchangetype: modify\nreplace: memberStatus\nmemberStatus: {{}}\n"

    def arrives(when, state):
        directory(host, change.format(state))
        host.check_output("doveadm auth cache flush")
        assert deliver(host, "bob@coop.test", Subject=f"{words} {when}")[0] == 250

    try:
        assert sieve("bob", script).startswith("OK")
        arrives("before", "active")
        arrives("meanwhile", "suspended")
        # compiled anew, as after an upgrade
        host.check_output("find /srv/mail/bob -name '*.svbin' -delete")
        arrives("still", "suspended")
        arrives("afterwards", "active")
        assert all(eventually(lambda when=when: sink(host, f"{words} {when}")) for when in ("before", "afterwards"))
        assert [sink(host, f"{words} {when}") for when in ("meanwhile", "still")] == [[], []]
        session = imap("bob")
        kept = [session.count("INBOX", "SUBJECT", f'"{words} {when}"') for when in ("before", "meanwhile", "still", "afterwards")]
        assert kept == [0, 1, 1, 0]
    finally:
        directory(host, change.format("active"))
        host.check_output("doveadm auth cache flush")
        sieve("bob", "keep;")


def test_parallel_deliveries_to_one_mailbox_are_all_taken(host, imap):
    before = imap("ann").count("INBOX")
    headers = {"From": STRANGER, "To": "ann@coop.test"}
    answers = deliver_all(host, [["ann@coop.test", headers, 100, STRANGER]] * 8)
    assert [code for code, _ in answers] == [250] * 8, answers
    assert imap("ann").count("INBOX") == before + 8


def test_an_idle_session_hibernates_and_wakes_for_new_mail(host, imap):
    def processes():
        return host.run("pgrep -u vmail -c -x imap").stdout.strip()

    session = imap("ann")
    before = session.count("INBOX")
    session.send(b"a1 IDLE\r\n")
    assert session.readline().startswith(b"+ ")
    assert eventually(lambda: processes() == "0", 40), host.check_output("ps -eo user,args | grep dovecot/")
    assert deliver(host, "ann@coop.test")[0] == 250
    # every two minutes Dovecot says that it is still there
    while (said := session.readline()).startswith(b"* OK Still here"):
        pass
    assert f"* {before + 1} EXISTS".encode() in said
    session.send(b"DONE\r\n")
    while not session.readline().startswith(b"a1 OK"):
        pass


def test_the_log_is_free_of_complaints(host, began):
    log = host.check_output("journalctl -u dovecot -o cat --no-pager --after-cursor=%s", began)
    assert "Logged in: user=<ann@coop.test>" in log
    assert [line for line in log.splitlines() if re.search(r"\b(Error|Fatal|Panic|Warning): ", line)] == []


# --- who else is kept out ---------------------------------------------------------------------------------------------


# (after the look at the log: Dovecot complains of a directory that restarts)
@pytest.fixture
def stats(host):
    """The directory logs every request, filters included."""

    def level(name):
        host.check_output("sed -i 's/^loglevel .*/loglevel %s/' /etc/ldap/slapd.conf && systemctl restart slapd", name)
        assert eventually(lambda: auth(host, "ann"))

    before = host.check_output("sed -n 's/^loglevel //p' /etc/ldap/slapd.conf")
    level("stats")
    yield
    level(before)


def test_no_part_of_a_password_is_logged(host, imap, device, stats):
    """Whatever the first question to the directory does not settle goes on to the devices."""
    good = device("dev234", "bob")
    imap("bob", good)
    secrets = ("mistyped9whole", "half9mistyped9-other9", PASSWORD, f"x{good}", f"{good}x", good.upper(), "dev234-mistyped9")
    for member, wrong in [("bob", secret) for secret in secrets] + [("ann", "mistyped9whole"), ("ann", "half9mistyped9-other9")]:
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            imap(member, wrong)
    host.check_output("journalctl --sync")
    logged = host.check_output("journalctl -o cat -u slapd -u dovecot --since -5min")
    # else nothing would be proved
    assert "(deviceId=dev234)(deviceAddress=bob@coop.test)" in logged and "(deviceId=none)(deviceAddress=ann@coop.test)" in logged
    for part in ("mistyped9", "other9", "horse", "=correct", "abcde", "xdev234"):
        assert part not in logged.lower(), part


def test_sockets_and_secrets_are_for_those_concerned(host):
    for name in ("lmtp", "auth-client"):
        file = host.file(f"/run/dovecot/{name}")
        assert (file.user, file.mode) == ("postfix", 0o600)
    assert host.run("setpriv --reuid vmail --regid vmail --clear-groups cat /etc/dovecot/dovecot.conf").rc != 0
    assert host.file("/srv/mail").mode == 0o700


def test_what_ends_sessions_is_confined(host):
    score = host.check_output("systemd-analyze security --no-pager dovecot-sessions | tail -n 1")
    assert float(score.split(": ")[1].split()[0]) <= 2.0, score
    # it is root for the sockets of Dovecot's that know the sessions, with none of root's rights but to end a process
    pid = host.check_output("systemctl show --value -p MainPID dovecot-sessions")
    capabilities = {line.split()[1] for line in host.check_output(f"grep Cap /proc/{pid}/status").splitlines()}
    assert {int(value, 16) for value in capabilities} == {0, 1 << 5}
    assert host.file("/etc/dovecot/sessions.json").mode == 0o600


def test_the_unit_is_hardened(host):
    score = host.check_output("systemd-analyze security --no-pager dovecot | tail -n 1")
    assert float(score.split(":")[1].split()[0]) <= 4.0, score
    assert host.check_output("systemctl show --value -p NoNewPrivileges dovecot") == "yes"


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_directory_that_is_down_lets_nobody_in_by_memory(host, imap, counted):
    assert auth(host, "ann")
    host.check_output("systemctl stop slapd")
    try:
        assert not auth(host, "ann")
        # nobody's fault: programs are told to come again, and who counts failures sees none
        assert counted(lambda: refused(imap, "ann", PASSWORD, "UNAVAILABLE")) == []
        assert counted(lambda: refused(imap, "nobody", "wrong", "UNAVAILABLE")) == []
        assert deliver(host, "zoe@coop.test")[0] == 451
    finally:
        host.check_output("systemctl start slapd")
    assert eventually(lambda: auth(host, "ann")), host.run("journalctl -n 30 -u dovecot").stdout


def test_a_filter_that_does_not_learn_holds_up_no_move(host, imap):
    assert deliver(host, "bob@coop.test", Subject="unlearnt")[0] == 250
    session = imap("bob")
    host.check_output("touch /srv/mail/bob/teach-nothing")
    try:
        assert session.count("INBOX", "SUBJECT", "unlearnt") == 1
        number = session.search(None, "SUBJECT", "unlearnt")[1][0].decode()
        assert session._simple_command("MOVE", number, "Junk")[0] == "OK"
    finally:
        host.check_output("rm /srv/mail/bob/teach-nothing")
    assert session.count("Junk", "SUBJECT", "unlearnt") == 1
    assert "rspamc" in host.check_output("journalctl -u dovecot -o cat -n 20")
    assert host.file("/srv/mail/bob/taught").content_string.splitlines() == ["--connect 127.0.0.1:11334 learn_spam"]


def signs_in(imap):
    with contextlib.suppress(OSError, imaplib.IMAP4.error):
        return imap("ann")


def test_a_killed_dovecot_comes_back(host, imap):
    before = host.check_output("systemctl show --value -p MainPID dovecot")
    host.check_output("systemctl kill -s KILL dovecot")
    assert eventually(lambda: signs_in(imap), 10)
    assert host.check_output("systemctl show --value -p MainPID dovecot") != before


def test_it_starts_on_a_host_where_postfix_never_did(host, imap):
    host.check_output("rm -rf /var/spool/postfix && systemctl restart dovecot")
    assert eventually(lambda: signs_in(imap))
    assert deliver(host, "ann@coop.test")[0] == 250


def test_a_renewed_certificate_is_served(host, address, tls):
    def served():
        with (
            contextlib.suppress(OSError),
            socket.create_connection((address, 993), 5) as raw,
            tls.wrap_socket(raw, server_hostname=NAME) as secure,
        ):
            return secure.getpeercert()["serialNumber"]

    before = served()
    assert before
    host.check_output(
        "cd /etc/certificates && openssl req -x509 -key mail/privkey.pem -subj /CN=mail.coop.test -days 30"
        f" -CA {AUTHORITY} -CAkey authority.key -addext subjectAltName=DNS:{NAME},DNS:ldap.coop.test"
        " -addext basicConstraints=critical,CA:FALSE -out mail/fullchain.pem && reload.d/dovecot"
    )
    assert eventually(lambda: served() not in (None, before))


# --- what members take along -------------------------------------------------------------------------------------------


def boxes(archive):
    """Folder: its messages, of the mbox files in an export."""
    with zipfile.ZipFile(archive) as contents, tempfile.TemporaryDirectory() as place:
        names = [name for name in contents.namelist() if name.startswith("mail/")]
        return {name[5:].removesuffix(".mbox"): list(mailbox.mbox(contents.extract(name, place), create=False)) for name in names}


def zipped(archive):
    """Folder: {subject: (text, letters of Status and X-Status, labels)}."""
    return {
        folder: {str(m["Subject"]): (m.get_payload(), set(m.get_flags()), m["X-Keywords"]) for m in messages}
        for folder, messages in boxes(archive).items()
    }


def test_an_export_holds_all_of_a_mailbox_and_the_profile(host, imap, sieve, exports, tmp_path):
    for name in ("export-1", "export-2", "export-3"):
        assert deliver(host, "ann@coop.test", Subject=name)[0] == 250
    session = imap("ann")
    for folder in ("v1.2", "v1_2", '"Travail/a:b?"', "travail"):
        assert session.create(folder)[0] == "OK", folder
    text = b"Subject: quoted\r\n\r\nFrom here\r\n>From there\r\nno end"
    assert session.append("v1.2", r"(\Seen \Flagged $Label1 work)", None, text)[0] == "OK"
    assert session.append('"Travail/a:b?"', r"(\Answered \Draft)", None, b"Subject: odd\r\nStatus: R\r\n\r\nx\r\n")[0] == "OK"
    assert sieve("ann", "keep;").startswith("OK")
    listed = [line.decode() for line in session.list()[1] if b"\\No" not in line]
    folders = {line.split("/", 1)[1].strip('" ') for line in listed}
    counts = {name: session.count(f'"{name}"') for name in folders}

    done = exports("ann", tmp_path / "new")
    assert done.returncode == 0, done.stdout + done.stderr
    archive = tmp_path / "new/ann.zip"
    assert archive.stat().st_mode & 0o777 == 0o600 and archive.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in archive.parent.iterdir()) == [".gitignore", "ann.zip"]
    assert "export" not in host.check_output("ls -A /srv/mail")

    found = zipped(archive)
    assert found["v1.2"] == {"quoted": ("From here\n>From there\nno end\n".replace("From", ">From"), set("ROF"), "$Label1 work")}
    assert found["Travail/a_b_"] == {"odd": ("x\n", set("OAT"), None)}
    assert {"export-1", "export-2", "export-3"} <= set(found["INBOX"])
    # every message of every folder
    exported = {name.casefold(): len(messages) for name, messages in boxes(archive).items()}
    for name, count in counts.items():
        assert exported.get(name.replace(":", "_").replace("?", "_").casefold(), 0) == count or name.casefold() == "travail", name

    with zipfile.ZipFile(archive) as contents:
        sums = contents.read("SHA256SUMS").decode().splitlines()
        assert {line[66:] for line in sums} == set(contents.namelist()) - {"SHA256SUMS"}
        assert all(hashlib.sha256(contents.read(line[66:])).hexdigest() == line[:64] for line in sums)
        assert (contents.read("sieve/s.sieve").decode(), contents.read("sieve/active.txt").decode()) == ("keep;", "s.sieve\n")
        profile = json.loads(contents.read("profile.json"))
        ldif = contents.read("profile.ldif").decode()
        readme = contents.read("README.txt").decode()
    assert profile["dn"] == "uid=ann,ou=members,dc=coop,dc=test"
    assert (profile["mail"], profile["memberStatus"]) == (["ann@coop.test"], ["active"])
    assert set(profile["mailAlias"]) == {"annie@coop.test", "ann@famille.test"}
    assert "userPassword" not in ldif + json.dumps(profile) and "mail: ann@coop.test\n" in ldif
    assert "ann (ann@coop.test)" in readme and "Votre courrier" in readme

    # not twice, unless asked
    before = archive.read_bytes()
    again = exports("ann", archive.parent)
    assert again.returncode != 0 and "ann.zip is there already; move it away" in " ".join(again.stdout.split())
    assert archive.read_bytes() == before
    assert exports("ann", archive.parent, "-e", "member_export_replace=true").returncode == 0
    assert zipped(archive) == found


def test_several_the_suspended_and_the_full_are_exported_too(host, exports, tmp_path):
    assert deliver(host, "sue@coop.test", Subject="for sue")[0] == 250
    host.check_output("doveadm expunge -u max@coop.test mailbox '*' all")
    assert deliver(host, "max@coop.test", Subject="for max", size=2000)[0] == 250
    directory(host, QUOTA.format("max", 1000))
    try:
        host.check_output("doveadm auth cache flush")
        assert deliver(host, "max@coop.test")[0] == 452
        done = exports("max sue", tmp_path / "two")
    finally:
        directory(host, QUOTA.format("max", 1024 * 1024))
        host.check_output("doveadm auth cache flush")
    assert done.returncode == 0, done.stdout
    assert "for sue" in zipped(tmp_path / "two/sue.zip")["INBOX"]
    assert "for max" in zipped(tmp_path / "two/max.zip")["INBOX"]


QUOTA = "dn: uid={},ou=members,dc=coop,dc=test\nchangetype: modify\nreplace: memberQuota\nmemberQuota: {}\n"


def test_what_cannot_be_exported_is_said_and_nothing_is_left(host, exports, tmp_path):
    done = exports("an nobody", tmp_path / "none")
    said = " ".join(done.stdout.split())
    assert done.returncode != 0 and "''an'' is no member; did you mean ''ann''?" in said and "''nobody'' is no member" in said
    (tmp_path / "open").mkdir(mode=0o755)
    done = exports("ann", tmp_path / "open")
    assert done.returncode != 0 and "is open to others (mode 0755)" in " ".join(done.stdout.split())
    assert not (tmp_path / "none").exists() and not list((tmp_path / "open").iterdir())

    # it breaks off half-way
    broken = '#!/bin/sh\n[ $1 != backup ] && exec doveadm.kept "$@"\n'
    host.check_output("mv /usr/bin/doveadm /usr/bin/doveadm.kept")
    host.check_output("printf %s >/usr/bin/doveadm; chmod +x /usr/bin/doveadm", broken)
    try:
        done = exports("ann", tmp_path / "broken")
    finally:
        host.check_output("mv /usr/bin/doveadm.kept /usr/bin/doveadm")
    assert done.returncode != 0
    assert [path.name for path in (tmp_path / "broken").iterdir()] == [".gitignore"]
    assert "export" not in host.check_output("ls -A /srv/mail")


@pytest.fixture
def exports(play):
    def run(who, where, *arguments):
        return play(
            "playbooks/member.yml", "-e", json.dumps({"member_export": who, "member_export_to": str(where)}), *arguments,
            groups=["directory", "mail"],
        )  # fmt: skip

    return run
