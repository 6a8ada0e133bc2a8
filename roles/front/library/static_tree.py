#!/usr/bin/python
# License: AGPL-3.0-or-later
"""Bring a directory of small files to what it should be, in one task."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: static_tree
short_description: Bring a directory of small files to what it should be, in one task
description: Files that are not given are removed. Each is replaced whole. Supports check mode and diff.
options:
  path: {type: path, required: true, description: "The directory, for these files alone; one that has others only is refused."}
  files: {type: dict, required: true, description: "Text by path below the directory."}
author: [perron]
"""

EXAMPLES = r"""
- static_tree: {path: /srv/www, files: {fr/index.html: "<!doctype html>…"}}
"""

RETURN = r"""
written: {type: list, elements: str, returned: always, description: Files written.}
removed: {type: list, elements: str, returned: always, description: Files removed.}
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "required": True}, "files": {"type": "dict", "required": True}},
        supports_check_mode=True,
    )
    root = Path(module.params["path"])
    wanted = {str(name): str(text) for name, text in module.params["files"].items()}
    if outside := [name for name in wanted if name.startswith("/") or ".." in Path(name).parts]:
        module.fail_json(msg=f"{outside[0]}: is outside {root}")
    # whoever names /srv keeps what is there
    there, tops = {path.name for path in root.iterdir()} if root.exists() else set(), {Path(name).parts[0] for name in wanted}
    if there and not there & tops:
        module.fail_json(msg=f"{root}: has {min(there)}, which would be removed; name a directory that is for these files alone")
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()} if root.exists() else {}
    before = {name: path.read_text(errors="replace") for name, path in found.items()}
    written = sorted(name for name, text in wanted.items() if before.get(name) != text)
    removed = sorted(set(found) - set(wanted))
    if not module.check_mode:
        for name in written:
            path = root / name
            for parent in [*reversed(path.relative_to(root).parents)]:
                (root / parent).mkdir(mode=0o755, exist_ok=True, parents=True)
            new = path.with_name(f".{path.name}.new")
            new.write_text(wanted[name])
            new.chmod(0o644)
            new.replace(path)
        for name in removed:
            found[name].unlink()
        for directory in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
            if not any(directory.iterdir()):
                directory.rmdir()
    diff = [{"header": name, "before": before.get(name, ""), "after": wanted.get(name, "")} for name in [*written, *removed]]
    module.exit_json(changed=bool(written or removed), written=written, removed=removed, diff=diff)


if __name__ == "__main__":
    main()
