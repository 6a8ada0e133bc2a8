"""The application behind: says what it was asked, with headers of its own."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({"path": self.path} | {key.lower(): value for key, value in self.headers.items()}).encode()
        self.send_response(200)
        for header, value in (
            ("Content-Security-Policy", "default-src *"),
            ("X-Frame-Options", "SAMEORIGIN"),
            ("X-Powered-By", "a snake"),
            ("Content-Length", str(len(body))),
        ):
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 # what the server looks for


ThreadingHTTPServer(("127.0.0.1", 8000), Application).serve_forever()
