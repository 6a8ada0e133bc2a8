"""What a member takes along: whose export is asked for, and what the directory has of them.

    logins: "{{ member_export | export_logins }}"
    problems: "{{ logins | export_problems(members, where, mode, there, replace) }}"
    profiles: "{{ entries | member_profiles(access) }}"     # [{ldif: text, json: text}]
    exports: "{{ members | member_exports(profiles, letters, today) }}"     # [{login, mail, files}]

Pure functions: nothing is read and nothing is written here.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from string import Template
from typing import Any

from ansible.errors import AnsibleFilterError

# Ansible loads filter plugins by their path; a neighbour is found only so
sys.path.append(str(Path(__file__).parent))
from members import DAY


def export_logins(asked: object) -> list[str]:
    """The logins asked for, as a list or as words with spaces or commas between; each once."""
    words = re.split(r"[\s,]+", asked) if isinstance(asked, str) else [str(word) for word in (asked or [])]  # type: ignore[attr-defined]
    return list(dict.fromkeys(str(word) for word in words if word))


def export_problems(
    logins: Iterable[str], members: Iterable[str], where: str, mode: str, there: Iterable[str], replace: bool = False
) -> list[str]:
    """Why these members cannot be exported, each with its mend.

    `members`: the logins there are; `where`: the directory of the archives, `mode` its permissions (octal; empty where there
    is none yet) and `there` the logins whose archive it has; `replace`: those may be overwritten.
    """
    logins, members, there = list(logins), list(members), set(there)
    problems = [] if logins else ["member_export names nobody; write a login, or several with spaces between"]
    for login in logins:
        if login not in members:
            near = get_close_matches(login, members, n=1)
            problems.append(f"'{login}' is no member" + (f"; did you mean '{near[0]}'?" if near else "; write the login"))
        elif login in there and not replace:
            problems.append(f"{where}/{login}.zip is there already; move it away, or add -e member_export_replace=true")
    if mode and int(mode, 8) & 0o077:
        problems.append(
            f"{where} is open to others (mode {mode}); run chmod 700 {where}, or name another with -e member_export_to"
        )
    return problems


def attribute_names(ldif: str) -> list[str]:
    """The names of the attributes of one entry, as `ldapsearch -LLL -o ldif-wrap=no` prints it."""
    names = [line.split(":", 1)[0] for line in ldif.splitlines() if ":" in line]
    return list(dict.fromkeys(str(name) for name in names if name != "dn"))


def member_profile(ldif: str, access: str) -> dict[str, str]:
    """Of an entry, what the member may read themselves: `access` is what slapacl says of each `attribute/read`."""
    judged = dict(re.findall(r"^read access to (\S+): (\w+)$", access, re.MULTILINE))
    if missing := set(attribute_names(ldif)) - set(judged):
        raise AnsibleFilterError(f"slapacl does not say whether the member may read {', '.join(sorted(missing))}: {access}")
    allowed = {"dn", *(name for name, answer in judged.items() if answer == "ALLOWED")}
    lines = [line for line in ldif.splitlines() if line.split(":", 1)[0] in allowed]
    values: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(":")
        values.setdefault(name, []).append(_decoded(value[1:].strip()) if value.startswith(":") else value.strip())
    return {
        "ldif": "version: 1\n\n" + "".join(f"{line}\n" for line in lines),
        "json": json.dumps(values | {"dn": values.get("dn", [""])[0]}, ensure_ascii=False, indent=2) + "\n",
    }


def member_profiles(entries: Iterable[str], access: Iterable[str]) -> list[dict[str, str]]:
    """`member_profile` of each."""
    return [member_profile(ldif, may) for ldif, may in zip(entries, access, strict=True)]


def member_exports(
    asked: Iterable[Mapping[str, Any]], profiles: Iterable[Mapping[str, str]], letters: Mapping[str, str], today: str
) -> list[dict[str, Any]]:
    """For each member, as community.general.ldap_search returns them: `login`, `mail`, and the archive's `files` but the mailbox.

    `letters`: by language, the text that explains the archive, with $name, $login (the first address), $uid and $today.
    """
    exports = []
    for member, profile in zip(asked, profiles, strict=True):
        language = member["preferredLanguage"] if member["preferredLanguage"] in letters else "en"
        day = date.fromisoformat(today).strftime(DAY[language])
        fields = {"name": member["cn"], "login": member["mail"], "uid": member["uid"], "today": day}
        files = {
            "README.txt": Template(letters[language]).safe_substitute(fields).replace("\n", "\r\n"),
            "profile.json": profile["json"],
            "profile.ldif": profile["ldif"],
        }
        exports.append({"login": member["uid"], "mail": member["mail"], "files": files})
    return exports


def _decoded(text: str) -> str | Mapping[str, str]:
    """Text as it is; what is none, such as a picture, stays encoded."""
    try:
        return base64.b64decode(text).decode()
    except UnicodeDecodeError:
        return {"base64": text}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "export_logins": export_logins,
            "export_problems": export_problems,
            "attribute_names": attribute_names,
            "member_profiles": member_profiles,
            "member_exports": member_exports,
        }
