"""A cloud's part: it gives the documents it has to who has the token, and says who asked."""

import http.server
import json
from urllib.parse import parse_qs, urlsplit


class Cloud(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = urlsplit(self.path)
        there = asked.path.startswith("/index.php/apps/richdocuments/wopi/")
        right = there and parse_qs(asked.query).get("access_token") == ["right"]
        self.send_response(200 if right else 403)
        self.end_headers()
        self.wfile.write(json.dumps({"BaseFileName": "one.odt", "Size": 0} if right else []).encode())
        print(f"{self.headers['Host']} was asked for {asked.path}: {right}", flush=True)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8090), Cloud).serve_forever()
