"""sign_in.py PROTOCOL SERVER SOURCE USER TIMES: so many sign-ins at once; says how each ended, one a line.

The password comes on standard input: no process list has it.
"""

import base64
import contextlib
import imaplib
import poplib
import smtplib
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE


def cable(server, port, source):
    return socket.create_connection((server, port), 20, (source, 0))


class Imap(imaplib.IMAP4_SSL):
    def __init__(self, server, source):
        self.source = source
        super().__init__(server, 993, ssl_context=context)

    def _create_socket(self, timeout):
        return context.wrap_socket(cable(self.host, 993, self.source))


class Pop(poplib.POP3_SSL):
    def __init__(self, server, source):
        self.source = source
        super().__init__(server, 995, context=context)

    def _create_socket(self, timeout):
        return context.wrap_socket(cable(self.host, 995, self.source))


def imaps(server, source, user, password):
    Imap(server, source).login(f'"{user}"', password)  # imaplib quotes the password alone


def pop3s(server, source, user, password):
    session = Pop(server, source)
    session.user(user)
    session.pass_(password)


def sieve(server, source, user, password):
    def until_ok(file):
        while not (line := file.readline()).startswith(b"OK"):
            if not line or line.startswith((b"NO", b"BYE")):
                raise imaplib.IMAP4.error(line)

    plain = cable(server, 4190, source)
    file = plain.makefile("rwb")
    until_ok(file)
    file.write(b"STARTTLS\r\n")
    file.flush()
    until_ok(file)
    file = context.wrap_socket(plain).makefile("rwb")
    until_ok(file)
    file.write(b'AUTHENTICATE "PLAIN" "%s"\r\n' % base64.b64encode(f"\0{user}\0{password}".encode()))
    file.flush()
    until_ok(file)


def submissions(server, source, user, password):
    once(smtplib.SMTP_SSL(server, 465, source_address=(source, 0), context=context, timeout=30), user, password)


def submission(server, source, user, password):
    session = smtplib.SMTP(server, 587, source_address=(source, 0), timeout=30)
    session.starttls(context=context)
    once(session, user, password)


def once(session, user, password):
    """smtplib's own login tries every mechanism."""
    session.ehlo()
    session.user, session.password = user, password
    session.auth("PLAIN", session.auth_plain)


def smtp(server, source, user, password):
    """Where sign-in is not offered, and tried nevertheless."""
    with smtplib.SMTP(server, 25, source_address=(source, 0), timeout=30) as session:
        session.ehlo()
        code, said = session.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode())
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, said)


def ssh(server, source, user, password):
    """With a key in place of the password."""
    options = ["BatchMode=yes", f"BindAddress={source}", "StrictHostKeyChecking=no", "ConnectTimeout=20", "IdentitiesOnly=yes"]
    command = ["ssh", *(word for option in options for word in ("-o", option)), "-i", password, f"{user}@{server}", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "refused" in done.stderr:
        raise ConnectionRefusedError
    if "Permission denied" in done.stderr:
        raise imaplib.IMAP4.error
    done.check_returncode()


def attempt(protocol, *arguments):
    try:
        globals()[protocol](*arguments)
    except ConnectionRefusedError:
        return "refused"
    except (imaplib.IMAP4.error, poplib.error_proto, smtplib.SMTPAuthenticationError):
        return "wrong"
    except (OSError, smtplib.SMTPException, subprocess.CalledProcessError) as error:
        return f"failed: {error!r}"
    return "in"


protocol, server, source, user, times = sys.argv[1:]
password = sys.stdin.read()
with contextlib.suppress(KeyboardInterrupt), ThreadPoolExecutor(int(times)) as pool:
    print(*pool.map(lambda _: attempt(protocol, server, source, user, password), range(int(times))), sep="\n")
