"""The ways to have a site take up a new release, each on the same host behind the same Nginx."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from . import evidence
from .hosts import BenchError, Host

APP = "guestbook"
UNIT = f"django-{APP}"
CONFIG = f"/etc/djangofleet/{APP}/live/app.json"
SITE = f"/etc/nginx/sites/{APP}.conf"
SOCKET = f"unix:/run/djangofleet/{APP}.sock"
PLAIN = "bench-plain"
PLAIN_SOCKET = f"unix:/run/{PLAIN}/gunicorn.sock"
SERVE = f"/usr/local/bin/djangoctl {APP} exec current"
# Waits until each worker of a unit has said that it is ready (roles/django/files/djangofleet/djangoctl/warm.py).
READY = """
for _ in $(seq 300); do
  main=$(systemctl show --property=MainPID --value {unit}.service)
  if [ "$main" -gt 0 ]; then
    workers=$(cat /run/{unit}/workers 2>/dev/null || echo 1)
    marks=$(find /run/{unit} -name 'worker-*' | wc -l)
    if [ "$marks" -ge "$workers" ]; then exit 0; fi
  fi
  sleep 0.1
done
echo "no workers within 30 s"
systemctl status --no-pager {unit}.service
exit 1
"""


@dataclass(frozen=True)
class Way:
    """One of them.

    :param operate: what is done in mid-traffic; nothing for a phase in which nothing happens.
    :param around: prepares the host for the phase, and puts it back afterwards.
    """

    name: str
    operate: Callable[[], object] | None = None
    around: Callable[[], AbstractContextManager[None]] = nullcontext


def all_of(host: Host, work: Path) -> dict[str, Way]:
    """The ways that are compared, by name.

    :param work: where a file can be left on the way to the host.
    :raises BenchError: there are not two good releases to alternate between.
    """
    swap = _Swap(host)
    ways = [
        Way("steady"),
        Way("swap", swap),
        Way("restart", lambda: host.run("systemctl", "restart", f"{UNIT}.service")),
        Way(
            "hup",
            lambda: host.run("systemctl", "kill", "--kill-whom=main", "--signal=HUP", f"{UNIT}.service"),
            lambda: _without_preload(host),
        ),
        Way("plain", lambda: host.run("systemctl", "restart", f"{PLAIN}.service"), lambda: _by_itself(host, work)),
    ]
    return {way.name: way for way in ways}


def plain_unit(unit: str, application: str) -> str:
    """The app's service as it would be without socket activation: Gunicorn opens its socket itself.

    Everything else is as in the service: release, user, environment, sandbox, workers.

    :param unit: the text of the app's own service.
    :raises BenchError: that text is not what it was when this was written.
    """
    lines, changed = [], set()
    for line in unit.splitlines():
        key = line.partition("=")[0]
        if key in ("Requires", "Sockets"):
            changed.add(key)
            continue
        new = {
            "After": "After=network-online.target",
            "RuntimeDirectory": f"RuntimeDirectory={PLAIN}",
            "SyslogIdentifier": f"SyslogIdentifier={PLAIN}",
            "ExecStart": f"ExecStart={SERVE} gunicorn --config /usr/lib/djangofleet/gunicorn.conf.py "
            f"--bind {PLAIN_SOCKET} {application}",
        }.get(key)
        if new:
            changed.add(key)
        lines.append(new or line)
        if line == "[Service]":
            changed.add(line)
    wanted = {"Requires", "Sockets", "After", "RuntimeDirectory", "SyslogIdentifier", "ExecStart", "[Service]"}
    if changed != wanted:
        raise BenchError(f"{UNIT}.service has no {', '.join(sorted(wanted - changed))}: see bench/lib/ways.py")
    # Gunicorn gives a socket that it opens to the user it runs as, which the sandbox forbids. The last word counts.
    filters = [number for number, line in enumerate(lines) if line.startswith("SystemCallFilter=")]
    if filters:
        lines.insert(filters[-1] + 1, "SystemCallFilter=@chown")
    return "\n".join(lines) + "\n"


class _Swap:
    """`djangoctl activate`, back and forth between two good releases."""

    def __init__(self, host: Host) -> None:
        self.host = host
        listed = json.loads(host.run("djangoctl", APP, "releases", "--json"))["releases"]
        good = [entry["id"] for entry in listed if entry["state"] == "good"]
        if len(good) != 2:
            raise BenchError(f"{host.name} has {len(good)} good releases to swap between, and not two: {listed}")
        live = next(entry["id"] for entry in listed if entry["live"])
        self.turns = itertools.cycle([next(release for release in good if release != live), live])

    def __call__(self) -> None:
        target = next(self.turns)
        answer = json.loads(self.host.run("djangoctl", APP, "activate", target, "--json"))
        if not answer["changed"]:
            raise BenchError(f"djangoctl did not swap to {target}: {answer}")


@contextmanager
def _without_preload(host: Host) -> Iterator[None]:
    """Let workers import the app themselves: HUP reloads no code of a Gunicorn that has preloaded it."""
    replace(host, CONFIG, '"preload_app": true', '"preload_app": false')
    _restart(host, UNIT)
    before = _workers(host)
    yield
    if not _workers(host) - before:
        raise BenchError("HUP has made no new worker")
    replace(host, CONFIG, '"preload_app": false', '"preload_app": true')
    _restart(host, UNIT)


@contextmanager
def _by_itself(host: Host, work: Path) -> Iterator[None]:
    """Lead Nginx to a Gunicorn that opens its socket itself. The site is the app's own but for the socket's path."""
    record = json.loads(host.run("cat", f"/srv/{APP}/current/release.json"))
    unit = work / f"{PLAIN}.service"
    unit.write_text(plain_unit(host.run("cat", f"/etc/systemd/system/{UNIT}.service"), record["application"]))
    host.put(unit, f"/etc/systemd/system/{PLAIN}.service")
    host.run("systemctl", "daemon-reload")
    _lead(host, SOCKET, PLAIN_SOCKET)
    _expect(host, 502)  # nobody else answers there
    _restart(host, PLAIN)
    _expect(host, 200)
    yield
    _lead(host, PLAIN_SOCKET, SOCKET)
    host.run("systemctl", "stop", f"{PLAIN}.service")
    _expect(host, 200)


def _lead(host: Host, old: str, new: str) -> None:
    replace(host, SITE, old, new)
    host.shell("nginx -t -q && systemctl reload nginx")


def replace(host: Host, path: str, old: str, new: str) -> None:
    """Replace a text in a file.

    :raises BenchError: it is not there.
    """
    host.shell(f"grep -qF '{old}' {path} && sed -i 's#{old}#{new}#' {path}")


def _restart(host: Host, unit: str) -> None:
    host.run("systemctl", "restart", f"{unit}.service")
    host.shell(READY.format(unit=unit))


def _workers(host: Host) -> set[str]:
    """The process ids of the service's workers."""
    return set(
        host.shell(f"pgrep --parent $(systemctl show --property=MainPID --value {UNIT}.service)", check=False).split()
    )


def _expect(host: Host, status: int) -> None:
    """Wait until the site answers with that status: Nginx turns to a new configuration when it gets round to it."""
    deadline = time.monotonic() + 20
    while (found := evidence.status(host)) != status:
        if time.monotonic() > deadline:
            raise BenchError(f"the site answers {found} and not {status}")
        time.sleep(0.2)
