#!/usr/bin/python
# License: AGPL-3.0-or-later
"""Bring entries of the directory to what they should be, over one connection."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import ldap
    import ldap.filter
    import ldap.sasl
except ImportError:
    ldap = None

DOCUMENTATION = r"""
module: directory_entries
short_description: Bring entries of the directory to what they should be, over one connection
description:
  - Runs on the directory's host as root, over C(ldapi:///), and writes only what differs. Supports check mode and diff;
    in check mode a directory that does not answer yet counts as empty.
  - Entries are written in the order given, deletions included. One that is given twice is first what is said first;
    both name the same attributes.
options:
  entries:
    description: The entries.
    type: list
    elements: dict
    required: true
    suboptions:
      dn: {type: str, required: true, description: "Its name."}
      state: {type: str, choices: [present, absent], default: present, description: "Whether it should be there."}
      attributes:
        type: dict
        default: {}
        description: >-
          Attributes with the list of their values, exactly; an empty list removes the attribute.
          Attributes that are not named stay as they are.
      password_mode:
        type: str
        choices: [none, exact, initial, reset]
        default: none
        description: >-
          C(exact) keeps the password what I(password) says, compared by signing in; it is a machine's, long and random.
          C(initial) sets it when the entry is
          created, and C(reset) in any case: to I(password), or a random one made here if there is none.
      password: {type: str, description: "The password, in clear."}
  purge:
    description: Entries directly below these that are not among I(entries) are deleted.
    type: list
    elements: str
    default: []
  addresses:
    description: >-
      Where addresses are that no new entry may have as its C(mail): the entries below this, by their C(mail) and C(mailAlias).
    type: str
  spool:
    description: >-
      File, readable by root only, to which a line C(dn<TAB>password) is added for each initial and reset password
      before the directory is told, so that an interruption loses none. The password is empty where I(password) was given.
    type: path
  uri: {type: str, default: "ldapi:///", description: "Where the directory answers."}
author: [perron]
"""

EXAMPLES = r"""
- directory_entries:
    entries:
      - dn: uid=alice,ou=members,dc=coop,dc=example
        attributes: {objectClass: [inetOrgPerson], uid: [alice], cn: [Alice], sn: [Alice]}
        password_mode: initial
    spool: /root/initial-passwords
"""

RETURN = r"""
created: {type: list, elements: str, returned: always, description: Names of the entries created.}
modified: {type: list, elements: str, returned: always, description: Names of the entries modified.}
deleted: {type: list, elements: str, returned: always, description: Names of the entries deleted.}
"""

Values = dict[str, list[str]]
# Easy to read aloud and to type on any keyboard: no 0/o, 1/l/i. 16 of them are 79 bits
ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


def random_password(dn: str) -> str:
    """One that has no word of the entry's own name, which the directory would refuse."""
    words = re.findall(r"[a-z0-9]{3,}", dn.partition(",")[0].lower())
    while True:
        password = "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(4))
        if not any(word in password for word in words):
            return password


def salted_sha512(password: str) -> str:
    """For a password nobody can guess. Services sign in all day, and argon2 costs the directory 20 ms each time."""
    salt = secrets.token_bytes(16)
    digest = hashlib.sha512(password.encode() + salt).digest()
    return "{SSHA512}" + base64.b64encode(digest + salt).decode()


def as_text(attributes: Mapping[str, Any]) -> Values:
    """Values as the lists of strings LDAP knows, whatever YAML made of them."""
    return {
        name: [str(value) for value in (values if isinstance(values, list) else [values])] for name, values in attributes.items()
    }


def difference(current: Values, wanted: Values) -> Values:
    """What of `wanted` is not so in `current`. The order of values means nothing in LDAP."""
    return {name: values for name, values in wanted.items() if set(current.get(name, [])) != set(values)}


def ldif(dn: str, attributes: Values | None, names: Sequence[str] | None = None) -> str:
    if attributes is None:
        return ""
    names = sorted(attributes if names is None else names)
    lines = [f"{name}: {value}" for name in names for value in sorted(attributes.get(name, []))]
    return "\n".join([f"dn: {dn}", *lines, "", ""])


class Directory:
    """One connection, as the administrator."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.connection = ldap.initialize(uri)
        self.connection.sasl_external_bind_s()

    def read(self, dn: str, names: Sequence[str]) -> Values | None:
        try:
            ((_, found),) = self.connection.search_s(dn, ldap.SCOPE_BASE, "(objectClass=*)", [*names, "1.1"])
        except ldap.NO_SUCH_OBJECT:
            return None
        asked = {name.lower(): name for name in names}
        return {asked.get(name.lower(), name): [v.decode() for v in values] for name, values in found.items()}

    def below(self, dn: str) -> list[str]:
        try:
            return [found for found, _ in self.connection.search_s(dn, ldap.SCOPE_ONELEVEL, attrlist=["1.1"])]
        except ldap.NO_SUCH_OBJECT:
            return []

    def owner(self, base: str, address: str) -> str | None:
        """Whose address it is below there."""
        either = ldap.filter.filter_format("(|(mail=%s)(mailAlias=%s))", [address, address])
        try:
            found = self.connection.search_s(base, ldap.SCOPE_ONELEVEL, either, ["1.1"])
        except ldap.NO_SUCH_OBJECT:  # the tree is being made
            return None
        return str(found[0][0]) if found else None

    def signs_in(self, dn: str, password: str) -> bool:
        guest = ldap.initialize(self.uri)
        try:
            guest.simple_bind_s(dn, password)
        except (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH):
            return False
        finally:
            guest.unbind_s()
        return True

    def begin_add(self, dn: str, attributes: Values) -> int:
        added: int = self.connection.add(dn, [(name, encoded(values)) for name, values in attributes.items() if values])
        return added

    def finish(self, begun: int) -> None:
        self.connection.result(begun)

    def modify(self, dn: str, current: Values, changes: Values) -> None:
        modifications: list[tuple[int, str, list[bytes] | None]] = []
        for name, values in changes.items():
            before, after = set(current.get(name, [])), set(values)
            if len(before) > 1 and after:
                # a group of thousands changes by the one who comes
                if after - before:
                    modifications.append((ldap.MOD_ADD, name, encoded(sorted(after - before))))
                if before - after:
                    modifications.append((ldap.MOD_DELETE, name, encoded(sorted(before - after))))
            else:
                modifications.append((ldap.MOD_REPLACE, name, encoded(values) or None))
        self.connection.modify_s(dn, modifications)

    def delete(self, dn: str) -> None:
        self.connection.delete_s(dn)


class Empty:
    """What a first run in check mode finds: no directory yet."""

    def read(self, _dn: str, _names: Sequence[str]) -> None:
        return None

    def below(self, _dn: str) -> list[str]:
        return []


def encoded(values: Sequence[str]) -> list[bytes]:
    return [value.encode() for value in values]


def add_to_spool(path: str, lines: Sequence[str]) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as spool:
        spool.writelines(f"{line}\n" for line in lines)
        spool.flush()
        os.fsync(spool.fileno())


class Change:
    """What has to happen to one entry."""

    def __init__(self, directory: Any, entry: Mapping[str, Any], planned: dict[str, Values | None]) -> None:
        self.dn: str = entry["dn"]
        self.absent = entry["state"] == "absent"
        self.wanted = {} if self.absent else as_text(entry["attributes"])
        self.current = planned[self.dn] if self.dn in planned else directory.read(self.dn, list(self.wanted))
        planned[self.dn] = None if self.absent else {**(self.current or {}), **self.wanted}
        self.new = self.current is None and not self.absent
        self.changes = {} if self.absent else difference(self.current or {}, self.wanted)
        self.password: str | None = None
        self.spooled: str | None = None
        mode, given = entry["password_mode"], entry["password"]
        if mode == "exact":
            if self.new or not directory.signs_in(self.dn, given):
                self.password = salted_sha512(given)
        elif mode == "reset" or (mode == "initial" and self.new):
            self.password = given or random_password(self.dn)
            self.spooled = f"{self.dn}\t{'' if given else self.password}"

    @property
    def needed(self) -> bool:
        if self.absent:
            return self.current is not None
        return bool(self.new or self.changes or self.password)

    @property
    def name(self) -> str:
        return "deleted" if self.absent else "created" if self.new else "modified"

    def begin(self, directory: Directory) -> int | None:
        """Tell the directory; what is returned has to be waited for."""
        secret = {"userPassword": [self.password]} if self.password else {}
        if self.new:
            return directory.begin_add(self.dn, {**self.wanted, **secret})
        if self.absent:
            directory.delete(self.dn)
        else:
            directory.modify(self.dn, self.current or {}, {**self.changes, **secret})
        return None

    def diff(self) -> tuple[str, str]:
        if self.absent:
            return f"dn: {self.dn}\n\n", ""
        mark: Values = {"userPassword": ["(a new one)"]} if self.password else {}
        after = ldif(self.dn, {**self.changes, **mark})
        return ("" if self.new else ldif(self.dn, self.current, list(self.changes))), after


class Writer:
    """Applies changes in their order, but lets the directory hash several new passwords at once, which takes the time."""

    AT_ONCE = 3  # fewer than half of slapd's threads, the most it takes from one connection

    def __init__(self, directory: Any) -> None:
        self.directory = directory
        self.done: dict[str, list[str]] = {"created": [], "modified": [], "deleted": []}
        self.under_way: deque[tuple[Change, int | None]] = deque()
        self.dn = ""

    def apply(self, change: Change) -> None:
        several = change.new and change.password
        self.wait(self.AT_ONCE - 1 if several else 0)
        self.dn = change.dn
        self.under_way.append((change, change.begin(self.directory)))
        if not several:
            self.wait(0)

    def wait(self, allowed: int) -> None:
        while len(self.under_way) > allowed:
            change, begun = self.under_way.popleft()
            self.dn = change.dn
            if begun is not None:
                self.directory.finish(begun)
            self.done[change.name].append(change.dn)


def connect(module: AnsibleModule) -> Any:
    if ldap is None:
        if module.check_mode:
            return Empty()
        module.fail_json(msg=missing_required_lib("python3-ldap"))
    try:
        return Directory(module.params["uri"])
    except ldap.SERVER_DOWN:
        if module.check_mode:
            return Empty()
        module.fail_json(msg="the directory does not answer over ldapi:///: see 'journalctl -u slapd' on this host")
    except ldap.LDAPError as error:
        module.fail_json(msg=f"the directory refuses root over ldapi:///: {reason(error)}")


def reason(error: Exception) -> str:
    details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    return ": ".join(filter(None, [details.get("desc", str(error)), details.get("info", "")]))


def main() -> None:
    entry = {
        "dn": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "attributes": {"type": "dict", "default": {}},
        "password_mode": {"type": "str", "choices": ["none", "exact", "initial", "reset"], "default": "none"},
        "password": {"type": "str", "no_log": True},
    }
    module = AnsibleModule(
        argument_spec={
            "entries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": entry,
                "required_if": [("password_mode", "exact", ["password"])],
            },
            "purge": {"type": "list", "elements": "str", "default": []},
            "addresses": {"type": "str"},
            "spool": {"type": "path"},
            "uri": {"type": "str", "default": "ldapi:///"},
        },
        supports_check_mode=True,
    )
    directory = connect(module)
    writer = Writer(directory)
    try:
        entries = list(module.params["entries"])
        named = {entry["dn"].lower() for entry in entries}
        for parent in module.params["purge"]:
            extra = [found for found in directory.below(parent) if found.lower() not in named]
            entries += [{"dn": found, "state": "absent", "password_mode": "none", "password": None} for found in extra]
        # everything is compared before anything is written
        planned: dict[str, Values | None] = {}
        changes = [change for entry in entries if (change := Change(directory, entry, planned)).needed]
        for change in changes if module.params["addresses"] and not isinstance(directory, Empty) else []:
            for address in change.wanted.get("mail", []) if change.new else []:
                if owner := directory.owner(module.params["addresses"], address):
                    module.fail_json(
                        msg=f"{change.dn}: {address} is an address of {owner}; take it from there, or leave this entry out. "
                        "Nothing was written"
                    )
        if module.check_mode:
            for change in changes:
                writer.done[change.name].append(change.dn)
        else:
            spooled = [change.spooled for change in changes if change.spooled]
            if spooled and module.params["spool"]:
                add_to_spool(module.params["spool"], spooled)
            for change in changes:
                writer.apply(change)
            writer.wait(0)
    except ldap.LDAPError as error:
        module.fail_json(
            msg=f"{writer.dn or 'reading'}: {reason(error)}. What was written before it stays; mend it and run again",
            **writer.done,
        )
    result: dict[str, Any] = {"changed": bool(changes), **writer.done}
    if module._diff:
        before, after = zip(*(change.diff() for change in changes), strict=True) if changes else ((), ())
        result["diff"] = {"before": "".join(before), "after": "".join(after)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
