"""What every benchmark has around it: fresh containers, a header above the figures, and an end that leaves nothing."""

from __future__ import annotations

import argparse
import datetime
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from . import evidence, report
from .hosts import BenchError, Host, docker, fresh
from .timing import Clock

ROOT = Path(__file__).resolve().parents[2]
# The figures, their details, and both as text.
Measured = tuple[dict, dict, str]


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def asked_short(description: str | None) -> bool:
    """Whether the command line asks for the short form."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--short", action="store_true", help="every step once and as short as it can be; writes no results"
    )
    return parser.parse_args().short


def bench(
    name: str,
    containers: Mapping[str, str],
    measure: Callable[[Clock, list[Host]], Measured],
    *,
    short: bool = False,
    **programs: str,
) -> int:
    """Measure on fresh containers, show what was found and write it to bench/results/; returns the exit code.

    :param containers: the image of each container, by name. The first one is the host that the header describes.
    :param measure: takes the figures; what it writes beside its logs goes where the clock's logs are.
    :param short: write no results, and take steps side by side where that is sooner: the figures are worth nothing.
    :param programs: further programs of .venv whose version is noted, by the name it gets.
    """
    os.chdir(ROOT)
    # As an exception, so that the containers go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"\nbench/{name}: was told to stop; the containers are gone"))
    work, result = ROOT / "build/bench" / name, ROOT / f"bench/results/{name}.json"
    work.mkdir(parents=True, exist_ok=True)
    for log in work.glob("*.log"):
        log.unlink()
    load = [os.getloadavg()[0]]
    if load[0] > 1 and not short:
        say(f"this machine is busy (load {load[0]:.1f}): what is measured will be too long")
    try:
        say(f"starting {len(containers)} containers")
        with fresh(containers) as hosts:
            header = {
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                **evidence.facts(hosts[0]),
                "versions": _versions(programs),
            }
            figures, details, text = measure(Clock(ROOT, work, side_by_side=short), hosts)
    except BenchError as error:
        print(f"\nbench/{name}: {error}", file=sys.stderr)
        return 1
    header["load_at_start_and_end"] = [round(number, 1) for number in (*load, os.getloadavg()[0])]
    names = ", ".join(f"{program.replace('_', '-')} {number}" for program, number in header["versions"].items())
    print(f"\n{header['distribution']}, {header['cpus']} CPUs, {names}\n\n{text}\n")
    if short:
        say("short form: it runs to its end, and the figures are worth nothing; no results are written")
        return 0
    report.write(result, header, figures, details)
    say(f"{result.relative_to(ROOT)} is written; the logs in {work.relative_to(ROOT)}/ end with the times of each task")
    return 0


def _versions(programs: Mapping[str, str]) -> dict[str, str]:
    """The versions of what takes part, as each of them gives it."""

    def version(program: str) -> str:
        words = (f".venv/bin/{program}", "--version")
        found = re.search(r"\d+(\.\d+)+", subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        return found[0] if found else "unknown"

    return {
        "ansible_core": version("ansible"),
        **{name: version(program) for name, program in programs.items()},
        "docker": docker("version", "--format", "{{.Server.Version}}").stdout.strip(),
        "controller_python": version("python"),
    }
