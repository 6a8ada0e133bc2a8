"""What pages need to know of a colour."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

# What text of ordinary size needs (WCAG 2.2, 1.4.3, level AA)
READABLE = 4.5


def contrast_with_white(color: str) -> float:
    """{{ '#1f4e79' | contrast_with_white }}: the ratio of WCAG, from 1 to 21; 0 for what is no `#rrggbb`."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        return 0.0
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"contrast_with_white": contrast_with_white}
