"""Which backup leads to a moment. A restore makes another history, and what it left behind can still be gone back to.

Each restore that went live is known by `at`, when it was, `to`, the moment it went back to, and `timeline`, the one of
PostgreSQL that it left. A backup is known by `stop`, when it ended. All times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def choose(
    backups: Sequence[Mapping[str, Any]], restores: Sequence[Mapping[str, Any]], moment: float
) -> Mapping[str, Any] | None:
    """The newest backup of what was live at a moment, from before it; None if there is none.

    What was live between a moment and a later restore to before it is another history: a backup of it leads astray.
    """
    end = moment
    for restore in sorted(restores, key=lambda entry: entry["at"], reverse=True):
        if restore["at"] > end:
            continue
        if found := [backup for backup in backups if restore["at"] < backup["stop"] <= end]:
            return max(found, key=lambda backup: backup["stop"])
        end = min(end, restore["to"])
    found = [backup for backup in backups if backup["stop"] <= end]
    return max(found, key=lambda backup: backup["stop"], default=None)


def timeline(restores: Sequence[Mapping[str, Any]], moment: float) -> str:
    """The timeline of PostgreSQL that was live at a moment."""
    later = [restore for restore in restores if restore["at"] > moment]
    return str(min(later, key=lambda restore: restore["at"])["timeline"]) if later else "latest"
