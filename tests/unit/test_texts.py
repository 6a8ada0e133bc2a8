"""What people read is there in every language, with the same keys and the same number of steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import LANGUAGES

ROOT = Path(__file__).resolve().parents[2]


def tables() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping by language, wherever a role keeps its texts and whatever it calls them."""
    for path in sorted([*ROOT.glob("roles/*/vars/main.yml"), *ROOT.glob("roles/*/files/**/*.yml")]):
        for name, value in (yaml.safe_load(path.read_text()) or {}).items():
            if not isinstance(value, dict):
                continue
            tables_by_language = {*LANGUAGES} & {*value} and all(isinstance(table, dict) for table in value.values())
            if str(name).endswith("texts") or tables_by_language:
                yield f"{path.relative_to(ROOT)}: {name}", value


def flaws(texts: dict[str, Any]) -> Iterator[str]:
    for language in {*LANGUAGES} - {*texts}:
        yield f"{language} is missing"
    every = {key for table in texts.values() for key in table}
    for language, table in texts.items():
        for key in sorted(every - {*table}):
            yield f"{language}.{key} is missing"
        for key in sorted({*table} & {*dir(dict)}):
            yield f"{language}.{key}: a template would find the method of dict of that name"
        for key, text in table.items():
            first = texts[LANGUAGES[0]].get(key)
            if not text:
                yield f"{language}.{key} is empty"
            elif isinstance(text, list) and len(text) != len(first or []):
                yield f"{language}.{key} has {len(text)} lines, not {len(first or [])}"
            elif set(re.findall(r"\{\w+\}", str(text))) != set(re.findall(r"\{\w+\}", str(first))):
                yield f"{language}.{key} fills in other things than {LANGUAGES[0]}.{key}"


@pytest.mark.parametrize(("where", "texts"), list(tables()), ids=[where for where, _ in tables()])
def test_every_text_is_there_in_every_language(where: str, texts: dict[str, Any]) -> None:
    assert not list(flaws(texts)), where


def test_what_is_missing_is_found() -> None:
    good = {language: {"hello": "Hello {name}", "steps": ["a", "b"]} for language in LANGUAGES}
    assert not list(flaws(good))
    for change, said in (
        ({"hello": "Hallo {name}"}, "nl.steps is missing"),
        ({"hello": "Hallo {name}", "steps": ["a"]}, "nl.steps has 1 lines, not 2"),
        ({"hello": "Hallo", "steps": ["a", "b"]}, "nl.hello fills in other things than fr.hello"),
        ({"hello": "", "steps": ["a", "b"]}, "nl.hello is empty"),
    ):
        assert list(flaws(good | {"nl": change})) == [said]
    assert list(flaws({key: value for key, value in good.items() if key != "de"})) == ["de is missing"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_guide_names_the_button_as_it_is(language: str) -> None:
    """They are of two roles, which read nothing of each other."""
    front, devices = (
        yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text())[f"__{role}_texts"][language]
        for role in ("front", "devices")
    )
    quoted = [re.findall(r"[«‘„“]\s?(.+?)\s?[»’“”]", step) for step in front["steps_iphone"]]
    assert [devices["download"]] in quoted
