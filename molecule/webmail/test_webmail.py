"""What webmail promises, asked of the running daemons by a browser's requests."""

import base64
import html
import http.cookiejar
import imaplib
import json
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from email.message import EmailMessage

import pytest
from conftest import eventually

WEBMAIL = "https://webmail.coop.test"
PORTAL = "https://auth.coop.test"
PASSWORD = "correct-Horse-7"
AJAX = {"X-Requested-With": "XMLHttpRequest"}


@pytest.fixture(scope="module", autouse=True)
def names(address):
    """The scenario's names are the container's, whatever the controller's resolver thinks."""
    asked = socket.getaddrinfo
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda name, *rest, **more: asked(at(name, address), *rest, **more))
        yield


def at(name, address):
    return address if str(name).endswith(".coop.test") else name


@pytest.fixture(scope="module", autouse=True)
def fresh(host):
    """Empty mailboxes and an empty database, also when the tests run again on the same host."""
    sql("DELETE FROM users; DELETE FROM session", host)
    host.check_output("rm -rf /srv/mail/*; systemctl restart dovecot provider webmail")
    assert eventually(lambda: host.run("ss -Hltn sport = :8090").stdout)


def sql(statement, host):
    return host.check_output("runuser -u postgres -- psql -XAtq -d webmail -c %s", statement)


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Page:
    def __init__(self, answer):
        self.status, self.url = answer.status, answer.url
        self.headers = {name.lower(): value for name, value in answer.headers.items()}
        self.cookies = answer.headers.get_all("Set-Cookie") or []
        self.body = answer.read()
        self.text = self.body.decode(errors="replace")

    def env(self, name):
        """A value of the page's `rcmail.set_env`."""
        values = {}
        for found in re.finditer(r"rcmail\.set_env\((?=\{)", self.text):
            values |= json.JSONDecoder().raw_decode(self.text[found.end() :])[0]
        assert name in values, f"no {name}: {self.status} {sorted(values)} {self.text[-1500:]}"
        return values[name]

    def identity(self, address):
        """What stands for one of the member's addresses where the sender is chosen; the address itself if it is not there."""
        found = re.search(rf'<option value="(\d+)"[^>]*>[^<]*?&lt;{re.escape(address)}&gt;', self.text)
        return found[1] if found else address


class Browser:
    def __init__(self, tls, member=None):
        self.jar = http.cookiejar.CookieJar()
        self.handlers = [urllib.request.HTTPSHandler(context=tls), urllib.request.HTTPCookieProcessor(self.jar)]
        if member:
            self.get(f"{PORTAL}/login?member={member}")

    def get(self, url, data=None, follow=True, **headers):
        opener = urllib.request.build_opener(*self.handlers, *([] if follow else [Stay]))
        url = url if "://" in url else WEBMAIL + url
        if isinstance(data, dict):
            data = urllib.parse.urlencode(data).encode()
        request = urllib.request.Request(url, data, headers)  # noqa: S310 # of the scenario's own names, over HTTPS
        try:
            return Page(opener.open(request, timeout=60))
        except urllib.error.HTTPError as error:
            return Page(error)

    def ask(self, **query):
        """What a page's own script asks."""
        return self.get(
            "/?" + urllib.parse.urlencode({f"_{key}": value for key, value in query.items()} | {"_remote": 1}), **AJAX
        )

    def inbox(self):
        page = self.get("/")
        assert page.url.startswith(f"{WEBMAIL}/") and "_task=logout" in page.text, (page.url, page.text[:2000])
        return page

    def send(self, sender, to, subject, body, page=None):
        """Compose and send as the page does; what the server says to it."""
        page = page or self.get("/?_task=mail&_action=compose")
        form = {
            "_token": page.env("request_token"),
            "_task": "mail",
            "_action": "send",
            "_id": page.env("compose_id"),
            "_from": page.identity(sender),
            "_to": to,
            "_subject": subject,
            "_message": body,
            "_framed": "1",
        }
        return self.get("/?_task=mail&_framed=1", form)


@pytest.fixture
def browser(tls):
    return lambda member=None: Browser(tls, member)


def token_of(host, member, client="webmail"):
    return host.check_output(f"curl -sSf 'http://127.0.0.1:8090/token?member={member}&client={client}'")


def deliver(host, member, subject, body="Bonjour"):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "stranger@stranger.test", f"{member}@coop.test", subject
    message.set_content(body)
    script = "import smtplib, sys; smtplib.LMTP('/run/dovecot/lmtp').sendmail('s@stranger.test', [sys.argv[1]], sys.argv[2])"
    host.check_output("python3 -c %s %s %s", script, f"{member}@coop.test", message.as_string())


class Imap(imaplib.IMAP4_SSL):
    def __init__(self, tls):
        super().__init__("mail.coop.test", 993, ssl_context=tls, timeout=20)

    def bearer(self, login, token, mechanism="XOAUTH2"):
        said = {"XOAUTH2": f"user={login}\1auth=Bearer {token}\1\1", "OAUTHBEARER": f"n,a={login},\1auth=Bearer {token}\1\1"}
        answers = iter([said[mechanism].encode()])
        return self.authenticate(mechanism, lambda _: next(answers, b"\1"))[0]


# --- tokens at the mail server ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_token_opens_its_members_mailbox(host, tls, mechanism):
    deliver(host, "bob", "for bob")
    with Imap(tls) as imap:
        assert imap.bearer("bob", token_of(host, "bob"), mechanism) == "OK"
        assert int(imap.select("INBOX")[1][0]) > 0


def refused(imap, *arguments):
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        imap.bearer(*arguments)
    return True


def test_what_is_no_token_of_webmail_for_this_active_member_opens_nothing(host, tls):
    good = token_of(host, "bob")
    with Imap(tls) as imap:
        assert imap.bearer("bob", good) == "OK"
    for login, token in (
        ("ann", good),  # another's
        ("bob@coop.test", good),
        ("bob", good[:-1] + ("0" if good[-1] != "0" else "1")),
        ("bob", token_of(host, "bob", "cloud")),  # of another service
        ("bob", PASSWORD),
        ("bob", ""),
        ("sue", token_of(host, "sue")),  # suspended
        ("nobody", token_of(host, "nobody")),  # not in the directory
    ):
        assert refused(Imap(tls), login, token), login
        # nor does Postfix, which looks up no mailbox
        assert smtp(host, "xoauth2", f"user={login}\1auth=Bearer {token}\1\1").startswith("535"), login
    assert smtp(host, "xoauth2", f"user=bob\1auth=Bearer {good}\1\1").startswith("235")


def smtp(host, mechanism, said):
    """The last answer to such a sign-in at submission."""
    script = """
import base64, smtplib, ssl, sys
smtp = smtplib.SMTP_SSL('mail.coop.test', 465, timeout=20)
smtp.ehlo()
code, text = smtp.docmd('AUTH', f'{sys.argv[1].upper()} {base64.b64encode(sys.argv[2].encode()).decode()}')
if code == 334:
    code, text = smtp.docmd('')
print(code, text)
"""
    return host.check_output("python3 -c %s %s %s", script, mechanism, said)


def test_passwords_still_open_mailboxes_and_wrong_ones_do_not(host, tls):
    with Imap(tls) as imap:
        assert imap.login("bob@coop.test", PASSWORD)[0] == "OK"
    with Imap(tls) as imap, pytest.raises(imaplib.IMAP4.error):
        imap.login("bob@coop.test", "wrong")


def test_whoever_cannot_be_asked_lets_nobody_in(host, tls):
    token = token_of(host, "bob")
    host.check_output("systemctl stop provider")
    try:
        with pytest.raises(imaplib.IMAP4.error) as error:
            Imap(tls).bearer("bob", token)
    finally:
        host.check_output("systemctl start provider")
    print(error.value)
    assert eventually(lambda: host.run("ss -Hltn sport = :8090").stdout)
    token = token_of(host, "bob")
    host.check_output("systemctl stop slapd")
    try:
        with pytest.raises(imaplib.IMAP4.error) as error:
            Imap(tls).bearer("bob", token)
    finally:
        host.check_output("systemctl start slapd")
    print(error.value)
    assert eventually(lambda: smtp(host, "xoauth2", f"user=bob\1auth=Bearer {token}\1\1").startswith("235"))


# --- signing in ---------------------------------------------------------------------------------------------------------


def test_whoever_is_not_signed_in_is_sent_to_the_portal(browser):
    page = browser().get("/", follow=False)
    target = urllib.parse.urlsplit(page.headers["location"])
    query = dict(urllib.parse.parse_qsl(target.query))
    assert page.status == 302 and f"{target.scheme}://{target.netloc}{target.path}" == f"{PORTAL}/oauth2/authorize"
    assert query["redirect_uri"] == f"{WEBMAIL}/index.php/login/oauth" and len(query["state"]) >= 12
    for cookie in page.cookies:
        assert all(word in cookie.lower() for word in ("secure", "httponly", "samesite=lax")), cookie


def test_a_member_reads_without_a_second_prompt(host, browser):
    deliver(host, "ann", "Réunion de jeudi", "À jeudi !")
    ann = browser("ann")
    page = ann.inbox()
    assert '<html lang="fr">' in page.text
    listed = ann.ask(task="mail", action="list", mbox="INBOX")
    assert "Réunion de jeudi" in json.loads(listed.text)["exec"], listed.text
    shown = ann.get("/?_task=mail&_action=show&_mbox=INBOX&_uid=1")
    assert "À jeudi !" in html.unescape(shown.text)


def test_what_the_portal_says_is_how_webmail_begins(host, browser):
    for member in ("bob", "max"):
        browser(member).inbox()
    of = "SELECT username, language FROM users WHERE username IN ('bob', 'max') ORDER BY 1"
    assert sql(of, host).split("\n") == ["bob|nl_NL", "max|de_DE"]
    of = "SELECT email, name, standard FROM identities JOIN users USING (user_id) WHERE username = 'max' AND del = 0 ORDER BY 1"
    assert sql(of, host).split("\n") == ["max@coop.test|Max Weber|1", "moritz@coop.test|Max Weber|0"]


def test_a_callback_that_was_not_asked_for_is_refused(browser):
    ann, mallory = browser("ann"), browser("max")
    begun = mallory.get("/", follow=False)
    answer = mallory.get(begun.headers["location"], follow=False).headers["location"]
    # Mallory's own good answer in Ann's browser, which asked nothing, and then in one that asked something else
    stranger = browser()
    page = stranger.get(answer)
    assert page.url == answer and page.status == 200 and "_task=logout" not in page.text
    ann.get("/", follow=False)
    page = ann.get(answer)
    assert "_task=logout" not in page.text and page.url == answer
    # where it belongs it is good, once
    assert mallory.get(answer).url.startswith(f"{WEBMAIL}/?_task=mail")
    again = browser("max")
    state = urllib.parse.parse_qs(urllib.parse.urlsplit(again.get("/", follow=False).headers["location"]).query)["state"][0]
    replayed = again.get(re.sub(r"state=[^&]+", f"state={state}", answer))
    assert "_task=logout" not in replayed.text and replayed.url.startswith(f"{WEBMAIL}/index.php/login/oauth")


def test_of_two_questions_either_may_be_answered(browser):
    ann = browser("ann")
    first, second = (ann.get("/", follow=False).headers["location"] for _ in range(2))
    assert first != second
    assert ann.get(first).url.startswith(f"{WEBMAIL}/?_task=mail")


def test_there_is_no_password_form_and_no_password_enters(browser):
    somebody = browser()
    page = somebody.get("/index.php/login/oauth?code=wrong&state=wrong")
    assert 'type="password"' not in page.text and "_action=oauth" in page.text
    form = {
        "_task": "login",
        "_action": "login",
        "_user": "ann@coop.test",
        "_pass": PASSWORD,
        "_token": page.env("request_token"),
    }
    answer = somebody.get("/?_task=login", form, follow=False)
    assert "sessauth" not in " ".join(answer.cookies) and not (answer.headers.get("location") or "").startswith(WEBMAIL)


def test_a_suspended_member_gets_no_further_than_an_explanation(browser):
    sue = browser("sue")
    page = sue.get("/")
    assert page.url.startswith(f"{WEBMAIL}/index.php/login/oauth?code="), page.url
    assert "_task=logout" not in page.text


# --- the session ends ---------------------------------------------------------------------------------------------------


def test_signing_out_at_the_portal_ends_every_session_here(browser):
    ends = browser("ann"), browser("ann")
    for end in ends:
        end.inbox()
    other = browser("bob")
    other.inbox()
    other.get(f"{PORTAL}/end?member=ann")
    assert "session_error" in ends[0].ask(task="mail", action="refresh").text
    for end, url in zip(ends, ("/?_task=mail", "/?_task=settings"), strict=True):
        page = end.get(url)
        assert "who are you?" in page.text, url
        # and from there the way in again
        end.get(f"{PORTAL}/login?member=ann")
        assert end.get(page.url).url.startswith(f"{WEBMAIL}/?_task=mail")
        end.inbox()
    assert other.get("/?_task=settings").url == f"{WEBMAIL}/?_task=settings"


def test_a_suspension_ends_it_too_at_once(host, browser):
    bob = browser("bob")
    bob.inbox()
    change = "dn: uid=bob,ou=members,dc=coop,dc=test\nchangetype: modify\nreplace: memberStatus\nmemberStatus: "
    host.check_output("printf %s | ldapmodify -Q -Y EXTERNAL -H ldapi:///", change + "suspended\n")
    try:
        assert "_task=logout" not in bob.get("/?_task=addressbook").text
        assert "session_error" in bob.ask(task="mail", action="refresh").text
    finally:
        host.check_output("printf %s | ldapmodify -Q -Y EXTERNAL -H ldapi:///", change + "active\n")
    browser("bob").inbox()


def test_signing_out_here_signs_out_at_the_portal(browser):
    ann = browser("ann")
    page = ann.inbox()
    # a link from elsewhere has no token and signs nobody out
    ann.get("/?_task=logout")
    ann.inbox()
    assert "who are you?" in ann.get(f"/?_task=logout&_token={page.env('request_token')}").text
    assert "who are you?" in ann.get("/").text


def test_an_old_session_is_no_dead_end(host, browser):
    ann = browser("ann")
    ann.inbox()
    sql("DELETE FROM session", host)
    assert ann.get("/?_task=mail&_mbox=INBOX").url.startswith(f"{WEBMAIL}/?_task=mail")


def test_a_token_is_renewed_before_it_ends(host, browser):
    ann = browser("ann")
    ann.inbox()
    stored = "SELECT vars FROM session WHERE vars <> '' ORDER BY changed DESC LIMIT 1"
    before = base64.b64decode(sql(stored, host)).decode()
    later = re.sub(r'"expires";i:\d+', '"expires";i:1000000000', before)
    assert later != before
    encoded = base64.b64encode(later.encode()).decode()
    sql(f"UPDATE session SET vars = '{encoded}' WHERE vars <> '' AND changed = (SELECT max(changed) FROM session)", host)  # noqa: S608 # of base64
    ann.ask(task="mail", action="refresh")
    after = base64.b64decode(sql(stored, host)).decode()
    assert int(re.search(r'"expires";i:(\d+)', after)[1]) > time.time(), after


def test_no_password_and_no_readable_token_is_kept(host, browser):
    browser("ann").inbox()
    tokens = host.check_output("curl -sSf 'http://127.0.0.1:8090/tokens?member=ann'").split()
    kept = [base64.b64decode(line).decode(errors="replace") for line in sql("SELECT vars FROM session", host).split() if line]
    logged = (
        host.check_output("journalctl -u webmail -u dovecot -u postfix --no-pager") + host.run("cat /var/log/nginx/*.log").stdout
    )
    assert tokens and any("oauth_token" in session for session in kept)
    for token in tokens:
        assert not any(token in text for text in (*kept, logged))
    assert PASSWORD not in logged


# --- sending ------------------------------------------------------------------------------------------------------------


def subjects(host, member):
    return host.run(f"grep -rhi ^Subject: /srv/mail/{member}/Maildir").stdout


def test_a_member_sends_as_each_of_their_addresses(host, browser):
    ann = browser("ann")
    ann.inbox()
    for sender in ("ann@coop.test", "annie@coop.test", "ann@famille.test"):
        answer = ann.send(sender, "bob@coop.test", f"from {sender}", "Dag Bob")
        assert "sent_successfully" in answer.text, answer.text[-3000:]
        assert eventually(lambda sender=sender: f"from {sender}" in subjects(host, "bob"))
    assert "from ann@famille.test" in subjects(host, "ann"), "no copy in Sent"
    raw = host.check_output("grep -rl 'from annie@coop.test' /srv/mail/bob/Maildir | head -n 1 | xargs cat")
    assert re.search(r"^From: .*annie@coop\.test", raw, re.MULTILINE)
    assert "Roundcube" not in raw and "webmail" not in raw.lower().split("\n\n")[0].replace("webmail.coop.test", "")


def test_another_address_cannot_be_had_nor_used(host, browser):
    ann = browser("ann")
    ann.inbox()
    answer = ann.send("bob@coop.test", "max@coop.test", "forged directly", "x")
    assert "sent_successfully" not in answer.text
    # a new identity has the member's own address, whatever the form says
    page = ann.get("/?_task=settings&_action=add-identity&_framed=1")
    form = {"_token": page.env("request_token"), "_task": "settings", "_action": "save-identity", "_framed": "1"}
    ann.get("/?_task=settings&_framed=1", form | {"_iid": "", "_name": "Bob", "_email": "bob@coop.test"})
    added = "SELECT email FROM identities JOIN users USING (user_id) WHERE username = 'ann' AND name = 'Bob' AND del = 0"
    assert sql(added, host) == "ann@coop.test"
    own = "SELECT count(*) FROM identities JOIN users USING (user_id) WHERE username = 'ann' AND email = 'bob@coop.test'"
    assert sql(own, host) == "0"
    # nor would the mail server send it, were it in the database
    sql(
        "INSERT INTO identities (user_id, name, email) SELECT user_id, 'Bob', 'bob@coop.test' FROM users WHERE username = 'ann'",
        host,
    )
    answer = ann.send("bob@coop.test", "max@coop.test", "forged in the database", "x")
    assert "sent_successfully" not in answer.text and "553" in answer.text, answer.text[-2000:]
    assert "forged" not in subjects(host, "max")
    # and signing in takes it away again
    browser("ann").inbox()
    assert sql(own.replace("count(*)", "min(del)"), host) == "1"


def test_filters_are_kept_on_the_mail_server(host, browser):
    ann = browser("ann")
    vacation = ann.get("/?_task=settings&_action=plugin.managesieve-vacation")
    form = {
        "_token": vacation.env("request_token"), "_task": "settings", "_action": "plugin.managesieve-vacation", "_framed": "1",
        "vacation_status": "on", "vacation_subject": "Absente", "vacation_reason": "En vacances", "vacation_interval": "7",
        "vacation_interval_type": "days", "vacation_action": "keep",
    }  # fmt: skip
    ann.get("/?_task=settings&_action=plugin.managesieve-vacation&_framed=1", form)
    assert "En vacances" in host.run("cat /srv/mail/ann/sieve/*").stdout


# --- what is not served -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    """
    /config /config/config.inc.php /../config/config.inc.php /installer/ /installer/index.php /logs/errors.log /temp/
    /SQL/postgres.initial.sql /bin/updatedb.sh /program/include/rcmail.php /program/localization/fr_FR/labels.inc
    /plugins/perron/perron.php /plugins/managesieve/managesieve.php /plugins/managesieve/config.inc.php /plugins/perron/
    /skins/elastic/meta.json /skins/elastic/templates/login.html /composer.json /.htaccess /unavailable
    /static.php /index.php/x /index.php.bak /index.php%00.css
    """.split(),  # noqa: SIM905 # a list of this length is read in lines
)
def test_nothing_but_the_pages_and_what_they_are_made_of_is_served(browser, path):
    page = browser().get(path, follow=False)
    assert page.status in (400, 404) and b"<?php" not in page.body, (page.status, page.text[:300])


@pytest.mark.parametrize(
    "path", ["/program/js/app.min.js", "/skins/elastic/styles/styles.min.css", "/skins/elastic/images/logo.svg"]
)
def test_what_pages_are_made_of_is_served(browser, path):
    page = browser().get(path, **{"Accept-Encoding": "gzip"})
    assert page.status == 200 and page.headers.get("content-encoding", "gzip") == "gzip"


def test_headers_are_the_houses_where_roundcube_can_bear_them(browser):
    page = browser("ann").inbox()
    policy = page.headers["content-security-policy"]
    for part in ("default-src 'self'", "object-src 'none'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'self'"):
        assert part in policy
    assert page.headers["strict-transport-security"] and page.headers["x-content-type-options"] == "nosniff"
    assert "x-powered-by" not in page.headers and "https://" not in re.sub(rf"{WEBMAIL}|img-src [^;]*", "", policy)
    # nothing of the page is anybody else's
    assert not re.findall(r'<link[^>]* href="(?:https?:)?//|src="(?:https?:)?//', page.text)


def test_another_name_is_nobodys(host):
    run = host.run("curl -sS --resolve other.coop.test:443:127.0.0.1 https://other.coop.test/")
    assert run.rc != 0
    run = host.run("curl -sS -o /dev/null -w %{http_code} -H 'Host: other.coop.test' https://webmail.coop.test/")
    assert run.stdout == "421"


# --- when something is down ---------------------------------------------------------------------------------------------


def down(host, unit):
    class Down:
        def __enter__(self):
            host.check_output(f"systemctl stop {unit}")

        def __exit__(self, *_):
            host.check_output(f"systemctl start {unit}")

    return Down()


def test_without_the_database_there_is_a_clear_page_and_then_webmail_again(host, browser):
    ann = browser("ann")
    ann.inbox()
    with down(host, "postgresql@17-main"):
        # a language that the cooperative does not speak gets its first one
        for accepted, language, title in (
            ("nl", "nl", "De webmail antwoordt niet"),
            ("de-BE,de;q=0.9,fr;q=0.8", "de", "Die Webmail antwortet nicht"),
            ("tr,nl;q=0.8", "nl", "De webmail antwoordt niet"),
            ("ja", "fr", "La messagerie web ne répond pas"),
        ):
            began = time.monotonic()
            page = ann.get("/?_task=mail", follow=False, **{"Accept-Language": accepted})
            assert page.status >= 500 and time.monotonic() - began < 5, page.status
            assert f'<html lang="{language}">' in page.text and f"<h1>{title}</h1>" in page.text, page.text
            assert "SQLSTATE" not in page.text and "webmail-" not in page.text
    assert eventually(lambda: ann.get("/?_task=mail").url.startswith(f"{WEBMAIL}/?_task=mail"))


@pytest.fixture
def empty_database(host):
    """In the place of the one that is kept: as a first run finds it."""

    def as_superuser(*statements):
        psql = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d postgres"
        host.check_output(psql + " -c %s" * len(statements), *statements)

    with down(host, "webmail"):
        as_superuser("ALTER DATABASE webmail RENAME TO kept", "CREATE DATABASE webmail OWNER webmail")
        yield
        as_superuser("DROP DATABASE webmail WITH (FORCE)", "ALTER DATABASE kept RENAME TO webmail")


MAKE_TABLES = (
    "ROUNDCUBE_CONFIG_DIR=/etc/webmail HOME=/nonexistent setpriv --reuid=webmail --regid=webmail --clear-groups"
    " /usr/local/lib/webmail-database"
)
TABLES = "SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"


def test_tables_that_cannot_all_be_made_are_not_made_at_all(host, empty_database):
    # one of the last ones
    sql("CREATE TABLE filestore (mine text)", host)
    failed = host.run(MAKE_TABLES)
    assert failed.rc != 0 and "filestore" in failed.stdout + failed.stderr
    assert sql(TABLES, host) == "filestore"
    sql("DROP TABLE filestore", host)
    host.check_output(MAKE_TABLES)
    assert {"users", "system", "filestore"} <= set(sql(TABLES, host).split())


def test_two_hosts_that_begin_at_once_make_the_tables_once(host, empty_database):
    both = host.run(f"{MAKE_TABLES} >/tmp/one & {MAKE_TABLES} >/tmp/two; two=$?; wait $! && exit $two")
    assert both.rc == 0, both.stderr
    said = host.check_output("cat /tmp/one /tmp/two; rm /tmp/one /tmp/two")
    assert said.count("Creating database schema... [OK]") == 1, said


def test_without_the_mail_server_the_session_stays(host, browser):
    ann = browser("ann")
    ann.inbox()
    with down(host, "dovecot"):
        page = ann.get("/?_task=mail")
        assert page.status == 200 and "_task=logout" in page.text
        # whoever signs in meanwhile is told, and not sent round in circles
        page = browser("bob").get("/")
        assert page.url.startswith(f"{WEBMAIL}/index.php/login/oauth?code=") and 'type="password"' not in page.text
    assert eventually(lambda: "add_message_row" in ann.ask(task="mail", action="list", mbox="INBOX").text)


def test_without_the_portal_nobody_is_signed_out(host, browser):
    ann = browser("ann")
    ann.inbox()
    # stopping its web server would stop ours, as they are one here
    host.check_output("systemctl kill --signal=STOP provider")
    try:
        page = ann.get("/?_task=settings")
        assert page.status == 200 and "_task=logout" in page.text, page.text[:500]
    finally:
        host.check_output("systemctl kill --signal=CONT provider")
    assert eventually(lambda: ann.get("/?_task=mail").url.startswith(f"{WEBMAIL}/?_task=mail"))
    ann.inbox()


# --- how it runs --------------------------------------------------------------------------------------------------------


def test_the_web_servers_user_reads_no_secret(host):
    for path in ("/etc/webmail/config.inc.php",):
        assert host.run(f"runuser -u www-data -- cat {path}").rc != 0
        assert host.run(f"setpriv --reuid=webmail --regid=webmail --clear-groups cat {path}").rc == 0
    assert (
        host.run("setpriv --reuid=nobody --regid=nogroup --clear-groups curl -s --unix-socket /run/webmail/php.sock http://x/").rc
        == 7
    )


def test_timers_tidy_up_as_webmail(host):
    for unit in ("roundcube-gc", "roundcube-cleandb"):
        host.check_output(f"systemctl start {unit}.service")
        assert host.check_output(f"systemctl show --value -p Result,User {unit}.service").split() == ["success", "webmail"]
        assert host.check_output(f"systemctl is-enabled {unit}.timer") == "enabled"


def test_no_other_php_server_runs(host):
    assert host.run("systemctl is-active php8.4-fpm").stdout.strip() != "active"
    assert set(host.check_output("ps -o user= -C php-fpm8.4").split()) == {"webmail"}


def test_the_unit_is_hardened(host):
    line = host.check_output("systemd-analyze security --no-pager webmail | tail -n 1")
    assert float(line.split(":")[1].split()[0]) <= 2.0, line
    shown = host.check_output(
        "systemctl show -p User,NoNewPrivileges,MemoryDenyWriteExecute,ProtectSystem,MemoryMax webmail"
    ).split()
    wanted = [
        "MemoryDenyWriteExecute=yes",
        f"MemoryMax={1024 << 20}",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "User=webmail",
    ]
    assert sorted(shown) == wanted


def test_attachments_as_large_as_promised_and_no_larger(host, browser):
    ann = browser("ann")
    ann.inbox()
    for mib, fits in ((25, True), (27, False)):
        page = ann.get("/?_task=mail&_action=compose")
        boundary, content = "part", b"\0" * ((mib << 20) - 1024)
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="_attachments[]"; filename="a.bin"\r\n\r\n'.encode()
        try:
            answer = ann.get(
                f"/?_task=mail&_action=upload&_remote=1&_from=compose&_id={page.env('compose_id')}&_uploadid=1&_unlock=0",
                head + content + f"\r\n--{boundary}--\r\n".encode(),
                **{"Content-Type": f"multipart/form-data; boundary={boundary}", "X-Roundcube-Request": page.env("request_token")},
                **AJAX,
            )
            done, said = "add2attachment_list" in answer.text, answer.text
        except urllib.error.URLError as error:  # the server does not read what is too large to its end
            done, said = False, error
        assert done == fits, (mib, said)
        if fits:
            answer = ann.send("ann@coop.test", "bob@coop.test", "large", "x", page)
            assert "sent_successfully" in answer.text, answer.text[-2000:]
            assert eventually(lambda: "Subject: large" in subjects(host, "bob"), 60)
