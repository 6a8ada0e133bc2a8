"""What Nextcloud is, what it should be, and what is between.

"{{ upstream_paths | nextcloud_code(server, apps, home) }}"  [{name, artefact, version, archive, path, link, target}]
"{{ code | not_unpacked(lines, standins) }}"                 those that `find -printf '%p %l\\n'` does not show as what they are
"{{ code | not_linked(lines) }}"                             those that have no link, or one to another version
"{{ lines | no_longer(code) }}"                              apps with a link that are not in it
"{{ code | nextcloud_moves(lines, state) }}"                 those whose link is to another version, with `from`
"{{ moves | nextcloud_said(code, behind) }}"                 "Nextcloud 33.0.9 -> 34.0.4, calendar 6.1 -> 6.3"
"{{ moves | move_flaws }}"                                   why Nextcloud would not go there; empty if it would
"{{ state | enabled_of(apps) }}"                             those of them that are on
"{{ state | upgrade_flaws(apps) }}"                          what an upgrade left undone, of the database and of these apps
"{{ said | answer_flaws(version, closed, behind) }}"         what is wrong with a status.php
"{{ stdout | room_flaws(directory) }}"                       whether what snapshot said is enough
"{{ ansible_failed_result | what_failed }}"                  the end of what it said
"{{ stdout | nextcloud_state }}"                             {status, config, provider, admin}, from the lines of files/state
"{{ state | nextcloud_plan(system, apps, on, off, provider) }}"  {delete, import, enable, disable, tie}, what differs
"{{ provider | provider_options(secret) }}"                  arguments of occ that make it so
"{{ app_settings | value_flaws(settings) }}"                 what of both Nextcloud would not take
"{{ settings | php }}"                                       a value as PHP writes it
"{{ apps | enabled_for }}"                                   {app: {enabled: …}} of those that are not for everybody
"""

from __future__ import annotations

import json
import re
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
        place = {"name": name or "Nextcloud", "artefact": pin, "version": version, "archive": paths[pin]}
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


def _links(lines: Iterable[str]) -> dict[str, str]:
    return {words[0]: words[1] for line in lines if len(words := line.split()) == 2}


def not_linked(code: Iterable[Mapping[str, str]], lines: Iterable[str]) -> list[Mapping[str, str]]:
    there = _links(lines)
    return [place for place in code if there.get(place["link"]) != place["target"]]


def nextcloud_moves(
    code: Iterable[Mapping[str, str]], lines: Iterable[str], state: Mapping[str, Any] | None = None
) -> list[dict[str, str]]:
    """An app that never was on has nothing in the database: it is linked anew. Without a state, each may have."""
    there = _links(lines)
    apps = (state or {}).get("config", {}).get("apps") or {}
    return [
        {**place, "from": PurePosixPath(there[place["link"]]).name}
        for place in code
        if there.get(place["link"], place["target"]) != place["target"]
        and (not apps or place["name"] == "Nextcloud" or "installed_version" in apps.get(place["name"], {}))
    ]


def nextcloud_said(moves: Sequence[Mapping[str, str]], code: Sequence[Mapping[str, str]], behind: bool = False) -> str:
    if moves:
        return ", ".join(f"{move['name']} {move['from']} -> {move['version']}" for move in moves)
    if behind:
        return f"Nextcloud {code[0]['version']} stays, and its database follows it"
    return f"Nothing moves: Nextcloud {code[0]['version']} and its apps are as they are pinned"


def no_longer(lines: Iterable[str], code: Iterable[Mapping[str, str]]) -> list[str]:
    """Links of apps, as paths."""
    links = [line.split()[0] for line in lines if "/custom_apps/" in line]
    return sorted(set(links) - {place["link"] for place in code})


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def move_flaws(moves: Iterable[Mapping[str, str]]) -> list[str]:
    flaws = []
    for move in moves:
        was, new = _numbers(move["from"]), _numbers(move["version"])
        if new < was:
            said = f"is older than {move['from']}, and its database does not go back; set the pin to that"
        elif move["name"] == "Nextcloud" and new[0] > was[0] + 1:
            said = f"does not follow {move['from']}; upgrades go one major version at a time, {was[0] + 1} is next"
        else:
            continue
        flaws.append(f"{move['artefact']}: {move['version']} {said}")
    return flaws


def enabled_of(state: Mapping[str, Any], apps: Iterable[str]) -> list[str]:
    now = state["config"].get("apps") or {}
    return [app for app in apps if _text(now.get(app, {}).get("enabled", "no")) != "no"]


def upgrade_flaws(state: Mapping[str, Any], apps: Sequence[str]) -> list[str]:
    on = enabled_of(state, apps)
    return [f"{app} was turned off, as its version is none for this Nextcloud" for app in apps if app not in on]


def answer_flaws(said: Mapping[str, Any], version: str = "", closed: bool = False, behind: bool = False) -> list[str]:
    """`closed`: in maintenance mode, as an upgrade is under way; `behind`: the database may be."""
    if not said.get("installed"):
        return ["status.php, asked of the web server, gave no answer"]
    flaws = []
    if version and _numbers(str(said["version"])) != _numbers(version):
        flaws.append(f"status.php says {said['version']}")
    if said["needsDbUpgrade"] and not behind:
        flaws.append("status.php says that the database is of another version")
    if said["maintenance"] and not closed:
        flaws.append("Nextcloud is in maintenance mode; nextcloud-occ maintenance:mode --off ends it")
    return flaws


def room_flaws(stdout: str, directory: str) -> list[str]:
    need, free = map(int, stdout.split())
    if free >= need:
        return []
    return [f"{directory} has room for {free} MiB, a snapshot of the database may need {need}; free some, or mount a disk there"]


# Of what Nextcloud prints, the way to where an exception was thrown, and how far something is, a line for each step of it
NOISE = re.compile(r"\s*(#\d+ .*|Stack trace:|\d+/\d+ \[.*|Starting \.\.\.)?\s*")


def what_failed(result: Mapping[str, Any]) -> str:
    """Of a command what it said, as `msg` is none; Nextcloud says it last, on either stream."""
    streams = [
        [line for line in str(result.get(name, "")).splitlines() if not NOISE.fullmatch(line)] for name in ("stdout", "stderr")
    ]
    said = [line.strip() for stream in streams for line in stream[-10:]]
    # so does systemd-run end; PHP, too, which says that it was fatal
    if result.get("rc") == 255 and not any("Fatal error" in line for line in said):
        said.append("it was killed; journalctl -u upgrade-nextcloud says by which signal")
    return " / ".join(said or str(result.get("msg", "")).splitlines()[-10:])


def integrity_flaws(stdout: str) -> list[str]:
    """Of `occ integrity:check-core --output=json`, a sentence for each way in which the code is not its maker's."""
    said = next((line for line in stdout.splitlines() if line.startswith("{")), "{}")
    ways = {"FILE_MISSING": "missing", "INVALID_HASH": "changed", "EXTRA_FILE": "not its maker's"}
    flaws = []
    for way, found in json.loads(said).items():
        if way not in ways:
            flaws.append(str(found.get("message", found)))
            continue
        files = sorted(found)
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        flaws.append(f"{ways[way]}: {', '.join(files[:5])}{more}")
    return flaws


def nextcloud_state(stdout: str) -> dict[str, Any]:
    """Lines `name {…}`; what is not said is empty."""
    state: dict[str, Any] = {"status": {}, "config": {}, "provider": {}, "admin": {}}
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
    "groupProvisioning": "group-provisioning", "groupWhitelistRegex": "group-whitelist-regex",
    "sendIdTokenHint": "send-id-token-hint",
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


def value_flaws(apps: Mapping[str, Mapping[str, Any]], system: Mapping[str, Any]) -> list[str]:
    """What `occ config:import` refuses as a whole, and what has no value."""
    return [
        f"nextcloud_app_settings.{app}.{key}: write it as text or as a whole number, for yes and no the text that the app has"
        for app, values in apps.items()
        for key, value in values.items()
        if isinstance(value, bool) or not isinstance(value, (str, int))
    ] + [f"nextcloud_settings.{key}: has no value; give it one, or take it out" for key, value in system.items() if value is None]


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
            "nextcloud_moves": nextcloud_moves,
            "nextcloud_said": nextcloud_said,
            "move_flaws": move_flaws,
            "enabled_of": enabled_of,
            "upgrade_flaws": upgrade_flaws,
            "answer_flaws": answer_flaws,
            "room_flaws": room_flaws,
            "what_failed": what_failed,
            "integrity_flaws": integrity_flaws,
            "nextcloud_state": nextcloud_state,
            "nextcloud_plan": nextcloud_plan,
            "provider_options": provider_options,
            "value_flaws": value_flaws,
            "php": php,
            "enabled_for": enabled_for,
        }
