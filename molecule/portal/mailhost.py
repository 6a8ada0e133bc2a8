"""mailhost.py DIRECTORY ADDRESS:PORT CERTIFICATE KEY: the mail host of the scenario.

It takes mail after STARTTLS only, and keeps each message as DIRECTORY/<number>.eml, envelope first.
"""

import itertools
import pathlib
import socketserver
import ssl
import sys

directory = pathlib.Path(sys.argv[1])
host, _, port = sys.argv[2].rpartition(":")
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(*sys.argv[3:5])
numbers = itertools.count(1)


class Session(socketserver.BaseRequestHandler):
    def answer(self, *lines: str) -> None:
        self.request.sendall("".join(line + "\r\n" for line in lines).encode())

    def handle(self) -> None:
        envelope: list[bytes] = []
        encrypted = False
        lines = self.request.makefile("rb")
        self.answer("220 mailhost")
        while line := lines.readline():
            verb = line.split(b":")[0].split()[0].upper()
            if verb == b"EHLO":
                self.answer("250-mailhost", "250 8BITMIME" if encrypted else "250 STARTTLS")
            elif verb == b"STARTTLS":
                self.answer("220 go on")
                self.request = context.wrap_socket(self.request, server_side=True)
                lines = self.request.makefile("rb")
                encrypted = True
            elif verb == b"QUIT":
                self.answer("221 bye")
                return
            elif not encrypted:
                self.answer("530 STARTTLS first")
            elif verb == b"DATA":
                self.answer("354 go on")
                message = b"".join(iter(lines.readline, b".\r\n"))
                part = directory / f"{next(numbers)}.part"
                part.write_bytes(b"".join(envelope) + b"\n" + message)
                part.rename(part.with_suffix(".eml"))
                envelope.clear()
                self.answer("250 kept")
            else:
                envelope.append(line)
                self.answer("250 ok")


socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer((host, int(port)), Session).serve_forever()
