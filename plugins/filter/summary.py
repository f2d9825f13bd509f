# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. What a run ends with."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import fleet_logs, fleet_status
from ansible_collections.djangofleet.stack.plugins.plugin_utils.summary import backups_of, health_of, summarize


def summary(
    apps: Sequence[Mapping[str, Any]],
    hostvars: Mapping[str, Mapping[str, Any]],
    hosts: Sequence[str],
    began: float,
    check: bool = False,
    public_port: int = 443,
) -> str:
    """The text, as of now."""
    seen = {
        host: {
            "builds": _of(hostvars[host], "__django_builds", {}),
            "visits": _of(_of(hostvars[host], "djangofleet_visit", {}), "visits", []),
            "health": health_of(_of(_of(hostvars[host], "djangofleet_visit", {}), "services", ""))
            or backups_of(_of(_of(hostvars[host], "djangofleet_backup_status", {}), "stdout", "")),
            "certificates": [
                line
                for kind in ("warnings", "problems")
                for line in _of(_of(hostvars[host], "__certificate_acme_outcome", {}), kind, [])
            ],
        }
        for host in hosts
    }
    now = datetime.datetime.now(datetime.UTC)
    lines = summarize(apps, seen, began=float(began), now=now, check=check, public_port=int(public_port))
    return "\n".join(lines)


def status(
    hostvars: Mapping[str, Mapping[str, Any]],
    hosts: Sequence[str],
    apps: Any,
    groups: Mapping[str, Sequence[str]],
    named: str = "",
) -> dict[str, Any]:
    """How the fleet is, as of now."""
    answers = {host: _of(hostvars[host], "djangofleet_status", {}) for host in hosts}
    return fleet_status.fleet(answers, apps, groups, named, now=datetime.datetime.now(datetime.UTC))


def logs(hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str], lines: int) -> dict[str, Any]:
    """The C(text) of what hosts have logged, and whose lines are C(missing)."""
    answers = {host: _of(hostvars[host], "djangofleet_logs", {}) for host in hosts}
    asked = {host: answer for host, answer in answers.items() if not _of(answer, "skipped", False)}
    return {"text": "\n".join(fleet_logs.merged(asked, int(lines))), "missing": fleet_logs.unanswered(asked)}


def _of(values: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    return values[name] if name in values else otherwise  # noqa: SIM401  # hostvars has no get() of its own


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "fleet_logs": logs,
            "fleet_status": status,
            "fleet_status_table": fleet_status.table,
            "summary": summary,
        }
