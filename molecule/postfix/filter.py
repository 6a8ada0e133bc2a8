"""A mail filter for the scenario: speaks just enough of the milter protocol to let everything pass."""

import socketserver
import struct


class Session(socketserver.StreamRequestHandler):
    def answer(self, data: bytes) -> None:
        self.wfile.write(struct.pack("!I", len(data)) + data)

    def handle(self) -> None:
        while len(head := self.rfile.read(4)) == 4:
            command = self.rfile.read(struct.unpack("!I", head)[0])[:1]
            if command == b"O":  # it changes nothing and need not be told of the content
                self.answer(b"O" + struct.pack("!III", 6, 0, 0x7F))
            elif command == b"Q":
                break
            elif command not in b"DA":  # macros and aborts want no answer, all else may go on
                self.answer(b"c")


socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", 11332), Session).serve_forever()
