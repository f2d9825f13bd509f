"""Runs commands, takes their times and keeps what they print."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .hosts import BenchError, Host


@dataclass(frozen=True)
class Timed:
    """What a command has cost.

    :param seconds: wall time.
    :param controller: processor seconds of the command and its children.
    :param cpu: the same, and that of everything on the hosts meanwhile.
    """

    seconds: float
    controller: float
    cpu: float
    output: str


class Clock:
    """Runs commands and takes their times.

    :param root: where the commands run.
    :param logs: one file per label is written there.
    :param side_by_side: run what does not depend on each other at the same time. It is over sooner, and the times are
        worth nothing.
    """

    def __init__(self, root: Path, logs: Path, *, side_by_side: bool = False) -> None:
        self.root, self.logs, self.side_by_side = root, logs, side_by_side
        self._running: set[subprocess.Popen] = set()

    def log(self, label: str) -> Path:
        """The log of a run."""
        return self.logs / (re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") + ".log")

    def each(self, *works: Callable[[], object]) -> list:
        """Do what does not depend on each other, in this order unless it is done side by side; returns the results.

        :raises BenchError: one of them failed; the commands of the others are ended.
        """
        if not self.side_by_side:
            return [work() for work in works]
        with ThreadPoolExecutor(len(works)) as pool:
            futures = [pool.submit(work) for work in works]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for process in list(self._running):
                    process.kill()
                raise

    def run(self, label: str, hosts: Sequence[Host], words: list[str], **environment: str) -> Timed:
        """Run a command that works on these hosts to its end.

        :raises BenchError: it failed; the end of its output is in the text.
        """
        path = os.pathsep.join([str(self.root / ".venv/bin"), os.environ["PATH"]])
        on_hosts, started = _cpu(hosts), time.monotonic()
        with self.log(label).open("wb") as log:
            process = subprocess.Popen(
                words,
                cwd=self.root,
                env={**os.environ, "PATH": path, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            self._running.add(process)
            try:
                _pid, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                raise
            finally:
                self._running.discard(process)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        controller = usage.ru_utime + usage.ru_stime
        print(f"  {label:<44}{seconds:7.1f} s", flush=True)
        output = self.log(label).read_text(errors="replace")
        if process.returncode != 0:
            tail = "\n".join(output.splitlines()[-40:])
            raise BenchError(f"{label} ended with {process.returncode}; all of it is in {self.log(label)}\n{tail}")
        return Timed(seconds, controller, controller + _cpu(hosts) - on_hosts, output)


def _cpu(hosts: Sequence[Host]) -> float:
    return sum(host.cpu_seconds() for host in hosts)
