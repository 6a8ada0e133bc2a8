"""The secrets that manifests name and no vault holds yet.

"{{ house | missing_secrets(hostvars, text) }}"   lines of YAML to add to a vault that says `text`; empty when none misses
"{{ text | empty_secrets }}"                      names that it has without a value
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


class _Words(yaml.SafeLoader):  # type: ignore[misc] # PyYAML says nothing of its types
    """Also reads what Ansible alone has tags for (`!unsafe`): the names are what counts."""


_Words.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))


def _read(text: str) -> dict[str, Any]:
    return yaml.load(str(text), Loader=_Words) or {}  # noqa: S506 # a safe loader, but for words


def empty_secrets(text: str) -> list[str]:
    """Names with nothing behind them: a line more of the same name would be the second one."""
    return [str(name) for name, value in _read(text).items() if not value]


def missing_secrets(house: Mapping[str, Mapping[str, Any]], hostvars: Mapping[str, Mapping[str, Any]], text: str = "") -> str:
    """A secret that is anywhere in the inventory already is never made again."""
    present = set(_read(text))
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
        return {"missing_secrets": missing_secrets, "empty_secrets": empty_secrets}
