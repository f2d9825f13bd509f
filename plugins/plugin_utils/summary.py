# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run came to, for a person: one paragraph per app."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.x509 import Certificate

WIDTH = 13  # of the first column


def certificate_end(pem: str) -> datetime.datetime | None:
    """When a certificate ends, in UTC; None for what is no certificate."""
    try:
        return next((found.end for found in Certificate.all_of(pem)), None)
    except ValueError:
        return None


def visits_of(
    apps: Sequence[Mapping[str, Any]],
    sites: Sequence[Mapping[str, Any]],
    port: int,
    http_port: int = 80,
    public_port: int | None = None,
) -> list[dict[str, Any]]:
    """What the module visit asks of each app: its health page, under each of its domains.

    :param apps: resolved apps.
    :param sites: the sites of Nginx that belong to them.
    :param port: the port that Nginx listens on for HTTPS.
    :param http_port: the one for plain HTTP, on which a site without a certificate is asked.
    :param public_port: the one for HTTPS that visitors name.
    """
    by_name = {site["name"]: site for site in sites}
    asked = []
    for app in apps:
        site, health = by_name.get(app["name"], {}), app["health"]
        has_tls = bool(site.get("certificate"))
        gate = {key: health[key] for key in ("path", "status_min", "status_max", "contains", "timeout")}
        asked.append(
            {
                "name": app["name"],
                "domains": site.get("domains", app["domains"]),
                "tls": has_tls,
                "port": int(port if has_tls else http_port),  # a template gives text
                **({"public_port": int(public_port)} if has_tls and public_port else {}),
                # Without a gate nobody has said which page is well: whatever is neither refused nor broken.
                **(gate if health["enabled"] else {"path": "/", "status_min": 200, "status_max": 499}),
                "maintenance": (site.get("maintenance") or {}).get("page", ""),
            }
        )
    return asked


def site_of(visits: Sequence[Mapping[str, Any]], name: str = "") -> dict[str, Any]:
    """Where Nginx serves the app of that name: domains, port and tls; empty if none of the visits is to it."""
    for visit in visits:
        if visit["name"] == name:
            return {key: visit[key] for key in ("domains", "port", "tls")}
    return {}


def health_of(printed: str) -> dict[str, dict[str, Any]]:
    """What `djangoctl list --json` says of each app, by name; nothing where there is no djangoctl, or an older one."""
    try:
        listed = json.loads(printed)["apps"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {entry["app"]: entry for entry in listed if "serves" in entry}


def backups_of(printed: str) -> dict[str, dict[str, Any]]:
    """What `djangofleet-backup status --json` says of the apps whose databases a host has, as djangoctl would."""
    try:
        parts = json.loads(printed)["parts"]
    except (ValueError, KeyError, TypeError):
        return {}
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        times = {key: _time(part[key]) for key in ("newest", "restored", "drilled")}
        for name in part["apps"]:
            entry = found.setdefault(name, {"faults": [], "backups": []})
            entry["faults"] += part["faults"]
            entry["backups"].append({"part": part["part"], **times})
    return found


def _time(seconds: float | None) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else ""


def faults_of(entry: Mapping[str, Any]) -> list[str]:
    """What is wrong with an app, a line each, with what heals it."""
    if "error" in entry:
        return [f"{entry['error']} -> {entry['hint']}"]
    return [f"{fault['found']} -> {fault['heals']}" for fault in entry["faults"]]


def summarize(
    apps: Sequence[Mapping[str, Any]],
    hosts: Mapping[str, Mapping[str, Any]],
    *,
    began: float,
    now: datetime.datetime,
    check: bool = False,
    public_port: int = 443,
) -> list[str]:
    """The lines of the summary.

    :param apps: the resolved apps that the run was about.
    :param hosts: by host, what it has done and seen: C(builds) by app (release, before, pending), C(visits), and what
        djangoctl says of the C(health) of each app.
    :param began: when the run began, in seconds since the epoch.
    :param now: the time, with its zone.
    :param check: the run changed nothing, so that the summary speaks of what would be.
    :param public_port: the port under which the world reaches the sites.
    """
    lines = []
    for app in apps:
        lines += [*_about(app, hosts, now, check, public_port), ""]
    seconds = round(now.timestamp() - began)
    return [*lines, f"{'Checked' if check else 'Done'} in {seconds // 60} min {seconds % 60} s." if seconds >= 60 else
            f"{'Checked' if check else 'Done'} in {seconds} s."]  # fmt: skip


def _about(app: Mapping, hosts: Mapping, now: datetime.datetime, check: bool, public_port: int) -> list[str]:
    domain = next((domain for domain in app["domains"] if "*" not in domain), app["domains"][0])
    port = "" if public_port == 443 else f":{public_port}"
    builds = {host: seen["builds"][app["name"]] for host, seen in hosts.items() if app["name"] in seen["builds"]}
    visits = [(host, visit) for host, seen in hosts.items() for visit in seen["visits"] if visit["name"] == app["name"]]
    rows = [
        ("release", _releases(builds, check)),
        ("answers", _answers(visits, check)),
        *(("fault", line) for line in _health(app, hosts, faults_of)),
        *(("warning", line) for line in _health(app, hosts, _warnings_of)),
        *(("backup", line) for line in _health(app, hosts, _backups_of)),
        ("certificate", _certificate(visits, now)),
        *(("warning", line) for line in _authority(app, hosts)),
        ("next", _next(app, builds, visits, check)),
    ]
    return [f"{app['name']}  https://{domain}{port}/", *(f"  {name:<{WIDTH}}{text}" for name, text in rows if text)]


def is_moved(build: Mapping[str, Any]) -> bool:
    """Whether the run put something live: a build that is pending, or a rollback that changes."""
    return bool(build.get("pending", build.get("changed")))


def _releases(builds: Mapping[str, Mapping], check: bool) -> str:
    """What is live where; hosts that say the same share a line."""
    said: dict[str, list[str]] = {}
    for host, build in builds.items():
        # In check mode a bare host cannot tell what the release would be called.
        release, before = build["release"] or "a release", build.get("before")
        if not is_moved(build):
            text = f"{release}, live and unchanged"
        elif release == before:
            text = f"{release}, {'would restart' if check else 'restarted'} with its new configuration"
        else:
            text = f"{release}, {'would go live' if check else 'now live'}"
            text += f" (before: {before})" if before else " (the first)"
        said.setdefault(text, []).append(host)
    return "; ".join(f"{text} on {', '.join(on)}" for text, on in said.items())


def _answers(visits: Sequence[tuple[str, Mapping]], check: bool) -> str:
    if not visits:
        return ""
    failed = [f"{visit['domain']} on {host}: {visit['verdict']}" for host, visit in visits if not visit["ok"]]
    if failed:
        return ("not yet: " if check else "NO: ") + "; ".join(failed)
    domains = list(dict.fromkeys(visit["domain"] for _host, visit in visits))
    on = list(dict.fromkeys(host for host, _visit in visits))
    slowest = max(visit["seconds"] for _host, visit in visits)
    verdicts = ", ".join(dict.fromkeys(visit["verdict"] for _host, visit in visits))
    return f"yes: {', '.join(domains)} on {', '.join(on)} ({verdicts}), in {slowest:.2f} s at most"


def _health(app: Mapping, hosts: Mapping, lines_of: Callable[[Mapping], list[str]]) -> list[str]:
    """What djangoctl says on each host; hosts that say the same share a line."""
    said: dict[str, list[str]] = {}
    for host, seen in hosts.items():
        for line in lines_of(seen["health"][app["name"]]) if app["name"] in seen.get("health", {}) else []:
            said.setdefault(line, []).append(host)
    return [f"{line} (on {', '.join(on)})" for line, on in said.items()]


def _warnings_of(entry: Mapping[str, Any]) -> list[str]:
    return [f"{fault['found']} -> {fault['heals']}" for fault in entry.get("warnings", [])]


def _backups_of(entry: Mapping[str, Any]) -> list[str]:
    """The backups of an app, a line each. One that was never restored counts as none."""
    return [
        f"{part['part']}: newest {part['newest'] or 'none'}, "
        + (
            f"restored {part['restored']} by the drill of {part['drilled']}"
            if part["restored"]
            else "none restored yet"
        )
        for part in entry.get("backups", [])
    ]


def _certificate(visits: Sequence[tuple[str, Mapping]], now: datetime.datetime) -> str:
    ends = [end for _host, visit in visits if (end := certificate_end(visit["certificate"]))]
    if not ends:
        return ""
    return f"until {min(ends):%Y-%m-%d}, in {(min(ends) - now).days} days"


def _authority(app: Mapping, hosts: Mapping) -> list[str]:
    """What an ACME authority has refused for an app. Hosts that say the same share a line."""
    said: dict[str, list[str]] = {}
    for host, seen in hosts.items():
        for line in seen.get("certificates", []):
            path, _colon, text = line.partition(": ")
            if path.endswith(f"[{app['name']}]"):
                said.setdefault(text, []).append(host)
    return [f"{text} (on {', '.join(on)})" for text, on in said.items()]


def _next(app: Mapping, builds: Mapping[str, Mapping], visits: Sequence[tuple[str, Mapping]], check: bool) -> str:
    if check:
        return "the same without --check"
    if any(not visit["ok"] for _host, visit in visits):
        return f"on the host: djangoctl {app['name']} check, djangoctl {app['name']} logs"
    if any(is_moved(build) and build.get("before") not in (None, build["release"]) for build in builds.values()):
        return f"back again: ansible-playbook playbooks/rollback.yml -e app={app['name']}"
    return f"on the host: djangoctl {app['name']} status"
