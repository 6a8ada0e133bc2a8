"""A browser and a service, as small as they can be: cookies, forms, and the steps of OpenID Connect."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import secrets
import ssl
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

PORTAL = "https://auth.coop.test"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def query(self) -> dict[str, str]:
        """Of the place it leads to."""
        return {key: values[0] for key, values in parse_qs(urlsplit(self.location).query).items()}

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def error(self) -> str:
        """The number of the portal's message: 9 asks to sign in, 5 is a wrong password."""
        found = re.search(r'trmsg="(\d+)"', self.text)
        return found[1] if found else ""

    def fields(self) -> dict[str, str]:
        """Hidden fields of its forms."""
        inputs = re.findall(r'<input[^>]*type="hidden"[^>]*>', self.text)
        pairs = [(re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)) for tag in inputs]
        return {name[1]: unescape(value[1]) if value else "" for name, value in pairs if name}


@dataclass
class Browser:
    address: str
    trust: ssl.SSLContext
    language: str = "fr"
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, url: str, body: str | None = None, headers: dict[str, str] | None = None) -> Answer:
        parts = urlsplit(url if "://" in url else PORTAL + url)
        connection = http.client.HTTPSConnection(str(parts.hostname), context=self.trust, timeout=30)
        # the name is what the certificate and the vhost are for, the address where the container is
        connection._create_connection = lambda _, *rest: __import__("socket").create_connection(  # type: ignore[attr-defined]
            (self.address, 443), *rest
        )
        sent = {"Accept-Language": self.language, "Accept": "text/html"} | (headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, sent)
        raw = connection.getresponse()
        answer = Answer(raw.status, raw.headers, raw.read().decode())
        connection.close()
        for cookie in answer.headers.get_all("set-cookie") or []:
            name, _, value = cookie.split(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def get(self, url: str, **headers: str) -> Answer:
        return self.ask("GET", url, headers=headers)

    def post(self, url: str, form: dict[str, str], **headers: str) -> Answer:
        return self.ask("POST", url, urlencode(form), headers)

    def sign_in(self, login: str, password: str, page: Answer | None = None) -> Answer:
        page = page or self.get("/")
        return self.post("/", page.fields() | {"user": login, "password": password})


@dataclass
class Service:
    """A client of the portal."""

    id: str
    secret: str
    browser: Browser
    redirect: str = "https://app.coop.test/in"
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def authorize_url(self, **changed: str) -> str:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.redirect,
            "scope": "openid profile email",
            "state": "a-state",
            "nonce": "a-nonce",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        } | changed
        return "/oauth2/authorize?" + urlencode({key: value for key, value in query.items() if value})

    def ask(self, endpoint: str, form: dict[str, str], secret: str | None = None) -> Answer:
        basic = base64.b64encode(f"{self.id}:{secret or self.secret}".encode()).decode()
        return Browser(self.browser.address, self.browser.trust).post(f"/oauth2/{endpoint}", form, Authorization=f"Basic {basic}")

    def tokens(self, code: str, **changed: str) -> Answer:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect, "code_verifier": self.verifier}
        return self.ask("token", form | changed)

    def userinfo(self, token: str) -> Answer:
        return Browser(self.browser.address, self.browser.trust).get("/oauth2/userinfo", Authorization=f"Bearer {token}")


def claims(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found
