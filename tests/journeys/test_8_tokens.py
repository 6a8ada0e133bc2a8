"""A token opens what it was given for: mail takes the webmail's alone, from the portal itself."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets

from browser import browser
from conftest import REFUSED, Answer, Clients, Member, evaluated, until


def test_mail_takes_no_token_of_another_service(
    clients: Clients, members: dict[str, Member], server: str, portal: str, domain: str
) -> None:
    anna = members["anna"]
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    (known,) = evaluated("webmail", "{{ {'webmail': vault_portal_webmail, 'devices': vault_portal_devices} }}").values()
    back = {"webmail": f"https://webmail.{domain}/index.php/login/oauth", "devices": f"https://devices.{domain}/callback"}

    def given(code: str, service: str) -> str:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back[service], "code_verifier": verifier}
        fields = [word for key, value in form.items() for word in ("--data-urlencode", f"{key}={value}")]
        said = clients.run("curl", "-sS", "--user", f"{service}:{known[service]}", *fields, f"{portal}oauth2/token")
        return str(json.loads(said.text)["access_token"])

    tokens = {}
    with browser(server) as page:
        page.sign_in(portal, anna.mail, anna.password)
        for service, url in back.items():
            more = {"code_challenge": challenge, "code_challenge_method": "S256"}
            tokens[service] = given(page.code_for(portal, service, url, **more), service)

    def opens(token: str, login: str = anna.login) -> Answer:
        return clients.run("curl", "-sS", "--user", login, "--oauth2-bearer", token, f"imaps://{clients.server}/")

    good = tokens["webmail"]
    until("the webmail's token opens the mailbox", lambda: opens(good).code == 0)
    for token in (tokens["devices"], good[:-1] + ("0" if good[-1] != "0" else "1")):
        assert opens(token).code == REFUSED
    assert opens(good, members["chloe"].login).code == REFUSED
    assert opens(good).code == 0
