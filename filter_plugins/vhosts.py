"""Web vhosts: what one may say, in a service's manifest as in the role nginx, and what nginx needs to be told.

"{{ nginx_vhosts | vhost_flaws }}"         what does not hold, each with its mend; empty when all does
"{{ now(utc=true) | first_of_month(11) }}" 2026-11-24 -> 2027-10-01T00:00:00Z
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

TEXT: dict[str, Any] = {"type": "str", "default": ""}
# roles/nginx/meta/argument_specs.yml says what each is for
VHOST: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "root": TEXT,
    "fallback": {"type": "str", "default": "=404"},
    "php": TEXT,
    "proxy": TEXT,
    "redirect": TEXT,
    # who is answered: in a manifest as `listens` has it, then `any` or the networks
    "from": {"type": "raw", "default": "any"},
    "headers": {"type": "dict", "default": {}},
    "body_mib": {"type": "int", "default": 1},
    "secret_below": {"type": "list", "elements": "str", "default": []},
    "extra": TEXT,
}
HOST_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
# A path behind the server would replace what was asked for
SERVER = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:\d+)?|http://unix:/[^\s;:]+")
PATH = re.compile(r"/([A-Za-z0-9._~-]+/)+")
HEADER = re.compile(r"[A-Za-z0-9-]+")


def vhost_flaws(vhosts: Sequence[Mapping[str, Any]]) -> list[str]:
    flaws = [
        f"{name}: is there {count} times; keep one" for name, count in Counter(v["name"] for v in vhosts).items() if count > 1
    ]
    for vhost in vhosts:
        name, root, proxy = vhost["name"], vhost.get("root", ""), vhost.get("proxy", "")
        if not HOST_NAME.fullmatch(name):
            flaws.append(f"{name}: is no host name; write it in lower case")
        # extra may be all there is: what it does not answer is 404
        answers = [bool(vhost.get(key)) for key in ("redirect", "root", "proxy", "extra")]
        if not any(answers) or (answers[0] and any(answers[1:3])):
            flaws.append(f"{name}: give it root, proxy or both, or extra alone, or else redirect alone")
        if root and not root.startswith("/"):
            flaws.append(f"{name}.root: '{root}' is no absolute path")
        if proxy and not SERVER.fullmatch(proxy):
            flaws.append(f"{name}.proxy: '{proxy}' must be http://host:port or http://unix:/path, with nothing behind it")
        if vhost.get("php") and not root:
            flaws.append(f"{name}.php: needs the directory of its files; set root")
        if int(vhost.get("body_mib", 1)) < 1:
            flaws.append(f"{name}.body_mib: {vhost['body_mib']} would be no limit at all; give it 1 or more")
        flaws += [
            f"{name}.secret_below: '{path}' must be a path from / to /, plain as clients ask for it"
            for path in vhost.get("secret_below", [])
            if not PATH.fullmatch(path)
        ]
        for header, value in vhost.get("headers", {}).items():
            if not HEADER.fullmatch(header) or "\n" in str(value):
                flaws.append(f"{name}.headers: '{header}' must be a header's name, its value one line")
    return flaws


def first_of_month(today: datetime.date, months: int) -> str:
    """The first of the month so many months on, as RFC 3339 has it."""
    years, month = divmod(today.month - 1 + months, 12)
    return f"{today.year + years:04d}-{month + 1:02d}-01T00:00:00Z"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"vhost_flaws": vhost_flaws, "first_of_month": first_of_month}
