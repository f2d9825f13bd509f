"""The first requests of a project that imports for long: after a swap, the death of a worker and that of the master."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

from . import evidence, ways
from .hosts import Host

REQUESTS = 10
# The first request of a process imports this. It is what the example lacks of a large project.
SLOW = Path("guestbook/urls.py")
SECONDS = 2
CONFIGS = (ways.CONFIG, ways.CONFIG.replace("/live/", "/"))
ASK = (
    evidence.ASK
    + f"""
for _ in $(seq {REQUESTS}); do
  ask --output /dev/null --write-out '%{{time_total}}\\n' https://guestbook.test/
done
"""
)
MAIN = f"systemctl show --property=MainPID --value {ways.UNIT}.service"
KILL_WORKER = f"worker=$(pgrep --parent $({MAIN}) | head -n 1); rm /run/{ways.UNIT}/worker-$worker; kill -9 $worker"
KILL_MASTER = f"""
master=$({MAIN})
kill -9 $master
for _ in $(seq 100); do case $({MAIN}) in 0 | $master) sleep 0.1 ;; *) exit 0 ;; esac; done
exit 1
"""


def slow_down(source: Path) -> None:
    """Have the example's first request take so long."""
    path = source / SLOW
    path.write_text(f"{path.read_text()}\n\nimport time\n\ntime.sleep({SECONDS})\n")


def measure(host: Host) -> dict[str, list[float]]:
    """How long each of the first requests took, in milliseconds, by what had happened; `before` is a warm site's.

    The live release is the slow one, and there is another to swap with.
    """
    listed = json.loads(host.run("djangoctl", ways.APP, "releases", "--json"))["releases"]
    live = next(entry["id"] for entry in listed if entry["live"])
    other = next(entry["id"] for entry in listed if entry["state"] == "good" and not entry["live"])

    def swap() -> None:
        for identity in (other, live):
            host.run("djangoctl", ways.APP, "activate", identity)

    def after(happen: Callable[[], object]) -> list[float]:
        """Those that are asked at once and those that are asked when all workers are ready: the slower ones."""
        happen()
        return max(ask(host), ready_and_ask(host), key=max)

    ready_and_ask(host)
    found = {"before": ask(host), "swap": after(swap), "worker": after(lambda: host.shell(KILL_WORKER))}
    host.shell(KILL_MASTER)
    found["master"] = ready_and_ask(host)
    _preload(host, before=True, after=False)
    found["swap, preload off"] = after(swap)
    found["worker, preload off"] = after(lambda: host.shell(KILL_WORKER))
    _preload(host, before=False, after=True)
    return found


def ask(host: Host) -> list[float]:
    return [1000 * float(line) for line in host.shell(ASK).split()]


def ready_and_ask(host: Host) -> list[float]:
    host.shell(ways.READY.format(unit=ways.UNIT))
    return ask(host)


def _preload(host: Host, *, before: bool, after: bool) -> None:
    for path in CONFIGS:
        ways.replace(host, path, f'"preload_app": {json.dumps(before)}', f'"preload_app": {json.dumps(after)}')


def figures(found: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """What is reported: the median and the slowest of the requests after each."""
    return {
        name: {"median_ms": round(statistics.median(times), 1), "max_ms": round(max(times), 1)}
        for name, times in found.items()
    }
