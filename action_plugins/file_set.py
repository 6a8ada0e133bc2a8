# License: AGPL-3.0-or-later
"""The controller's half of the module file_set: it fills in what each file is to hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812 - as Ansible's own code calls them
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

CONTENTS = ("template", "copy", "content")
OF_AN_ITEM = ("dest", "template", "copy")


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible comes without types
    """Templates and files are found where ansible.builtin.template and ansible.builtin.copy find them."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        files = [filled for entry in self._task.args["files"] for filled in self._filled(dict(entry), task_vars or {})]
        return dict(self._execute_module(module_args={"files": files}, task_vars=task_vars))

    def _filled(self, entry: dict[str, Any], variables: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The entry, or one for each of its items, with its content."""
        kinds = [kind for kind in CONTENTS if kind in entry]
        state = entry.get("state", "file")
        if state == "absent":  # what it would hold is not asked: a file that is there by a condition is one entry
            entry = {key: value for key, value in entry.items() if key not in kinds}
            kinds = []
        elif len(kinds) != (state == "file"):
            raise AnsibleActionFail(f"{entry.get('dest')}: a file has one of {', '.join(CONTENTS)}, a directory or a link none")
        if "each" in entry:
            for item in entry.pop("each"):
                one = entry | {key: entry[key].format(item=item) for key in OF_AN_ITEM if key in entry}
                yield self._content(one, kinds, variables | {"item": item})
        else:
            yield self._content(entry, kinds, variables)

    def _content(self, entry: dict[str, Any], kinds: list[str], variables: dict[str, Any]) -> dict[str, Any]:
        if kinds == ["copy"]:
            entry["content"] = self._loader.get_text_file_contents(self._find_needle("files", entry.pop("copy")))
        elif kinds == ["template"]:
            source = self._find_needle("templates", entry.pop("template"))
            paths = [os.path.dirname(source), *(f"{path}/templates" for path in variables["ansible_search_path"])]
            known = {"ansible_managed": C.config.get_config_value("DEFAULT_MANAGED_STR")} | variables
            templar = self._templar.copy_with_new_env(searchpath=paths, available_variables=known)
            entry["content"] = templar.template(trust_as_template(Path(source).read_text()), escape_backslashes=False)
        return entry
