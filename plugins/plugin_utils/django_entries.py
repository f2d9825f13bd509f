# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role django writes on a host, for djangofleet.stack.tree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

CATCH_UP = "djangofleet-catch-up.service"
SECRET = ("environment", "build_environment", "pip_environment", "files")  # what may hold a secret of django_settings


def django_entries(on_host: Mapping[str, Any], first: bool, library: str) -> list[dict[str, Any]]:
    """The entries for djangofleet.stack.tree.

    :param on_host: what django_settings gives.
    :param first: whether no app of this run has written djangoctl yet.
    :param library: the directory of djangoctl's package.
    """
    home, config, user, unit = (on_host[key] for key in ("home", "config", "user", "unit"))
    owned = {"owner": user, "group": user}
    secret = {"mode": "0600", "sensitive": True}
    env = {"template": "etc/djangofleet/app/env.j2", **secret}
    # Units hold no secret: their templates do not even see one. djangoctl installs them.
    units = {"django": {key: value for key, value in on_host.items() if key not in SECRET}}
    return [
        *(_program(library) if first else []),
        *(_at_boot() if "fleet" in on_host["settings"] else []),
        {"path": config, "directory": True, "mode": "0750", "group": user},
        {"path": home, "directory": True, "mode": "0751", "group": user},
        {"path": f"{home}/releases", "directory": True, "mode": "0750", "group": user},
        {"path": f"{home}/venvs", "directory": True, "mode": "0750", "group": user},
        {"path": on_host["checkout"], "directory": True, "mode": "0700"},
        {"path": f"{home}/static", "directory": True},
        {"path": f"{home}/media", "directory": True, "mode": "2750", "owner": user, "group": on_host["media_group"]},
        {"path": f"{home}/data", "directory": True, "mode": "0700", **owned},
        {"path": f"{home}/cache", "directory": True, "mode": "0700", **owned},
        {"path": f"{home}/shared", "directory": True, "mode": "0750", **owned},
        {"path": f"{home}/releases/.packages", "directory": True, "mode": "0700", **owned},
        {
            "path": f"{config}/app.json",
            "content": json.dumps(on_host["settings"], indent=4, sort_keys=True) + "\n",
            "mode": "0640",
            "group": user,
        },
        *on_host["authorities"],
        {"path": f"{config}/env", **env, "vars": {"variables": on_host["environment"]}},
        {"path": f"{config}/build.env", **env, "vars": {"variables": on_host["build_environment"]}},
        {"path": f"{config}/pip.env", **env, "vars": {"variables": on_host["pip_environment"]}},
        *(
            {"path": f"{config}/files/{file['dest']}", "template": "etc/djangofleet/app/file.j2", **secret,
             "vars": {"file": file}}
            for file in on_host["files"]
        ),
        _unit(f"{unit}.socket", "app.socket", units),
        _unit(f"{unit}.service", "app.service", {**units, "stand_in": False}),
        _unit(f"{unit}-next.service", "app.service", {**units, "stand_in": True}),
        *(
            _unit(f"{process['unit']}.service", "process.service", {**units, "process": process})
            for process in on_host["processes"]
        ),
        *(entry for timer in on_host["timers"] for entry in _timer_units(timer, {**units, "timer": timer})),
    ]  # fmt: skip


def _program(library: str) -> Iterator[dict[str, Any]]:
    yield {"path": library, "copy": "djangofleet"}
    yield {"path": "/usr/local/bin/djangoctl", "template": "usr/local/bin/djangoctl.j2", "mode": "0755"}
    yield {"path": "/usr/share/bash-completion/completions/djangoctl", "copy": "completion"}


def _at_boot() -> Iterator[dict[str, Any]]:
    """What a host of several does at its boot. Nothing starts it now, so that systemd need not be told."""
    yield {"path": f"/etc/systemd/system/{CATCH_UP}", "template": f"etc/systemd/system/{CATCH_UP}.j2"}
    yield {"path": f"/etc/systemd/system/multi-user.target.wants/{CATCH_UP}", "link": f"/etc/systemd/system/{CATCH_UP}"}


def _unit(name: str, template: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    path = f"{variables['django']['config']}/units/{name}"
    return {"path": path, "template": f"etc/systemd/system/{template}.j2", "vars": dict(variables)}


def _timer_units(timer: Mapping[str, Any], variables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield _unit(f"{timer['unit']}.timer", "timer.timer", variables)
    yield _unit(f"{timer['unit']}.service", "timer.service", variables)
    if timer["overlap"] == "replace":
        yield _unit(f"{timer['unit']}-replace.service", "timer-replace.service", variables)


def django_move_entries(on_host: Mapping[str, Any], library: str, scratch: str) -> dict[str, list[dict[str, Any]]]:
    """The entries of a move, whose configuration lies beside the app's own until the rows are where it says.

    :param scratch: the directory of that configuration.
    :returns: `lasting` ones, which harm nobody, and `passing` ones.
    """
    entries = django_entries(on_host, False, library)
    return {
        "lasting": [*_program(library), *on_host["authorities"]],
        "passing": django_scratch(entries, on_host["config"], scratch),
    }


def django_scratch(entries: Iterable[Mapping[str, Any]], config: str, scratch: str) -> list[dict[str, Any]]:
    """The entries of an app's configuration at another place, for a rehearsal. Root's: the user may not be there yet.

    :param entries: what django_entries gives.
    :param config: the directory of the app's configuration.
    :param scratch: the directory in its place.
    """
    kept = ("template", "content", "directory", "vars", "sensitive")
    found: list[dict[str, Any]] = [{"path": scratch.rpartition("/")[0], "directory": True}]
    for entry in entries:
        if entry["path"] == config or entry["path"].startswith(f"{config}/"):
            moved = {"path": scratch + entry["path"].removeprefix(config)}
            moved |= {key: entry[key] for key in kept if key in entry}
            found.append(moved | ({"mode": entry["mode"]} if entry.get("sensitive") else {}))
    return found


def django_fetch(app: Mapping[str, Any]) -> dict[str, Any]:
    """What the fetch of a private repository needs on the host while it lasts, in memory.

    :returns: `key` and `known_hosts`, paths or empty; `entries` that put them there, `removals` that take them away.
    """
    source, stem = app["source"], f"/run/djangofleet-{app['name']}"
    contents = {}
    if "deploy_key" in source:
        contents["key"] = source["deploy_key"].strip() + "\n"  # ssh reads no key without a newline at its end
    if "known_hosts" in source:
        contents["known_hosts"] = "\n".join(source["known_hosts"]) + "\n"
    paths = {kind: f"{stem}.{kind}" for kind in contents}
    return {
        "key": paths.get("key", ""),
        "known_hosts": paths.get("known_hosts", ""),
        "entries": [
            {"path": paths[kind], "content": content, "mode": "0600", "sensitive": True}
            for kind, content in contents.items()
        ],
        # Sensitive too: a diff would show what is removed.
        "removals": [{"path": path, "absent": True, "sensitive": True} for path in paths.values()],
    }
