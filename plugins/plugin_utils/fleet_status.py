# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a fleet is: one document of what its hosts have answered to the module host_status, and a table of it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_fleet import hosts_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import apps_selected
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import no_answer, one_line
from ansible_collections.djangofleet.stack.plugins.plugin_utils.summary import faults_of

HOUR, DAY = 3600, 86400
NOTHING = "-"


def fleet(
    answers: Mapping[str, Mapping[str, Any]],
    apps: Any,
    groups: Mapping[str, Sequence[str]],
    named: str = "",
    *,
    now: datetime.datetime,
) -> dict[str, Any]:
    """The document: C(hosts), C(apps) and C(sites), each a list of rows, and C(wrong), a line for each failure.

    :param answers: by host, in order, what Ansible has registered of the module: its C(status), or why there is none.
    :param apps: the apps as the inventory has them.
    :param groups: the inventory's groups with their hosts, by which an app says where it lives.
    :param named: the app that alone is meant.
    :param now: the time, with its zone.
    """
    expected = {str(app["name"]): hosts_of(app, groups) for app in apps_selected(apps, named)}
    going = [str(app["name"]) for app in apps_selected(apps, named, absent=True)]
    hosts, rows, sites = [], [], []
    for host, answer in answers.items():
        status = answer.get("status")
        hosts.append(_host(host, answer, now))
        if status is None:
            continue
        here = [name for name, places in expected.items() if host in places]
        found = {site["name"]: _site(host, site, now) for site in status["sites"] or []}
        mine = list(_apps(host, status, here, going, named))
        rows += [{**row, "certificate_days": found.get(row["app"], {}).get("days")} for row in mine]
        sites += [site for name, site in found.items() if not named or name == named]
    wrong = [*_unanswered(hosts), *_unserved(rows), *_ended(sites)]
    return {"at": _shown(now), "ok": not wrong, "wrong": wrong, "hosts": hosts, "apps": rows, "sites": sites}


def _host(host: str, answer: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    status = answer.get("status")
    row = {"host": host, "reachable": not answer.get("unreachable", False), "answers": status is not None}
    if status is None:
        return {**row, "problems": [no_answer(answer)]}
    parts = [
        {"part": part["part"], "age_hours": _hours(part["newest"], now), "faults": list(map(_told, part["faults"]))}
        for part in status["backups"] or []
    ]
    acme = [f"certificate {each['name']}: {each['problem']}" for each in status["acme"] or []]
    return {
        **row,
        "problems": [one_line(line) for line in (*status["problems"], *acme)],
        "has_backup": status["backups"] is not None,
        "backups": parts,
        "failed_units": status["failed_units"] or [],
        "reboot": status["reboot"],
        "reboot_packages": status["reboot_packages"] or [],
    }


def _told(fault: Mapping[str, Any]) -> str:
    return f"{fault['found']} -> {fault['heals']}"


def _hours(moment: float | None, now: datetime.datetime) -> float | None:
    return None if moment is None else round((now.timestamp() - moment) / HOUR, 1)


def _shown(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _site(host: str, site: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    end = site["end"]
    return {
        "host": host,
        "site": site["name"],
        "domains": site["domains"],
        "end": None if end is None else _shown(datetime.datetime.fromtimestamp(end, datetime.UTC)),
        "days": None if end is None else int((end - now.timestamp()) // DAY),
    }


def _apps(
    host: str, status: Mapping[str, Any], expected: Sequence[str], going: Sequence[str], named: str
) -> Iterable[dict[str, Any]]:
    """A row for each app that is on a host, or ought to be."""
    listed = {entry["app"]: entry for entry in status["apps"] or []}
    # What is wrong with the backups is said once, with the host.
    backups = {_told(fault) for part in status["backups"] or [] for fault in part["faults"]}
    for name in dict.fromkeys([*expected, *listed]):
        if named and name != named:
            continue
        row = {"app": name, "host": host, "expected": name in expected, "going": name in going}
        entry = listed.get(name)
        if entry and "faults" in entry:
            entry = {**entry, "faults": [fault for fault in entry["faults"] if _told(fault) not in backups]}
        state, faults = _judged(entry, status["apps"] is not None)
        yield {**row, **_of(entry), "state": state, "faults": faults}


def _judged(entry: Mapping[str, Any] | None, is_asked: bool) -> tuple[str, list[str]]:
    """The state of an app, and its faults.

    :param entry: what djangoctl says of it; None for nothing.
    :param is_asked: whether djangoctl has answered, or is not there.
    """
    if entry is None:
        return ("not there", ["it is not on this host -> run site.yml"]) if is_asked else ("unknown", [])
    if "serves" not in entry:
        return "unknown", ["djangoctl of this host is too old to tell -> run site.yml"]
    faults = faults_of({"faults": [], "hint": "", **entry})
    if not entry["serves"]:
        return "does not serve", faults
    return ("faults" if faults else "serves"), faults


def _of(entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is shown of an app, as djangoctl says it."""
    entry = entry or {}
    return {
        "release": entry.get("release"),
        "since": entry.get("activated_at"),
        "serves": entry.get("serves"),
        "maintenance": bool(entry.get("maintenance")),
        "warnings": list(map(_told, entry.get("warnings") or [])),
    }


# What makes a run fail


def _unanswered(hosts: Iterable[Mapping[str, Any]]) -> list[str]:
    return [
        f"{row['host']}: {'does not answer' if row['reachable'] else 'cannot be reached'}: {row['problems'][0]}"
        for row in hosts
        if not row["answers"]
    ]


def _unserved(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """An app that the inventory does not name, or wants to go, may do as it likes."""
    return [
        f"{row['app']} on {row['host']}: {row['state']}{': ' if row['faults'] else ''}{'; '.join(row['faults'])}"
        for row in rows
        if row["expected"] and row["state"] not in ("serves", "faults")
    ]


def _ended(sites: Iterable[Mapping[str, Any]]) -> list[str]:
    return [
        f"{row['site']} on {row['host']}: its certificate has ended: {row['end']}"
        for row in sites
        if row["days"] is not None and row["days"] < 0
    ]


# The table


def table(document: Mapping[str, Any]) -> str:
    """The document as a person reads it."""
    apps, hosts, sites = document["apps"], document["hosts"], document["sites"]
    silent = [row for row in hosts if not row["answers"]]
    blocks = [
        _table(
            ("APP", "HOST", "HEALTH", "RELEASE", "LIVE SINCE", "MAINTENANCE", "CERTIFICATE"),
            [
                *(_app_cells(row) for row in apps),
                *((NOTHING, row["host"], _silence(row), NOTHING, NOTHING, NOTHING, NOTHING) for row in silent),
            ],
        ),
        _table(
            ("HOST", "LAST BACKUP", "FAILED UNITS", "REBOOT"), [_host_cells(row) for row in hosts if row["answers"]]
        ),
    ]
    known = {(row["app"], row["host"]) for row in apps}
    if others := [row for row in sites if (row["site"], row["host"]) not in known]:
        blocks.append(
            _table(("SITE", "HOST", "CERTIFICATE"), [(row["site"], row["host"], _days(row["days"])) for row in others])
        )
    if notes := _notes(document):
        blocks.append(notes)
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    rows = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _app_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    state = _health(row)
    if not row["expected"]:
        state += ", is to go" if row["going"] else ", not in the inventory"
    maintenance = "yes" if row["maintenance"] else "no"
    since, days = row["since"] or NOTHING, _days(row["certificate_days"])
    return row["app"], row["host"], state, row["release"] or NOTHING, since, maintenance, days


def _health(row: Mapping[str, Any]) -> str:
    """What is well stands in small letters."""
    if row["state"] == "serves":
        return "serves"
    if row["state"] == "faults":
        count = len(row["faults"])
        return f"serves, {count} fault{'' if count == 1 else 's'}"
    return row["state"].upper()


def _silence(row: Mapping[str, Any]) -> str:
    return "DOES NOT ANSWER" if row["reachable"] else "UNREACHABLE"


def _host_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["host"], _backup(row), ", ".join(row["failed_units"]) or "none", "due" if row["reboot"] else "no"


def _backup(row: Mapping[str, Any]) -> str:
    """The age of the oldest of the newest backups: a host is saved as of then."""
    if not row["has_backup"]:
        return NOTHING
    ages = [part["age_hours"] for part in row["backups"]]
    if not ages or None in ages:
        return "none yet"
    oldest = max(ages)
    text = f"{oldest * 60:.0f} min" if oldest < 2 else f"{oldest:.0f} h" if oldest < 72 else f"{oldest / 24:.0f} days"
    return f"{text} ago"


def _days(days: int | None) -> str:
    if days is None:
        return NOTHING
    return "ENDED" if days < 0 else f"{days} day{'' if days == 1 else 's'}"


def _notes(document: Mapping[str, Any]) -> list[str]:
    """What is wrong and what heals it. Hosts that say the same share a line."""
    said: dict[str, list[str]] = {}
    for row in document["hosts"]:
        lines = [*row["problems"], *(fault for part in row.get("backups", []) for fault in part["faults"])]
        if packages := row.get("reboot_packages"):
            lines.append(f"a reboot is due for {', '.join(packages)}")
        for line in lines:
            said.setdefault(line, []).append(row["host"])
    for row in document["apps"]:
        for line in (*row["faults"], *row["warnings"]):
            said.setdefault(f"{row['app']}: {line}", []).append(row["host"])
    return [f"{line} (on {', '.join(dict.fromkeys(hosts))})" for line, hosts in said.items()]
