"""A mail server that takes every message but those to refused@, and keeps them: argv[1] is where."""

import socketserver
import sys
from pathlib import Path


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 sink\r\n")
        while line := self.rfile.readline():
            verb = line.split()[0].upper()
            if verb == b"RCPT" and b"refused@" in line:
                self.wfile.write(b"550 5.1.1 nobody here\r\n")
            elif verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = list(iter(self.rfile.readline, b".\r\n"))
                to = next(x for x in lines if x.startswith(b"To: ")).split()[1].decode()
                (Path(sys.argv[1]) / to).write_bytes(b"".join(lines))
                self.wfile.write(b"250 taken\r\n")
            else:
                self.wfile.write(b"250 sink\r\n")


if __name__ == "__main__":
    socketserver.TCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer(("127.0.0.1", 25), Session).serve_forever()
