"""What the office promises: a browser's requests over TLS, the cloud's documents and nobody else's."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
import yaml
from conftest import ROOT, eventually

NAME = "office.coop.test"
URL = f"https://{NAME}"
CONFIG = "/etc/coolwsd/coolwsd.xml"
SOURCE = "/etc/apt/sources.list.d/upstream-collabora.sources"
DOCUMENT = "https://{}/index.php/apps/richdocuments/wopi/files/1_x?access_token={}"
CLOSED_BY_POLICY = "closed 1008"


@pytest.fixture(scope="module")
def get(host):
    def ask(path, *options):
        command = ["curl", "-sSi", "--path-as-is", "--max-time", "30", *options, URL + path]
        head, _, body = host.check_output(" ".join(["%s"] * len(command)), *command).replace("\r\n", "\n").partition("\n\n")
        first, *lines = head.splitlines()
        headers = [line.partition(": ")[::2] for line in lines]
        return int(first.split()[1]), [(name.lower(), value) for name, value in headers], body

    return ask


@pytest.fixture(scope="module")
def role(play):
    """The role once more, as an operator runs its playbook."""
    given = {
        "office_memory_percent": 10,
        "office_post_from": ["192.0.2.1", "2001:db8::1"],
        "upstream_standins": str(ROOT / "tests/standins"),
    }

    def run(playbook="office", *arguments, groups=("coop", "office"), **variables):
        return play(f"playbooks/{playbook}.yml", *arguments, groups=groups, variables=given | variables)

    return run


def plain(run):
    return " ".join((run.stdout + run.stderr).split())


def opens(host, cloud="cloud.coop.test", token="right"):  # noqa: S107 # of a test's cloud
    """What it says to whoever has it open that cloud's document."""
    return host.check_output("python3 /usr/local/lib/talk.py %s %s", NAME, DOCUMENT.format(cloud, token)).splitlines()


def serves(host):
    return host.run(f"curl -sSf --max-time 5 {URL}/hosting/capabilities").rc == 0


# --- requests -----------------------------------------------------------------------------------------------------------


def test_discovery_has_the_urls_that_browsers_come_by(get):
    status, _, body = get("/hosting/discovery")
    assert status == 200
    urls = [action.get("urlsrc") for action in ET.fromstring(body).iter("action")]  # noqa: S314 # our own server's
    assert urls and all(url.startswith(f"{URL}/") for url in urls), urls
    status, _, body = get("/hosting/capabilities")
    assert status == 200 and json.loads(body)["convert-to"]
    page = next(url.removeprefix(URL) for url in urls if "cool.html" in url)
    assert get(page)[0] == 200


def test_nothing_else_is_there(get):
    _, headers, _ = get("/")
    assert ("content-security-policy", "default-src 'none'; frame-ancestors 'none'") in headers
    assert ("x-frame-options", "DENY") in headers
    for path in ("/", "/hosting", "/hosting/other", "/robots.txt", "/etc/passwd", "/browser/../etc/passwd"):
        assert get(path)[0] == 404, path


def test_the_administration_is_nobodys(host, get):
    for path in ("/browser/dist/admin/admin.html", "/browser/0123abc/admin/admin.html", "/cool/adminws", "/cool/getMetrics"):
        status, _, body = get(path)
        assert status == 404 and "nginx" in body, path
        # nor is it there behind the web server
        behind = host.check_output(f"curl -s -o /dev/null -w '%%{{http_code}}' http://127.0.0.1:9980{path}")
        assert behind != "200", (path, behind)


def test_only_the_web_server_of_this_host_reaches_it(host, address):
    assert host.check_output("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9980/hosting/capabilities") == "200"
    assert host.run(f"curl -s --max-time 5 http://{address}:9980/hosting/capabilities").rc == 7


def test_the_cloud_may_have_it_in_a_frame_and_nobody_else(get):
    _, headers, _ = get("/browser/dist/cool.html?WOPISrc=https%3A%2F%2Fcloud.stranger.test%2Fone")
    policies = [value for name, value in headers if name == "content-security-policy"]
    # a browser keeps to each of them: the last word is the web server's
    (ours,) = [policy for policy in policies if policy.startswith("frame-ancestors ")]
    assert ours == "frame-ancestors 'self' https://cloud.coop.test"
    (own,) = [policy for policy in policies if policy != ours]
    assert "script-src" in own and "https://cloud.coop.test" in own
    assert not [value for name, value in headers if name == "x-frame-options"]
    assert ("x-content-type-options", "nosniff") in headers


# --- documents ----------------------------------------------------------------------------------------------------------


def test_the_clouds_documents_are_opened(host):
    first, said, *_ = opens(host)
    assert first.startswith("HTTP/1.1 101 ") and said.startswith("progress:"), said
    assert "wopi/files/1_x: True" in host.check_output("journalctl -u wopi -o cat -n 1")


def test_what_the_cloud_refuses_is_not(host):
    first, *said = opens(host, token="wrong")
    assert first.startswith("HTTP/1.1 101 ")
    assert said == ["error: cmd=internal kind=unauthorized", CLOSED_BY_POLICY]


@pytest.mark.parametrize("cloud", ["cloud.stranger.test", "cloud.coop.test.stranger.test", "127.0.0.2", "xcloud.coop.test"])
def test_no_other_host_is_even_asked_for_a_document(host, cloud):
    asked = host.check_output("journalctl -u wopi -o cat")
    for _ in range(2):  # whoever comes first is not the one who may, either
        assert opens(host, cloud)[1:] == ["error: cmd=internal kind=unauthorized", CLOSED_BY_POLICY]
    assert host.check_output("journalctl -u wopi -o cat") == asked
    assert cloud in host.check_output("journalctl -u coolwsd -o cat -n 2")


def test_who_comes_first_after_a_restart_is_not_the_one_who_may(host):
    host.check_output("systemctl restart coolwsd")
    assert eventually(lambda: serves(host))
    assert "error: cmd=internal kind=unauthorized" in opens(host, "cloud.stranger.test")
    assert opens(host)[1].startswith("progress:")


def test_a_cloud_whose_certificate_nobody_vouches_for_is_not_asked(host):
    """coolwsd verifies it only if it is told by whom."""
    assert "<ca_file_path>/etc/ssl/certs/ca-certificates.crt</ca_file_path>" in host.file(CONFIG).content_string
    host.check_output("mv /usr/local/share/ca-certificates/scenario.crt /root && update-ca-certificates --fresh")
    try:
        host.check_output("systemctl restart coolwsd")
        assert eventually(lambda: host.run("curl -sf http://127.0.0.1:9980/hosting/capabilities").rc == 0)
        command = "SSL_CERT_FILE=/root/scenario.crt python3 /usr/local/lib/talk.py %s %s"
        assert "kind=unauthorized" in host.check_output(command, NAME, DOCUMENT.format("cloud.coop.test", "right"))
    finally:
        host.check_output("mv /root/scenario.crt /usr/local/share/ca-certificates/ && update-ca-certificates")
        host.check_output("systemctl restart coolwsd")
    assert eventually(lambda: serves(host)) and opens(host)[1].startswith("progress:")


# --- the host -----------------------------------------------------------------------------------------------------------


def test_the_unit_is_hardened(host):
    has = dict(line.split("=", 1) for line in host.check_output("systemctl show --all coolwsd").splitlines())
    assert has["RestrictNamespaces"].split() in (["mnt", "user"], ["user", "mnt"])
    assert set(has["RestrictAddressFamilies"].split()) == {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}
    wanted = {
        "User": "cool", "CapabilityBoundingSet": "", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
        "ReadWritePaths": "/opt/cool", "DevicePolicy": "closed", "ProtectKernelModules": "yes", "LockPersonality": "yes",
        "MemorySwapMax": "0", "SystemCallErrorNumber": "1",
    }  # fmt: skip
    assert {name: has[name] for name in wanted} == wanted
    # what it makes its jails with
    assert not {"mount", "unshare", "chroot"} & set(has["SystemCallFilter"].split())
    score = host.check_output("systemd-analyze security --no-pager coolwsd | tail -n 1")
    assert float(re.search(r": ([\d.]+)", score)[1]) <= 4.5, score


def test_its_memory_is_a_share_of_the_hosts(host):
    total = int(host.check_output("awk '/^MemTotal/ {print $2}' /proc/meminfo")) * 1024
    most = int(host.check_output("systemctl show --value -p MemoryMax coolwsd"))
    assert 0.09 * total < most < 0.11 * total


def test_its_log_is_the_journals(host):
    assert host.run("ls /var/log/coolwsd*").rc != 0
    assert '<file enable="false">' in host.file(CONFIG).content_string


def test_its_configuration_is_its_own_to_read(host):
    file = host.file(CONFIG)
    assert (file.user, file.group, oct(file.mode)) == ("cool", "cool", "0o640")


def test_dictionaries_of_each_language_are_there(host):
    for language in ("fr", "nl", "de", "en"):
        assert host.package(f"collaboraoffice-dict-{language}").is_installed
    assert not host.package("collaboraoffice-dict-it").is_installed
    assert "<allowed_languages>fr_FR nl de_DE en_GB en_US</allowed_languages>" in host.file(CONFIG).content_string


def test_apt_takes_them_from_who_is_pinned_alone(host):
    (pin,) = yaml.safe_load((ROOT / "group_vars/all/upstream.yml").read_text())["upstream_repositories"]
    assert host.package("coolwsd").version == pin["version"]
    source = host.file(SOURCE).content_string
    assert "Signed-By:" in source and "rusted" not in source


def test_a_configuration_that_is_damaged_is_said_and_put_back(host, role):
    host.check_output(f"cp -p {CONFIG} /root/ && sed -i 's/<config>/<confg>/' {CONFIG} && systemctl restart coolwsd")
    assert eventually(lambda: "Failed to load the configuration" in host.check_output("journalctl -u coolwsd -o cat -n 50"))
    assert not serves(host) or host.run(f"curl -sf {URL}/hosting/discovery").rc != 0
    run = role()
    assert run.returncode == 0, plain(run)
    assert host.run(f"curl -sf {URL}/hosting/discovery").rc == 0
    assert host.check_output(f"cmp {CONFIG} /root/coolwsd.xml") == ""


def test_a_configuration_that_is_not_ours_is_not_served(host, role):
    """As the package ships it: the first cloud that comes is the one that may."""
    host.check_output(f"sed -i 's/{NAME}//' {CONFIG} && systemctl restart coolwsd")
    assert host.run("systemctl is-active coolwsd").rc != 0
    assert host.check_output("systemctl show --value -p Result coolwsd") == "exec-condition"
    run = role()
    assert run.returncode == 0 and host.service("coolwsd").is_running, plain(run)


def test_a_setting_of_the_inventory_counts_and_goes_again(host, role):
    line = "<max_concurrency>2</max_concurrency>"
    run = role(office_settings={"per_document.max_concurrency": 2})
    assert run.returncode == 0 and line in host.file(CONFIG).content_string, plain(run)
    assert eventually(lambda: serves(host))
    run = role()
    assert run.returncode == 0 and line not in host.file(CONFIG).content_string, plain(run)
    assert role().stdout.count("changed=0") >= 1


def test_another_version_moves_all_of_it_both_ways(host, role):
    if not host.file("/usr/share/coolwsd/.stand-in").exists:
        pytest.skip("not run: the stand-in's other version, and this is Collabora's")

    def versions():
        return host.check_output("dpkg-query -Wf '${Version} ' collaboraofficebasis-core collaboraofficebasis-fr coolwsd").split()

    before = versions()
    pins = yaml.safe_load((ROOT / "group_vars/all/upstream.yml").read_text())["upstream_repositories"]
    newer = [pin | {"version": "99.04.1.2-1"} if pin["name"] == "collabora" else pin for pin in pins]
    run = role(upstream_repositories=newer)
    assert run.returncode == 0 and versions() == ["99.04.1-2", "99.04.1-2", "99.04.1.2-1"], plain(run)
    assert eventually(lambda: serves(host))
    assert role(upstream_repositories=newer).stdout.count("changed=0") >= 1
    run = role()
    assert run.returncode == 0 and versions() == before, plain(run)
    assert eventually(lambda: serves(host))


# --- the last one -------------------------------------------------------------------------------------------------------


def test_taken_off_the_host_nothing_of_it_is_left(host, role):
    run = role("office_remove", groups=("coop",))
    assert run.returncode != 0 and "remove_from: name the host" in plain(run)
    for changed in (True, False):
        run = role("office_remove", "-e", f"remove_from={host.backend.hostname}", groups=("coop",))
        assert run.returncode == 0 and ("changed=0" not in re.findall(r"perron\S* +: .*", run.stdout)[0]) == changed, plain(run)
    assert not host.socket("tcp://127.0.0.1:9980").is_listening
    assert host.run(f"curl -sf {URL}/hosting/discovery").rc != 0
    assert host.check_output("dpkg-query -W -f '${Package} ' 'cool*' 'collabora*' 'code-brand' 2>/dev/null || :").strip() == ""
    for path in (
        "/etc/coolwsd",
        "/opt/cool",
        "/etc/systemd/system/coolwsd.service.d",
        "/etc/apt/sources.list.d/upstream-collabora.sources",
    ):
        assert not host.file(path).exists, path
