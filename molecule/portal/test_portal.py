"""What the portal promises, asked as a browser and a service would."""

from __future__ import annotations

import base64
import hmac
import json
import re
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pytest
import yaml
from conftest import ROOT, eventually

sys.path.insert(0, str(Path(__file__).parent))
from browser import Answer, Browser, Service, claims  # it is beside this file, and no package

PASSWORD = "correct horse 7"
UNIT = "lemonldap-ng-fastcgi-server"


@pytest.fixture(scope="module")
def configuration(host: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.file("/var/lib/portal/configuration.json").content_string)["configuration"]
    return found


@pytest.fixture
def browser(host: Any, address: str, tls: ssl.SSLContext) -> Browser:
    new = Browser(address, tls)
    assert eventually(lambda: new.get("/ping").status == 200), host.run(f"journalctl -n 30 -u {UNIT}").stdout
    new.cookies.clear()
    return new


@pytest.fixture
def service(browser: Browser, configuration: dict[str, Any]) -> Callable[[str], Service]:
    def made(name: str) -> Service:
        options = configuration["oidcRPMetaDataOptions"][name]
        return Service(name, options["oidcRPMetaDataOptionsClientSecret"], browser)

    return made


class TestSignIn:
    @pytest.mark.parametrize("login", ["ann", "ann@coop.test", "ANN"])
    def test_by_login_and_by_address(self, browser: Browser, login: str) -> None:
        answer = browser.sign_in(login, PASSWORD)
        assert answer.status == 302, answer.error
        assert "Ann Dubois" in browser.get("/").text

    @pytest.mark.parametrize(
        ("login", "password"),
        [("bob", "wrong one"), ("bob", ""), ("sue", PASSWORD), ("nobody", PASSWORD), ("*", PASSWORD), ("bob)(uid=*", PASSWORD)],
    )
    def test_not_otherwise(self, browser: Browser, login: str, password: str) -> None:
        answer = browser.sign_in(login, password)
        assert answer.status == 200 and answer.error in ("2", "5", "40")
        assert "perron" not in browser.cookies or "Bob" not in browser.get("/").text

    def test_a_form_is_good_once(self, browser: Browser) -> None:
        page = browser.get("/")
        assert browser.sign_in("ann", PASSWORD, page).status == 302
        browser.cookies.clear()
        assert browser.sign_in("ann", PASSWORD, page).status == 200

    def test_nobody_guesses_the_number_of_a_form(self, host: Any, browser: Browser) -> None:
        numbers = {browser.get("/").fields()["token"] for _ in range(3)}
        assert len(numbers) == 3 and all(re.fullmatch("[0-9a-f]{64}", number) for number in numbers), numbers
        # and of whoever came and went none is left for good
        kept = "SELECT count(*) FROM sessions WHERE a_session ->> '_session_kind' = 'TOKEN'"
        over = "UPDATE sessions SET a_session = jsonb_set(a_session, '{_utime}', '1')"

        def psql(statement: str) -> str:
            return str(host.check_output(f'runuser -u postgres -- psql -qAtd portal -c "{statement}"'))

        assert int(psql(kept)) >= 3
        psql(over)
        host.check_output("systemctl start liblemonldap-ng-portal-perl.service")
        assert eventually(lambda: psql(kept) == "0")

    def test_a_session_expires(self, host: Any, browser: Browser, service: Callable[[str], Service]) -> None:
        browser.sign_in("ann", PASSWORD)
        assert "Ann Dubois" in browser.get("/").text
        # as if its time were over
        table = "UPDATE sessions SET a_session = jsonb_set(a_session, '{_utime}', '1') WHERE a_session ->> 'uid' = 'ann'"
        host.check_output(f'runuser -u postgres -- psql -qd portal -c "{table}"')
        assert eventually(lambda: "Ann Dubois" not in browser.get("/").text, 60)
        assert browser.get(service("app").authorize_url()).status == 200, "it asks to sign in"


class TestOpenIDConnect:
    def code(self, service: Service, **changed: str) -> str:
        answer = service.browser.get(service.authorize_url(**changed))
        assert answer.status == 302, answer.error
        assert answer.location.startswith(service.redirect), answer.location
        return answer.query["code"]

    def test_who_signed_in_is_told(self, browser: Browser, service: Callable[[str], Service]) -> None:
        browser.sign_in("ann@coop.test", PASSWORD)
        app = service("app")
        tokens = app.tokens(self.code(app)).json
        told = claims(tokens["id_token"])
        wanted = {
            "sub": "ann",
            "preferred_username": "ann",
            "email": "ann@coop.test",
            "email_verified": True,
            "aliases": ["annie@coop.test"],
            "name": "Ann Dubois",
            "given_name": "Ann",
            "family_name": "Dubois",
            "locale": "fr",
            "plan": "basic",
            "groups": ["plan-basic", "board"],
            "quota": 104857600,
            "second_factor": False,
        }
        assert app.userinfo(tokens["access_token"]).json == wanted
        assert wanted.items() <= told.items()
        assert (told["iss"], told["nonce"], told["acr"]) == ("https://auth.coop.test", "a-nonce", "loa-1")
        assert app.ask("introspect", {"token": tokens["access_token"]}).json["active"] is True
        assert "access_token" in app.ask("token", {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}).json

    def test_without_signing_in_nothing_is_told(self, service: Callable[[str], Service]) -> None:
        app = service("app")
        answer = app.browser.get(app.authorize_url())
        assert answer.status == 200 and answer.error == "9"

    @pytest.mark.parametrize("forged", ["https://evil.test/in", "https://app.coop.test/in/../x", "https://app.coop.test/in?x"])
    def test_a_forged_way_back_is_refused(self, browser: Browser, service: Callable[[str], Service], forged: str) -> None:
        browser.sign_in("ann", PASSWORD)
        answer = browser.get(service("app").authorize_url(redirect_uri=forged))
        assert answer.status == 200 and answer.error == "108"

    def test_a_code_is_good_once_and_for_its_client(self, browser: Browser, service: Callable[[str], Service]) -> None:
        browser.sign_in("ann", PASSWORD)
        app = service("app")
        code = self.code(app)
        assert service("large").tokens(code).status == 400
        code = self.code(app)
        assert app.tokens(code, code_verifier="another-verifier-that-is-long-enough-to-be-one").status == 400
        code = self.code(app)
        assert app.tokens(code).status == 200
        assert app.tokens(code).status == 400

    def test_who_does_not_know_the_secret_gets_no_token(self, browser: Browser, service: Callable[[str], Service]) -> None:
        browser.sign_in("ann", PASSWORD)
        app = service("app")
        code = self.code(app)
        assert Service(app.id, "wrong", browser, verifier=app.verifier).tokens(code).status == 401

    def test_pkce_is_asked_for_where_it_is_wanted(self, browser: Browser, service: Callable[[str], Service]) -> None:
        browser.sign_in("ann", PASSWORD)
        plain = {"code_challenge": "", "code_challenge_method": ""}
        assert browser.get(service("app").authorize_url(**plain)).query["error"] == "invalid_request"
        assert "code" in browser.get(service("jwt").authorize_url(**plain)).query

    def test_an_altered_token_is_refused(self, browser: Browser, service: Callable[[str], Service]) -> None:
        browser.sign_in("ann", PASSWORD)
        for name in ("app", "jwt"):
            client = service(name)
            token = client.tokens(self.code(client)).json["access_token"]
            assert client.userinfo(token).status == 200
            altered = token[:-8] + ("AAAAAAAA" if name == "jwt" else "00000000")
            assert client.userinfo(altered).status == 401
            assert client.ask("introspect", {"token": altered}).json["active"] is False

    def test_only_those_enter_whose_plan_has_it(self, browser: Browser, service: Callable[[str], Service]) -> None:
        browser.sign_in("ann", PASSWORD)
        assert browser.get(service("large").authorize_url()).error == "84"
        browser.cookies.clear()
        browser.sign_in("bob", PASSWORD)
        assert "code" in browser.get(service("large").authorize_url()).query

    def test_only_with_a_second_factor_where_it_is_wanted(self, browser: Browser, service: Callable[[str], Service]) -> None:
        browser.sign_in("ann", PASSWORD)
        answer = browser.get(service("strict").authorize_url())
        assert "code" not in answer.query and "code=" not in answer.text


def totp(secret: str, ahead: int = 0) -> str:
    """RFC 6238; a code is good once, so a test that needs a second one takes the next."""
    key = base64.b32decode(secret.upper() + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30 + ahead), "sha1").digest()
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"


SESSIONS = "/usr/share/lemonldap-ng/bin/lemonldap-ng-sessions --user portal --group portal"


def sessions(host: Any, *arguments: str) -> str:
    return str(host.check_output(f"{SESSIONS} {' '.join(arguments)}"))


AJAX = {"Accept": "application/json", "X-CSRF-Check": "1"}


def with_phone(host: Any, browser: Browser, login: str) -> str:
    """The secret of a member who has registered a phone and signed in without it for the last time."""
    # one that an earlier run in this container left; there may be none
    host.run(f"{SESSIONS} secondfactors delType {login} TOTP")
    assert browser.sign_in(login, PASSWORD).status == 302
    made = browser.post("/2fregisters/totp/getkey", {}, **AJAX).json
    wrong = browser.post("/2fregisters/totp/verify", {"token": made["token"], "code": "000000"}, **AJAX)
    assert wrong.json.get("result") != 1
    made = browser.post("/2fregisters/totp/getkey", {}, **AJAX).json
    form = {"token": made["token"], "code": totp(made["secret"]), "TOTPName": "phone"}
    assert browser.post("/2fregisters/totp/verify", form, **AJAX).json["result"] == 1
    browser.cookies.clear()
    return str(made["secret"])


class TestSecondFactor:
    @pytest.fixture
    def secret(self, host: Any, browser: Browser) -> str:
        """Of cas."""
        return with_phone(host, browser, "cas")

    def test_in_with_it_and_not_without(self, browser: Browser, secret: str, service: Callable[[str], Service]) -> None:
        asked = browser.sign_in("cas", PASSWORD)
        assert asked.status == 200 and "totp2fcheck" in asked.text
        assert "Cas Weber" not in browser.get("/").text
        assert browser.post("/totp2fcheck", asked.fields() | {"code": "000000"}).error == "96"
        assert "Cas Weber" not in browser.get("/").text
        asked = browser.sign_in("cas", PASSWORD)
        assert browser.post("/totp2fcheck", asked.fields() | {"code": totp(secret, 1)}).status == 302
        assert "Cas Weber" in browser.get("/").text
        strict = service("strict")
        told = claims(strict.tokens(browser.get(strict.authorize_url()).query["code"]).json["id_token"])
        assert told["acr"] == "loa-2" and told["second_factor"] is True and "mfa" in told["amr"]

    def test_a_code_is_good_once(self, browser: Browser, secret: str) -> None:
        code = totp(secret, 1)  # for a minute yet
        for let_in in (True, False):
            asked = browser.sign_in("cas", PASSWORD)
            answer = browser.post("/totp2fcheck", asked.fields() | {"code": code})
            assert (answer.status, answer.error) == ((302, "") if let_in else (200, "96"))
            assert ("Cas Weber" in browser.get("/").text) is let_in
            browser.cookies.clear()

    def test_whose_group_must_have_one_gets_nowhere_without(self, browser: Browser) -> None:
        answer = browser.sign_in("dee", PASSWORD)
        assert "2fregisters" in answer.text + answer.location
        assert "Dee Admin" not in browser.get("/").text


class TestTooMany:
    def test_failures_close_the_door_for_a_while(self, browser: Browser) -> None:
        for _ in range(3):  # of somebody whom no other test let fail
            assert browser.sign_in("fay", "wrong one").error == "5"
        assert browser.sign_in("fay@coop.test", PASSWORD).error == "86"
        assert Browser(browser.address, browser.trust).sign_in("ann", PASSWORD).status == 302
        assert eventually(lambda: browser.sign_in("fay", PASSWORD).status == 302, 60)

    @pytest.fixture
    def phone(self, host: Any, browser: Browser) -> Iterator[str]:
        """Of fay, of whose failures nothing is on record, nor of this phone afterwards."""
        # by name: LemonLDAP::NG deletes nothing that is found by --where in this store, and does not say so
        forget = f"{SESSIONS} delete --persistent fay"
        host.run(forget)
        yield with_phone(host, browser, "fay")
        host.check_output(forget)

    def test_prompts_fetched_beforehand_give_no_more_tries(self, browser: Browser, phone: str) -> None:
        """Of whoever has the password: each prompt could be worth a code, right or wrong."""

        def prompt() -> tuple[Browser, Answer]:
            person = Browser(browser.address, browser.trust)
            return person, person.sign_in("fay", PASSWORD)

        def enter(asked: tuple[Browser, Answer], code: str) -> Answer:
            return asked[0].post("/totp2fcheck", asked[1].fields() | {"code": code})

        prompts = [prompt() for _ in range(5)]
        assert enter(prompts.pop(), totp(phone)).status == 302
        for _ in range(3):
            assert enter(prompts.pop(), "000000").error == "96"
        late = enter(prompts.pop(), totp(phone))
        assert (late.status, late.error) == (200, "86")
        assert prompt()[1].error == "86"

        def back() -> bool:
            asked = prompt()
            enter(asked, totp(phone, 1))
            return "Fay Claes" in asked[0].get("/").text

        assert eventually(back, 60)


class TestPasswords:
    def change(self, browser: Browser, old: str, new: str) -> str:
        form = {"oldpassword": old, "newpassword": new, "confirmpassword": new}
        return browser.post("/", browser.get("/").fields() | form).error

    def test_a_member_changes_it_by_proving_the_old_one(self, browser: Browser) -> None:
        browser.sign_in("bob", PASSWORD)
        assert self.change(browser, "wrong one", "another horse 8") == "39"
        assert self.change(browser, PASSWORD, "short") == "29"
        assert self.change(browser, PASSWORD, "bob is my password") == "28"
        assert self.change(browser, PASSWORD, "another horse 8") == "35"
        assert Browser(browser.address, browser.trust).sign_in("bob", "another horse 8").status == 302
        assert self.change(browser, "another horse 8", PASSWORD) == "35"

    def test_whoever_had_the_old_one_is_signed_out(self, browser: Browser, service: Callable[[str], Service]) -> None:
        thief, colleague = Browser(browser.address, browser.trust), Browser(browser.address, browser.trust)
        thief.sign_in("bob", PASSWORD)
        colleague.sign_in("ann", PASSWORD)
        app = service("app")
        app.browser = thief
        token = app.tokens(thief.get(app.authorize_url()).query["code"]).json["access_token"]
        browser.sign_in("bob", PASSWORD)
        assert self.change(browser, "wrong one", "another horse 8") == "39"
        assert "Bob" in thief.get("/").text
        assert self.change(browser, PASSWORD, "another horse 8") == "35"
        try:
            assert eventually(lambda: "Bob" not in thief.get("/").text, 60)
            assert eventually(lambda: app.userinfo(token).status == 401, 60)
            assert "Bob" in browser.get("/").text, "where it was changed one stays signed in"
            assert "Ann Dubois" in colleague.get("/").text
        finally:
            assert self.change(browser, "another horse 8", PASSWORD) == "35"

    def ask_for_link(self, browser: Browser, whom: str) -> str:
        return browser.post("/resetpwd", browser.get("/resetpwd").fields() | {"mail": whom}).error or "72"

    def mails(self, host: Any) -> list[str]:
        return list(host.run("ls -v /run/mailhost/*.eml").stdout.split())

    def link(self, host: Any, before: list[str]) -> tuple[str, str]:
        assert eventually(lambda: len(self.mails(host)) > len(before)), host.run(f"journalctl -n 20 -u {UNIT}").stdout
        text = host.check_output(f"cat {self.mails(host)[-1]}")
        found = re.search(r"https://auth\.coop\.test/resetpwd\?[^\s\"<>)\]]+", text)
        assert found, text
        return unescape(found[0]), text

    def test_a_forgotten_one_is_set_anew_by_a_link_that_works_once(self, host: Any, browser: Browser) -> None:
        before = self.mails(host)
        self.ask_for_link(browser, "bob@coop.test")
        link, text = self.link(host, before)
        assert "RCPT TO:<bob@elsewhere.test>" in text and "MAIL FROM:<no-reply@coop.test>" in text
        page = browser.get(link)
        form = page.fields() | {"newpassword": "a third horse 9", "confirmpassword": "a third horse 9"}
        done = browser.post("/resetpwd", form)
        assert Browser(browser.address, browser.trust).sign_in("bob", "a third horse 9").status == 302, done.text
        assert browser.get(link).error == "44"
        form = form | {"newpassword": "a fourth horse 0", "confirmpassword": "a fourth horse 0"}
        browser.post("/resetpwd", form)
        assert Browser(browser.address, browser.trust).sign_in("bob", "a fourth horse 0").status == 200
        again = Browser(browser.address, browser.trust)
        again.sign_in("bob", "a third horse 9")
        assert self.change(again, "a third horse 9", PASSWORD) == "35"

    def test_a_link_expires(self, host: Any, browser: Browser) -> None:
        before = self.mails(host)
        self.ask_for_link(browser, "ann")
        link, _ = self.link(host, before)
        assert browser.get(link).error == "71"
        # as if its time were over
        table = "UPDATE sessions SET a_session = jsonb_set(a_session, '{_utime}', '1') WHERE a_session ->> '_type' = 'mail'"
        host.check_output(f'runuser -u postgres -- psql -qd portal -c "{table}"')
        assert eventually(lambda: browser.get(link).error == "44", 45)

    def test_it_comes_in_the_language_of_who_asks(self, host: Any, browser: Browser) -> None:
        """Several processes answer, and each keeps what it has read."""
        words = yaml.safe_load((ROOT / "roles/portal/files/messages.yml").read_text())["click2Reset"]
        over = "DELETE FROM sessions WHERE a_session ->> '_type' = 'mail'"  # or there is no second one
        for language in ["nl", "fr", "de", "en"] * 3:
            host.check_output("runuser -u postgres -- psql -qd portal -c %s", over)
            before = self.mails(host)
            self.ask_for_link(Browser(browser.address, browser.trust, language), "ann")
            _, text = self.link(host, before)
            said = {spoken for spoken, word in words.items() if word[:15] in text}  # the letters behind it are encoded
            assert said == {language}, (language, text)

    @pytest.mark.parametrize("whom", ["sue", "cas", "nobody@coop.test"])
    def test_who_gets_none_is_nobodys_business(self, host: Any, browser: Browser, whom: str) -> None:
        before = self.mails(host)
        assert self.ask_for_link(browser, whom) == self.ask_for_link(browser, "nobody")
        assert self.mails(host) == before


class TestKillSwitch:
    def test_within_a_minute_nothing_is_open(self, host: Any, browser: Browser, service: Callable[[str], Service]) -> None:
        browser.sign_in("ann", PASSWORD)
        app = service("app")
        tokens = app.tokens(browser.get(app.authorize_url()).query["code"]).json
        other = Browser(browser.address, browser.trust)
        other.sign_in("bob", PASSWORD)
        sessions(host, "delete --where uid=ann")
        assert eventually(lambda: all("Ann Dubois" not in browser.get("/").text for _ in range(8)), 60)
        assert eventually(lambda: app.userinfo(tokens["access_token"]).status == 401, 60)
        assert app.ask("introspect", {"token": tokens["access_token"]}).json["active"] is False
        assert app.ask("token", {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}).status == 400
        assert "Bob Peeters" in other.get("/").text


class TestFaults:
    @pytest.mark.parametrize("unit", ["slapd", "postgresql@17-main"])
    def test_what_it_needs_is_down_and_back(self, host: Any, browser: Browser, unit: str) -> None:
        host.check_output(f"systemctl stop {unit}")
        try:
            page = browser.get("/")
            began = time.monotonic()
            answer = browser.sign_in("ann", PASSWORD, page)
            assert time.monotonic() - began < 10
            said = answer.status in (500, 502, 503) and "Un instant" in answer.text and "Een ogenblik" not in answer.text
            assert said or answer.error in ("6", "7", "8"), (answer.status, answer.error, answer.text[:2000])
        finally:
            host.check_output(f"systemctl start {unit}")
        assert eventually(lambda: Browser(browser.address, browser.trust).sign_in("ann", PASSWORD).status == 302, 30)

    def test_the_page_meanwhile_has_a_policy_that_its_style_passes(self, browser: Browser) -> None:
        """The web server's own: it sends no policy at this name, as the portal sends one for each of its pages."""
        assert "content-security-policy" in browser.get("/").headers
        answer = browser.get("/static/coop/unavailable.nl.html")
        assert answer.status == 200 and '<html lang="nl">' in answer.text and "Een ogenblik" in answer.text
        assert "Un instant" not in answer.text
        head, _, rest = answer.text.partition('<meta http-equiv="Content-Security-Policy" content="default-src \'self\'">')
        assert rest, answer.text
        assert "<link" in rest and "<link" not in head, "it holds for what comes after"
        assert not re.search(r"<style|<script|\s(?:style|on\w+)=", answer.text), "it would not be applied"
        (style,) = re.findall('<link rel="stylesheet" href="(/[^"]+)">', rest)
        assert "font" in browser.get(style).text and not re.search(r"url\(|@import", browser.get(style).text)


class TestTiles:
    def test_a_member_sees_those_of_their_plan(self, browser: Browser) -> None:
        browser.sign_in("ann", PASSWORD)
        page = browser.get("/").text
        assert "tile_app" in page and "tile_large" not in page
        browser.cookies.clear()
        browser.sign_in("bob", PASSWORD)
        assert "tile_large" in browser.get("/").text

    def test_and_nothing_of_who_asked_before(self, browser: Browser) -> None:
        """Each process of the portal keeps its pages parsed, and has shown them to others."""
        browser.sign_in("bob", PASSWORD)
        bobs = dict(browser.cookies)
        browser.cookies.clear()
        browser.sign_in("ann", PASSWORD)
        anns = dict(browser.cookies)
        for _ in range(8):
            for cookies, large in ((bobs, True), (anns, False)):
                browser.cookies = dict(cookies)
                page = browser.get("/").text
                assert ("tile_large" in page) is large and "tile_app" in page
            browser.cookies = {}
            page = browser.get("/").text
            assert "tile_" not in page and 'name="password"' in page

    def test_in_the_four_languages(self, browser: Browser) -> None:
        for language, word in {"fr": "Essai", "nl": "Proef", "de": "Versuch", "en": "Trial"}.items():
            assert browser.get(f"/static/languages/{language}.json").json["tile_app"] == word


class TestLook:
    def test_it_bears_the_cooperatives_name_colour_and_logo(self, browser: Browser) -> None:
        page = browser.get("/")
        assert "<span>Coopérative d'essai</span>" in unescape(page.text)
        (style,) = re.findall(r'href="([^"]*/coop\.css[^"]*)"', page.text)
        assert "--coop: #7a1f2b" in browser.get(style).text
        logos = set(re.findall(r'(?:src|href)="([^"]*/logo\.svg[^"]*)"', page.text))
        assert logos and all("<title>essai</title>" in browser.get(logo).text for logo in logos)


class TestConfiguration:
    def test_a_run_that_changes_nothing_saves_nothing(self, host: Any) -> None:
        directory = "/var/lib/portal/configurations"
        before = host.check_output(f"ls -l --time-style=full-iso {directory}")
        done = host.run("portal-configuration /var/lib/portal/configuration.json")
        assert (done.rc, done.stdout, done.stderr) == (0, "", "")
        assert host.check_output(f"ls -l --time-style=full-iso {directory}") == before

    def test_what_was_turned_by_hand_is_turned_back_and_the_keys_stay(self, host: Any) -> None:
        newest = "$(ls -v /var/lib/portal/configurations/lmConf-*.json | tail -n 1)"
        keys = f"grep -E '\"(key|oidcServiceKeyIdSig|oidcServicePrivateKeySig)\"' {newest} | sha256sum"
        before = host.check_output(keys)
        host.check_output(f'sed -i \'s/"timeout" : .*,/"timeout" : 99,/\' {newest}')
        assert host.run("portal-configuration --check /var/lib/portal/configuration.json").stdout == "changed: configuration\n"
        done = host.run("portal-configuration /var/lib/portal/configuration.json")
        assert done.stdout == "changed: configuration\n", done.stderr
        assert '"timeout" : 36000' in host.check_output(f"cat {newest}").replace('"36000"', "36000")
        assert host.check_output(keys) == before
        assert int(host.check_output("ls /var/lib/portal/configurations/lmConf-*.json | wc -l")) <= 5

    def test_an_unknown_key_is_refused(self, host: Any) -> None:
        assert host.run("portal-configuration --known timeout").rc == 0
        done = host.run("portal-configuration --known timeouts")
        assert done.rc == 1 and "unknown key 'timeouts'" in done.stderr

    def test_nothing_of_the_demonstration_is_left(self, host: Any, configuration: dict[str, Any]) -> None:
        saved = host.check_output("cat $(ls -v /var/lib/portal/configurations/lmConf-*.json | tail -n 1)")
        assert "example.com" not in saved and "manager." not in saved and '"Demo"' not in saved

    def test_secrets_are_the_daemons_alone(self, host: Any) -> None:
        for path in ("/var/lib/portal/configuration.json", "/var/lib/portal/configurations/*.json"):
            assert host.check_output(f"head --quiet --bytes 1 {path}"), "there is something to read"
            assert host.run(f"runuser -u www-data -- head --quiet --bytes 1 {path}").stdout == ""
        assert host.run("runuser -u portal -- touch /var/lib/portal/configurations/x").rc != 0

    def test_the_unit_is_hardened(self, host: Any) -> None:
        score = host.check_output(f"systemd-analyze security --no-pager {UNIT} | tail -n 1")
        assert float(score.split(":")[1].split()[0]) <= 4.0, score
        assert host.check_output(f"systemctl show --value -p User {UNIT}") == "portal"


class TestSecrets:
    """At the end, when all of the above was tried."""

    TYPED: ClassVar = [PASSWORD, "wrong one", "bob is my password", "another horse 8", "a third horse 9", "a fourth horse 0"]

    def test_what_is_kept_of_a_sign_in_opens_nothing(
        self, host: Any, browser: Browser, service: Callable[[str], Service]
    ) -> None:
        passwords = TestPasswords()
        before = passwords.mails(host)
        passwords.ask_for_link(browser, "bob@coop.test")
        link, _ = passwords.link(host, before)
        assert browser.get(link).error == "71"
        browser.cookies.clear()
        assert browser.sign_in("bob", "wrong one").error == "5"
        assert browser.sign_in("bob", PASSWORD).status == 302
        secrets = {*self.TYPED, browser.cookies["perron"], *parse_qs(urlsplit(link).query)["mail_token"]}
        for name in ("app", "jwt"):
            client = service(name)
            code = browser.get(client.authorize_url()).query["code"]
            tokens = client.tokens(code).json
            assert client.userinfo(tokens["access_token"]).status == 200
            secrets |= {code, client.secret} | {tokens[key] for key in tokens if key.endswith("_token")}
            # what it does not find, or no longer
            assert client.tokens(code).status == 400
            unknown = "".join(sorted(code))
            assert client.userinfo(unknown).status == 401 and client.tokens(unknown).status == 400
            secrets.add(unknown)
        assert all(len(secret) > 8 for secret in secrets) and len(secrets) >= 14
        # the scenario's own of the directory, the database and every client ends alike
        secrets.add(service("app").secret.removeprefix("client-"))
        journal = host.check_output("journalctl --no-pager -o cat")
        log = host.check_output("zcat -f /var/log/nginx/access.log*")
        # it is there, and says who came and what was asked
        assert "session (not said) isn't yet available" in journal
        assert "Bad password for bob" in journal and '"GET /resetpwd HTTP' in log and '"POST /oauth2/token HTTP' in log
        for where, text in (("journal", journal), ("access.log", log)):
            found = {secret for secret in secrets for form in (secret, quote(secret), quote_plus(secret)) if form in text}
            assert not found, (where, found)
