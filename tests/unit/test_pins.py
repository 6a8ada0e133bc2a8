"""bin/pins, over an Internet of its own."""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import ROOT

PINS = """# what is pinned
upstream_pins:
  - name: cloud-34 # of the major version 34
    version: 34.0.4 # since May
    url: {maker}/cloud-34.0.4.tar.gz
    sha256: 0000000000000000000000000000000000000000000000000000000000000000 # of the file
    licence: AGPL-3.0-or-later
  - name: deck
    version: 1.2.3
    url: https://github.com/maker/deck/releases/download/v1.2.3/deck.tar.gz
    sha256: 1111111111111111111111111111111111111111111111111111111111111111
    licence: AGPL-3.0-or-later
other: 34.0.4
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name there
        pass


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[str]:
    """A maker's web server and GitHub's API; files below tmp_path/web."""
    (tmp_path / "web").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def file(tmp_path: Path, maker: str) -> Path:
    path = tmp_path / "upstream.yml"
    path.write_text(PINS.format(maker=maker))
    return path


def pins(file: Path, *arguments: str, api: str = "http://127.0.0.1:9") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        [ROOT / "bin/pins", "--file", file, *arguments],
        env=environment | {"GITHUB_API_URL": api},
        capture_output=True,
        text=True,
        check=False,
    )


def released(tmp_path: Path, repository: str, *tags: str) -> None:
    place = tmp_path / "web/repos" / repository / "releases"
    place.mkdir(parents=True)
    answer = [{"tag_name": tag, "prerelease": "rc" in tag, "draft": False} for tag in tags]
    (place / "index.html").write_text(json.dumps(answer))


def test_it_says_what_is_newer_and_no_other_major_version(file: Path, maker: str, tmp_path: Path) -> None:
    text = file.read_text().replace(maker, "https://download.nextcloud.com/server/releases")
    file.write_text(text)
    released(tmp_path, "nextcloud-releases/server", "v35.0.1", "v34.0.10", "v34.0.9", "v34.0.11rc1")
    released(tmp_path, "maker/deck", "v1.2.3", "v1.2.2")
    run = pins(file, api=maker)
    assert run.returncode == 0, run.stdout + run.stderr
    cloud, deck = run.stdout.splitlines()
    assert cloud.split()[:2] == ["cloud-34", "34.0.4"] and cloud.endswith("34.0.10 is newer")
    assert deck.split() == ["deck", "1.2.3", "newest"]
    assert file.read_text() == text


def test_without_a_network_each_pin_says_so_and_the_status_too(file: Path) -> None:
    run = pins(file)
    assert run.returncode == 1
    cloud, deck = run.stdout.splitlines()
    assert "does not know whom to ask" in cloud and "could not be asked" in deck
    assert "2 of 2 could not be asked" in run.stderr


def test_set_writes_version_url_and_checksum_together_and_nothing_else(file: Path, maker: str, tmp_path: Path) -> None:
    (tmp_path / "web/cloud-34.0.5.tar.gz").write_bytes(b"new")
    run = pins(file, "set", "cloud-34", "34.0.5")
    assert run.returncode == 0, run.stdout + run.stderr
    before = PINS.format(maker=maker).splitlines()
    after = file.read_text().splitlines()
    assert after[3:6] == [
        "    version: 34.0.5 # since May",
        f"    url: {maker}/cloud-34.0.5.tar.gz",
        f"    sha256: {hashlib.sha256(b'new').hexdigest()} # of the file",
    ]
    assert after[:3] + after[6:] == before[:3] + before[6:]


def test_a_version_that_looks_like_a_number_is_quoted(file: Path, tmp_path: Path) -> None:
    (tmp_path / "web/cloud-35.10.tar.gz").write_bytes(b"new")
    assert pins(file, "set", "cloud-34", "35.10").returncode == 0
    assert '    version: "35.10" # since May' in file.read_text().splitlines()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "cloud-34", "34.0.9"), "nothing was written"),
        (("set", "clod", "34.0.5"), "no pin 'clod'; there are: cloud-34, deck"),
        (("set", "cloud-34", "../34"), "'../34' is no version"),
    ],
    ids=["not there", "unknown", "no version"],
)
def test_what_cannot_be_leaves_the_file_alone(file: Path, arguments: tuple[str, ...], said: str) -> None:
    before = file.read_text()
    run = pins(file, *arguments)
    assert run.returncode != 0 and said in run.stderr
    assert file.read_text() == before


def test_a_file_laid_out_otherwise_is_not_written(file: Path, maker: str, tmp_path: Path) -> None:
    (tmp_path / "web/cloud-34.0.5.tar.gz").write_bytes(b"new")
    file.write_text(f"upstream_pins: [{{name: cloud-34, version: 34.0.4, url: {maker}/cloud-34.0.4.tar.gz, sha256: x}}]\n")
    before = file.read_text()
    run = pins(file, "set", "cloud-34", "34.0.5")
    assert run.returncode == 1 and "a line of its own" in run.stderr and file.read_text() == before


def test_a_repository_is_asked_for_its_first_package_and_only_its_version_moves(tmp_path: Path, file: Path, maker: str) -> None:
    repository = f"""upstream_repositories:
  - name: office
    version: 26.04.4.2-1 # of the first package
    url: {maker}/deb
    packages: [coolwsd, code-brand]
    key: x
"""
    file.write_text(file.read_text() + repository)
    (tmp_path / "web/deb").mkdir()
    lists = "".join(
        f"Package: {name}\nVersion: {version}\nDescription: a\n b\n\n"
        for name, version in (("coolwsd", "26.04.9.1-1"), ("coolwsd", "26.04.10.1-1"), ("code-brand", "27-1"))
    )
    (tmp_path / "web/deb/Packages.bz2").write_bytes(bz2.compress(lists.encode()))
    said = pins(file)
    assert "26.04.10.1-1 is newer" in next(line for line in said.stdout.splitlines() if line.startswith("office")), said.stdout
    before = file.read_text()
    refused = pins(file, "set", "office", "27-1")
    assert refused.returncode == 1 and "the repository has 26.04.9.1-1, 26.04.10.1-1" in refused.stderr, refused.stderr
    assert file.read_text() == before
    done = pins(file, "set", "office", "26.04.9.1-1")
    assert done.returncode == 0 and done.stdout == "office: 26.04.4.2-1 -> 26.04.9.1-1\n", done.stdout + done.stderr
    assert file.read_text() == before.replace("26.04.4.2-1", "26.04.9.1-1")
