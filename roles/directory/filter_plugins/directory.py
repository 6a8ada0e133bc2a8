"""What is wrong with the directory's settings, in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

PASSWORD_LENGTH = 20  # nobody guesses a random one, so it is hashed the fast way (directory_entries)


def _problems(suffix: str, services: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not re.fullmatch(r"dc=[a-z0-9-]+(,dc=[a-z0-9-]+)*", suffix):
        yield f"directory_suffix is '{suffix}': write the cooperative's domain as dc=coop,dc=example, in lower case"
    names = [service["name"] for service in services]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"directory_services names '{name}' twice: give each account its own name"
    for service in services:
        if len(service["password"]) < PASSWORD_LENGTH:
            yield (
                f"directory_services gives '{service['name']}' a password of fewer than {PASSWORD_LENGTH} characters: "
                "let secrets.yml make it"
            )
        if "userpassword" in map(str.lower, service["may"]):
            yield (
                f"directory_services gives userPassword to '{service['name']}': take it out of 'may'. A service that checks "
                "passwords binds as the member instead"
            )


def directory_problems(services: Sequence[Mapping[str, Any]], suffix: str) -> list[str]:
    """{{ directory_services | directory_problems(directory_suffix) }}: one sentence per mistake, none if all is well."""
    return list(_problems(suffix, services))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"directory_problems": directory_problems}
