"""The secrets that manifests name and no vault holds yet.

"{{ house | missing_secrets(hostvars, text) }}"   lines of YAML to add to a vault that says `text`; empty when none misses
"""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Callable, Mapping
from typing import Any

import yaml

ALPHABET = string.ascii_letters + string.digits
MAKERS: dict[str, Callable[[], str]] = {
    "password": lambda: "".join(secrets.choice(ALPHABET) for _ in range(32)),
    "base64": lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
}


def missing_secrets(house: Mapping[str, Mapping[str, Any]], hostvars: Mapping[str, Mapping[str, Any]], text: str = "") -> str:
    """A secret that is anywhere in the inventory already is never made again."""
    present = set(yaml.safe_load(str(text)) or {})
    lines = ""
    for entry in house.values():
        for secret in entry["manifest"]["secrets"]:
            name = secret["name"]
            if name in present or any(hostvars[host].get(name) for host in entry["hosts"]):
                continue
            present.add(name)
            lines += f'{name}: "{MAKERS[secret["type"]]()}"\n'
    return lines


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"missing_secrets": missing_secrets}
