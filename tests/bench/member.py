"""A member's browser, as small as it can be, run on `world` by bench.py; the figures it prints are seconds.

    member.py sign-in PORTAL LOGIN TIMES                  TIMES sign-ins at the portal, two at a time: all of them
    member.py first CLOUD LOGIN TIMES                     LOGIN0, LOGIN1 … at the cloud, all at once: all, and the slowest
    member.py files CLOUD LOGIN PLAIN LOGIN               medians of the sign-in page and two lists of 1 000 files, and the
                                                          uploads before: of the cloud and of a plain one
    member.py inbox PORTAL WEBMAIL PLAIN LOGIN TIMES      medians of the inbox behind the portal, and of a plain Roundcube's

The password is the first line of the input, and the plain cloud's the second. Needs nothing but Python.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from queue import SimpleQueue
from urllib.parse import urlencode, urljoin, urlsplit

UPLOADS, BATCH, CONNECTIONS, TIMES = 1000, 100, 4, 15
# What the makers' own program for computers asks of a folder
WANTED = (
    b'<?xml version="1.0"?><d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns" xmlns:nc="http://nextcloud.org/ns"><d:prop>'
    b"<d:resourcetype/><d:getlastmodified/><d:getcontentlength/><d:getetag/><oc:id/><oc:fileid/><oc:size/><oc:permissions/>"
    b"<oc:checksums/><oc:share-types/><oc:downloadURL/><oc:dDC/><nc:is-encrypted/><nc:lock/></d:prop></d:propfind>"
)
TRUST = ssl.create_default_context()  # read once: a hundred authorities take longer than a sign-in


class Browser:
    def __init__(self, **headers: str) -> None:
        self.headers = headers
        self.connections: dict[str, http.client.HTTPSConnection] = {}
        self.cookies: dict[str, dict[str, str]] = {}
        self.at = ""  # the address of the last page

    def ask(self, url: str, form: dict[str, str] | bytes | None = None, method: str = "", **headers: str) -> str:
        """The page that is there in the end; connections stay open, as a browser's do."""
        for _ in range(12):
            there = urlsplit(url)
            if there.netloc not in self.connections:
                self.connections[there.netloc] = http.client.HTTPSConnection(there.netloc, timeout=120, context=TRUST)
            connection, cookies = self.connections[there.netloc], self.cookies.setdefault(there.netloc, {})
            sent = self.headers | headers | {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
            body = urlencode(form).encode() if isinstance(form, dict) else form
            if isinstance(form, dict):
                sent["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request(method or ("GET" if body is None else "POST"), there.path + f"?{there.query}", body, sent)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            for cookie in answer.headers.get_all("Set-Cookie") or []:
                name, _, value = cookie.split(";")[0].partition("=")
                cookies[name.strip()] = value
            if not (to := answer.headers.get("Location")):
                assert answer.status // 100 == 2, (method, url, answer.status, text[:300])
                self.at = url
                return text
            url, form = urljoin(url, to), None
        raise AssertionError(f"no end to the redirects at {url}")


def hidden(page: str) -> dict[str, str]:
    """What a page's forms send along."""
    pairs = [
        (re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag))
        for tag in re.findall(r'<input[^>]*type="hidden"[^>]*>', page)
    ]
    return {name[1]: unescape(value[1]) if value else "" for name, value in pairs if name}


def sign_in(portal: str, login: str, password: str) -> Browser:
    browser = Browser()
    form = hidden(browser.ask(portal)) | {"user": login, "password": password}
    assert 'name="password"' not in browser.ask(portal, form), "the portal did not let them in"
    return browser


def enter(cloud: str, login: str, password: str) -> float:
    """From the cloud's own address, by way of the portal."""
    began = time.monotonic()
    browser = Browser()
    form = hidden(browser.ask(cloud)) | {"user": login, "password": password}
    page = browser.ask(browser.at, form)
    assert browser.at.startswith(cloud) and login in page, (browser.at, page[:300])
    return time.monotonic() - began


def plain(webmail: str, login: str, password: str) -> Browser:
    browser = Browser()
    form = hidden(browser.ask(f"{webmail}?_task=login")) | {"_user": login, "_pass": password}
    assert "request_token" in browser.ask(f"{webmail}?_task=login", form), "Roundcube did not let them in"
    return browser


def inbox(browser: Browser, webmail: str) -> float:
    """The page, and the first messages, which it asks for."""
    began = time.monotonic()
    token = re.search(r'"request_token":"(\w+)"', browser.ask(f"{webmail}?_task=mail&_mbox=INBOX"))
    assert token, "no inbox"
    listing = f"{webmail}?_task=mail&_action=list&_mbox=INBOX&_remote=1"
    answer = browser.ask(listing, **{"X-Requested-With": "XMLHttpRequest", "X-Roundcube-Request": token[1]})
    assert answer.count("add_message_row") >= 50, answer[:300]
    return time.monotonic() - began


class Program:
    """What a member's own programs do with their files: signed in, on connections that stay open, each with its cookies."""

    def __init__(self, cloud: str, login: str, password: str) -> None:
        self.cloud, self.folder = cloud, f"/remote.php/dav/files/{login}/bench"
        password = "Basic " + b64encode(f"{login}:{password}".encode()).decode()
        self.idle: SimpleQueue[Browser] = SimpleQueue()
        for _ in range(CONNECTIONS):
            self.idle.put(Browser(Authorization=password))

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> str:
        browser = self.idle.get()
        try:
            return browser.ask(urljoin(self.cloud, path), body, method, **headers)
        finally:
            self.idle.put(browser)

    def upload(self, names: Iterable[int]) -> float:
        began = time.monotonic()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda name: self.ask("PUT", f"{self.folder}/{name}.bin", os.urandom(10_000)), names))
        return time.monotonic() - began

    def list(self, wanted: bytes = b"") -> float:
        began = time.monotonic()
        said = self.ask("PROPFIND", self.folder, wanted, Depth="1")
        assert said.count("<d:response>") == UPLOADS + 1, said[:300]
        return time.monotonic() - began

    def page(self) -> float:
        """Of who was never there."""
        began = time.monotonic()
        assert 'id="body-login"' in Browser().ask(f"{self.cloud}login?direct=1")
        return time.monotonic() - began


def main() -> None:
    what, *given = sys.argv[1:]
    password = sys.stdin.readline().strip()
    if what == "sign-in":
        portal, login, times = given
        sign_in(portal, login, password)
        began = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: sign_in(portal, login, password), range(int(times))))
        print(time.monotonic() - began)
    elif what == "first":
        cloud, login, times = given
        began = time.monotonic()
        with ThreadPoolExecutor(int(times)) as pool:
            each = list(pool.map(lambda number: enter(cloud, f"{login}{number}", password), range(int(times))))
        print(time.monotonic() - began, max(each), sep="\n")
    elif what == "files":
        cloud, login, beside, other = given
        both = Program(cloud, login, password), Program(beside, other, sys.stdin.readline().strip())
        for side in both:
            side.ask("MKCOL", side.folder)
        # in turn, so that whatever else the machine does meanwhile is shared
        uploads = [[side.upload(range(first, first + BATCH)) for side in both] for first in range(0, UPLOADS, BATCH)]
        pages = [[side.page() for side in both] for _ in range(TIMES)]
        lists = [[side.list() for side in both] for _ in range(TIMES)]
        longer = [[side.list(WANTED) for side in both] for _ in range(TIMES)]
        for times in (pages, lists, longer):
            print(*(statistics.median(side) for side in zip(*times, strict=True)), sep="\n")
        print(*(sum(side) for side in zip(*uploads, strict=True)), sep="\n")
    elif what == "inbox":
        portal, webmail, beside, login, times = given
        ours, theirs = sign_in(portal, login, password), plain(beside, login, password)
        inbox(ours, webmail), inbox(theirs, beside)
        pairs = [(inbox(ours, webmail), inbox(theirs, beside)) for _ in range(int(times))]
        print(*(statistics.median(side) for side in zip(*pairs, strict=True)), sep="\n")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
