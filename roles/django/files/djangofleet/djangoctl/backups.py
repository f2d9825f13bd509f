"""How the backups of an app are, by djangofleet-backup of this host, where there is one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

PROGRAM = "/usr/local/bin/djangofleet-backup"
CONFIG = "/etc/djangofleet-backup/config.json"
CODE = 9  # of `status` when the app serves and a backup is not well


def of(app: str) -> list[dict[str, Any]]:
    """The parts of the backup that an app is in: `part`, `newest`, `restored`, `drilled`, and `faults`."""
    if not os.path.exists(CONFIG):
        return []
    words = [PROGRAM, "status", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, start_new_session=True)
    try:
        found = [part for part in json.loads(done.stdout)["parts"] if app in part["apps"]]
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip() or "djangofleet-backup says nothing"
        fault = {"found": f"nobody knows how the backups are: {said}", "heals": f"{PROGRAM} status"}
        return [{"part": "backup", "newest": None, "restored": None, "drilled": None, "faults": [fault]}]
    times = ("newest", "restored", "drilled")
    return [
        {"part": part["part"], **{key: _moment(part[key]) for key in times}, "faults": part["faults"]} for part in found
    ]


def shown(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part as a row of a table. A backup that was never restored counts as none."""
    return {key: part[key] or "none" for key in ("part", "newest", "restored", "drilled")}


def _moment(seconds: float | None) -> str | None:
    """A time as records have it."""
    return seconds and datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
