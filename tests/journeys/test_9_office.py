"""Documents in the browser: the office is found, in a frame of the cloud alone; the cloud gives documents to its host alone."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from conftest import Clients, the_office_alone_has
from testinfra.host import Host

STATUS = ("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}")


@pytest.fixture(scope="module")
def office(domain: str) -> str:
    return f"https://office.{domain}/"


@pytest.fixture(scope="module")
def host(coop: dict[str, Host]) -> Host:
    """Where both are."""
    return coop["dyle"]


@pytest.fixture(scope="module")
def document(host: Host, cloud: str) -> Iterator[str]:
    """A document as the office asks for it: a real Nextcloud makes such a token for who opens one in a browser."""
    if host.run("test -e /var/lib/nextcloud/code/current/.stand-in").rc != 0:
        pytest.skip("not run: the stand-in's token; test_9_files.py asks a Nextcloud")
    token = secrets.token_hex(16)
    host.check_output("nextcloud-occ config:app:set richdocuments standin_token --value %s", token)
    yield f"{cloud}index.php/apps/richdocuments/wopi/files/1?access_token={token}"
    host.check_output("nextcloud-occ config:app:set richdocuments standin_token --value %s", secrets.token_hex(16))


def test_browsers_find_it(clients: Clients, office: str) -> None:
    found = clients.run("curl", "--silent", "--show-error", f"{office}hosting/discovery")
    urls = re.findall(r'urlsrc="([^"]*)"', found.text)
    assert found.code == 0 and urls and all(url.startswith(office) for url in urls), found.text
    page = next(url for url in urls if "cool.html" in url)
    assert clients.run(*STATUS, page).text == "200"
    for path in ("browser/dist/admin/admin.html", "cool/adminws", "cool/getMetrics", ""):
        assert clients.run(*STATUS, office + path).text == "404", path


def test_the_cloud_alone_has_it_in_a_frame(clients: Clients, office: str, cloud: str) -> None:
    head = clients.run("curl", "--silent", "--head", "--request", "GET", f"{office}browser/dist/cool.html").text.lower()
    policies = re.findall(r"^content-security-policy: (.*?)\r?$", head, re.MULTILINE)
    assert f"frame-ancestors 'self' {cloud.rstrip('/')}" in policies, head


@pytest.mark.parametrize("family", ["--ipv4", "--ipv6"])
def test_the_cloud_gives_documents_to_the_office_and_to_nobody_else(
    clients: Clients, host: Host, document: str, family: str
) -> None:
    the_office_alone_has(document, host, clients, family)


def test_its_user_reaches_the_cloud_and_nothing_else(host: Host, inventory: dict[str, Any], domain: str) -> None:
    def reaches(address: str, port: int = 443) -> bool:
        return host.run(f"setpriv --reuid cool --clear-groups timeout 3 bash -c '</dev/tcp/{address}/{port}'").rc == 0

    assert reaches(f"cloud.{domain}")
    # where the authority answers everybody
    assert not reaches(inventory["world"]["host_ipv4"], 14000) and not reaches(inventory["world"]["host_ipv6"], 14000)
    assert not reaches(inventory["meuse"]["host_ipv4"]) and not reaches(inventory["meuse"]["host_ipv6"])


def test_no_token_of_a_document_is_in_the_web_servers_log(clients: Clients, host: Host, office: str, cloud: str) -> None:
    token = secrets.token_hex(16)
    opened = f"{cloud}index.php/apps/richdocuments/wopi/files/1?access_token={token}"
    code = ("--output", "/dev/null", "--http1.1", "--header", "Connection: Upgrade", "--header", "Upgrade: websocket")
    clients.run("curl", "--silent", "--max-time", "5", *code, f"{office}cool/{quote(opened, safe='')}/ws?WOPISrc={token}")
    log = host.check_output("tail -n 50 /var/log/nginx/access.log")
    assert '"GET /cool/- ' in log and token not in host.check_output("cat /var/log/nginx/*.log"), log
