"""A member's browser: Debian's Chromium on `world`, driven over WebDriver. It trusts what `world` trusts, and nothing else.

A page is looked at as a person would: `Browser.keep` saves what it looks like at 1280 and at 390 pixels.
"""

from __future__ import annotations

import base64
import hmac
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from axe_core_python.selenium import Axe
from conftest import ROOT, until
from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from testinfra.host import Host

SCREENSHOTS = ROOT / ".cache/test/screenshots"
WIDTHS = {1280: 900, 390: 844}
PORT = 9515
# Chromium without its window: the same engine shows a page with a third of the work
BINARY = "/usr/bin/chromium-headless-shell"
# It asks its maker for nothing: a request to a third party is then the page's own
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-quic",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
)  # fmt: skip


class Browser:
    """One person's browser, with cookies of its own."""

    def __init__(self, driver: webdriver.Remote) -> None:
        self.driver = driver

    def see(self, css: str, seconds: float = 20) -> WebElement:
        """The first visible element of that CSS selector, once it is there."""

        def visible(driver: webdriver.Remote) -> WebElement | None:
            found = driver.find_elements(By.CSS_SELECTOR, css)
            return next((element for element in found if element.is_displayed()), None)

        wait = WebDriverWait(self.driver, seconds, ignored_exceptions=[WebDriverException])
        try:
            element: WebElement = wait.until(visible)
        except TimeoutException:
            pytest.fail(f"no '{css}' on {self.driver.current_url}: {self.text()[:800]}")
        return element

    def text(self) -> str:
        """What the page says, as a whole: an element that was found first may be gone when it is asked for its text."""
        text: str = self.driver.execute_script("return document.body ? document.body.innerText : ''")
        return text

    def status(self) -> int:
        """With which the page was answered."""
        status: int = self.driver.execute_script("return performance.getEntriesByType('navigation')[0].responseStatus")
        return status

    def spoken(self) -> str:
        """The language in which it is read aloud to whoever does not see it."""
        language: str = self.driver.execute_script("return document.documentElement.lang")
        return language

    def read(self, words: str, seconds: float = 20) -> None:
        """Wait until the page, or a field of it, says that."""
        placeholders = "return [...document.querySelectorAll('[placeholder]')].map(field => field.placeholder).join(' ')"
        until(f"'{words}'", lambda: words in f"{self.text()} {self.driver.execute_script(placeholders)}", seconds)

    def open(self, url: str) -> str:
        """The text of the page behind that URL."""
        self.driver.get(url)
        return self.text()

    def at(self, start: str, seconds: float = 20) -> None:
        """Wait until the browser is at an address that begins so."""
        until(f"the browser at {start}", lambda: self.driver.current_url.startswith(start), seconds)

    def fill(self, fields: dict[str, str]) -> None:
        """Type into the fields, each named by a CSS selector, and send the form of the last one."""
        for css, value in fields.items():
            element = self.see(css)
            element.clear()
            element.send_keys(value)
        element.submit()

    def sign_in(self, portal: str, login: str, password: str) -> None:
        """Sign in at the portal; whether it let them in is another question."""
        self.open(portal)
        self.fill({"input[name=user]": login, "input[name=password]": password})

    def at_home(self, portal: str) -> bool:
        """Is somebody signed in at the portal?"""
        self.open(portal)
        return not self.driver.find_elements(By.CSS_SELECTOR, "input[name=password]")

    def code_for(self, portal: str, service: str, back: str, **more: str) -> str:
        """The code with which the portal sends who is signed in back to that service, which does not get it."""
        self.driver.execute_cdp_cmd("Network.enable", {})  # type: ignore[no-untyped-call]
        self.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": [f"{back}*"]})  # type: ignore[no-untyped-call]
        asked = {"response_type": "code", "client_id": service, "redirect_uri": back, "scope": "openid profile email"}
        asked |= {"state": "x", "nonce": "y"} | more
        self.driver.execute_script("location = arguments[0]", f"{portal}oauth2/authorize?{urlencode(asked)}")
        self.at(back)
        self.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})  # type: ignore[no-untyped-call]
        return parse_qs(urlsplit(self.driver.current_url).query)["code"][0]

    def cookies(self) -> dict[str, str]:
        """All that it has, of every site."""
        found = self.driver.execute_cdp_cmd("Network.getAllCookies", {})["cookies"]  # type: ignore[no-untyped-call]
        return {cookie["name"]: cookie["value"] for cookie in found}

    def register_second_factor(self, portal: str) -> str:
        """Register a code app, as who is signed in; its secret."""
        self.open(f"{portal}2fregisters/totp")
        secret = until("the app's secret", lambda: self.driver.find_element(By.ID, "secret").text.replace(" ", ""))
        self.see("#code").send_keys(totp(secret))
        self.see("#verify").click()
        self.see("#color.message-positive")
        return secret

    def plug_in_a_security_key(self) -> None:
        """A key (WebAuthn) that its owner touches at once; it is gone with the browser."""
        options = VirtualAuthenticatorOptions(protocol=VirtualAuthenticatorOptions.Protocol.CTAP2)
        self.driver.add_virtual_authenticator(options)

    def make_device(self, devices: str, name: str) -> str:
        """Make a device, as a member whom the portal knows with a second factor; its password."""
        self.open(f"{devices}signin")  # as of now, not as of when this session began
        self.at(devices)
        self.fill({"#name": name})
        return self.see("p.password").text

    def widths(self) -> Iterator[int]:
        """The page as a computer shows it, then as a phone does."""
        for width, height in WIDTHS.items():
            self.driver.execute_cdp_cmd(  # type: ignore[no-untyped-call]
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
            )
            self.stand_still()
            yield width
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})  # type: ignore[no-untyped-call]

    def stand_still(self) -> None:
        """Wait until two looks at the page are one: it takes to another width in steps, and fades what it changes."""
        looks = [""]

        def same() -> bool:
            looks.append(self.driver.get_screenshot_as_base64())
            return looks[-1] == looks[-2]

        until("a page that stands still", same)

    def keep(self, name: str) -> None:
        """Save what the page looks like."""
        # whatever page it is, it asks nobody but the cooperative
        domain = ".".join(str(urlsplit(self.driver.current_url).hostname).split(".")[-2:])
        strangers = {host for host in self.hosts_asked() if host and not f".{host}".endswith(f".{domain}")}
        assert not strangers, f"{self.driver.current_url} loads from {strangers}"
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for width in self.widths():
            self.driver.save_screenshot(str(SCREENSHOTS / f"{name}-{width}.png"))

    def obstacles(self) -> list[str]:
        """What axe-core finds serious or critical on this page, at each width."""
        return [
            f"{width}: {item['id']}: {item['help']}: {item['nodes'][0]['html'][:200]}"
            for width in self.widths()
            for item in Axe().run(self.driver)["violations"]
            if item["impact"] in ("serious", "critical")
        ]

    def hosts_asked(self) -> set[str]:
        """The hosts from which this page loaded anything."""
        asked: list[str] = self.driver.execute_script(
            "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).hostname)"
        )
        return set(asked)


def totp(secret: str, ahead: int = 0) -> str:
    """The code that an app shows (RFC 6238); one is good once, so who needs a second takes the next."""
    key = base64.b32decode(secret.upper() + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30 + ahead), "sha1").digest()
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"


@contextmanager
def browsers(world: Host) -> Iterator[str]:
    """Have WebDriver's server on `world`; its URL."""
    world.check_output(
        "mkdir -p ~/.pki/nssdb; cd /usr/local/share/ca-certificates; "
        "for file in *.crt; do certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n $file -i $file; done"
    )
    world.run("systemctl stop journeys-browser; systemctl reset-failed journeys-browser")
    world.check_output(
        f"systemd-run --unit journeys-browser --setenv HOME=/root chromedriver --port={PORT} --allowed-ips= --allowed-origins='*'"
    )
    until("chromedriver", lambda: world.run(f"curl -fsS http://127.0.0.1:{PORT}/status").rc == 0)
    address = world.check_output("hostname --all-ip-addresses").split()[0]
    try:
        yield f"http://{address}:{PORT}"
    finally:
        world.run("systemctl stop journeys-browser")


@contextmanager
def browser(server: str, language: str = "fr") -> Iterator[Browser]:
    """A fresh browser of a person who reads that language."""
    options = webdriver.ChromeOptions()
    options.binary_location = BINARY
    for option in OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--accept-lang={language}")
    driver = webdriver.Remote(server, options=options)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
