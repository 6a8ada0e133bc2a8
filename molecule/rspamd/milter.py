"""milter.py: hand one message to the filter at 127.0.0.1:11332 as Postfix would; what it answered, as JSON.

Reads JSON: {"ip", "user", "sender", "recipients", "message"}. Writes {"reply", "message"}: the SMTP reply, or "" where
the message passes, and the message with the changes the filter asked for.
"""

import json
import socket
import struct
import sys

# no replies to headers, connect, helo, mail, rcpt, data, unknown, end of headers, body
SILENT = 0xFF080


class Filter:
    def __init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", 11332), timeout=30)
        self.stream = self.socket.makefile("rb")

    def send(self, command: bytes, data: bytes = b"") -> None:
        self.socket.sendall(struct.pack("!I", 1 + len(data)) + command + data)

    def answer(self) -> tuple[bytes, bytes]:
        data = self.stream.read(struct.unpack("!I", self.stream.read(4))[0])
        return data[:1], data[1:]

    def macros(self, command: bytes, **macros: str) -> None:
        self.send(b"D", command + b"".join(f"{{{name}}}\0{value}\0".encode() for name, value in macros.items() if value))


def main() -> None:
    order = json.load(sys.stdin)
    ip = order["ip"]
    milter = Filter()
    # version 6; it may change all; it need not answer anything before the end, and says it will not
    milter.send(b"O", struct.pack("!III", 6, 0x1FF, SILENT))
    assert struct.unpack("!III", milter.answer()[1])[2] & SILENT == SILENT
    family = b"6" if ":" in ip else b"4"
    milter.macros(b"C", daemon_name="mail.coop.test")
    milter.send(b"C", order["name"].encode() + b"\0" + family + struct.pack("!H", 40000) + ip.encode() + b"\0")
    milter.send(b"H", order["name"].encode() + b"\0")
    milter.macros(b"M", auth_authen=order["user"], auth_type="PLAIN" if order["user"] else "")
    milter.send(b"M", f"<{order['sender']}>".encode() + b"\0")
    for recipient in order["recipients"]:
        milter.send(b"R", f"<{recipient}>".encode() + b"\0")
    milter.send(b"T")
    head, body = order["message"].split("\n\n", 1)
    headers: list[list[str]] = []
    for line in head.split("\n"):
        if line[:1] in " \t":
            headers[-1][1] += "\n" + line
        else:
            headers.append(line.split(": ", 1))
    for name, value in headers:
        milter.send(b"L", f"{name}\0{value}\0".encode())
    milter.send(b"N")
    milter.send(b"B", body.replace("\n", "\r\n").encode())
    milter.macros(b"E", i="4XyZ")
    milter.send(b"E")
    reply = ""
    while True:
        command, data = milter.answer()
        if command == b"h":  # add
            name, value = data.rstrip(b"\0").split(b"\0", 1)
            headers.append([name.decode(), value.decode()])
        elif command == b"i":  # insert
            index = struct.unpack("!I", data[:4])[0]
            name, value = data[4:].rstrip(b"\0").split(b"\0", 1)
            headers.insert(index, [name.decode(), value.decode()])
        elif command == b"m":  # change, or remove where empty, the nth of that name; as Postfix does, add where there is none
            index = struct.unpack("!I", data[:4])[0]
            name, value = data[4:].split(b"\0")[:2]
            named = [header for header in headers if header[0].lower() == name.decode().lower()]
            if named[index - 1 : index] and value:
                named[index - 1][1] = value.decode()
            elif named[index - 1 : index]:
                headers.remove(named[index - 1])
            elif value:
                headers.append([name.decode(), value.decode()])
        elif command == b"y":
            reply = data.rstrip(b"\0").decode()
            break
        elif command in b"acdrt":
            reply = {b"r": "550 5.7.1", b"t": "451 4.7.1", b"d": "discarded"}.get(command, "")
            break
    head = "".join(f"{name}: {value}\n" for name, value in headers)
    json.dump({"reply": reply, "message": f"{head}\n{body}"}, sys.stdout)


main()
