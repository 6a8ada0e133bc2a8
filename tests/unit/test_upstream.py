"""Pins of upstream software: what is refused, where each artefact is, and what is said of one that is not to be had."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from conftest import ROOT
from upstream import artefacts, not_as_pinned, not_had, pin_flaws, repository_flaws, standins

PIN = {
    "name": "cloud-34",
    "version": "34.0.4",
    "url": "https://maker.test/v34.0.4/cloud.tar.gz",
    "sha256": "a" * 64,
    "licence": "AGPL-3.0-or-later",
}
OTHER = PIN | {"name": "deck", "version": "1.2", "url": "https://maker.test/deck-1.2.tar.gz", "sha256": "b" * 64}


def stat(pin: dict[str, str], checksum: str | None) -> dict[str, Any]:
    there = {"exists": True, "checksum": checksum} if checksum else {"exists": False}
    return {"item": artefacts([pin], "/srv")[0], "stat": there}


def test_the_pins_of_the_house_hold() -> None:
    pins = yaml.safe_load((ROOT / "group_vars/all/upstream.yml").read_text())["upstream_pins"]
    assert pins and pin_flaws(pins) == []


# One change, one sentence
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no checksum": (
        {"sha256": None},
        "cloud-34.sha256: is missing; a pin needs its checksum: bin/pins set cloud-34 34.0.4 writes",
    ),
    "an empty one": ({"sha256": ""}, "cloud-34.sha256: is missing"),
    "another checksum": ({"sha256": "a" * 40}, f"cloud-34.sha256: '{'a' * 40}' will not do"),
    "no name": ({"name": ""}, "the entry 1.name: is missing"),
    "a name that leaves the tree": ({"name": "../cloud"}, "../cloud.name: '../cloud' will not do"),
    "a number": ({"version": 34.0}, "cloud-34.version: '34.0' will not do; write it as the maker does, in quotes"),
    "in the clear": ({"url": "http://maker.test/cloud-34.0.4.tgz"}, "will not do; write https://host/path/file"),
    "no file": ({"url": "https://maker.test/34.0.4/"}, "will not do; write https://host/path/file"),
    "the URL of another version": ({"version": "34.0.5"}, "cloud-34.url: has no '34.0.5' in it"),
    "no licence": ({"licence": ""}, "cloud-34.licence: is missing; name it as SPDX does"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_pin_that_does_not_hold(change: dict[str, Any], said: str) -> None:
    assert pin_flaws([PIN, OTHER]) == []
    assert [said in flaw for flaw in pin_flaws([PIN | change, OTHER])] == [True], pin_flaws([PIN | change])


def test_each_name_is_there_once_and_each_entry_is_a_pin() -> None:
    assert pin_flaws([PIN, PIN]) == ["cloud-34: is there 2 times; keep one"]
    assert pin_flaws(["cloud"]) == ["the entry 1: is no pin; give it name, version, url, sha256, licence"]  # type: ignore[list-item]


KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQEN\n-----END PGP PUBLIC KEY BLOCK-----\n"
REPOSITORY = {
    "name": "office",
    "version": "26.04.4.2-1",
    "url": "https://maker.test/deb",
    "packages": ["coolwsd", "code-brand"],
    "key": KEY,
    "licence": "MPL-2.0",
}
UNSIGNED: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"key": ""}, "office.key: is missing; give the maker's key, armoured; nothing else verifies the packages"),
    "another kind of key": ({"key": KEY.replace("PUBLIC", "PRIVATE")}, "office.key: "),
    "in the clear": ({"url": "http://maker.test/deb"}, "will not do; write https://host/path, without a final slash"),
    "a slash at its end": ({"url": "https://maker.test/deb/"}, "without a final slash"),
    "no packages": ({"packages": []}, "office.packages: is missing; list names of packages"),
    "an option": ({"packages": ["coolwsd", "--allow-unauthenticated"]}, "will not do; list names of packages"),
    "a version that leaves the tree": ({"version": "../1"}, "office.version: '../1' will not do"),
}


@pytest.mark.parametrize(("change", "said"), UNSIGNED.values(), ids=UNSIGNED.keys())
def test_a_repository_that_does_not_hold(change: dict[str, Any], said: str) -> None:
    assert repository_flaws([REPOSITORY]) == []
    assert [said in flaw for flaw in repository_flaws([REPOSITORY | change])] == [True], repository_flaws([REPOSITORY | change])


def test_the_repositories_of_the_house_hold() -> None:
    repositories = yaml.safe_load((ROOT / "group_vars/all/upstream.yml").read_text())["upstream_repositories"]
    assert repositories and repository_flaws(repositories) == []


def test_an_artefact_is_below_its_version_wherever_it_is() -> None:
    (there,) = artefacts([PIN], "/srv/mirror")
    assert (there["path"], there["url"]) == ("/srv/mirror/cloud-34/34.0.4/cloud.tar.gz", PIN["url"])
    (mirrored,) = artefacts([PIN], "/var", "https://mirror.test")
    assert mirrored["url"] == "https://mirror.test/cloud-34/34.0.4/cloud.tar.gz"
    assert artefacts([PIN], "/var", "")[0]["url"] == "", "no mirror, and never the maker"


def test_what_is_there_with_another_checksum_is_not_there() -> None:
    results = [stat(PIN, None), stat(OTHER, "c" * 64), stat(PIN | {"name": "good"}, PIN["sha256"])]
    assert [pin["name"] for pin in not_as_pinned(results)] == ["cloud-34", "deck"]


def test_what_is_said_names_the_pin_and_both_sums_or_why_nothing_came() -> None:
    results = [stat(PIN, None), stat(OTHER, "c" * 64), stat(PIN | {"name": "good"}, PIN["sha256"])]
    absent, wrong = not_had(results, [{"item": PIN, "msg": "Request failed", "response": "HTTP Error 404"}, {"skipped": True}])
    assert absent == {"name": "cloud-34", "said": f"cloud-34 34.0.4: cannot be had from {PIN['url']}: HTTP Error 404"}
    for part in ("deck 1.2", "c" * 64, "b" * 64, "bin/pins set deck 1.2"):
        assert part in wrong["said"]
    nowhere = {"item": artefacts([PIN], "/var", "")[0], "stat": {"exists": False}}
    assert "there is no mirror" in not_had([nowhere])[0]["said"]


def test_the_stand_in_that_says_most_of_the_name() -> None:
    programs = ["/t/README.md", "/t/nextcloud.py", "/t/nextcloud-app.py"]
    names = ["nextcloud-app-deck", "nextcloud", "nextcloudy", "mastodon"]
    found = standins([{"name": name} for name in names], programs)
    assert [one["program"] for one in found] == ["/t/nextcloud-app.py", "/t/nextcloud.py", "", ""]
