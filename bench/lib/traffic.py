"""Visitors of the site, who come from a container of their own, and what they see while something happens to it."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .hosts import BenchError, Host

LOAD = Path(__file__).resolve().parents[2] / "molecule/shared/load.py"
# So many visitors, each of whom asks, waits for the answer and then for so many seconds. A page takes about 6 ms of a
# processor, so this is to keep two of them busy for about a third of the time: what an operation needs is left over.
CONNECTIONS = 32
PAUSE = 0.3
POST_EVERY = 10
# A phase ends so many seconds after its last operation at the earliest.
SETTLE = 2.0
# How much longer than planned a phase may take.
GRACE = 180


@dataclass(frozen=True)
class Seen:
    """What the visitors saw in a phase.

    :param answers: how long each answer took, in milliseconds, those that were errors too.
    :param operations: how long each operation took, in seconds.
    :param cpu: processor seconds of the site's host and the visitors' together.
    :param examples: some of what failed.
    """

    requests: int
    failed: int
    answers: list[float]
    operations: list[float]
    seconds: float
    cpu: float
    examples: list[str]


def pool(phases: Sequence[Seen]) -> Seen:
    """Several phases as if they were one."""
    return Seen(
        requests=sum(phase.requests for phase in phases),
        failed=sum(phase.failed for phase in phases),
        answers=[answer for phase in phases for answer in phase.answers],
        operations=[operation for phase in phases for operation in phase.operations],
        seconds=sum(phase.seconds for phase in phases),
        cpu=sum(phase.cpu for phase in phases),
        examples=[example for phase in phases for example in phase.examples],
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that so many per cent of them do not exceed (nearest rank).

    :raises BenchError: there are no values.
    """
    if not values:
        raise BenchError("there is no percentile of nothing: no request was answered")
    return sorted(values)[max(math.ceil(share / 100 * len(values)) - 1, 0)]


def figures(seen: Seen, steady: Seen) -> dict[str, int | float]:
    """What is reported of a phase. A ratio is how many times the figure of `steady` its own is."""
    p99, slowest = percentile(seen.answers, 99), max(seen.answers)
    return {
        "requests": seen.requests,
        "failed": seen.failed,
        "p50_ms": round(percentile(seen.answers, 50), 1),
        "p99_ms": round(p99, 1),
        "max_ms": round(slowest, 1),
        "p99_ratio": round(p99 / percentile(steady.answers, 99), 2),
        "max_ratio": round(slowest / max(steady.answers), 2),
        "operations": len(seen.operations),
    }


def busy(seen: Seen, cpus: int) -> float:
    """The share of the processors' time that the site and its visitors took."""
    return round(seen.cpu / (seen.seconds * cpus), 2)


def moments(count: int, seconds: float) -> list[float]:
    """When operations start that are spread evenly over so many seconds: each in the middle of its share."""
    return [(number + 0.5) * seconds / count for number in range(count)]


class Traffic:
    """Brings the visitors to their container.

    :param work: where a file can be left on the way.
    """

    def __init__(self, visitors: Host, site: Host, domain: str, work: Path) -> None:
        self.visitors, self.site = visitors, site
        authority = work / "authority.pem"
        authority.write_text(site.run("cat", "/etc/djangofleet/authority/ca.pem"))
        visitors.put(authority, "/root/authority.pem")
        visitors.put(LOAD, "/root/load.py")
        self.words = [
            *("docker", "exec", "--interactive", visitors.name, "python3", "/root/load.py"),
            *(f"--address={site.address}", f"--host={domain}", "--authority=/root/authority.pem"),
            *(f"--connections={CONNECTIONS}", f"--pause={PAUSE}", f"--post-every={POST_EVERY}"),
        ]

    def phase(self, seconds: float, operations: Sequence[Callable[[], object]] = ()) -> Seen:
        """Let the visitors come for so long, with operations spread evenly in between, one after the other.

        :raises BenchError: an operation failed, or the visitors could not come.
        """
        cpu = self._cpu()
        # Both bounds hold if this process dies: without it nothing tells the load to end.
        process = subprocess.Popen(
            [*self.words, f"--seconds={seconds + GRACE}", "--requests=100000"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            began = time.monotonic()
            took, end = [], began + seconds
            for moment, operate in zip(moments(len(operations), seconds), operations, strict=True):
                _sleep_until(began + moment)
                started = time.monotonic()
                operate()
                took.append(time.monotonic() - started)
                end = max(end, time.monotonic() + SETTLE)
            _sleep_until(end)
            lasted = time.monotonic() - began
            if process.poll() is not None:
                raise BenchError(f"the load ended by itself:\n{process.communicate()[1]}")
            # Closes its standard input: it ends when all are answered.
            output, problem = process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            raise BenchError(f"the load did not end within {GRACE} s") from None
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise BenchError(f"the load ended with {process.returncode}:\n{problem}")
        result = json.loads(output)
        return Seen(
            requests=result["requests"],
            failed=result["failed"],
            answers=[milliseconds for _began, milliseconds in result["answers"]],
            operations=took,
            seconds=lasted,
            cpu=self._cpu() - cpu,
            examples=result["examples"],
        )

    def _cpu(self) -> float:
        return self.site.cpu_seconds() + self.visitors.cpu_seconds()


def _sleep_until(moment: float) -> None:
    time.sleep(max(moment - time.monotonic(), 0))
