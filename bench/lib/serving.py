"""What is asked of those who serve a site, what is made of their answers, and which sizes of Gunicorn are tried."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .hosts import BenchError

# Connections that ask as quickly as they are answered.
LOADS = {"medium": 4, "saturation": 32}
# The worker class of an app that names none, and with whom it is compared: those who work behind a web server.
DEFAULT = "gthread"
PEERS = ("nginx + uwsgi", "nginx + granian", "apache + mod_wsgi")
STOCK, APACHE, CACHED = "nginx as it comes", "apache + mod_wsgi", "gthread, cached"
# An answer with an error is an answer too, and a quick one. Beyond this share of them a rate says nothing.
FAILED_AT_MOST = 0.01

Figures = dict[str, Any]
# By contestant, kind and load.
Table = dict[str, dict[str, dict[str, Figures]]]


@dataclass(frozen=True)
class Kind:
    """What is asked for.

    :param paths: by turns.
    :param contains: a text that each answer has to have.
    :param encoding: what the client takes: a browser's, or the file as it is.
    """

    about: str
    paths: tuple[str, ...]
    contains: str
    encoding: str = "gzip"


# {asset} is a style sheet under its hashed name.
KINDS = {
    "page": Kind("the guestbook's page: queries, templates, the processor's work", ("/",), "Sign the guestbook"),
    "trivial": Kind("a view that answers at once", ("/serve/trivial",), "ok"),
    "json": Kind("20 entries as JSON", ("/api/entries/?limit=20",), '"entries"'),
    "wait": Kind("a view that waits for 50 ms", ("/serve/wait",), "ok"),
    "mixed": Kind("the page and the view that waits, by turns", ("/", "/serve/wait"), ""),
    "static": Kind("a style sheet", ("{asset}",), "", "identity"),
    "cacheable": Kind("the page as a cache may keep it", ("/serve/page",), "Sign the guestbook"),
}
VIEWS = ("page", "trivial", "json", "wait", "mixed")
SIZED = ("page", "wait", "mixed")


@dataclass(frozen=True)
class Form:
    """How much is measured: each load for so many seconds after a warm-up, in so many rounds."""

    seconds: int
    warm_up: int
    rounds: int
    loads: tuple[str, ...]

    def told(self) -> dict:
        """What stands beside the figures."""
        connections = {load: LOADS[load] for load in self.loads}
        return {"seconds": self.seconds, "rounds": self.rounds, "connections": connections}


FULL, SHORT = Form(3, 1, 5, ("medium", "saturation")), Form(1, 0, 1, ("saturation",))


@dataclass(frozen=True)
class Choice:
    """A size of Gunicorn that is tried."""

    worker_class: str
    workers: int
    threads: int = 1

    def __str__(self) -> str:
        threads = f" of {self.threads} threads" if self.worker_class == "gthread" else ""
        return f"{self.worker_class} {self.workers}{threads}"


def choices(cpus: int) -> Iterator[Choice]:
    """The sizes to try on so many processors, the published recommendation of 2 n + 1 workers among them."""
    most = 2 * cpus + 1
    yield from (Choice("sync", workers) for workers in range(2, most + 1))
    yield from (Choice("gthread", workers, threads) for workers in range(1, cpus + 1) for threads in (2, 4, 8))
    yield from (Choice("gthread", workers, 4) for workers in (cpus + 1, most))
    for worker_class in ("gevent", "asgi"):
        yield from (Choice(worker_class, workers) for workers in (*range(1, cpus + 2), most))


def one_of_each(all_of_them: Sequence[Choice]) -> list[Choice]:
    """The first choice of each worker class."""
    return list({choice.worker_class: choice for choice in reversed(all_of_them)}.values())[::-1]


def there_and_back(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Who is measured when: all of them by turns, and in the opposite order in every other round.

    What drifts falls on all alike, and two neighbours are measured soon after each other.
    """
    for number in range(rounds):
        yield from ((number, name) for name in (reversed(names) if number % 2 else names))


def rate_of(answer: Mapping) -> float:
    """Requests per second of a load."""
    return answer["requests"] / answer["duration"] * 1e6


def failed(answer: Mapping) -> int:
    return answer["status"] + answer["broken"] + answer["late"]


def median_of(answers: Sequence[Mapping], cpus: int) -> Figures:
    """The figures of a load: of each the median over the rounds.

    :param answers: what contestants/serve/ask.py tells of the load in each round.
    :returns: `rates` has those of the rounds, in which others were asked soon before and after.
    :raises BenchError: too many requests failed.
    """
    requests, lost = sum(answer["requests"] for answer in answers), sum(map(failed, answers))
    if not requests or lost > FAILED_AT_MOST * requests:
        raise BenchError(f"{lost} of {requests} requests failed: {list(answers)}")

    def middle(value) -> float:
        return statistics.median(value(answer) for answer in answers)

    return {
        "requests_per_second": round(middle(rate_of), 1),
        "rates": [round(rate_of(answer), 1) for answer in answers],
        # Processor time of a request on the host, without the client's: nginx, the app, the database.
        "cpu_ms": round(middle(lambda one: (one["cpu"] - one["client_cpu"]) / one["requests"] * 1000), 3),
        "p50_ms": round(middle(lambda one: one["p50"] / 1000), 1),
        "p99_ms": round(middle(lambda one: one["p99"] / 1000), 1),
        "failed": lost,
        # Of all processors: what the client took from those whom it asked.
        "client_share": round(middle(lambda one: one["client_cpu"] / one["duration"] * 1e6 / cpus), 2),
    }


def ratio(table: Table, one: str, other: str, kind: str, load: str) -> float:
    """How much quicker one is than another: the median of the ratios in the rounds."""
    pairs = zip(table[one][kind][load]["rates"], table[other][kind][load]["rates"], strict=True)
    return statistics.median(first / second for first, second in pairs)


def ratios(table: Table, load: str) -> dict[str, tuple[float, float]]:
    """How the stack stands to what is aimed at under a load: the ratio and the least that is wanted, by name."""

    def to_best(kind: str) -> float:
        return min(to(peer, kind) for peer in PEERS)

    def to(other: str, kind: str) -> float:
        return ratio(table, DEFAULT, other, kind, load)

    found = {
        "page / best peer": (to_best("page"), 1.0),
        "trivial view / best peer": (to_best("trivial"), 0.9),
        "static file / stock nginx": (to(STOCK, "static"), 0.95),
        "static file / apache": (to(APACHE, "static"), 3.0),
    }
    if CACHED in table:
        found["cached page / uncached"] = (ratio(table, CACHED, DEFAULT, "cacheable", load), 10.0)
    return found


def aims(table: Table, loads: Sequence[str]) -> str:
    """How the stack stands to what was aimed at. A line each; nothing fails by it."""
    lines = []
    for load in loads:
        for name, (ratio, least) in ratios(table, load).items():
            verdict = "met" if ratio >= least else "missed"
            lines.append(f"{name:28}{load:>12}{ratio:>8.2f}  aim: at least {least}: {verdict}")
    return "\n".join(lines)


def summary(table: Table, memory: Mapping[str, float], loads: Sequence[str]) -> dict:
    """The figures that a reader wants first: what is aimed at, and each contestant's page."""
    aimed = {load: {name: round(ratio, 2) for name, (ratio, _) in ratios(table, load).items()} for load in loads}
    pages = {
        name: {**{key: row["page"][loads[-1]][key] for key in ("requests_per_second", "p99_ms")}, "mb": memory[name]}
        for name, row in table.items()
        if "page" in row
    }
    return {**aimed, f"page, {loads[-1]}": pages}


def text(table: Table, memory: Mapping[str, float], loads: Sequence[str], kinds: Sequence[str]) -> str:
    """A table for each kind, with a line for each contestant."""
    width = max(map(len, table)) + 2
    head = f"{'':{width}}" + "".join(
        f"{f'{LOADS[load]} connections':>15}{'p50':>10}{'p99':>10}{'cpu':>10}{'failed':>8}" for load in loads
    )
    parts = []
    for kind in kinds:
        rows = {name: row[kind] for name, row in table.items() if kind in row}
        lines = [
            f"{name:{width}}" + "".join(map(_cell, (row[load] for load in loads))) + f"{memory[name]:>8.0f} MB"
            for name, row in rows.items()
        ]
        parts.append("\n".join([f"{kind}: {KINDS[kind].about}", f"{head}{'memory':>11}", *lines]))
    return "\n\n".join(parts)


def _cell(figures: Figures) -> str:
    return (
        f"{figures['requests_per_second']:>9.0f} req/s{figures['p50_ms']:>7.1f} ms{figures['p99_ms']:>7.1f} ms"
        f"{figures['cpu_ms']:>7.2f} ms{figures['failed']:>8}"
    )
