"""What is known of servers that are out: those that somebody has drained, and those that are not well."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import files
from .config import hosts_of

STATE = Path(os.environ.get("DJANGOFLEET_BALANCER_STATE", "/var/lib/djangofleet/balancer"))
VERSION = 1
WAIT = 60  # seconds for which a command waits for another one


def path() -> Path:
    """The file of the state."""
    return STATE / "out.json"


def empty() -> dict[str, Any]:
    """Every server is in."""
    return {"version": VERSION, "drained": {}, "unhealthy": {}}


def now() -> str:
    """The present time in the format of records: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def locked(wait: float = WAIT) -> AbstractContextManager[None]:
    """Hold the lock of all who change the state or what Nginx includes.

    :raises LockedError: somebody else holds it for longer than `wait` seconds.
    """
    return files.held(STATE / "lock", wait)


def read() -> tuple[dict[str, Any], str]:
    """The state, and a warning where the file says none; the state is empty then.

    :raises OSError: the file cannot be read.
    """
    content = files.content_of(path())
    if content is None:
        return empty(), f"{path()} is missing: no server counts as drained or unhealthy"
    try:
        return parsed(content), ""
    except ValueError as error:
        return empty(), f"{path()} is damaged: no server counts as drained or unhealthy ({error})"


def write(state: Mapping[str, Any]) -> bool:
    """Write the state if the file says another one. Returns whether it did. The lock has to be held.

    :raises OSError: the disk is full. The file is as it was.
    """
    content = serialised(state)
    if files.content_of(path()) == content:
        return False
    files.write(path(), content)
    return True


def serialised(state: Mapping[str, Any]) -> bytes:
    """A state as the file has it: equal states are equal bytes."""
    sites = {site: hosts for site, hosts in state["unhealthy"].items() if hosts}
    return (json.dumps({**state, "unhealthy": sites}, indent=2, sort_keys=True) + "\n").encode()


def parsed(content: bytes) -> dict[str, Any]:
    """The state that a text means.

    :raises ValueError: it means none.
    """
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"it is no state of version {VERSION}")
    unhealthy = found.get("unhealthy")
    is_whole = isinstance(unhealthy, dict) and all(_are_marks(hosts, "since", "why") for hosts in unhealthy.values())
    if not is_whole or not _are_marks(found.get("drained"), "since", "by", "why"):
        raise ValueError("it does not say of each server since when and why")
    return {"version": VERSION, "drained": found["drained"], "unhealthy": unhealthy}


def _are_marks(found: object, *keys: str) -> bool:
    """Whether something says of hosts, by name, what the keys mean."""
    return isinstance(found, dict) and all(
        isinstance(mark, dict) and set(mark) == set(keys) and all(isinstance(value, str) for value in mark.values())
        for mark in found.values()
    )


def with_drained(state: Mapping[str, Any], host: str, by: str, why: str) -> dict[str, Any]:
    """The state with a host drained from now on. One that is drained already stays as it is."""
    return {**state, "drained": {host: {"since": now(), "by": by, "why": why}, **state["drained"]}}


def without_drained(state: Mapping[str, Any], host: str) -> dict[str, Any]:
    """The state with a host no longer drained."""
    return {**state, "drained": {name: mark for name, mark in state["drained"].items() if name != host}}


def remembered(state: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The state without what the configuration no longer has: hosts, sites, servers that are not asked any more."""
    hosts = hosts_of(config)
    asked = {site["name"]: [each["name"] for each in site["servers"]] for site in config["sites"]
             if site["health"]["enabled"]}  # fmt: skip
    return {
        "version": VERSION,
        "drained": {host: mark for host, mark in state["drained"].items() if host in hosts},
        "unhealthy": {
            site: {host: mark for host, mark in marks.items() if host in asked[site]}
            for site, marks in state["unhealthy"].items()
            if site in asked
        },
    }
