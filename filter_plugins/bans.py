"""Who is shut out: what a service may say of failed sign-ins, in its manifest as in the role fail2ban.

"{{ fail2ban_jails | ban_flaws }}"     what does not hold, each with its mend; empty when all does
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

DATA: dict[str, Any] = {"type": "str", "required": True}
# roles/fail2ban/meta/argument_specs.yml says what each is for
BAN: dict[str, dict[str, Any]] = {
    "name": DATA,
    "journal": DATA,
    "failures": {"type": "list", "elements": "str", "required": True},
    "ports": {"type": "list", "elements": "str", "required": True},
}
# The kernel's set is named after it, too
NAME = re.compile(r"[a-z][a-z0-9_-]{0,48}")
MATCH = re.compile(r"[A-Z_]+=\S+")
PORT = re.compile(r"\d{1,5}(-\d{1,5})?")
HOST = "<HOST>"


def ban_flaws(bans: Sequence[Mapping[str, Any]]) -> list[str]:
    names = Counter(str(ban["name"]) for ban in bans)
    flaws = [f"{name}: is there {count} times; keep one" for name, count in names.items() if count > 1]
    for ban in bans:
        name = ban["name"]
        if not NAME.fullmatch(name):
            flaws.append(f"{name}: will not do as a name; take a-z, 0-9, - and _, a letter first")
        if not all(part == "+" or MATCH.fullmatch(part) for part in ban["journal"].split()) or not ban["journal"]:
            flaws.append(f"{name}.journal: '{ban['journal']}' selects nothing; write it as journalctl has it, FIELD=value")
        if not ban["failures"]:
            flaws.append(f"{name}.failures: is empty; give it the lines that are a failure")
        for line in ban["failures"]:
            if line.count(HOST) != 1:
                flaws.append(f"{name}.failures: '{line}' must say once where the address is, as {HOST}")
            try:
                re.compile(line.replace(HOST, "(?P<host>x)"))
            except re.error as error:
                flaws.append(f"{name}.failures: '{line}' is no regular expression: {error}")
            if not line.startswith("^"):
                flaws.append(f"{name}.failures: '{line}' must begin with ^: else whoever signs in can write one into a name")
        wrong = [str(port) for port in ban["ports"] if not PORT.fullmatch(str(port))]
        if wrong or not ban["ports"]:
            flaws.append(f"{name}.ports: '{', '.join(wrong)}' is neither a port nor a range 'low-high'; say which are closed")
    return flaws


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ban_flaws": ban_flaws}
