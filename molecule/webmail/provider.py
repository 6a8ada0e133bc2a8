"""The portal's part of OpenID Connect, as LemonLDAP::NG answers it: enough to try what webmail and Dovecot make of each answer.

The real portal is tried by the platform's journeys. Here GET /login?member=ann signs in without a password,
/end?member=ann ends all of a member's sessions, and /token?member=ann&client=cloud hands out another service's token.
"""

import base64
import http.server
import json
import secrets
import sys
import time
import urllib.parse

ISSUER, SECRET = sys.argv[1:3]
CLIENTS = {"webmail": f"webmail-{SECRET}", "mail": f"mail-{SECRET}"}
REDIRECT = "https://webmail.coop.test/index.php/login/oauth"
LIFE = 600
MEMBERS = {
    "ann": {"name": "Ann Lambert", "locale": "fr", "aliases": ["annie@coop.test", "ann@famille.test"]},
    "bob": {"name": "Bob Peeters", "locale": "nl"},
    "sue": {"name": "Sue Suspended", "locale": "en"},
    "max": {"name": "Max Weber", "locale": "de", "aliases": "moritz@coop.test"},
}
sessions, codes, tokens, refresh = {}, {}, {}, {}


def claims(member):
    return {"sub": member, "preferred_username": member, "email": f"{member}@coop.test"} | MEMBERS[member]


def token_for(member, client, session):
    token = secrets.token_hex(32)
    tokens[token] = {"member": member, "client": client, "session": session, "until": time.time() + LIFE}
    return token


def id_token(member, client):
    payload = {"iss": ISSUER, "aud": [client], "azp": client, "sub": member, "exp": int(time.time()) + LIFE}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, payload)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + ".signature"


def alive(token):
    found = tokens.get(token)
    return found if found and found["session"] in sessions and found["until"] > time.time() else None


class Portal(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body="", **headers):
        if isinstance(body, dict):
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def session(self):
        cookies = dict(part.strip().partition("=")[::2] for part in self.headers.get("Cookie", "").split(";"))
        return cookies.get("sso")

    def do_GET(self):
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        if path == "/login":
            session = secrets.token_hex(16)
            sessions[session] = asked["member"]
            self.answer(200, "signed in", Set_Cookie=f"sso={session}; Secure; HttpOnly; Path=/", Content_Type="text/plain")
        elif path == "/end":
            for session in [key for key, member in sessions.items() if member == asked["member"]]:
                del sessions[session]
            self.answer(200, "ended")
        elif path == "/token":
            sessions["made"] = asked["member"]
            self.answer(200, token_for(asked["member"], asked["client"], "made"))
        elif path == "/tokens":
            self.answer(200, " ".join(token for token, found in tokens.items() if found["member"] == asked["member"]))
        elif path == "/oauth2/authorize":
            if asked.get("client_id") not in CLIENTS or asked.get("redirect_uri") != REDIRECT:
                self.answer(400, "not a client")
                return
            if not (member := sessions.get(self.session())):
                self.answer(200, "<!doctype html><title>Portal</title>who are you?", Content_Type="text/html")
                return
            code = secrets.token_hex(16)
            codes[code] = {"member": member, "client": asked["client_id"], "session": self.session()}
            back = urllib.parse.urlencode({"code": code, "state": asked["state"], "session_state": "x.y"})
            self.answer(302, "", Location=f"{REDIRECT}?{back}")
        elif path == "/oauth2/userinfo":
            found = alive(self.headers.get("Authorization", "").removeprefix("Bearer "))
            self.answer(200, claims(found["member"])) if found else self.answer(401, {"error": "invalid_token"})
        elif path == "/oauth2/logout":
            if asked.get("id_token_hint", "").count(".") == 2:
                sessions.pop(self.session(), None)
            self.answer(302, "", Location=asked["post_logout_redirect_uri"])
        else:
            self.answer(404, "nothing")

    def do_POST(self):
        sent = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        client, secret = sent.get("client_id"), sent.get("client_secret")
        if (basic := self.headers.get("Authorization", "")).startswith("Basic "):
            client, _, secret = base64.b64decode(basic[6:]).decode().partition(":")
        if CLIENTS.get(client) != secret or not secret:
            self.answer(401, {"error": "invalid_client"})
            return
        if self.path == "/oauth2/introspect":
            found = alive(sent["token"])
            judged = {"active": bool(found)}
            if found:
                judged |= {"client_id": found["client"], "scope": "openid profile email", "sub": found["member"]}
                judged |= {"iss": ISSUER, "exp": int(found["until"])}
            self.answer(200, judged)
            return
        if sent["grant_type"] == "authorization_code":
            found = codes.pop(sent["code"], None)
            if not found or found["client"] != client or sent["redirect_uri"] != REDIRECT or found["session"] not in sessions:
                self.answer(400, {"error": "invalid_grant"})
                return
            refresh[again := secrets.token_hex(32)] = found
        else:
            found = refresh.get(sent["refresh_token"])
            if not found or found["session"] not in sessions:
                self.answer(400, {"error": "invalid_grant"})
                return
            again = None
        answer = {
            "access_token": token_for(found["member"], client, found["session"]),
            "token_type": "Bearer",
            "expires_in": LIFE,
            "id_token": id_token(found["member"], client),
        }
        self.answer(200, answer | ({"refresh_token": again} if again else {}))


http.server.ThreadingHTTPServer(("127.0.0.1", 8090), Portal).serve_forever()
