#!/usr/bin/python
# License: AGPL-3.0-or-later
"""Bring the files, directories and links of one concern to what they should be, in one task."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: file_set
short_description: Bring the files, directories and links of one concern to what they should be, in one task
description:
  - What M(ansible.builtin.template), M(ansible.builtin.copy) and M(ansible.builtin.file) do one at a time, over one connection.
  - All that differ are judged before the first is replaced, so that a set with one bad file changes nothing.
  - Supports check mode, on a fresh host too. An owner, a group or a judge that is not there yet is one that a run
    would have made by then.
options:
  files:
    description: What there is to be, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      dest: {type: path, required: true, description: "Where."}
      template: {type: str, description: "A file in the role's templates/; what it says is the content."}
      copy: {type: str, description: "A file in the role's files/, as it is."}
      content: {type: str, description: "The content itself."}
      each:
        type: list
        elements: raw
        description: One of this entry for each: `{item}` or `{item[name]}` in dest, template and copy, `item` in the template.
      state: {type: str, choices: [file, directory, link, absent], default: file, description: "V(absent) removes no directory."}
      src: {type: str, description: "What a link points at."}
      owner: {type: str, description: "Its owner."}
      group: {type: str, description: "Its group."}
      mode: {type: str, description: "Octal, like V(0644). A file and a directory must say theirs."}
      unsafe_writes: {type: bool, default: false, description: "Written in place: a mount cannot be replaced."}
      validate: {type: str, description: "A command that judges a new file before it is placed; %s is where it lies until then."}
author: [perron]
"""

EXAMPLES = r"""
- file_set:
    files:
      - {dest: /etc/service, state: directory, mode: "0755"}
      - {dest: /etc/service/main.conf, template: main.conf.j2, mode: "0644", validate: "service --check %s"}
      - {dest: "/usr/share/service/{item}.html", template: page.html.j2, each: [fr, nl], mode: "0644"}
  notify: Restart service
"""

RETURN = r"""
written: {type: list, elements: str, returned: always, description: What was or would be changed.}
"""

ENTRY = {
    "dest": {"type": "path", "required": True},
    "content": {"type": "str"},
    "state": {"type": "str", "choices": ["file", "directory", "link", "absent"], "default": "file"},
    "src": {"type": "str"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str"},
    "unsafe_writes": {"type": "bool", "default": False},
    "validate": {"type": "str"},
}


def known(name: str | None, database: Any) -> bool:
    """Whether the host has this user or group."""
    try:
        return name is None or bool(database(name))
    except KeyError:
        return False


def judged(module: AnsibleModule, entry: dict[str, Any], new: str) -> None:
    """Ends the task if the file's own judge refuses it."""
    command = [part.replace("%s", new) for part in shlex.split(entry["validate"])]
    if module.check_mode and not module.get_bin_path(command[0], opt_dirs=["/usr/sbin", "/usr/local/sbin"]):
        return
    code, out, err = module.run_command(command)
    if code:
        said = "\n".join(text.strip() for text in (err, out) if text.strip())
        module.fail_json(msg=f"{entry['dest']}: stays as it is, {command[0]} refuses the new one ({code}):\n{said}")


def as_it_is(path: str) -> str:
    """What a diff shows of it."""
    if os.path.islink(path):
        return f"-> {os.readlink(path)}\n"
    return Path(path).read_text(errors="replace") if os.path.isfile(path) else ""


def place(module: AnsibleModule, entry: dict[str, Any], new: str | None) -> bool:
    """Bring one to its state; whether that changed it."""
    dest, state = entry["dest"], entry["state"]
    there = os.path.lexists(dest)
    if state == "absent":
        if there and not module.check_mode:
            os.unlink(dest)
        return there
    if state == "link":
        if os.path.islink(dest) and os.readlink(dest) == entry["src"]:
            return False
        if not module.check_mode:
            beside = f"{dest}.new"
            Path(beside).unlink(missing_ok=True)
            os.symlink(entry["src"], beside)
            os.replace(beside, dest)
        return True
    changed = new is not None or not there
    if changed and not module.check_mode:
        if new is not None:
            before = os.umask(0o077)  # nobody reads it before it has its mode
            module.atomic_move(new, dest, unsafe_writes=entry["unsafe_writes"])
            os.umask(before)
        else:
            os.makedirs(dest, exist_ok=True)
    if module.check_mode and not (there and known(entry["owner"], pwd.getpwnam) and known(entry["group"], grp.getgrnam)):
        return True
    return bool(module.set_fs_attributes_if_different(module.load_file_common_arguments(entry), changed))


def prepare(module: AnsibleModule, entry: dict[str, Any]) -> str | None:
    """Where the new file lies, judged, if it differs from what is there."""
    dest, state = entry["dest"], entry["state"]
    if state == "directory" and os.path.lexists(dest) and not os.path.isdir(dest):
        module.fail_json(msg=f"{dest}: is to be a directory, and is none")
    if state in ("file", "link", "absent") and os.path.isdir(dest) and not os.path.islink(dest):
        module.fail_json(msg=f"{dest}: is a directory, and is to be none")
    if state in ("file", "directory") and not entry["mode"]:
        module.fail_json(msg=f"{dest}: says no mode")
    for what, database in (("owner", pwd.getpwnam), ("group", grp.getgrnam)):
        if not module.check_mode and not known(entry[what], database):
            module.fail_json(msg=f"{dest}: its {what} is to be {entry[what]}, whom this host does not have")
    if state != "file":
        return None
    wanted = (entry["content"] or "").encode()
    if os.path.isfile(dest) and not os.path.islink(dest) and Path(dest).read_bytes() == wanted:
        return None
    new: str
    handle, new = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "wb") as file:
        file.write(wanted)
    module.add_cleanup_file(new)
    if entry["validate"]:
        judged(module, entry, new)
    return new


def main() -> None:
    # the host's journal, which has each call with what it was given, is no place for what files hold
    module = AnsibleModule(
        argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": ENTRY, "no_log": True}},
        supports_check_mode=True,
    )
    # that alone: paths and a judge's words are said, and a task with secrets has no_log of its own
    module.no_log_values.clear()
    entries = module.params["files"]
    directories = [Path(entry["dest"]) for entry in entries if entry["state"] == "directory"]
    made = {str(path) for directory in directories for path in (directory, *directory.parents)}
    for entry in entries:
        parent = os.path.dirname(entry["dest"])
        if not (os.path.isdir(parent) or parent in made or entry["state"] in ("directory", "absent") or module.check_mode):
            module.fail_json(msg=f"{entry['dest']}: there is no directory {parent}")
    new = [prepare(module, entry) for entry in entries]
    written, diff = [], []
    for entry, path in zip(entries, new, strict=True):
        dest = entry["dest"]
        before = as_it_is(dest)
        if place(module, entry, path):
            written.append(dest)
            after = {"file": entry["content"] or "", "link": f"-> {entry['src']}\n"}.get(entry["state"], "")
            diff.append({"before_header": dest, "after_header": dest, "before": before, "after": after})
    module.exit_json(changed=bool(written), written=written, diff=diff)


if __name__ == "__main__":
    main()
