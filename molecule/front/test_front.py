"""What a visitor and a mail program see."""

import html.parser
import re
import xml.etree.ElementTree as ET

import pytest

LANGUAGES = ("fr", "nl", "de", "en")
GUIDES = ("iphone", "android", "thunderbird", "outlook", "apple-mail")
NAMES = [f"{name}{zone}" for zone in ("coop.test", "famille.test") for name in ("", "www.", "autoconfig.", "autodiscover.")]
CURL = "curl -sS --max-time 10 " + " ".join(f"--resolve {name}:{port}:127.0.0.1" for name in NAMES for port in (80, 443))
RESPONSE = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"


class Answer:
    def __init__(self, host, url, *options):
        run = host.run(f"{CURL} -i {' '.join(options)} '{url}'")
        assert run.rc == 0, run.stderr + host.run("journalctl -n 20 -u nginx").stdout
        head, _, self.body = run.stdout.replace("\r\n", "\n").partition("\n\n")
        lines = head.splitlines()
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}


@pytest.fixture
def ask(host):
    return lambda url, *options: Answer(host, url, *options)


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.tags, self.language, self.text = [], [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        if tag == "html":
            self.language = given["lang"]
        if tag == "a":
            self.links.append(given["href"])
        if tag in ("img", "script", "iframe") or (tag == "link" and given["rel"] in ("stylesheet", "icon")):
            self.loads.append(given.get("src") or given.get("href"))

    def handle_data(self, data):
        self.text += data


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepts", "language"),
    [
        ("nl-BE,nl;q=0.9,en;q=0.8", "nl"),
        ("de", "de"),
        ("lb,en-GB;q=0.8,fr;q=0.5", "en"),
        ("ja", "fr"),
        ("", "fr"),
        ("xnl,defr", "fr"),
    ],
)
def test_the_visitors_language_is_chosen(ask, accepts, language):
    answer = ask("https://coop.test/", f"-H 'Accept-Language: {accepts}'")
    assert (answer.status, answer.headers["location"]) == (302, f"https://coop.test/{language}/")
    assert answer.headers["vary"] == "Accept-Language"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_front_page_leads_to_all_there_is(ask, language):
    answer = ask(f"https://coop.test/{language}/")
    page = Page(answer.body)
    assert answer.status == 200 and page.language == language
    wanted = {"https://auth.coop.test", "https://devices.coop.test/", "https://webmail.coop.test/", "https://cloud.coop.test/"}
    wanted |= {f"/{other}/" for other in LANGUAGES if other != language} | {f"/{language}/{guide}.html" for guide in GUIDES}
    assert wanted <= set(page.links)
    assert "https://gone.coop.test/" not in page.links
    assert "Coopérative « d'essai » & Cie" in page.text and "&amp; Cie" in answer.body


@pytest.mark.parametrize("page", [f"{language}/{guide}.html" for language in LANGUAGES for guide in GUIDES])
def test_each_guide_says_the_servers_and_loads_nothing_from_elsewhere(ask, page):
    answer = ask(f"https://coop.test/{page}")
    found = Page(answer.body)
    assert answer.status == 200
    for value in ("mail.coop.test", "993", "465", "587", "devices.coop.test"):
        assert value in found.text, value
    assert found.loads == ["/style.css"]
    assert "script" not in found.tags and "style=" not in answer.body
    assert not re.search(r"\{(name|domain|devices|guide)\}", answer.body)
    for link in found.links:
        if link.startswith("/"):
            assert ask(f"https://coop.test{link}").status == 200, link


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_guide_to_calendars_says_where_they_are(ask, language):
    assert f"/{language}/calendar.html" in Page(ask(f"https://coop.test/{language}/").body).links
    answer = ask(f"https://coop.test/{language}/calendar.html")
    found = Page(answer.body)
    assert answer.status == 200 and "DAVx" in found.text and "devices.coop.test" in found.text
    assert "cloud.coop.test" in found.text and "https://cloud.coop.test/" in found.links
    assert found.loads == ["/style.css"] and not re.search(r"\{\w+\}", answer.body)


FILES = r"Files|Fichiers|Bestanden|Dateien"
BELGIUM = r"Belgi"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_front_page_promises_what_there_is(host, language):
    def first(tree):
        page = host.file(f"{tree}/www/{language}/index.html").content_string
        return re.search(r"<h1>.*?</h1>\s*<p>(.*?)</p>", page, re.DOTALL).group(1)

    whole, without_cloud = first("/srv/front"), first("/srv/without-devices")
    assert re.search(FILES, whole, re.IGNORECASE) and re.search(BELGIUM, whole), whole
    assert not re.search(FILES, without_cloud, re.IGNORECASE) and not re.search(BELGIUM, without_cloud), without_cloud


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_mail_the_pages_say_nothing_of_it(host, language):
    directory = host.file(f"/srv/without-mail/www/{language}")
    assert sorted(directory.listdir()) == ["calendar.html", "index.html"]
    page = Page(host.file(f"{directory.path}/index.html").content_string)
    assert f"/{language}/calendar.html" in page.links and "https://cloud.coop.test/" in page.links
    assert not re.search(r"mail|courriel|message|bericht|nachricht", page.text, re.IGNORECASE), page.text
    # the page of devices makes passwords of mail, and is not there either
    calendar = Page(host.file(f"{directory.path}/calendar.html").content_string)
    assert "cloud.coop.test" in calendar.text and "devices.coop.test" not in calendar.text


def test_without_mail_nothing_is_there_for_mail_programs(host):
    found = host.check_output("cd /srv/without-mail && find . -name '*.xml' -o -name autoconfig -o -name autodiscover")
    assert found == ""


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("guide", GUIDES)
def test_without_devices_a_guide_sends_nobody_to_them(host, language, guide):
    page = Page(host.file(f"/srv/without-devices/www/{language}/{guide}.html").content_string)
    assert "mail.coop.test" in page.text and "993" in page.text
    assert not re.search(r"QR|apparaat|toestel|appareil|gerät|device", page.text, re.IGNORECASE), page.text
    # the portal's button, at the top of every page, is the one way there
    assert page.text.count("auth.coop.test") == 0


def test_thunderbird_is_sent_to_the_pages_where_they_are(host):
    file = host.file("/srv/without-devices/autoconfig/mail/config-v1.1.xml").content_string
    assert ET.fromstring(file).find("emailProvider/documentation").get("url") == "https://help.coop.test/fr/thunderbird.html"  # noqa: S314 # our own


def test_what_is_not_there_is_not(ask):
    assert ask("https://coop.test/lb/").status == 404
    assert ask("https://coop.test/fr/none.html").status == 404


def test_the_other_name_leads_here(ask):
    answer = ask("https://www.coop.test/fr/iphone.html")
    assert (answer.status, answer.headers["location"]) == (301, "https://coop.test/fr/iphone.html")
    assert ask("http://coop.test/fr/").headers["location"] == "https://coop.test/fr/"


def test_headers_are_those_of_every_vhost(ask):
    headers = ask("https://coop.test/fr/").headers
    assert "includeSubDomains" in headers["strict-transport-security"]
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


# --- mail programs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://autoconfig.coop.test/mail/config-v1.1.xml?emailaddress=ann%40coop.test",
        "https://autoconfig.famille.test/mail/config-v1.1.xml?emailaddress=ann%40famille.test",
        "https://coop.test/.well-known/autoconfig/mail/config-v1.1.xml",
        "https://autoconfig.coop.test/.well-known/autoconfig/mail/config-v1.1.xml",
    ],
)
def test_thunderbirds_file(ask, url):
    answer = ask(url)
    assert answer.status == 200 and "xml" in answer.headers["content-type"]
    provider = ET.fromstring(answer.body).find("emailProvider")  # noqa: S314 # our own
    assert {domain.text for domain in provider.findall("domain")} == {"coop.test", "famille.test"}
    servers = [
        (server.tag, server.get("type"), *(server.findtext(key) for key in ("hostname", "port", "socketType")))
        for server in provider
        if server.tag.endswith("Server")
    ]
    assert servers[0] == ("incomingServer", "imap", "mail.coop.test", "993", "SSL")
    assert ("outgoingServer", "smtp", "mail.coop.test", "465", "SSL") in servers
    assert {server.findtext("authentication") for server in provider.iter() if server.tag.endswith("Server")} == {
        "password-cleartext"
    }
    assert {server.findtext("username") for server in provider.iter() if server.tag.endswith("Server")} == {"%EMAILADDRESS%"}


REQUEST = (
    '<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>'
    "<EMailAddress>ann@coop.test</EMailAddress></Request></Autodiscover>"
)


@pytest.mark.parametrize("zone", ["coop.test", "famille.test"])
@pytest.mark.parametrize("path", ["autodiscover/autodiscover.xml", "Autodiscover/Autodiscover.xml"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_outlooks_file(ask, zone, path, method):
    body = ("-H 'Content-Type: text/xml'", f"--data '{REQUEST}'") if method == "POST" else ()
    answer = ask(f"https://autodiscover.{zone}/{path}", *body)
    assert answer.status == 200 and "xml" in answer.headers["content-type"]
    protocols = {
        protocol.findtext(f"{RESPONSE}Type"): (protocol.findtext(f"{RESPONSE}Server"), protocol.findtext(f"{RESPONSE}Port"))
        for protocol in ET.fromstring(answer.body).iter(f"{RESPONSE}Protocol")  # noqa: S314 # our own
    }
    assert protocols["IMAP"] == ("mail.coop.test", "993") and protocols["SMTP"] == ("mail.coop.test", "465")


def test_nothing_else_is_there(ask):
    assert ask("https://autodiscover.coop.test/").status in (403, 404)
    assert ask("https://autodiscover.coop.test/autodiscover/other.xml", "--data x").status in (404, 405)
    assert ask("https://autoconfig.famille.test/fr/").status == 404
