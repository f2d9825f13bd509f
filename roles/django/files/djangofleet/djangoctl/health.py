"""Whether an app serves: what its service answers, through its socket and through Nginx, and what its units do.

A check in process would find a release healthy whose service answers nobody. So the service itself is asked, as Nginx
asks it, and Nginx, as a visitor does.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from . import answer, backups, fleet, swap, units
from . import release as releases
from .app import App, load
from .errors import ConfigError
from .release import Release
from .systemd import Systemd

NGINX = "127.0.0.1"
LIMIT = 10  # seconds that an answer may take when somebody looks; `check` waits as long as the gate does
DAY = 86400
# Signals that the kernel or the C library raises. Others are sent by systemd, Gunicorn or an operator.
UNSENT = {"ABRT", "BUS", "FPE", "ILL", "SEGV", "SYS", "TRAP"}
# What systemd says of a main process, Gunicorn of a worker, Celery of a child.
ENDED = re.compile(
    r"code=(?:killed|dumped), status=\d+/(?P<main>[A-Z]+)"
    r"|Worker \(pid:(?P<pid>\d+)\) was sent SIG(?P<worker>[A-Z]+)"
    r"|signal \d+ \(SIG(?P<child>[A-Z]+)\)"
)
TIMED_OUT = re.compile(r"WORKER TIMEOUT \(pid:(\d+)\)")  # Gunicorn itself sends SIGABRT then
EVENTS = r"code=(killed|dumped)|was sent SIG|signal \d+ \(SIG|WORKER TIMEOUT"


def report(app: App, system: Systemd, *, limit: float = LIMIT) -> dict[str, Any]:
    """All that is known about the health of an app.

    `faults` are what is wrong, each with what heals it. `warnings` are what does not keep the app from serving.
    """
    state, live = swap.status(app, system), serving(app)
    shown = system.show(unit_names(live))
    is_up = state["service"] or _is_active(shown, units.stand_in(app))
    # A connection would start a service that somebody has stopped: then there is nothing to ask.
    is_open = not is_up or not state["socket"] or units.is_open(app, units.socket_name(app))
    answers = ask(app, live, limit) if is_up and state["socket"] and is_open else []
    is_ready = fleet.is_ready(app)
    result = {
        **state,
        **({"ready": is_ready} if app.peers else {}),
        "idle_units": [unit for unit in (*live["processes"], *live["timers"]) if not _is_active(shown, unit)],
        "serves": is_ready and bool(answers) and all(found["ok"] for found in answers),
        "since": _moment(shown, units.service(app), "ActiveEnterTimestamp"),
        "listen": units.listening(app),
        "answers": answers,
        "processes": [_process(unit, shown) for unit in live["processes"]],
        "timers": [_timer(unit, shown) for unit in live["timers"]],
        "failed_units": [unit for unit in unit_names(live) if shown.get(unit, {}).get("ActiveState") == "failed"],
        "signals": signals(app, system, time.time() - DAY),
        "backups": backups.of(app.name),
    }
    faults = [*_live_faults(app), *_unit_faults(app, result, is_up)]
    # Nginx answers nobody as long as the host is not ready: that is no fault of its own.
    faults += _answer_faults(app, [found for found in answers if is_ready or found["through"] == "socket"])
    if not is_ready:
        found = "this host is not ready: it may serve another release than the other hosts, and answers no visitor"
        faults.append(_fault(found, f"djangoctl {app.name} catch-up; or from a controller: {fleet.remedy(app)}"))
    socket = units.socket_name(app)
    if not is_open:
        faults.append(_fault(f"nobody listens at {result['listen']}, although {socket} is active", _activate(app)))
    if state["release"] and not system.enabled(socket):
        faults.append(_fault(f"{socket} is not enabled: a reboot leaves the app down", _activate(app)))
    faults += [fault for part in result["backups"] for fault in part["faults"]]
    return {**result, "faults": faults, "warnings": _warnings(app, result)}


def serving(app: App) -> App:
    """The app by its pinned configuration, which the live release runs with; by the latest one before the first."""
    with suppress(ConfigError, OSError):
        return load(app.name, pinned=True)
    return app


def unit_names(app: App) -> list[str]:
    """The units of an app that can fail, without templates, of which only the instances run."""
    jobs = [f"{timer.removesuffix('.timer')}.service" for timer in app["timers"]]
    return [
        *(units.socket_name(app), units.service(app), units.stand_in(app)),
        *(*app["processes"], *app["timers"], *jobs),
    ]


# Answers


def ask(app: App, live: App, limit: float) -> list[dict[str, Any]]:
    """What the service answers through its socket, and each domain through Nginx if that serves the app here.

    :param live: the app by the configuration that it runs with.
    """
    expected = _expected(live, limit)
    tls, port = app.site.get("tls", True), app.site.get("port", 443)
    common = {**expected, "domains": live["domains"], "port": port, "scheme": "https" if tls else "http"}
    inner = {**common, "tls": False, "maintenance": ""}
    outer = {**common, "tls": tls, "maintenance": str(app.maintenance)}
    wanted = [("socket", units.reachable(units.listening(app)), _named(live["domains"])[0], inner)]
    wanted += [("nginx", (NGINX, port), domain, outer) for domain in _named(app.site.get("domains", []))]
    with ThreadPoolExecutor(len(wanted)) as pool:
        return list(pool.map(lambda request: _ask(*request), wanted))


def _ask(through: str, address: str | tuple[str, int], domain: str, site: Mapping[str, Any]) -> dict[str, Any]:
    headers = _as_nginx(domain, site["scheme"], site["port"]) if through == "socket" else {}
    found = answer.seen(address, domain, site, headers)
    place = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
    return {
        "through": through,
        "address": place,
        "domain": domain,
        "path": site["path"],
        **{key: found[key] for key in ("ok", "status", "seconds", "verdict")},
    }


def _as_nginx(domain: str, scheme: str, port: int) -> dict[str, str]:
    """The headers that Nginx sends to the app."""
    return {
        "X-Real-IP": NGINX,
        "X-Forwarded-For": NGINX,
        "X-Forwarded-Host": domain,
        "X-Forwarded-Port": str(port),
        "X-Forwarded-Proto": scheme,
        "X-Request-ID": "djangoctl",
    }


def _expected(app: App, limit: float) -> dict[str, Any]:
    """What is asked for and which answers are well. Without a gate: whatever is neither refused nor broken."""
    health = app["health"]
    timeout = min(health["timeout"], limit)
    if not health["enabled"]:
        return {"path": "/", "status_min": 200, "status_max": 499, "contains": "", "timeout": timeout}
    return {**{key: health[key] for key in ("path", "status_min", "status_max", "contains")}, "timeout": timeout}


def _named(domains: Iterable[str]) -> list[str]:
    """The domains that name a host; for wildcards alone, a host of the first."""
    domains = list(domains)
    return [domain for domain in domains if "*" not in domain] or [domain.replace("*", "www") for domain in domains[:1]]


# Units


def _is_active(shown: Mapping[str, Mapping[str, str]], unit: str) -> bool:
    return shown.get(unit, {}).get("ActiveState") == "active"


def _moment(shown: Mapping[str, Mapping[str, str]], unit: str, name: str) -> str | None:
    """A time of systemd, as records have it; None if there is none. systemd writes `Sat 2026-11-21 17:30:36 UTC`."""
    text = " ".join(shown.get(unit, {}).get(name, "").split()[1:3])
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return None


def _process(unit: str, shown: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    restarts = shown.get(unit, {}).get("NRestarts", "")
    return {
        "unit": unit,
        "active": _is_active(shown, unit),
        "restarts": int(restarts) if restarts.isdecimal() else 0,
        "since": _moment(shown, unit, "ActiveEnterTimestamp"),
    }


def _timer(unit: str, shown: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """A timer with its last run, how that ended if it was since the boot, and its next run."""
    job = shown.get(f"{unit.removesuffix('.timer')}.service", {})
    has_run = _moment(shown, job.get("Id", ""), "InactiveExitTimestamp")  # since the boot: before, systemd says success
    is_running = job.get("ActiveState") in ("active", "activating")
    return {
        "unit": unit,
        "active": _is_active(shown, unit),
        "last": _moment(shown, unit, "LastTriggerUSec"),
        "result": ("running" if is_running else job.get("Result")) if has_run else None,
        "next": _moment(shown, unit, "NextElapseUSecRealtime"),
    }


def signals(app: App, system: Systemd, since: float) -> list[dict[str, Any]]:
    """The processes that ended by a signal that nobody sent: unit, signal, how often, and the setting to try.

    :param since: seconds since the epoch.
    """
    running = [units.service(app), units.stand_in(app), *app["processes"]]
    running += [f"{timer.removesuffix('.timer')}.service" for timer in app["timers"]]
    events = system.events(running, EVENTS, since)
    timed_out = {(unit, match[1]) for unit, message in events if (match := TIMED_OUT.search(message))}
    counted: Counter[tuple[str, str]] = Counter()
    for unit, message in events:
        match = ENDED.search(message)
        if match and (unit, match["pid"]) not in timed_out:
            counted[unit, match["main"] or match["worker"] or match["child"]] += 1
    return [
        {"unit": unit, "signal": f"SIG{name}", "count": count, "heals": _setting(app, name)}
        for (unit, name), count in sorted(counted.items())
        if name in UNSENT
    ]


def _setting(app: App, name: str) -> str:
    """What to try against a signal."""
    if name == "SYS":
        return f"allow the system call: {app.variable('sandbox')}: {{SystemCallFilter: [...]}}"
    if "MemoryDenyWriteExecute=yes" in app["sandbox"]:
        return f"try {app.variable('sandbox')}: {{MemoryDenyWriteExecute: false}}"
    return f"look at: djangoctl {app.name} logs --lines 200"


# What is wrong, and what heals it


def _fault(found: str, heals: str) -> dict[str, str]:
    return {"found": found, "heals": heals}


def _activate(app: App) -> str:
    return f"djangoctl {app.name} activate {releases.live_id(app)}"


def _back(app: App) -> str:
    """The command that puts another release live; empty if there is none."""
    with suppress(ConfigError):
        swap.previous(app)
        return f"djangoctl {app.name} rollback"
    return ""


def _live_faults(app: App) -> list[dict[str, str]]:
    live = releases.live_id(app)
    if not live:
        good = [release.id for release in releases.all_of(app) if release.state == releases.GOOD]
        return [_fault("no release is live", f"djangoctl {app.name} activate {good[-1]}" if good else "deploy one")]
    path = app.releases / live
    release = Release(path, releases.read_json(path / "release.json"))
    damage = release.damage
    if not damage:
        return []
    is_built_anew = not path.exists() or release.record.get("state") in (releases.BUILDING, releases.FAILED)
    heals = "deploy again, which builds it anew" if is_built_anew else "deploy another version"
    if back := _back(app):
        heals = f"{back}, then deploy again"
    return [_fault(f"the live release {live} is damaged: {damage}", heals)]


def _unit_faults(app: App, result: Mapping[str, Any], is_up: bool) -> list[dict[str, str]]:
    """The units of the live release that are down. Before there is one, none is installed."""
    if not result["release"]:
        return []
    socket, service = units.socket_name(app), units.service(app)
    # systemd opens no socket of a service that runs: an activation stops that first.
    faults = [] if result["socket"] else [_fault(f"{socket} is not active", _activate(app))]
    faults += [] if is_up else [_fault(f"{service} is not active", f"systemctl start {service}")]
    faults += [_fault(f"{unit} is not active", f"systemctl restart {unit}") for unit in result["idle_units"]]
    known = {socket, service, *result["idle_units"]}
    return faults + [
        _fault(f"{unit} has failed", f"journalctl -u {unit}, then systemctl start {unit}")
        for unit in result["failed_units"]
        if unit not in known
    ]


def _answer_faults(app: App, answers: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What is not answered well. What the service itself answers badly is not Nginx's fault."""
    bad = [found for found in answers if not found["ok"]]
    is_service = any(found["through"] == "socket" for found in bad)
    back = _back(app)
    service = f"djangoctl {app.name} logs says why; "
    service += f"{back} goes back" if back else f"systemctl restart {app.unit}.service starts it anew"
    edge = "nginx -t; systemctl status nginx; then run site.yml"
    return [
        _fault(
            f"GET {found['path']} as {found['domain']} through {_called(found['through'])}: {found['verdict']}",
            service if is_service else edge,
        )
        for found in bad
    ]


def _called(through: str) -> str:
    return "the socket" if through == "socket" else "Nginx"


def _warnings(app: App, result: Mapping[str, Any]) -> list[dict[str, str]]:
    found = [
        _fault(f"processes of {entry['unit']} ended by {entry['signal']}: {entry['count']} in a day", entry["heals"])
        for entry in result["signals"]
    ]
    if result["release"] and result["restart_pending"]:
        text = "a restart is pending: the configuration has changed, or an activation broke off"
        found.append(_fault(text, _activate(app)))
    return found
