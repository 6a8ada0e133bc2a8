"""What a member meets who sets up a device, from the page to the mailbox."""

import json
import plistlib
import re

import pytest
from conftest import AUTHORITY, eventually

URL = "https://devices.coop.test"
SUFFIX = "dc=coop,dc=test"
PASSWORD = "correct-Horse-7"


class Visitor:
    """A browser with cookies of its own, whom the portal knows as that member."""

    def __init__(self, host, member="", second_factor=True, **more):
        self.host, self.jar = host, host.check_output("mktemp")
        self.member = {"sub": member, "name": f"{member} Test", "second_factor": second_factor, "sid": f"sid-{member}"} | more

    def ask(self, path, *options):
        self.host.run("echo %s >/run/provider.json", json.dumps(self.member))
        run = self.host.run(
            f"curl -sS -L --max-time 20 -b {self.jar} -c {self.jar} {' '.join(options)} "
            "-w '\\n%%{http_code} %%{url_effective}' %s",
            path if path.startswith("http") else URL + path,
        )
        assert run.rc == 0, run.stderr
        self.text, _, last = run.stdout.rpartition("\n")
        self.status, self.url = int(last.split()[0]), last.split()[1]
        return self

    def post(self, path, **fields):
        csrf = re.search(r'name="csrf" value="([^"]+)"', self.ask("/").text)
        fields = {"csrf": csrf[1] if csrf else ""} | fields
        return self.ask(path, *(f"--data-urlencode '{name}={value}'" for name, value in fields.items()))

    def make(self, name="Phone"):
        self.post("/devices", name=name)
        assert self.status == 200, self.text + self.host.run("journalctl -n 30 -u perron-devices").stdout
        return re.search(r'class="password">([^<]+)<', self.text)[1]


@pytest.fixture(scope="module", autouse=True)
def running(host):
    assert eventually(lambda: host.run(f"curl -sSf {URL}/health").rc == 0), host.run("journalctl -n 40 -u perron-devices").stdout


@pytest.fixture(autouse=True)
def clean(host):
    yield
    found = host.run(f"ldapsearch -LLLQ -Y EXTERNAL -H ldapi:/// -b ou=devices,{SUFFIX} -s one 1.1").stdout
    for dn in re.findall(r"^dn: (.*)$", found, re.M):
        host.run(f"ldapdelete -Q -Y EXTERNAL -H ldapi:/// {dn}")
    for member in ("ann", "bob", "max"):
        change = f"dn: uid={member},ou=members,{SUFFIX}\nchangetype: modify\nreplace: memberDevices\n"
        change += "-\nreplace: memberStatus\nmemberStatus: active\n"
        host.run("echo %s | ldapmodify -Q -Y EXTERNAL -H ldapi:///", change)


def enters(host, member, password):
    return host.run("doveadm auth test %s@coop.test %s", member, password).rc == 0


# --- who comes in -----------------------------------------------------------------------------------------------------


def test_a_member_comes_by_the_portal_in_their_language(host):
    ann = Visitor(host, "ann").ask("/")
    assert (ann.status, ann.url) == (200, f"{URL}/")
    assert 'lang="fr"' in ann.text and "Mes appareils" in ann.text and "ann@coop.test" in ann.text
    assert "built-in" not in ann.text and "Vos réglages" in ann.text
    assert 'lang="de"' in ann.ask("/language/de").text
    assert "Mijn toestellen" in Visitor(host, "bob").ask("/").text


@pytest.mark.parametrize("member", ["sue", "nobody", "*"])
def test_who_is_no_active_member_does_not(host, member):
    visitor = Visitor(host, member).ask("/")
    assert visitor.status == 403 and 'name="csrf"' not in visitor.text


def test_a_forged_token_and_a_replayed_answer_are_refused(host):
    assert Visitor(host, "ann", forged=True).ask("/").status == 403
    assert Visitor(host, "ann").ask("/callback?code=abc&state=def").status == 403


def test_nobody_writes_lines_of_his_own_into_the_journal(host):
    assert Visitor(host, "ann").ask("/callback?error=x%0AFORGED").status == 403
    said = host.check_output("journalctl -u perron-devices --no-pager -o cat").splitlines()
    assert [line for line in said if "FORGED" in line and r"x\nFORGED" in line]
    assert not [line for line in said if line.startswith("FORGED")]


def test_a_member_suspended_meanwhile_is_out(host):
    ann = Visitor(host, "ann").ask("/")
    assert ann.status == 200
    change = f"dn: uid=ann,ou=members,{SUFFIX}\nchangetype: modify\nreplace: memberStatus\nmemberStatus: suspended\n"
    host.run("echo %s | ldapmodify -Q -Y EXTERNAL -H ldapi:///", change)
    assert ann.ask("/").status == 403


def test_the_end_of_the_portals_session_is_the_end_here(host):
    ann = Visitor(host, "ann").ask("/")
    before = host.check_output(f"cat {ann.jar}")
    forged = host.check_output("curl -sS 'https://auth.coop.test/logout-token?forged=1'")
    good = host.check_output("curl -sS https://auth.coop.test/logout-token")
    post = f"curl -sS -o /dev/null -w '%%{{http_code}}' --data logout_token=%s {URL}/backchannel-logout"
    no_redirect = f"curl -sS -o /dev/null -w '%{{http_code}}' -b {ann.jar} {URL}/"
    assert host.check_output(post, forged) == "400" and host.check_output(no_redirect) == "200"
    assert host.check_output(post, good) == "200" and host.check_output(no_redirect) == "302"
    assert before


def test_whose_session_is_over_is_told_so_where_they_are(host):
    """A redirect from a form would lead to the portal, where the page's own policy keeps a browser from following it."""
    ann = Visitor(host, "ann")
    password = ann.make()
    csrf = re.search(r'name="csrf" value="([^"]+)"', ann.ask("/language/nl").text)[1]
    token = host.check_output("curl -sS https://auth.coop.test/logout-token")
    host.check_output(f"curl -sSf --data logout_token=%s {URL}/backchannel-logout", token)
    for path in (f"/devices/{password[:6]}/revoke", "/devices"):
        ann.ask(path, f"--data csrf={csrf} --data name=x")
        assert (ann.status, ann.url) == (401, URL + path)
        assert "er is niets gewijzigd" in ann.text and '<a class="button" href="/signin">' in ann.text
    assert enters(host, "ann", password), "it is revoked, and the page says that nothing changed"
    # the link leads back, still in the language that was chosen
    ann.ask("/signin")
    assert (ann.status, ann.url) == (200, f"{URL}/") and "Mijn toestellen" in ann.text and password[:6] in ann.text
    assert ann.text.count("/revoke") == 1, "a device was made"
    assert ann.post(f"/devices/{password[:6]}/revoke").status == 200 and not enters(host, "ann", password)


def test_who_asks_for_the_headers_alone_is_led_like_who_asks_for_the_page(host):
    ann = Visitor(host, "ann").ask("/")
    head = "curl -sSI -o /dev/null -w '%{http_code} %{redirect_url}'"
    assert host.check_output(f"{head} -b {ann.jar} {URL}/").strip() == "200"
    assert host.check_output(f"{head} {URL}/") == f"302 {URL}/signin"
    assert host.check_output(f"{head} {URL}/signin").startswith("302 https://auth.coop.test/oauth2/authorize?")


# --- passwords of devices ---------------------------------------------------------------------------------------------


def test_a_device_opens_the_mailbox_until_it_is_revoked(host):
    ann = Visitor(host, "ann")
    assert enters(host, "ann", PASSWORD)
    password = ann.make("Mon téléphone <b>")
    assert re.fullmatch(r"[a-z2-9]{6}(-[a-z2-9]{5}){4}", password)
    assert enters(host, "ann", password) and not enters(host, "ann", PASSWORD) and not enters(host, "bob", password)
    listed = ann.ask("/").text
    assert "Mon téléphone &lt;b&gt;" in listed and password not in listed and password[:6] in listed
    assert ann.post(f"/devices/{password[:6]}/revoke").status == 200
    assert password[:6] not in ann.text and not enters(host, "ann", password) and not enters(host, "ann", PASSWORD)


def test_without_a_second_factor_there_is_none(host):
    bob = Visitor(host, "bob", second_factor=False)
    assert "2fregisters" in bob.ask("/").text and 'action="/devices"' not in bob.text
    assert bob.ask("/devices", "--data name=x").status in (400, 403)
    bob.member["second_factor"] = True
    other = Visitor(host, "bob")
    password = other.make()
    assert enters(host, "bob", password)
    bob.member["second_factor"] = False
    assert bob.post("/devices", name="x").status == 403


def test_another_page_cannot_make_or_revoke_one(host):
    ann = Visitor(host, "ann")
    password = ann.make()
    for path in ("/devices", f"/devices/{password[:6]}/revoke"):
        assert ann.ask(path, "--data name=x").status == 400
        assert ann.ask(path, "--data name=x --data csrf=wrong").status == 400
    assert enters(host, "ann", password)


def test_another_member_cannot_revoke_one(host):
    password = Visitor(host, "ann").make()
    bob = Visitor(host, "bob").ask("/")
    assert password[:6] not in bob.text
    assert bob.post(f"/devices/{password[:6]}/revoke").status == 404
    assert enters(host, "ann", password)


def test_names_and_numbers_have_bounds(host):
    ann = Visitor(host, "ann")
    for bad in ("", "   ", "x" * 41):
        assert ann.post("/devices", name=bad).status == 400
    assert ann.post("/devices/zzzzzz/revoke").status == 404
    for number in range(20):
        ann.make(f"n{number}")
    assert ann.post("/devices", name="one more").status == 400
    assert ann.ask("/").text.count("/revoke") == 20


# --- setting one up ---------------------------------------------------------------------------------------------------


def profile(host, url):
    """What Apple's device finds in it; signed by whom it trusts, and not without."""
    host.check_output("curl -sSf -o /run/profile %s", url)
    verified = host.run(
        f"openssl cms -verify -inform DER -in /run/profile -CAfile {AUTHORITY} -purpose any -out /run/profile.plist"
    )
    assert verified.rc == 0, verified.stderr
    assert host.run("openssl cms -verify -inform DER -in /run/profile -purpose any -no-CAfile -no-CApath -no-CAstore").rc != 0
    return plistlib.loads(host.file("/run/profile.plist").content)


def test_the_profiles_are_signed_and_have_the_members_own_values(host):
    ann = Visitor(host, "ann").ask("/")
    assert "<svg" in ann.text
    link = re.search(rf"{URL}/p/[\w.-]+", ann.text)[0]
    stranger = Visitor(host, "bob")
    assert "mail.mobileconfig" in stranger.ask(link).text, "the phone is not signed in"
    (account,) = profile(host, f"{link}/mail.mobileconfig")["PayloadContent"]
    assert account["EmailAddress"] == account["IncomingMailServerUsername"] == "ann@coop.test"
    assert (account["IncomingMailServerHostName"], account["IncomingMailServerPortNumber"]) == ("mail.coop.test", 993)
    assert (account["OutgoingMailServerPortNumber"], account["OutgoingMailServerUseSSL"]) == (465, True)
    assert not any("Password" in key and "Same" not in key and "Auth" not in key for key in account)
    assert account["EmailAccountName"] == "ann Test"
    assert account["OutgoingPasswordSameAsIncomingPassword"] is True, "the guide says to enter it once"
    calendar, contacts = profile(host, f"{link}/calendar.mobileconfig")["PayloadContent"]
    assert (calendar["PayloadType"], contacts["PayloadType"]) == ("com.apple.caldav.account", "com.apple.carddav.account")
    for kind, values in (("CalDAV", calendar), ("CardDAV", contacts)):
        assert [values[f"{kind}{key}"] for key in ("HostName", "Port", "UseSSL", "Username")] == [
            "cloud.coop.test",
            443,
            True,
            "ann",
        ]
        assert not any("Password" in key for key in values)


def test_the_page_that_shows_the_password_has_the_profiles_and_leads_nowhere_else(host):
    """Going back to it would make another device: a download leaves it open, a page in its place does not."""
    ann = Visitor(host, "ann")
    assert ann.make() in ann.text
    links = re.findall("<a [^>]+>", ann.text.partition("<main")[2])
    guides = [link for link in links if 'href="https://coop.test/' in link]
    assert guides and all('target="_blank"' in guide for guide in guides), "they take its place"
    mail, calendar, done = (re.search('href="([^"]+)"', link)[1] for link in links if link not in guides)
    assert done == "/" and mail.endswith("/mail.mobileconfig") and calendar.endswith("/calendar.mobileconfig")
    for link in (mail, calendar):
        assert profile(host, link)["PayloadContent"]
        assert "attachment" in host.check_output("curl -sSf -o /dev/null -w '%%header{content-disposition}' %s", link)


def test_a_link_that_was_altered_opens_nothing(host):
    link = re.search(rf"{URL}/p/[\w.-]+", Visitor(host, "ann").ask("/").text)[0]
    assert Visitor(host).ask(link[:-3] + "abc").status == 404
    for name in ("mail", "calendar"):
        assert Visitor(host).ask(f"{link[:-3]}abc/{name}.mobileconfig").status == 404


def test_the_web_server_does_not_keep_a_link_that_works(host):
    link = re.search(rf"{URL}/p/[\w.-]+", Visitor(host, "ann").ask("/").text)[0]
    token = link.removeprefix(f"{URL}/p/")
    assert profile(host, f"{link}/mail.mobileconfig")
    for scheme in ("https:", "http:"):
        assert "mail.mobileconfig" in Visitor(host).ask(link.replace("https:", scheme)).text
    log = host.file("/var/log/nginx/access.log").content_string
    assert ' devices.coop.test "GET /signin HTTP' in log and ' devices.coop.test "GET /p/- HTTP' in log
    assert not re.search(r"/p/[^- ]", log), "a link of these tests"
    payload = token.split(".")[0]  # who it is, whatever the rest says
    kept = host.run("grep -rl -e %s /var/log; journalctl --no-pager -o cat | grep -e %s", payload, payload)
    assert not kept.stdout, kept.stdout


# --- what it is -------------------------------------------------------------------------------------------------------


def test_pages_are_not_kept_and_ask_nobody_else(host):
    ann = Visitor(host, "ann").ask("/", "-D /run/headers")
    headers = host.file("/run/headers").content_string.lower().split("http/")[-1]
    assert "cache-control: no-store" in headers and "default-src 'self'" in headers
    assert not re.findall(r'(?:src|href)="(?!/|https://(?:devices|auth)?\.?coop\.test)', ann.text)
    cookie = next(line for line in host.file("/run/headers").content_string.splitlines() if "__Host-devices=" in line)
    assert "Secure" in cookie and "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_the_directory_down_is_said_and_over_by_itself(host):
    ann = Visitor(host, "ann").ask("/")
    host.check_output("systemctl stop slapd")
    try:
        assert ann.ask("/").status == 503 and "momentanément" in ann.text
    finally:
        host.check_output("systemctl start slapd")
    assert eventually(lambda: ann.ask("/").status == 200)


def test_who_has_left_the_host_holds_up_no_renewal(host):
    hook = host.file("/etc/certificates/reload.d/devices").content_string
    certificate = re.findall(r"cmp -s (\S+)/", hook)[0]
    host.check_output(f"mv {certificate} {certificate}.away")
    try:
        host.check_output("/etc/certificates/reload.d/devices")
    finally:
        host.check_output(f"mv {certificate}.away {certificate}")


def test_secrets_are_its_own(host):
    config = host.file("/etc/perron-devices/config.json")
    assert (config.user, config.group, config.mode) == ("root", "devices", 0o640)
    assert host.run("setpriv --reuid devices --regid devices --clear-groups cat /etc/certificates/mail/privkey.pem").rc != 0
    assert host.file("/run/perron-devices.sock").user == "www-data" and host.file("/run/perron-devices.sock").mode == 0o600
    made = Visitor(host, "ann").make()
    said = host.check_output("journalctl -u perron-devices --no-pager")
    assert f"device {made[:6]} made for ann" in said and made not in said


def test_it_is_confined(host):
    score = host.check_output("systemd-analyze security --no-pager perron-devices | tail -n 1")
    assert float(score.split(": ")[1].split()[0]) <= 2.0, score
    pid = host.check_output("systemctl show --value -p MainPID perron-devices")
    assert host.check_output(f"ps -o user= -p {pid}").strip() == "devices"
    assert "NoNewPrivs:\t1" in host.check_output(f"cat /proc/{pid}/status")
