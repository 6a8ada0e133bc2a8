# Managed by Ansible (role devices)
"""Members' devices: values and profiles to set one up, and a password for each.

A member comes signed in from the portal. What there is to know of them is read from the directory each time, so whoever was
suspended is out at once. Nothing is stored here: devices are entries of the directory, and it hashes their passwords.
"""

from __future__ import annotations

import hmac
import json
import os
import plistlib
import re
import secrets
import time
import uuid
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ldap
import segno
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from authlib.jose import JsonWebKey, jwt
from authlib.jose.errors import JoseError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from flask import Flask, Response, abort, g, redirect, render_template, request, session, url_for
from itsdangerous import BadSignature, URLSafeTimedSerializer
from ldap.filter import filter_format
from requests import RequestException
from werkzeug.middleware.proxy_fix import ProxyFix

HOME = Path(os.environ.get("DEVICES_HOME", "/etc/perron-devices"))
CONFIG = json.loads((HOME / "config.json").read_text())
TEXTS = CONFIG["texts"]
MINUTES = 15  # a session here; the portal's own renews it without a question
LINK_SECONDS = 900
MOST = 20  # devices of one member
# Easy to read aloud and to type on a phone: no 0/o, 1/l/i. Twenty of them are 99 bits
ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
NAME = re.compile(r"[^\x00-\x1f\x7f]{1,40}")

app = Flask(__name__)
app.logger.setLevel("INFO")  # who made and who revoked what
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]
# New at each start, and in one process only: nothing to keep secret, and after a restart the portal signs members in again
app.secret_key = secrets.token_bytes(32)
app.config.update(
    SESSION_COOKIE_NAME="__Host-devices", SESSION_COOKIE_SECURE=True, SESSION_COOKIE_HTTPONLY=True,
    SESSION_COOKIE_SAMESITE="Lax", MAX_CONTENT_LENGTH=16384, PREFERRED_URL_SCHEME="https",
)  # fmt: skip
links = URLSafeTimedSerializer(app.secret_key, salt="profile")
portal = OAuth(app).register(
    "portal",
    client_id=CONFIG["client_id"],
    client_secret=CONFIG["client_secret"],
    server_metadata_url=f"{CONFIG['portal']}/.well-known/openid-configuration",
    client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256", "timeout": 8},
)
# Sessions of the portal that it said are over; as old as ours can be, they are forgotten
ended: dict[str, float] = {}


def random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


# --- the directory ----------------------------------------------------------------------------------------------------


class Directory:
    def __init__(self) -> None:
        self.connection = ldap.initialize(CONFIG["ldap_uri"])
        self.connection.set_option(ldap.OPT_NETWORK_TIMEOUT, 5)
        self.connection.set_option(ldap.OPT_TIMEOUT, 10)
        self.connection.simple_bind_s(CONFIG["bind_dn"], CONFIG["bind_password"])

    def search(self, base: str, filter_: str, *names: str) -> list[dict[str, str]]:
        found = self.connection.search_s(base, ldap.SCOPE_ONELEVEL, filter_, names)
        return [{"dn": dn} | {name: values[0].decode() for name, values in entry.items()} for dn, entry in found]

    def member(self, login: str) -> dict[str, str] | None:
        filter_ = filter_format("(&(objectClass=perronMember)(memberStatus=active)(uid=%s))", [login])
        found = self.search(CONFIG["members_base"], filter_, "uid", "mail", "preferredLanguage", "memberDevices")
        return found[0] if found else None

    def devices(self, member: dict[str, str]) -> list[dict[str, str]]:
        filter_ = filter_format("(&(objectClass=perronDevice)(deviceOwner=%s))", [member["dn"]])
        found = self.search(CONFIG["devices_base"], filter_, "deviceId", "deviceName", "createTimestamp", "pwdLastSuccess")
        return sorted(found, key=lambda device: device.get("createTimestamp", ""))

    def add(self, member: dict[str, str], name: str) -> tuple[str, str]:
        """Makes a device; its id and its password, which is known here only now."""
        # Dovecot knows them by this shape (roles/dovecot/vars)
        device = random_text(6)
        password = "-".join([device, *(random_text(5) for _ in range(4))])
        dn = f"deviceId={device},{CONFIG['devices_base']}"
        entry = {
            "objectClass": "perronDevice", "deviceId": device, "deviceOwner": member["dn"], "deviceAddress": member["mail"],
            "deviceName": name, "pwdPolicySubentry": CONFIG["policy"], "userPassword": password,
        }  # fmt: skip
        self.connection.add_s(dn, [(key, [value.encode()]) for key, value in entry.items()])
        if member.get("memberDevices") != "TRUE":
            try:
                self.connection.modify_s(member["dn"], [(ldap.MOD_ADD, "memberDevices", [b"TRUE"])])
            except ldap.TYPE_OR_VALUE_EXISTS:
                pass  # another page was quicker
            except ldap.LDAPError:
                self.connection.delete_s(dn)
                raise
        return device, password

    def revoke(self, member: dict[str, str], device: str) -> None:
        for found in self.devices(member):
            if found["deviceId"] == device:
                self.connection.delete_s(found["dn"])
                return
        abort(404)


# --- who asks ---------------------------------------------------------------------------------------------------------


def language() -> str:
    chosen = session.get("language") or (g.get("member") or {}).get("preferredLanguage")
    if chosen not in CONFIG["languages"]:
        chosen = request.accept_languages.best_match(CONFIG["languages"]) or CONFIG["languages"][0]
    return str(chosen)


def page(template: str, status: int = 200, /, **values: Any) -> Response:
    spoken = language()
    text = render_template(template, t=TEXTS[spoken], language=spoken, coop=CONFIG, csrf=session.get("csrf", ""), **values)
    # a password may be on it
    return Response(text, status, {"Cache-Control": "no-store", "Content-Language": spoken})


def forget() -> None:
    """Who it was; pages stay in the language that was chosen."""
    for key in {*session} - {"language"}:
        session.pop(key)


def signed_in(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def judged(*args: Any, **kwargs: Any) -> Any:
        for old in [sid for sid, when in list(ended.items()) if when < time.time() - MINUTES * 60]:
            ended.pop(old, None)
        if session.get("until", 0) < time.time() or ended.get(session["sid"], 0) >= session["at"]:
            forget()
            if request.method == "POST":
                # a browser follows no redirect to the portal from here (form-action 'self'): the click would do nothing
                return page("message.html", 401, message="expired")
            return redirect(url_for("sign_in"))
        g.directory = Directory()
        g.member = g.directory.member(session["login"])
        if not g.member:
            forget()
            return page("message.html", 403, message="no_member")
        if request.method == "POST" and not hmac.compare_digest(request.form.get("csrf", ""), session["csrf"]):
            abort(400)
        return view(*args, **kwargs)

    return judged


@app.get("/signin")
def sign_in() -> Any:
    return portal.authorize_redirect(CONFIG["url"] + "/callback")


@app.get("/callback")
def callback() -> Any:
    try:
        token = portal.authorize_access_token()
    except (OAuthError, JoseError) as error:
        app.logger.warning("the portal's answer is refused: %r", error.error)
        return page("message.html", 403, message="sign_in_failed")
    claims = token["userinfo"]
    if "second_factor" not in claims:
        claims = {**claims, **portal.userinfo(token=token)}
    forget()
    session.update(
        login=claims["sub"], name=claims.get("name", ""), sid=claims.get("sid", ""), csrf=secrets.token_urlsafe(24),
        at=time.time(),
        until=time.time() + MINUTES * 60, second_factor=claims.get("second_factor") in (True, 1, "1", "true"),
    )  # fmt: skip
    return redirect(url_for("home"))


@app.post("/backchannel-logout")
def backchannel_logout() -> Any:
    """The portal says that a session of its own is over (OpenID Connect Back-Channel Logout)."""
    try:
        try:
            claims = jwt.decode(request.form["logout_token"], JsonWebKey.import_key_set(portal.fetch_jwk_set()))
        except ValueError:  # a key that is none of those it remembers: the portal may have new ones
            claims = jwt.decode(request.form["logout_token"], JsonWebKey.import_key_set(portal.fetch_jwk_set(force=True)))
        claims.validate(leeway=60)
    except (JoseError, ValueError, KeyError):
        abort(400)
    meant = claims.get("aud") in (CONFIG["client_id"], [CONFIG["client_id"]]) and claims.get("iss") == CONFIG["portal"]
    if not meant or "http://schemas.openid.net/event/backchannel-logout" not in claims.get("events", {}):
        abort(400)
    if claims.get("sid"):
        ended[claims["sid"]] = time.time()
    return "", 200


# --- pages ------------------------------------------------------------------------------------------------------------


@app.get("/")
@signed_in
def home() -> Any:
    return page("home.html", devices=g.directory.devices(g.member), made=None, link=link(), qr=qr(link()), limit=MOST)


def link() -> str:
    """Opens the values and the profile on a phone that is not signed in: an address and a name, no password."""
    return f"{CONFIG['url']}/p/{links.dumps([g.member['uid'], session['name']])}"


def qr(text: str) -> str:
    return segno.make(text, error="m", micro=False).svg_inline(scale=5, border=3, dark="#000", light="#fff", omitsize=True)


@app.post("/devices")
@signed_in
def make() -> Any:
    if not session["second_factor"]:
        abort(403)
    name = " ".join(request.form.get("name", "").split())
    if not NAME.fullmatch(name):
        return page("message.html", 400, message="bad_name")
    if len(g.directory.devices(g.member)) >= MOST:
        return page("message.html", 400, message="too_many")
    device, password = g.directory.add(g.member, name)
    app.logger.info("device %s made for %s", device, g.member["uid"])
    return page("made.html", name=name, password=password, link=link(), qr=qr(link()))


@app.post("/devices/<device>/revoke")
@signed_in
def revoke(device: str) -> Any:
    g.directory.revoke(g.member, device)
    app.logger.info("device %s revoked by %s", device, g.member["uid"])
    return redirect(url_for("home"))


@app.get("/p/<token>")
def by_link(token: str) -> Any:
    g.member, _ = from_link(token)
    return page("phone.html", token=token)


@app.get("/p/<token>/mail.mobileconfig")
def mail(token: str) -> Any:
    g.member, name = from_link(token)
    return download("mail.mobileconfig", mail_profile(g.member["mail"], name))


@app.get("/p/<token>/calendar.mobileconfig")
def calendar(token: str) -> Any:
    g.member, _ = from_link(token)
    if not CONFIG["cloud_host"]:
        abort(404)
    return download("calendar.mobileconfig", calendar_profile(g.member["uid"], g.member["mail"]))


def download(name: str, profile: bytes) -> Response:
    headers = {"Content-Disposition": f"attachment; filename={name}", "Cache-Control": "no-store"}
    return Response(signed(profile), 200, headers, content_type="application/x-apple-aspen-config")


def from_link(token: str) -> tuple[dict[str, str], str]:
    try:
        login, name = links.loads(token, max_age=LINK_SECONDS)
    except BadSignature:
        abort(404)
    member = Directory().member(login)
    return (member, name) if member else abort(404)


@app.template_filter("day")
def day(generalized: str) -> str:
    """20261124213000Z, as Belgium writes a day."""
    return f"{generalized[6:8]}/{generalized[4:6]}/{generalized[:4]}"


@app.get("/language/<chosen>")
def choose(chosen: str) -> Any:
    if chosen in CONFIG["languages"]:
        session["language"] = chosen
    before = urlsplit(request.referrer or "")
    phone = f"{before.scheme}://{before.netloc}" == CONFIG["url"] and before.path.startswith("/p/")
    return redirect(before.path if phone else url_for("home"))


@app.get("/style.css")
def style() -> Any:
    return Response((HOME / "style.css").read_text(), content_type="text/css")


@app.get("/health")
def health() -> Any:
    return {"status": "ok"}


@app.errorhandler(ldap.LDAPError)
@app.errorhandler(RequestException)
def down(error: Exception) -> Any:
    app.logger.error("%s does not answer: %s", "the directory" if isinstance(error, ldap.LDAPError) else "the portal", error)
    return page("message.html", 503, message="down")


@app.errorhandler(400)
@app.errorhandler(403)
@app.errorhandler(404)
def refused(error: Any) -> Any:
    return page("message.html", error.code, message="not_found" if error.code == 404 else "refused")


# --- Apple's profile --------------------------------------------------------------------------------------------------


def mail_profile(address: str, name: str) -> bytes:
    """The member's account without its password, which the device asks for."""
    host = CONFIG["mail_host"]
    server = {
        f"{way}MailServer{key}": value
        for way, port in (("Incoming", 993), ("Outgoing", 465))
        for key, value in {
            "Authentication": "EmailAuthPassword", "HostName": host, "PortNumber": port, "UseSSL": True, "Username": address,
        }.items()
    }  # fmt: skip
    account = server | {
        "EmailAccountType": "EmailTypeIMAP", "EmailAccountName": name, "EmailAccountDescription": CONFIG["name"],
        "EmailAddress": address, "OutgoingPasswordSameAsIncomingPassword": True,
    }  # fmt: skip
    return mobileconfig(host, address, {"mail": ("com.apple.mail.managed", account)})


def calendar_profile(login: str, address: str) -> bytes:
    """Likewise calendars and contacts; the device finds what is the member's from the host's /.well-known."""
    host = CONFIG["cloud_host"]
    values = {"AccountDescription": CONFIG["name"], "HostName": host, "Port": 443, "UseSSL": True, "Username": login}
    accounts = {
        kind: (f"com.apple.{kind.lower()}.account", {f"{kind}{key}": value for key, value in values.items()})
        for kind in ("CalDAV", "CardDAV")
    }
    return mobileconfig(host, address, accounts)


def mobileconfig(host: str, address: str, accounts: dict[str, tuple[str, dict[str, Any]]]) -> bytes:
    """Apple's profile: by each account's name its payload's type and values."""
    reverse = ".".join(reversed(host.split(".")))
    identifier = uuid.uuid5(uuid.NAMESPACE_DNS, f"{address}.{host}")
    return plistlib.dumps(
        {
            "PayloadType": "Configuration",
            "PayloadVersion": 1,
            "PayloadDisplayName": CONFIG["name"],
            "PayloadDescription": address,
            "PayloadOrganization": CONFIG["name"],
            "PayloadIdentifier": f"{reverse}.{identifier}",
            "PayloadUUID": str(identifier).upper(),
            "PayloadRemovalDisallowed": False,
            "PayloadContent": [
                values
                | {
                    "PayloadType": kind,
                    "PayloadVersion": 1,
                    "PayloadDisplayName": address,
                    "PayloadIdentifier": f"{reverse}.{identifier}.{name}",
                    "PayloadUUID": str(uuid.uuid5(identifier, name)).upper(),
                }
                for name, (kind, values) in accounts.items()
            ],
        }
    )


def signed(data: bytes) -> bytes:
    """In a CMS with the chain, which the device verifies as it does a web server's."""
    certificate, *chain = x509.load_pem_x509_certificates((HOME / "fullchain.pem").read_bytes())
    key = serialization.load_pem_private_key((HOME / "privkey.pem").read_bytes(), None)
    builder = pkcs7.PKCS7SignatureBuilder().set_data(data).add_signer(certificate, key, hashes.SHA256())  # type: ignore[arg-type]
    for authority in chain:
        builder = builder.add_certificate(authority)
    return builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCapabilities])
