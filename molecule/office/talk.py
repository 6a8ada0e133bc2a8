"""talk.py HOST DOCUMENT: what the office says to a browser that has it open that document, over TLS that is verified."""

import base64
import os
import socket
import ssl
import struct
import sys
from urllib.parse import quote

host, document = sys.argv[1:]
with ssl.create_default_context().wrap_socket(socket.create_connection((host, 443), 20), server_hostname=host) as tls:
    key = base64.b64encode(os.urandom(16)).decode()
    tls.sendall(
        f"GET /cool/{quote(document, safe='')}/ws?compat=/ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = tls.makefile("rb")
    print(answer.readline().decode().strip())
    while answer.readline().strip():
        pass
    while head := answer.read(2):
        kind, size = head[0] & 15, head[1] & 127
        content = answer.read(size)
        print(content.decode() if kind == 1 else f"closed {struct.unpack('!H', content[:2])[0]}")
        if kind == 8:
            break
