"""When a server counts as unhealthy, where all servers stand, and what is told when that changes. Without any I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .upstream import candidates, drained, failing, out_of

STEADY = 120  # right answers in a row, a minute of them, after which nothing is held against a server
MOST = 60  # right answers that a server has to give at most


class Key(NamedTuple):
    """A server that is asked. At another address it is another one, which has to prove itself."""

    site: str
    host: str
    address: str


@dataclass(frozen=True)
class Record:
    """What the answers of a server have come to.

    :param mark: since when and why it is unhealthy; None while it is healthy.
    :param good: how many answers in a row were right.
    :param bad: how many were wrong.
    :param rises: how many have to be right before it is healthy again; 0 if it has been steady.
    """

    mark: Mapping[str, str] | None = None
    good: int = 0
    bad: int = 0
    rises: int = 0


def judged(record: Record, fault: str, config: Mapping[str, Any], now: str) -> Record:
    """The record after one more answer. `falls` wrong ones in a row make it unhealthy, `rises` right ones heal it:
    twice as many each time that it falls again soon, since every change is a reload, which ends websockets in the end.

    :param fault: what was wrong with the answer; empty if nothing.
    """
    if not fault:
        good = record.good + 1
        mark = None if good >= (record.rises or config["rises"]) else record.mark
        return Record(mark, good=good, rises=record.rises if good < STEADY else 0)
    bad = record.bad + 1
    if record.mark or bad < config["falls"]:
        return Record(record.mark, bad=bad, rises=record.rises)
    rises = min(2 * record.rises, MOST) if record.rises else config["rises"]
    return Record({"since": now, "why": fault}, bad=bad, rises=rises)


def records(config: Mapping[str, Any], state: Mapping[str, Any], known: Mapping[Key, Record]) -> dict[Key, Record]:
    """A record for each server that is asked: what is known of it, or what the state says."""
    return {
        key: known.get(key) or Record(state["unhealthy"].get(key.site, {}).get(key.host))
        for site in config["sites"]
        if site["health"]["enabled"]
        for key in (Key(site["name"], server["name"], server["address"]) for server in site["servers"])
    }


def with_records(state: Mapping[str, Any], known: Mapping[Key, Record]) -> dict[str, Any]:
    """The state with the health that the records have found, and who is drained as it was."""
    unhealthy: dict[str, dict[str, Any]] = {}
    for key, record in known.items():
        if record.mark:
            unhealthy.setdefault(key.site, {})[key.host] = dict(record.mark)
    return {**state, "unhealthy": unhealthy}


@dataclass(frozen=True)
class Standing:
    """Where a server stands.

    :param is_in: whether it gets requests.
    :param is_drained: whether somebody has drained it.
    :param is_well: whether it answers as it is to.
    :param why: why it is out, or what is wrong with it although it is in; empty if nothing.
    :param since: since when; empty if nothing is wrong.
    """

    is_in: bool = True
    is_drained: bool = False
    is_well: bool = True
    why: str = ""
    since: str = ""


def standings(config: Mapping[str, Any], state: Mapping[str, Any]) -> dict[Key, Standing]:
    """Where each server of each site stands."""
    return {
        Key(site["name"], server["name"], server["address"]): _standing(site, server["name"], state)
        for site in config["sites"]
        for server in site["servers"]
    }


def _standing(site: Mapping[str, Any], host: str, state: Mapping[str, Any]) -> Standing:
    if host not in candidates(site):
        return Standing(is_in=False, why="the inventory says that it is down")
    is_in, is_well = host not in out_of(site, state), host not in failing(site, state)
    mark = {"since": "", "why": ""} if is_well else state["unhealthy"][site["name"]][host]
    if host not in drained(site, state):
        return Standing(is_in, False, is_well, mark["why"], mark["since"])
    found = state["drained"][host]
    why = "; ".join(part for part in (f"drained by {found['by']}", found["why"], mark["why"]) if part)
    return Standing(is_in, True, is_well, why, found["since"])


def changes(before: Mapping[Key, Standing], after: Mapping[Key, Standing]) -> Iterator[str]:
    """A line for each server that stands otherwise than before. A new one stood where all is well."""
    known = {(key.site, key.host): standing for key, standing in before.items()}
    for key, found in after.items():
        old = known.get((key.site, key.host), Standing())
        if (old.is_in, old.is_drained, old.is_well) == (found.is_in, found.is_drained, found.is_well):
            continue
        if not found.is_in:
            said = f"is out: {found.why}"
        elif not found.is_well:
            said = f"{'stays in' if old.is_in else 'is back'}, since none would be left: {found.why}"
        else:
            said = "is well again" if old.is_in else "is back"
        yield f"{key.site}: {key.host} {said}"
