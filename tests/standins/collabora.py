#!/usr/bin/python3
"""A stand-in of Collabora Online: its maker's apt repository, signed by a key of its own, and in it a coolwsd that answers the
requests a host has to do with, as its configuration says. It opens no document.

collabora.py NAME VERSION DIRECTORY writes the repository, and says so; nothing if it is there. In its packages this very file is
/usr/bin/coolwsd.
"""

import base64
import gzip
import hashlib
import http.server
import json
import os
import pwd
import re
import signal
import ssl
import struct
import subprocess
import sys
import tempfile
import urllib.request
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

ENGINE = "core writer calc draw impress math images graphicfilter ooofonts ooolinguistic extension-pdf-import en-us"
LANGUAGES = ("de", "en-gb", "fr", "it", "nl")
PORT = 9980


# --- the repository -----------------------------------------------------------------------------------------------------

UNIT = """[Unit]
Description=Collabora Online WebSocket Daemon
After=network.target

[Service]
EnvironmentFile=-/etc/sysconfig/coolwsd
ExecStart=/usr/bin/coolwsd --version --o:sys_template_path=/opt/cool/systemplate --o:child_root_path=/opt/cool/child-roots \
--o:file_server_root_path=/usr/share/coolwsd --o:cache_files.path=/opt/cool/cache
KillSignal=SIGINT
TimeoutStopSec=120
User=cool
KillMode=mixed
Restart=always
LimitNOFILE=infinity:infinity

ProtectSystem=strict
ReadWritePaths=/opt/cool /var/log

ProtectHome=yes
PrivateTmp=yes
ProtectControlGroups=yes
CapabilityBoundingSet=CAP_FOWNER CAP_CHOWN CAP_SYS_CHROOT CAP_SYS_ADMIN

[Install]
WantedBy=multi-user.target
"""
AS_SHIPPED = """<config>
    <server_name></server_name>
    <net><listen>any</listen></net>
    <ssl><enable>true</enable><termination>false</termination></ssl>
    <storage><wopi allow="true"><alias_groups mode="first"/></wopi></storage>
    <admin_console><enable>true</enable></admin_console>
</config>
"""
CONFIGURED = """#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
adduser --quiet --system --group --home /opt/cool cool
chown cool: /etc/coolwsd/coolwsd.xml
chmod 640 /etc/coolwsd/coolwsd.xml
rm -rf /opt/cool
mkdir -p /opt/cool/child-roots /opt/cool/cache /opt/cool/systemplate
chown cool: /opt/cool /opt/cool/child-roots /opt/cool/cache
deb-systemd-helper enable coolwsd.service >/dev/null
systemctl --system daemon-reload
deb-systemd-invoke restart coolwsd.service
"""
REMOVED = """#!/bin/sh
set -e
deb-systemd-invoke stop coolwsd.service
"""
PURGED = """#!/bin/sh
set -e
[ "$1" != purge ] || deb-systemd-helper purge coolwsd.service >/dev/null
systemctl --system daemon-reload
"""


def packages(version):
    """{name: (version, what it needs, {path: content})}"""
    engine = ["collaboraoffice", "collaboraoffice-ure", *(f"collaboraofficebasis-{part}" for part in ENGINE.split())]
    core = version.rpartition(".")[0] + "-2"
    found = {name: (core, [], {f"opt/collaboraoffice/program/{name}": ""}) for name in engine}
    for language in LANGUAGES:
        found[f"collaboraofficebasis-{language}"] = (core, engine[:1], {f"opt/collaboraoffice/program/resource/{language}": ""})
        word = language.partition("-")[0]
        found[f"collaboraoffice-dict-{word}"] = (core, [], {f"opt/collaboraoffice/share/extensions/dict-{word}/dict.aff": ""})
    found["code-brand"] = (version, [], {"usr/share/coolwsd/browser/dist/branding.js": ""})
    files = {
        "usr/bin/coolwsd": Path(__file__).read_text(),
        "etc/coolwsd/coolwsd.xml": AS_SHIPPED,
        "usr/lib/systemd/system/coolwsd.service": UNIT,
        "usr/share/coolwsd/.stand-in": "",
        "DEBIAN/conffiles": "/etc/coolwsd/coolwsd.xml\n",
        "DEBIAN/postinst": CONFIGURED,
        "DEBIAN/prerm": REMOVED,
        "DEBIAN/postrm": PURGED,
    }
    found["coolwsd"] = (version, ["adduser", "init-system-helpers", "python3", *engine], files)
    return found


def build(tree, name, version, needs, files):
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
    control += f"Depends: {', '.join(needs)}\n" if needs else ""
    control += f"Description: stand-in of {name}\n"
    for path, content in (files | {"DEBIAN/control": control}).items():
        file = tree / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(0o755 if path.startswith(("usr/bin/", "DEBIAN/p")) else 0o644)
    deb = tree / f"{name}_{version}_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree / name, deb],
        env=os.environ | {"SOURCE_DATE_EPOCH": "0"}, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return control, deb


def sums(content):
    return f"{hashlib.sha256(content).hexdigest()} {len(content)}"


def write(version, directory):
    made = directory / ".stand-in"
    this = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    if made.exists() and made.read_text() == this:
        return
    os.umask(0o022)
    directory.mkdir(parents=True, exist_ok=True)
    lists = ""
    with tempfile.TemporaryDirectory() as tree:
        for name, (of, needs, files) in packages(version).items():
            control, deb = build(Path(tree), name, of, needs, files)
            content = deb.read_bytes()
            (directory / deb.name).write_bytes(content)
            # where in the control file the maker has it
            head, _, description = control.partition("Description:")
            lists += f"{head}Filename: ./{deb.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
            lists += f"Description:{description}\n"
        plain = lists.encode()
        release = (
            "Origin: Stand-in\nLabel: Stand-in\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nArchitectures: all amd64 arm64\nSHA256:\n"
        )
        for name, content in {"Packages": plain, "Packages.gz": gzip.compress(plain, mtime=0)}.items():
            (directory / name).write_bytes(content)
            release += f" {sums(content)} {name}\n"
        gpg = ["gpg", "--homedir", tree, "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]
        run = {"check": True, "capture_output": True}
        subprocess.run([*gpg, "--quick-generate-key", "Stand-in", "ed25519", "sign", "never"], **run)
        subprocess.run([*gpg, "--output", directory / "key.asc", "--armor", "--export"], **run)
        subprocess.run([*gpg, "--output", directory / "InRelease", "--clearsign"], input=release.encode(), **run)
        subprocess.run(["gpgconf", "--homedir", tree, "--kill", "all"], **run)
    made.write_text(this)
    print(f"made {directory}")


# --- coolwsd ------------------------------------------------------------------------------------------------------------


class Settings:
    """Of coolwsd.xml; what it cannot be read from ends the program, as it does the real one."""

    def __init__(self, path):
        self.root = ET.parse(path).getroot()  # noqa: S314 # root's own file
        if self.root.tag != "config":
            raise ValueError(f"{path}: the root is <{self.root.tag}>, not <config>")
        self.server = self.text("server_name")
        self.loopback = self.one_of("net/listen", "any", "loopback") == "loopback"
        self.tls = self.flag("ssl/enable", True)
        self.terminated = self.flag("ssl/termination", True)
        self.console = self.flag("admin_console/enable", True)
        self.ancestors = self.text("net/frame_ancestors")
        self.authorities = self.text("storage/ssl/ca_file_path")
        groups = self.root.find("storage/wopi/alias_groups")
        self.mode = groups.get("mode", "first") if groups is not None else "compat"
        named = list(groups.iter("host")) if groups is not None else []
        if named and self.mode == "first":
            print("ERR Admins did not set the alias_groups mode to 'groups'", flush=True)
            named = []
        self.hosts = {urlsplit(host.text or "").hostname for host in named if host.get("allow") == "true"}
        if self.tls:
            raise ValueError("ssl.enable: this stand-in has no certificate")

    def text(self, path, default=""):
        found = self.root.find(path)
        return default if found is None else (found.text or "").strip()

    def one_of(self, path, *words):
        found = self.text(path, words[0])
        if found not in words:
            raise ValueError(f"{path}: '{found}' is none of {', '.join(words)}")
        return found

    def flag(self, path, default):
        found = self.text(path, str(default).lower())
        if found not in ("true", "false"):
            raise ValueError(f"{path}: '{found}' is neither true nor false")
        return found == "true"

    def allows(self, host):
        """Without a group the first that comes is the one that may, from then on."""
        if not self.hosts and self.mode == "first":
            self.hosts = {host}
        return host in self.hosts


class Coolwsd(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    settings = None

    def answer(self, status, text="", kind="text/plain", **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(text.encode())), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text.encode())

    @property
    def here(self):
        scheme = "https" if self.settings.tls or self.settings.terminated else "http"
        return f"{scheme}://{self.settings.server or self.headers.get('Host', '')}"

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/":
            self.answer(200, "OK")
        elif path == "/hosting/discovery":
            action = f'<action name="edit" ext="odt" urlsrc="{self.here}/browser/dist/cool.html?"/>'
            self.answer(
                200,
                '<?xml version="1.0" encoding="utf-8"?><wopi-discovery><net-zone name="external-http">'
                f'<app name="application/vnd.oasis.opendocument.text">{action}</app>'
                f'<app name="Capabilities"><action name="getinfo" ext="" urlsrc="{self.here}/hosting/capabilities"/></app>'
                "</net-zone></wopi-discovery>",
                "text/xml",
            )
        elif path == "/hosting/capabilities":
            said = {"convert-to": {"available": True}, "hasMobileSupport": True, "hasProxyPrefix": False}
            self.answer(200, json.dumps(said | {"productName": "stand-in of coolwsd"}), "application/json")
        elif path.startswith(("/browser/dist/admin/", "/cool/adminws", "/cool/getMetrics")):
            self.answer(*((401, "Sign in") if self.settings.console else (403, "Admin console disabled")))
        elif path == "/browser/dist/cool.html":
            asked = urlsplit(parse_qs(urlsplit(self.path).query).get("WOPISrc", [""])[0]).hostname
            may = [self.settings.ancestors, f"{urlsplit(self.here).hostname}:*", f"{asked}:*" if asked else ""]
            policy = f"default-src 'none'; script-src 'self'; frame-ancestors {' '.join(filter(None, may))}"
            self.answer(200, "<!DOCTYPE html><title>Online Editor</title>", "text/html", Content_Security_Policy=policy)
        elif path == "/browser/dist/branding.js":
            self.answer(200, "", "application/javascript")
        elif (document := re.fullmatch(r"/cool/(.*)/ws", path)) and self.headers.get("Upgrade", "").lower() == "websocket":
            self.talk(unquote(document[1]))
        else:
            self.answer(404)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def talk(self, document):
        digest = hashlib.sha1(f"{self.headers['Sec-WebSocket-Key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode())  # noqa: S324 # RFC 6455
        self.send_response(101)
        for name, value in {"Upgrade": "websocket", "Connection": "Upgrade"}.items():
            self.send_header(name, value)
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest.digest()).decode())
        self.end_headers()
        said = self.vetted(document).encode()
        # POLICY_VIOLATION, or a normal end: it has nothing to show
        end = 1008 if said.startswith(b"error") else 1000
        self.wfile.write(struct.pack("!BB", 0x81, len(said)) + said + struct.pack("!BBH", 0x88, 2, end))
        self.close_connection = True

    def vetted(self, document):
        """As the real one does before anything else: is the host one that may, and does it give this document?"""
        host = urlsplit(document).hostname
        if not self.settings.allows(host):
            print(f"ERR No authorized hosts found matching the target host [{host}] in config", flush=True)
            return "error: cmd=internal kind=unauthorized"
        context = ssl.create_default_context(cafile=self.settings.authorities or None)
        if not self.settings.authorities:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(document, timeout=10, context=context) as answer:  # noqa: S310 # of a host that may
                json.load(answer)
        except (OSError, ValueError) as error:
            print(f"ERR CheckFileInfo failed for [{host}]: {error}", flush=True)
            return "error: cmd=internal kind=unauthorized"
        return 'progress: { "id":"connect" }'

    def log_message(self, *_):
        pass


def serve():
    pwd.getpwnam("cool")
    signal.signal(signal.SIGINT, lambda *_: sys.exit())
    try:
        settings = Coolwsd.settings = Settings("/etc/coolwsd/coolwsd.xml")
    except (OSError, ValueError, ET.ParseError) as error:
        sys.exit(f"FTL Failed to load the configuration: {error}")
    Path("/opt/cool/child-roots/forkit").mkdir(exist_ok=True)
    http.server.ThreadingHTTPServer(("127.0.0.1" if settings.loopback else "", PORT), Coolwsd).serve_forever()


if __name__ == "__main__":
    if Path(sys.argv[0]).name == "coolwsd":
        serve()
    else:
        write(sys.argv[2], Path(sys.argv[3]))
