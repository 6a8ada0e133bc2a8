"""What was refused is in the journal, with who tried; and nothing there or in a log opens anything."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus, urlencode

import pytest
from browser import browser
from conftest import AUTH, COOP_HOSTS, REFUSED, Answer, Clients, Member, evaluated, new_password, token, until
from test_9_cloud import forgets
from test_9_webmail import inbox
from testinfra.host import Host

FORM = "input[name=password]"
NO = ".alert-danger, .alert-warning, .message-negative"


@dataclass
class Tried:
    """What was typed, given or sent meanwhile, by what it is."""

    since: int
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def keep(self, **secrets: str) -> None:
        self.secrets |= secrets

    def forms(self, login: str) -> dict[str, str]:
        """Each as it may be written, and what it is."""
        found = {}
        for name, secret in self.secrets.items():
            plain = [f"\0{login}\0{secret}", f"{login}:{secret}"]
            encoded = [base64.b64encode(text.encode()).decode().rstrip("=") for text in plain]
            found |= dict.fromkeys([secret, quote(secret), quote(secret, ""), quote_plus(secret), *encoded], name)
        return found


def altered(text: str) -> str:
    """Long before its end, where a letter may say nothing."""
    place = len(text) - 8
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]


@pytest.fixture(scope="module")
def tried(
    members: dict[str, Member], clients: Clients, server: str, portal: str, webmail: str, cloud: str, devices: str, domain: str
) -> Tried:
    """All that the portal and mail refuse."""
    ruth, gerda = members["ruth"], members["gerda"]
    wrong = new_password()
    back = f"{webmail}index.php/login/oauth"
    (secret,) = evaluated("webmail", "{{ vault_portal_webmail }}").values()
    all_of = Tried(int(time.time()))
    all_of.keep(password=ruth.password, wrong=wrong, suspended=gerda.password, client=secret)

    def ask(what: str, *auth: str, **form: str) -> dict[str, str]:
        fields = [word for key, value in form.items() for word in ("--data-urlencode", f"{key}={value}")]
        said = clients.run("curl", "-sS", *auth, *fields, f"{portal}oauth2/{what}").text
        return json.loads(said) if said.startswith("{") else {"error": said}

    def redeem(code: str) -> dict[str, str]:
        return ask(
            "token", "--user", f"webmail:{secret}", grant_type="authorization_code", code=code, redirect_uri=back
        )  # fmt: skip

    def see_it_with(url: str, cookies: dict[str, str]) -> Answer:
        sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
        return clients.run("curl", "-sSL", "--cookie", sent, "--write-out", "%{url_effective}", url)

    files = f"{cloud}remote.php/dav/files/{ruth.login}/"
    assert clients.run("curl", "-so", "/dev/null", "-w", "%{http_code}", "-u", f"{ruth.login}:{wrong}", files).text == "401"
    # a wrong password, and a suspended member's right one
    for member, password in ((ruth, wrong), (gerda, gerda.password)):
        assert clients.curl(member, "", password=password).code == REFUSED
        assert clients.submit(member, member.mail, token(), password=password).code == AUTH
        with browser(server, "nl") as page:
            page.sign_in(portal, member.login, password)
            page.see(NO)

    with browser(server, "nl") as page:
        page.sign_in(portal, ruth.login, ruth.password)
        page.open(webmail)
        inbox(page)
        page.open(cloud)
        page.at(cloud)
        page.see("#header")
        forgets(page)
        page.open(devices)
        page.at(devices)
        old = page.cookies()
        all_of.keep(**{f"cookie {name}": value for name, value in old.items() if len(value) > 10})
        assert "perron" in old and "roundcube_sessid" in old, list(old)

        # a forged way back
        asked = {"response_type": "code", "client_id": "webmail", "redirect_uri": "https://webmail.test/", "scope": "openid"}
        page.open(f"{portal}oauth2/authorize?{urlencode(asked)}")
        page.see(NO)

        # a code that was used, a token that was altered
        code = page.code_for(portal, "webmail", back)
        given = redeem(code)
        all_of.keep(code=code, **{name: text for name, text in given.items() if name.endswith("_token")})
        assert "access_token" in given and "error" in redeem(code)
        bearer = "Authorization: Bearer {}"
        assert ask("userinfo", "--header", bearer.format(given["access_token"]))["sub"] == ruth.login
        forged = altered(given["access_token"])
        all_of.keep(forged=forged)
        assert "sub" not in ask("userinfo", "--header", bearer.format(forged))
        mailbox = ("curl", "-sS", "--user", ruth.login, "--oauth2-bearer")
        assert clients.run(*mailbox, given["access_token"], f"imaps://{clients.server}/").code == 0
        assert clients.run(*mailbox, forged, f"imaps://{clients.server}/").code == REFUSED
        # a service that is sent one it did not ask for
        for service in (back, f"{devices}callback", f"{cloud}apps/user_oidc/code"):
            see_it_with(f"{service}?{urlencode({'code': code, 'state': given['access_token'][:16]})}", {})

        # a session that is over
        page.open(f"{portal}?logout=1")
        until("the portal forgot them", lambda: not page.at_home(portal))
    for url in (portal, f"{webmail}?_task=mail", cloud, devices):
        said = until(f"{url} asks to sign in", lambda url=url: see_it_with(url, old))  # type: ignore[misc]
        assert 'name="password"' in said.text and portal in said.text, said.text[-2000:]
    refused = ask("token", "--user", f"webmail:{secret}", grant_type="refresh_token", refresh_token=given["refresh_token"])
    assert "error" in refused, list(refused)

    # too many
    with browser(server, "nl") as page:
        for _ in range(7):
            page.sign_in(portal, ruth.login, wrong)
            page.see(NO)
        page.sign_in(portal, ruth.login, ruth.password)
        page.see(NO)
    return all_of


LOGS = """journalctl --sync; cd /
printf %%s\\\\n %s >/run/journey-secrets
{{ journalctl --no-pager -o export --since @{since} --output-fields=MESSAGE,_CMDLINE
find /var/log /var/lib -xdev -type f -newermt @{since} \\( -path '/var/log/*' -o -name '*.log' \\) \
  -not -path '/var/log/journal/*' -exec zcat -f {{}} +
}} | grep -aoFf /run/journey-secrets | sort | uniq -c
rm /run/journey-secrets
"""


@pytest.mark.usefixtures("forgiven")
@pytest.mark.parametrize("name", COOP_HOSTS)
def test_nothing_that_opens_anything_is_kept(coop: dict[str, Host], members: dict[str, Member], tried: Tried, name: str) -> None:
    login = members["ruth"].login
    forms = tried.forms(login)
    said = coop[name].check_output(LOGS.format(since=tried.since), "\n".join([login, *forms]))
    found = {word for line in said.splitlines() for word in line.split()[1:]}
    assert login in found, f"nobody says who came: {said}"  # on each host, or this looks at nothing
    assert not {forms.get(word, "?") for word in found - {login}}
