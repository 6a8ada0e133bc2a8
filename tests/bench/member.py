"""A member's browser, as small as it can be, run on `world` by bench.py; the figures it prints are seconds.

    member.py sign-in PORTAL LOGIN TIMES                  TIMES sign-ins at the portal, two at a time: all of them
    member.py first CLOUD LOGIN TIMES                     LOGIN0, LOGIN1 … at the cloud, twenty at a time: all, and the slowest
    member.py inbox PORTAL WEBMAIL PLAIN LOGIN TIMES      medians of the inbox behind the portal, and of a plain Roundcube's

The password is the first line of the input. Needs nothing but Python.
"""

from __future__ import annotations

import http.client
import re
import ssl
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import urlencode, urljoin, urlsplit

TRUST = ssl.create_default_context()  # read once: a hundred authorities take longer than a sign-in


class Browser:
    def __init__(self) -> None:
        self.connections: dict[str, http.client.HTTPSConnection] = {}
        self.cookies: dict[str, dict[str, str]] = {}
        self.at = ""  # the address of the last page

    def ask(self, url: str, form: dict[str, str] | None = None, **headers: str) -> str:
        """The page that is there in the end; connections stay open, as a browser's do."""
        for _ in range(12):
            there = urlsplit(url)
            if there.netloc not in self.connections:
                self.connections[there.netloc] = http.client.HTTPSConnection(there.netloc, timeout=120, context=TRUST)
            connection, cookies = self.connections[there.netloc], self.cookies.setdefault(there.netloc, {})
            sent = headers | {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
            body = urlencode(form) if form is not None else None
            if body is not None:
                sent["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request("GET" if body is None else "POST", there.path + f"?{there.query}", body, sent)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            for cookie in answer.headers.get_all("Set-Cookie") or []:
                name, _, value = cookie.split(";")[0].partition("=")
                cookies[name.strip()] = value
            if not (to := answer.headers.get("Location")):
                assert answer.status == 200, (url, answer.status, text[:300])
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
        with ThreadPoolExecutor(20) as pool:
            each = list(pool.map(lambda number: enter(cloud, f"{login}{number}", password), range(int(times))))
        print(time.monotonic() - began, max(each), sep="\n")
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
