"""sink.py DIRECTORY ADDRESS:PORT: an SMTP server for scenarios.

It takes every message and keeps it as DIRECTORY/<number>.eml, envelope first, above it the user who sent it.
"""

import itertools
import pathlib
import pwd
import socketserver
import sys

directory = pathlib.Path(sys.argv[1])
host, _, port = sys.argv[2].rpartition(":")
numbers = itertools.count(1)


class Session(socketserver.StreamRequestHandler):
    def answer(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def user(self) -> str:
        """Whose connection it is, as a firewall sees it."""
        port = f":{self.client_address[1]:04X}"
        sockets = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return pwd.getpwuid(next(int(socket[7]) for socket in sockets if socket[1].endswith(port))).pw_name

    def handle(self) -> None:
        user = f"USER:{self.user()}\r\n".encode()
        envelope: list[bytes] = []
        self.answer("220 sink")
        while line := self.rfile.readline():
            verb = line.split(b":")[0].strip().upper()[:4]
            if verb in (b"MAIL", b"RCPT"):
                envelope.append(line)
            if verb != b"DATA":
                self.answer({b"QUIT": "221 bye"}.get(verb, "250 ok"))
                continue
            self.answer("354 go on")
            message = b"".join(iter(self.rfile.readline, b".\r\n"))
            number = next(numbers)
            (directory / f"{number}.part").write_bytes(user + b"".join(envelope) + b"\n" + message)
            (directory / f"{number}.part").rename(directory / f"{number}.eml")
            envelope.clear()
            self.answer("250 kept")


socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer((host, int(port)), Session).serve_forever()
