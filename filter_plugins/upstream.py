"""Pins of upstream software (group_vars/all/upstream.yml), and where each artefact is.

"{{ upstream_pins | pin_flaws }}"                      what does not hold, each with its mend; empty when all does
"{{ upstream_repositories | repository_flaws }}"       likewise
"{{ upstream_pins | artefacts(directory) }}"           [{…pin, file: x.tar.gz, path: directory/name/version/x.tar.gz}]
"{{ upstream_pins | artefacts(directory, mirror) }}"   the same, the URL being the mirror's; empty where there is no mirror
"{{ stats.results | not_as_pinned }}"                  artefacts of a loop of `stat` with another sha256, or none
"{{ stats.results | not_had(downloads.results) }}"     [{name, said}] of those: why, and the mend
"{{ those | standins(programs) }}"                     [{…artefact, program: path}], the program named as the pin is or begins
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

# By key: what it must be, and what to write if it is not. Numbers are refused too: 1.10 would be 1.1
PIN: dict[str, tuple[str, str]] = {
    "name": (r"[a-z0-9][a-z0-9._-]*", "write it in a-z, 0-9, '.', '_' and '-'"),
    "version": (r"[A-Za-z0-9][A-Za-z0-9.+~-]*", "write it as the maker does, in quotes if it looks like a number"),
    "url": (r"https://[^/\s]+/(?:[^\s?#]*/)?[A-Za-z0-9][A-Za-z0-9._+~-]*", "write https://host/path/file"),
    "sha256": (r"[0-9a-f]{64}", "a pin needs its checksum: bin/pins set {name} {version} writes it"),
    "licence": (r"\S.*", "name it as SPDX does, such as AGPL-3.0-or-later"),
}

# The first package is the one whose version it is
REPOSITORY: dict[str, tuple[str, str]] = {
    "name": PIN["name"],
    "version": PIN["version"],
    "url": (r"https://[^\s?#]+[^/\s?#]", "write https://host/path, without a final slash"),
    "packages": (r"[a-z0-9][a-z0-9+.-]+(?: [a-z0-9][a-z0-9+.-]+)*", "list names of packages, the one whose version it is first"),
    "key": (
        r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n.*\n-----END PGP PUBLIC KEY BLOCK-----\n?",
        "give the maker's key, armoured; nothing else verifies the packages",
    ),
    "licence": PIN["licence"],
}


def pin_flaws(pins: Sequence[Mapping[str, Any]]) -> list[str]:
    flaws = _flaws(pins, PIN, "pin")
    for pin in pins:
        # so that the one never moves without the other
        if isinstance(pin, Mapping) and str(pin.get("version")) not in str(pin.get("url")):
            flaws.append(f"{pin.get('name')}.url: has no '{pin.get('version')}' in it; take the URL of that version")
    return flaws


def repository_flaws(repositories: Sequence[Mapping[str, Any]]) -> list[str]:
    return _flaws(repositories, REPOSITORY, "repository")


def _flaws(entries: Sequence[Mapping[str, Any]], keys: Mapping[str, tuple[str, str]], kind: str) -> list[str]:
    flaws = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            flaws.append(f"the entry {index + 1}: is no {kind}; give it {', '.join(keys)}")
            continue
        named = {"name": f"the entry {index + 1}", "version": "VERSION"} | {k: v for k, v in entry.items() if v}
        for key, (pattern, mend) in keys.items():
            value = entry.get(key)
            text = " ".join(map(str, value)) if isinstance(value, list) else value
            if not isinstance(text, str) or not re.fullmatch(pattern, text, re.DOTALL):
                said = f"'{value}' will not do" if value else "is missing"
                flaws.append(f"{named['name']}.{key}: {said}; {mend.format(**named)}")
    names = Counter(entry.get("name") for entry in entries if isinstance(entry, Mapping))
    return flaws + [f"{name}: is there {count} times; keep one" for name, count in names.items() if name and count > 1]


def artefacts(pins: Iterable[Mapping[str, Any]], directory: str, mirror: str | None = None) -> list[dict[str, Any]]:
    """Below its version: an older one stays, and the makers' names of files need not tell them apart."""
    found = []
    for pin in pins:
        file = PurePosixPath(pin["url"]).name
        below = f"{pin['name']}/{pin['version']}/{file}"
        url = pin["url"] if mirror is None else f"{mirror}/{below}" if mirror else ""
        found.append({**pin, "file": file, "path": f"{directory}/{below}", "url": url})
    return found


def _sum(result: Mapping[str, Any]) -> str:
    return str(result.get("stat", {}).get("checksum", ""))


def not_as_pinned(results: Iterable[Mapping[str, Any]]) -> list[Any]:
    return [result["item"] for result in results if _sum(result) != result["item"]["sha256"]]


def not_had(results: Iterable[Mapping[str, Any]], downloads: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    why = {result["item"]["name"]: result.get("response") or result.get("msg") for result in downloads if "item" in result}
    found = []
    for result in results:
        pin, there = result["item"], _sum(result)
        named = f"{pin['name']} {pin['version']}"
        if there == pin["sha256"]:
            continue
        if there:
            said = (
                f"{named}: {pin['file']} has the sha256 {there}, pinned is {pin['sha256']}. It was thrown away. Ask its maker "
                f"which is right; if this one is, bin/pins set {pin['name']} {pin['version']} takes it for good"
            )
        else:
            whence = f"cannot be had from {pin['url']}" if pin["url"] else "there is no mirror (the group 'mirror' has no host)"
            said = f"{named}: {whence}" + (f": {why[pin['name']]}" if why.get(pin["name"]) else "")
        found.append({"name": pin["name"], "said": said})
    return found


def standins(those: Iterable[Mapping[str, Any]], programs: Iterable[str]) -> list[dict[str, Any]]:
    """Of several programs the one that says most of the name; empty where there is none."""
    stems = {PurePosixPath(path).stem: str(path) for path in programs}
    return [
        {
            **one,
            "program": stems.get(
                max((stem for stem in stems if f"{one['name']}-".startswith(f"{stem}-")), key=len, default=""), ""
            ),
        }
        for one in those
    ]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "pin_flaws": pin_flaws,
            "repository_flaws": repository_flaws,
            "artefacts": artefacts,
            "not_as_pinned": not_as_pinned,
            "not_had": not_had,
            "standins": standins,
        }
