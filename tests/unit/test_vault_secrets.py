"""Secrets: made when they miss, never again."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from vault_secrets import empty_secrets, missing_secrets

HOUSE = {
    "mail": {
        "hosts": ["a"],
        "manifest": {"secrets": [{"name": "vault_word", "type": "password"}, {"name": "vault_key", "type": "base64"}]},
    },
    "dns": {"hosts": ["a", "b"], "manifest": {"secrets": [{"name": "vault_key", "type": "base64"}]}},
}
NOTHING: dict[str, dict[str, Any]] = {"a": {}, "b": {}}


def test_each_is_made_once_and_is_long() -> None:
    made = yaml.safe_load(missing_secrets(HOUSE, NOTHING))
    assert list(made) == ["vault_word", "vault_key"]
    assert len(made["vault_word"]) == 32 and made["vault_word"].isalnum()
    assert len(base64.b64decode(made["vault_key"], validate=True)) == 32


def test_no_two_are_alike() -> None:
    assert missing_secrets(HOUSE, NOTHING) != missing_secrets(HOUSE, NOTHING)


def test_what_the_vault_or_the_inventory_has_is_left_alone() -> None:
    assert missing_secrets(HOUSE, NOTHING, "vault_word: mine\nvault_key: mine\n") == ""
    assert missing_secrets(HOUSE, {"a": {"vault_word": "x", "vault_key": "x"}, "b": {}}) == ""
    assert "vault_word" not in missing_secrets(HOUSE, {"a": {"vault_word": "x"}, "b": {}})


def test_an_empty_one_is_made() -> None:
    assert "vault_word" in missing_secrets(HOUSE, {"a": {"vault_word": ""}, "b": {}})


@pytest.mark.parametrize("nothing", ["", "''", "~"])
def test_one_that_is_empty_in_the_vault_is_named(nothing: str) -> None:
    assert empty_secrets(f"vault_word: {nothing}\nvault_key: mine\n") == ["vault_word"]
    assert empty_secrets("") == []


def test_a_vault_is_read_as_ansible_reads_it() -> None:
    assert missing_secrets(HOUSE, NOTHING, (text := "vault_word: !unsafe 'a{{b'\nvault_key: mine\n")) == ""
    assert empty_secrets(text) == []
