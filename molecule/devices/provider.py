"""The portal's part of OpenID Connect, as a browser and this client meet it; the real one is tried by the platform's journeys.

Whoever comes is the member that /run/provider.json says: {"sub", "name", "second_factor", "sid"}.
"""

import base64
import hashlib
import http.server
import json
import secrets
import sys
import time
import urllib.parse

from authlib.jose import JsonWebKey, jwt

ISSUER, CLIENT, SECRET, REDIRECT = sys.argv[1:5]
KEY = JsonWebKey.generate_key("RSA", 2048, {"kid": "one"}, is_private=True)
FORGED = JsonWebKey.generate_key("RSA", 2048, {"kid": "one"}, is_private=True)
codes = {}


def who():
    with open("/run/provider.json") as file:
        return json.load(file)


def token(key=KEY, **claims):
    now = int(time.time())
    payload = {"iss": ISSUER, "aud": CLIENT, "iat": now, "exp": now + 300} | claims
    return jwt.encode({"alg": "RS256", "kid": "one"}, payload, key).decode()


class Portal(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body="", **headers):
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        if path == "/.well-known/openid-configuration":
            at = f"{ISSUER}/oauth2"
            self.answer(
                200,
                {
                    "issuer": ISSUER,
                    "authorization_endpoint": f"{at}/authorize",
                    "token_endpoint": f"{at}/token",
                    "userinfo_endpoint": f"{at}/userinfo",
                    "jwks_uri": f"{at}/jwks",
                    "id_token_signing_alg_values_supported": ["RS256"],
                },
            )
        elif path == "/oauth2/jwks":
            self.answer(200, {"keys": [KEY.as_dict(is_private=False)]})
        elif path == "/oauth2/authorize":
            if asked["redirect_uri"] != REDIRECT or asked.get("code_challenge_method") != "S256":
                self.answer(400)
                return
            code = secrets.token_hex(8)
            codes[code] = asked
            back = urllib.parse.urlencode({"code": code, "state": asked["state"]})
            self.answer(302, "", Location=f"{REDIRECT}?{back}")
        elif path == "/logout-token":  # what the portal would post; the test does
            events = {"http://schemas.openid.net/event/backchannel-logout": {}}
            key = FORGED if asked.get("forged") else KEY
            self.answer(200, token(key, sid=who()["sid"], sub=who()["sub"], events=events, jti=secrets.token_hex(8)))
        else:
            self.answer(404)

    def do_POST(self):
        sent = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        basic = base64.b64decode(self.headers.get("Authorization", "Basic ")[6:]).decode()
        asked = codes.pop(sent.get("code", ""), None)
        verifier = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if basic != f"{CLIENT}:{SECRET}" or not asked or asked["code_challenge"] != challenge:
            self.answer(400, {"error": "invalid_grant"})
            return
        key = FORGED if who().get("forged") else KEY
        claims = {name: value for name, value in who().items() if name != "forged"}
        self.answer(
            200,
            {
                "access_token": secrets.token_hex(16),
                "token_type": "Bearer",
                "id_token": token(key, nonce=asked["nonce"], **claims),
            },
        )

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8090), Portal).serve_forever()
