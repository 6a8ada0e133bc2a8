"""What Nextcloud is, what it should be, and what is between.

"{{ upstream_paths | nextcloud_code(server, apps, home) }}"  [{name, artefact, version, archive, path, link, target}]
"{{ code | not_unpacked(lines, standins) }}"                 those that `find -printf '%p %l\\n'` does not show as what they are
"{{ code | not_linked(lines) }}"                             those whose link is not there
"{{ lines | no_longer(code) }}"                              apps with a link that are not in it
"{{ installed | version_flaw(wanted) }}"                     why Nextcloud would not go from one to the other; empty if it would
"{{ stdout | nextcloud_state }}"                             {status, config, provider}, from the lines of files/state
"{{ state | nextcloud_plan(system, apps, on, off, provider) }}"  {delete, import, enable, disable, tie}, what differs
"{{ provider | provider_options(secret) }}"                  arguments of occ that make it so
"{{ settings | php }}"                                       a value as PHP writes it
"{{ apps | enabled_for }}"                                   {app: {enabled: …}} of those that are not for everybody
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

# Values of config/config.php that Nextcloud has made and nobody declares
OWN = {
    "installed", "version", "instanceid", "secret", "passwordsalt", "maintenance", "data-fingerprint", "theme",
    "app_install_overwrite", "ldapProviderFactory", "dbport",
}  # fmt: skip


def nextcloud_code(paths: Mapping[str, str], server: str, apps: Iterable[str], home: str) -> list[dict[str, str]]:
    """The version is the directory that an artefact is in: the pin has it, and nothing else."""
    code = []
    for name, pin in [("", server), *((app, f"nextcloud-app-{app}") for app in apps)]:
        version = PurePosixPath(paths[pin]).parent.name
        place = {"name": name or "the server", "artefact": pin, "version": version, "archive": paths[pin]}
        if name:
            place |= {"path": f"{home}/apps/{name}/{version}", "link": f"{home}/custom_apps/{name}"}
            place |= {"target": f"../apps/{name}/{version}"}
        else:
            place |= {"path": f"{home}/code/{version}", "link": f"{home}/code/current", "target": version}
        code.append(place)
    return code


def not_unpacked(code: Iterable[Mapping[str, str]], lines: Iterable[str], standins: Iterable[str]) -> list[Mapping[str, str]]:
    there = {line.strip() for line in lines}
    return [
        place
        for place in code
        if place["path"] not in there or (f"{place['path']}/.stand-in" in there) != (place["artefact"] in standins)
    ]


def not_linked(code: Iterable[Mapping[str, str]], lines: Iterable[str]) -> list[Mapping[str, str]]:
    there = {line.strip() for line in lines}
    return [place for place in code if f"{place['link']} {place['target']}" not in there]


def no_longer(lines: Iterable[str], code: Iterable[Mapping[str, str]]) -> list[str]:
    """Links of apps, as paths."""
    links = [line.split()[0] for line in lines if "/custom_apps/" in line]
    return sorted(set(links) - {place["link"] for place in code})


def version_flaw(installed: str, wanted: str) -> str:
    if not installed:
        return ""
    was, new = ([int(part) for part in version.split(".")[:3]] for version in (installed, wanted))
    old = ".".join(map(str, was))
    if new < was:
        return f"{wanted} is older than {old}, which its database is of; restore the backup from before the upgrade"
    if new[0] > was[0] + 1:
        return f"{wanted} does not follow {old}; upgrades go one major version at a time: {was[0] + 1} is next"
    return ""


def nextcloud_state(stdout: str) -> dict[str, Any]:
    """Lines `name {…}`; what is not said is empty."""
    state: dict[str, Any] = {"status": {}, "config": {}, "provider": {}}
    for line in stdout.splitlines():
        name, _, said = line.partition(" ")
        if name in state and said.startswith("{"):
            state[name] = json.loads(said)
    return state


def _text(value: Any) -> str:
    """Values of apps are text in the database; newer versions print them typed."""
    if isinstance(value, bool):
        return str(int(value))
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def nextcloud_plan(
    state: Mapping[str, Any],
    system: Mapping[str, Any],
    values: Mapping[str, Mapping[str, Any]],
    on: Sequence[str],
    off: Sequence[str],
    provider: Mapping[str, Any],
) -> dict[str, Any]:
    config = state["config"]
    now: Mapping[str, Mapping[str, Any]] = config.get("apps") or {}
    enabled = {app for app, has in now.items() if _text(has.get("enabled", "no")) != "no"}
    told = state["provider"]
    return {
        "delete": sorted(set(config.get("system") or {}) - set(system) - OWN),
        "import": any(
            _text(now.get(app, {}).get(key, "")) != _text(value)
            for app, wanted in values.items()
            for key, value in wanted.items()
        ),
        "enable": [app for app in on if app not in enabled],
        "disable": [app for app in off if app in enabled],
        "tie": {key: told.get(key) for key in provider if key != "settings"}
        != {key: value for key, value in provider.items() if key != "settings"}
        or any((told.get("settings") or {}).get(key) != value for key, value in provider["settings"].items()),
    }


# What the app prints, and the option that sets it
OPTIONS = {
    "uniqueUid": "unique-uid", "mappingUid": "mapping-uid", "mappingDisplayName": "mapping-display-name",
    "mappingEmail": "mapping-email", "mappingQuota": "mapping-quota", "mappingGroups": "mapping-groups",
    "groupProvisioning": "group-provisioning", "sendIdTokenHint": "send-id-token-hint",
}  # fmt: skip


def provider_options(provider: Mapping[str, Any], secret: str) -> list[str]:
    return [
        "user_oidc:provider",
        "portal",
        f"--clientid={provider['clientId']}",
        f"--clientsecret={secret}",
        f"--discoveryuri={provider['discoveryEndpoint']}",
        f"--scope={provider['scope']}",
        *(f"--{OPTIONS[key]}={_text(value)}" for key, value in provider["settings"].items()),
    ]


def php(value: Any, indent: str = "") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    more = indent + "  "
    if isinstance(value, Mapping):
        lines = [f"{more}{php(str(key))} => {php(item, more)},\n" for key, item in value.items()]
    else:
        lines = [f"{more}{php(item, more)},\n" for item in value]
    return "[\n" + "".join(lines) + indent + "]" if lines else "[]"


def enabled_for(apps: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    return {
        app["name"]: {"enabled": json.dumps(list(app["groups"]), separators=(",", ":")) if app.get("groups") else "yes"}
        for app in apps
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "nextcloud_code": nextcloud_code,
            "not_unpacked": not_unpacked,
            "not_linked": not_linked,
            "no_longer": no_longer,
            "version_flaw": version_flaw,
            "nextcloud_state": nextcloud_state,
            "nextcloud_plan": nextcloud_plan,
            "provider_options": provider_options,
            "php": php,
            "enabled_for": enabled_for,
        }
