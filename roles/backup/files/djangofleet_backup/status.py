"""How the backups of this host are: what status prints, its exit code, and the metrics for node_exporter."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import files as disk
from . import postgresql
from .core import record, shown, write

HOUR, DAY = 3600, 86400
TIMERS = ("djangofleet-backup.timer", "djangofleet-backup-drill.timer")
METRICS = "djangofleet_backup.prom"


def report(settings: Mapping[str, Any], now: float) -> dict[str, Any]:
    """All parts of this host with what is wrong.

    :param now: seconds since the epoch.
    """
    state = record()
    clusters, files = postgresql.of(settings), disk.of(settings)
    parts = [(each.part, [entry["app"] for entry in each.databases if entry["app"]]) for each in clusters]
    parts += [(each.part, [each.app] if each.app else []) for each in files]
    found = [_part(name, apps, state, settings, now) for name, apps in parts]
    for cluster in clusters:
        if fault := postgresql.archive_fault(cluster):
            _of(found, cluster.part)["faults"].append(_fault(fault, f"journalctl -u {cluster.unit}"))
    idle = [
        unit for unit in TIMERS if subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode
    ]
    for part in found:
        part["faults"] += [_fault(f"{unit} is not active", f"systemctl start {unit}") for unit in idle]
    return {"repository": settings["repository"], "parts": found, "warnings": warnings(settings)}


def warnings(settings: Mapping[str, Any]) -> list[str]:
    """What keeps no backup from being taken, and may make it useless."""
    data = [str(each.data) for each in postgresql.of(settings)] + [
        path for each in disk.of(settings) for path in (each.data, *each.trees)
    ]
    there = [path for path in data if path and os.path.isdir(path)]
    if not os.path.isdir(settings["directory"]):
        return []
    device = os.stat(settings["directory"]).st_dev
    same = [path for path in there if os.stat(path).st_dev == device]
    return [f"{settings['directory']} is on the disk of {same[0]}: what takes the one takes the other"] if same else []


def _of(parts: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(part for part in parts if part["part"] == name)


def _part(
    name: str, apps: list[str], state: Mapping[str, Any], settings: Mapping[str, Any], now: float
) -> dict[str, Any]:
    known = state.get("parts", {}).get(name, {})
    backup, drill = known.get("backup") or {}, known.get("drill") or {}
    return {
        "part": name,
        "apps": apps,
        "newest": backup.get("stop"),
        "restored": drill.get("of"),  # a backup that was never restored counts as none
        "drilled": drill.get("at"),
        "seconds": drill.get("seconds"),
        "size": backup.get("size"),
        "faults": list(judge(name, known, state.get("since", now), settings, now)),
    }


def judge(
    name: str, known: Mapping[str, Any], since: float, settings: Mapping[str, Any], now: float
) -> Iterator[dict[str, str]]:
    """What is wrong with the backups of a part, each with what heals it.

    :param known: what the record says: `backup` and `drill`, the last that went well, and their `failure`.
    :param since: when the backup was configured. Until the limits have passed after it, nothing is late.
    """
    anew, drill_anew = "djangofleet-backup run", "djangofleet-backup drill"
    backup, drill = known.get("backup") or {}, known.get("drill") or {}
    if failure := known.get("backup_failure"):
        yield _fault(f"the backup of {shown(failure['at'])} failed, {name}: {failure['error']}", anew)
    oldest = settings["maximum_age_hours"] * HOUR
    if now - backup.get("stop", since) > oldest:
        found = f"the newest is of {shown(backup['stop'])}" if backup else "there is none"
        yield _fault(f"{name} has no backup of the last {settings['maximum_age_hours']} hours: {found}", anew)
    if failure := known.get("drill_failure"):
        yield _fault(f"the restore drill of {shown(failure['at'])} failed, {name}: {failure['error']}", drill_anew)
    limit = settings["drill_maximum_age_days"] * DAY
    if now - drill.get("at", since) > limit:
        found = f"the last was at {shown(drill['at'])}" if drill else "no backup has ever been restored"
        yield _fault(
            f"{name} has had no restore drill for {settings['drill_maximum_age_days']} days: {found}", drill_anew
        )


def _fault(found: str, heals: str) -> dict[str, str]:
    return {"found": found, "heals": heals}


def render(result: Mapping[str, Any], now: float) -> str:
    """The report as text."""
    lines = [f"repository: {result['repository']}", *(f"warning: {line}" for line in result["warnings"])]
    for part in result["parts"]:
        apps = f" ({', '.join(part['apps'])})" if part["apps"] else ""
        lines += [
            f"{part['part']}{apps}",
            f"  newest: {_age(part['newest'], now)}",
            f"  restored: {restored(part, now)}",
        ]
        for fault in part["faults"]:
            lines += [f"  fault: {fault['found']}", f"    heals: {fault['heals']}"]
    return "\n".join(lines)


def restored(part: Mapping[str, Any], now: float) -> str:
    """What is known to come back."""
    if part["restored"] is None:
        return "none: no backup has been restored yet, so that none counts"
    return f"{_age(part['restored'], now)}, by the drill of {_age(part['drilled'], now)}, in {part['seconds']} s"


def _age(moment: float | None, now: float) -> str:
    if moment is None:
        return "none"
    hours = (now - moment) / HOUR
    ago = f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"
    return f"{shown(moment)}, {ago} ago"


def publish(settings: Mapping[str, Any]) -> None:
    """Write the metrics."""
    if settings["metrics_directory"]:
        write(Path(settings["metrics_directory"]) / METRICS, metrics(report(settings, time.time()), record()))


def metrics(result: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """The report in the format of Prometheus."""
    kinds = {
        "last_success_timestamp_seconds": ("When the newest backup ended, 0 for none.", lambda part: part["newest"]),
        "restored_timestamp_seconds": (
            "When the newest backup ended that has been restored, 0 for none.",
            lambda part: part["restored"],
        ),
        "drill_timestamp_seconds": ("When the last restore drill that went well ended, 0 for none.",
                                    lambda part: part["drilled"]),
        "drill_duration_seconds": ("How long it took.", lambda part: part["seconds"]),
        "size_bytes": ("What the newest backup holds.", lambda part: part["size"]),
        "faults": ("How many faults djangofleet-backup status shows.", lambda part: len(part["faults"])),
    }  # fmt: skip
    lines = []
    for name, (title, value) in kinds.items():
        lines += [f"# HELP djangofleet_backup_{name} {title}", f"# TYPE djangofleet_backup_{name} gauge"]
        for part in result["parts"]:
            label = re.sub(r'(["\\])', r"\\\1", part["part"])
            lines.append(f'djangofleet_backup_{name}{{part="{label}"}} {value(part) or 0}')
    return "\n".join(lines) + "\n"
