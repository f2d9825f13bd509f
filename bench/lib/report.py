"""The figures as a table and as a file."""

from __future__ import annotations

import json
from pathlib import Path

from .timing import Timed

# What is to be reached: key, limit, and the key whose value the limit is a multiple of.
Aims = tuple[tuple[str, float, str | None], ...]


def median(runs: list[Timed]) -> Timed:
    """The run in the middle by wall time."""
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def spread(runs: list[Timed]) -> list[float]:
    """The wall times of all runs, shortest first."""
    return sorted(round(run.seconds, 1) for run in runs)


def cell(run: Timed | None) -> str:
    return f"{run.seconds:8.1f} s {run.cpu:7.1f} s" if run else f"{'-':>10} {'-':>9}"


def table(rows: list[tuple[str, int | str, Timed, Timed | None, Timed | None]]) -> str:
    """What was measured, a line for each kind of run: (kind, executions, Ansible, pyinfra, shell script)."""
    head = f"{'':28}{'module':>10}  {'Ansible':>20}  {'pyinfra':>20}  {'shell script':>20}"
    below = f"{'':28}{'executions':>10}" + f"  {'wall':>10} {'cpu':>9}" * 3
    lines = [f"{kind:28}{count:>10}  {'  '.join(map(cell, runs))}" for kind, count, *runs in rows]
    return "\n".join([head, below, *lines])


def hosts(title: str, rows: list[tuple[int, int, int, Timed]]) -> str:
    """What runs on several hosts cost, a line for each number: (hosts, tasks, executions, Ansible)."""
    head = f"{title:28}{'tasks':>10}{'executions':>12}{'wall':>12}{'controller cpu':>18}"
    lines = []
    for count, tasks, executions, run in rows:
        name = f"{count} host{'s' if count > 1 else ''}"
        lines.append(f"{name:28}{tasks:>10}{executions:>12}{run.seconds:>10.1f} s{run.controller:>16.1f} s")
    return "\n".join([head, *lines])


def visitors(figures: dict[str, dict]) -> str:
    """What visitors saw, a line for each phase."""
    head = f"{'':12}{'requests':>10}{'failed':>8}{'p50':>10}{'p99':>10}{'max':>10}{'p99/steady':>12}{'max/steady':>12}"
    lines = [
        f"{name:12}{row['requests']:>10}{row['failed']:>8}"
        + "".join(f"{row[key]:>7.1f} ms" for key in ("p50_ms", "p99_ms", "max_ms"))
        + f"{row['p99_ratio']:>12.2f}{row['max_ratio']:>12.2f}"
        for name, row in figures.items()
    ]
    return "\n".join([head, *lines])


def firsts(figures: dict[str, dict]) -> str:
    """What the first requests took, a line for what had happened before them."""
    head = f"{'first requests after':28}{'median':>10}{'slowest':>10}"
    lines = [f"{name:28}{row['median_ms']:>7.1f} ms{row['max_ms']:>7.1f} ms" for name, row in figures.items()]
    return "\n".join([head, *lines])


def aims(figures: dict, aimed: Aims) -> str:
    """How the figures stand to what was aimed at. A line each; nothing fails by it."""
    lines = []
    for key, factor, base in aimed:
        limit = factor * figures[base] if base else factor
        wanted = f"at most {limit:.1f} s ({factor} x {base})" if base else f"at most {limit}"
        lines.append(f"{key:28}{figures[key]:>8}  aim: {wanted}: {'met' if figures[key] <= limit else 'missed'}")
    return "\n".join(lines)


def write(path: Path, host: dict, figures: dict, details: dict) -> None:
    """Write the figures with the host they were taken on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": host, **figures, **details}, indent=2) + "\n")
