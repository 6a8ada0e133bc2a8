"""What nginx promises, asked of the running daemon."""

import datetime
import json
import re

import pytest
from conftest import eventually

NAMES = [f"{name}.coop.test" for name in ("www", "app", "php", "old", "said", "gone", "waits", "later", "nobody")]
CURL = "curl -sS --path-as-is --max-time 10 " + " ".join(
    f"--resolve {name}:{port}:127.0.0.1" for name in NAMES for port in (80, 443)
)
HEADERS = {
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
}


class Answer:
    def __init__(self, host, url, options=""):
        run = host.run(f"{CURL} -i {options} '{url}'")
        self.failed = run.stderr if run.rc else ""
        head, _, self.body = run.stdout.replace("\r\n", "\n").partition("\n\n")
        if head.startswith("HTTP/1.1 100"):
            head, _, self.body = self.body.partition("\n\n")
        lines = head.splitlines() or ["- 0"]
        self.protocol, self.status = lines[0].split()[0], int(lines[0].split()[1])
        pairs = [line.partition(": ")[::2] for line in lines[1:]]
        self.headers = {name.lower(): value for name, value in pairs}
        assert len(self.headers) == len(pairs), f"a header is there twice: {head}"


@pytest.fixture(scope="module", autouse=True)
def running(host):
    assert eventually(lambda: not Answer(host, "https://www.coop.test/").failed), host.run("journalctl -n 30 -u nginx").stdout


@pytest.fixture
def ask(host):
    return lambda url, options="": Answer(host, url, options)


# --- what is served ---------------------------------------------------------------------------------------------------


def test_files_are_served_over_http_2(ask):
    answer = ask("https://www.coop.test/")
    assert (answer.protocol, answer.status, answer.body) == ("HTTP/2", 200, "front page\n")
    assert ask("https://www.coop.test/nothing").status == 404
    assert ask("https://www.coop.test/.well-known/known").body == "known\n"


def test_what_the_configuration_says_is_all_there_is(ask):
    answer = ask("https://said.coop.test/.well-known/policy.txt")
    assert (answer.status, answer.body) == (200, "version: 1\nmode: enforce\n")
    assert answer.headers["content-type"].startswith("text/plain") and HEADERS.items() <= answer.headers.items()
    for path in ("/", "/index.html", "/50x.html", "/.well-known/"):
        assert ask(f"https://said.coop.test{path}").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/.git/config",
        "/sub/.env",
        "/.well-known/.x",
        "/%2egit/config",
        "/../outside",
        "/..%2foutside",
        "/sub/%2e%2e/%2e%2e/outside",
        "/sub/",
    ],
)
def test_what_is_hidden_and_what_is_outside_are_not(ask, path):
    answer = ask(f"https://www.coop.test{path}")
    assert answer.status in (400, 403, 404) and "secret" not in answer.body


def test_the_application_behind_knows_who_asks_whatever_the_client_says(ask):
    answer = ask(
        "https://app.coop.test/a%2Fb?c=d", "-H 'X-Forwarded-For: 10.1.1.1' -H 'Proxy: evil' -H 'X-Forwarded-Proto: gopher'"
    )
    told = json.loads(answer.body)
    assert told["path"] == "/a%2Fb?c=d"
    assert (told["host"], told["x-forwarded-for"], told["x-forwarded-proto"]) == ("app.coop.test", "127.0.0.1", "https")
    assert "proxy" not in told and "upgrade" not in told
    told = json.loads(ask("https://app.coop.test/", "--http1.1 -H 'Upgrade: websocket' -H 'Connection: Upgrade'").body)
    assert (told["upgrade"], told["connection"]) == ("websocket", "upgrade")


def test_php_runs_for_what_is_there_and_for_the_fallback(ask):
    answer = ask("https://php.coop.test/any/path?x=1", "-H 'Proxy: evil'")
    assert answer.body == "asked /any/path?x=1 over on, \n"
    assert "x-powered-by" not in answer.headers
    assert ask("https://php.coop.test/.hidden.php").status == 404
    assert ask("https://php.coop.test/nothing.php").status == 404


def test_a_redirect_and_the_way_from_http(ask):
    answer = ask("https://old.coop.test/x")
    assert (answer.status, answer.headers["location"]) == (301, "https://www.coop.test/moved")
    answer = ask("http://www.coop.test/a?b=c")
    assert (answer.status, answer.headers["location"]) == (301, "https://www.coop.test/a?b=c")
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(("mib", "status"), [(1, 200), (2, 200), (3, 413)])
def test_a_body_may_be_as_large_as_the_vhost_says(host, ask, mib, status):
    host.check_output(f"truncate -s {mib}M /tmp/body")
    assert ask("https://app.coop.test/", "-H 'Expect:' --data-binary @/tmp/body").status == status


def test_a_server_that_is_down_is_a_502_at_once_and_comes_back(host, ask):
    host.check_output("systemctl stop application")
    try:
        answer = ask("https://app.coop.test/", "--max-time 5")
        assert answer.status == 502 and answer.headers["x-content-type-options"] == "nosniff"
        assert ask("https://www.coop.test/").status == 200
    finally:
        host.check_output("systemctl start application")
    assert eventually(lambda: ask("https://app.coop.test/").status == 200)


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["www.coop.test/", "www.coop.test/nothing", "php.coop.test/", "old.coop.test/"])
def test_every_answer_has_the_headers(ask, url):
    answer = ask(f"https://{url}")
    assert HEADERS.items() <= answer.headers.items()
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["server"] == "nginx"


def test_a_vhost_overrides_a_header_leaves_one_to_the_application_and_no_more(ask):
    headers = ask("https://app.coop.test/").headers
    assert headers["content-security-policy"] == "default-src 'self' 'unsafe-inline'"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["referrer-policy"] == "same-origin"
    assert "x-powered-by" not in headers


@pytest.mark.parametrize("name", ["www", "app"])
def test_security_txt_is_valid_for_less_than_a_year(ask, name):
    url = f"https://{name}.coop.test/.well-known/security.txt"
    answer = ask(url)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    lines = answer.body.splitlines()
    assert lines[:2] == ["Contact: mailto:security@coop.test", "Contact: https://www.coop.test/security"]
    fields = dict(line.split(": ", 1) for line in lines)
    assert (fields["Preferred-Languages"], fields["Canonical"]) == ("fr, nl", url)
    left = datetime.datetime.fromisoformat(fields["Expires"]) - datetime.datetime.now(datetime.UTC)
    assert 300 < left.days < 365


# --- whom it does not answer ------------------------------------------------------------------------------------------


def test_a_name_that_is_nobodys_gets_nothing(ask):
    assert "unrecognized name" in ask("https://nobody.coop.test/").failed
    assert "unrecognized name" in ask("https://127.0.0.1/", "-k").failed
    assert ask("http://nobody.coop.test/").status == 421
    assert ask("https://www.coop.test/", "-H 'Host: nobody.coop.test'").status == 421


def test_a_vhost_that_was_taken_out_is_gone_and_a_broken_one_never_came(host, ask):
    assert "unrecognized name" in ask("https://gone.coop.test/").failed
    assert "no_such_directive" not in host.file("/etc/nginx/nginx.conf").content_string
    log = host.check_output("zcat -f /var/log/nginx/access.log*")
    assert ' gone.coop.test "GET / ' in log  # it was there, once


def test_a_vhost_waits_for_its_certificate_and_the_others_do_not(host, ask):
    assert "unrecognized name" in ask("https://waits.coop.test/").failed
    assert ask("http://waits.coop.test/").status == 421
    assert "waits.coop.test" not in host.file("/etc/nginx/nginx.conf").content_string
    assert ask("https://later.coop.test/").body == "front page\n"
    assert ask("http://later.coop.test/").status == 301


def handshake(host, options):
    return host.run(f"openssl s_client -connect 127.0.0.1:443 -servername www.coop.test {options} </dev/null 2>&1").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("-tls1_3", "New, TLSv1.3"),
        ("-tls1_3 -groups X25519MLKEM768", "Negotiated TLS1.3 group: X25519MLKEM768"),
        ("-tls1_2", "New, TLSv1.2"),
        ("-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("-tls1_1 -cipher ALL@SECLEVEL=0", "alert protocol version"),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256", "handshake failure"),
    ],
)
def test_tls_is_of_today(host, options, said):
    assert said in handshake(host, options)


def test_no_session_ticket_and_no_early_data(host):
    said = handshake(host, "-tls1_2")
    assert "Extended master secret: yes" in said and "TLS session ticket" not in said
    # a client of TLS 1.3 is told after the handshake, with its first answer
    said = host.run(
        "(printf 'GET / HTTP/1.1\\r\\nHost: www.coop.test\\r\\nConnection: close\\r\\n\\r\\n') |"
        " timeout 10 openssl s_client -connect 127.0.0.1:443 -servername www.coop.test -tls1_3 -ign_eof 2>&1"
    ).stdout
    assert "front page" in said and "Max Early Data: 0" in said


# --- logs, unit, faults -----------------------------------------------------------------------------------------------


def test_logs_have_networks_and_no_queries(host, ask):
    host.check_output("ip -6 address replace fd00:1:2:3::4/128 dev lo nodad")
    for source, name, number in (("127.9.8.7", "127.0.0.1", 4), ("fd00:1:2:3::4", "[::1]", 6)):
        options = f"--interface {source} --connect-to www.coop.test:443:{name}:443"
        assert ask(f"https://www.coop.test/family{number}?token=secret", options).status == 404
    log = host.file("/var/log/nginx/access.log").content_string
    lines = {line.split()[0] for line in log.splitlines() if '"GET /family' in line}
    assert lines == {"127.9.8.0", "fd00:1:2::"}
    assert "secret" not in log and "127.9.8.7" not in log


def test_a_path_that_is_a_secret_is_not_logged_where_the_vhost_says_so(host, ask):
    for url in (
        "https://www.coop.test/opened/hidden-1",
        "https://www.coop.test/opened/hidden-2/x?y",
        "https://www.coop.test/opened/",
    ):
        assert ask(url).status == 404
    assert ask("http://www.coop.test/opened/hidden-3").status == 301
    # another path of the vhost, and the same of another
    assert ask("https://www.coop.test/opened-shown").status == 404
    assert ask("https://app.coop.test/opened/shown").status == 200
    log = host.file("/var/log/nginx/access.log").content_string
    asked = re.findall(r' (\S+) "GET (/opened\S*) HTTP/[\d.]+" (\d+) ', log)
    www, app = "www.coop.test", "app.coop.test"
    hidden = [(www, "/opened/-", "404")] * 2 + [(www, "/opened/", "404"), (www, "/opened/-", "301")]
    assert asked[-6:] == [*hidden, (www, "/opened-shown", "404"), (app, "/opened/shown", "200")]
    assert "hidden-" not in log


def test_logs_are_turned_over_and_nginx_goes_on_in_the_new_one(host, ask):
    host.check_output("logrotate --force /etc/logrotate.d/nginx")

    def logged():
        assert ask("https://www.coop.test/after-rotation").status == 404
        return "/after-rotation" in host.file("/var/log/nginx/access.log").content_string

    assert eventually(logged)
    assert host.file("/var/log/nginx/access.log").mode == 0o640


def test_what_the_access_log_hides_is_for_root_alone_in_the_other(host):
    def kept():
        return {host.file(path).mode for path in host.check_output("ls -d /var/log/nginx/error.log*").splitlines()}

    assert kept() == {0o600}
    host.check_output("logrotate --force /etc/logrotate.d/nginx; systemctl restart nginx")
    assert kept() == {0o600}


def test_the_unit_is_hardened(host):
    score = host.check_output("systemd-analyze security --no-pager nginx | tail -n 1")
    assert float(score.split(":")[1].split()[0]) <= 4.0, score
    assert host.check_output("systemctl show --value -p NoNewPrivileges nginx") == "yes"
    assert host.check_output("systemctl show --value -p ProtectSystem nginx") == "strict"
    workers = host.check_output("ps -o user= --ppid $(cat /run/nginx.pid)").split()
    assert set(workers) == {"www-data"}


def test_only_its_ports_are_open(host):
    listening = host.check_output("ss -Hltnp").splitlines()
    assert {line.split()[3] for line in listening if '"nginx"' in line} == {"0.0.0.0:80", "[::]:80", "0.0.0.0:443", "[::]:443"}


def test_a_killed_nginx_comes_back(host, ask):
    before = host.check_output("systemctl show --value -p MainPID nginx")
    host.check_output("systemctl kill --signal=KILL nginx")
    assert eventually(lambda: ask("https://www.coop.test/").status == 200), host.run("journalctl -n 30 -u nginx").stdout
    assert host.check_output("systemctl show --value -p MainPID nginx") != before


def test_a_renewed_certificate_is_served_at_once(host):
    def served():
        return host.run(
            "openssl s_client -connect 127.0.0.1:443 -servername app.coop.test </dev/null 2>/dev/null"
            " | openssl x509 -noout -serial"
        ).stdout

    before = served()
    assert before
    host.check_output(
        "cd /etc/certificates && openssl req -x509 -key app/privkey.pem -subj /CN=app.coop.test -days 30"
        " -CA /usr/local/share/ca-certificates/scenario.crt -CAkey authority.key -addext subjectAltName=DNS:app.coop.test"
        " -addext basicConstraints=critical,CA:FALSE -out app/fullchain.pem && reload.d/nginx"
    )
    assert eventually(lambda: served() not in ("", before))


def test_the_log_is_free_of_warnings(host):
    log = host.check_output("journalctl -u nginx -o cat --no-pager; zcat -f /var/log/nginx/error.log*")
    assert [line for line in log.splitlines() if "[warn]" in line or "[emerg]" in line or "[alert]" in line] == []
