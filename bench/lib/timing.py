"""Runs commands, takes their times and keeps what they print."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .hosts import BenchError, Host


@dataclass(frozen=True)
class Timed:
    """What a command has cost.

    :param seconds: wall time.
    :param cpu: processor seconds of the command and its children, and of everything on the host meanwhile.
    """

    seconds: float
    cpu: float
    output: str


class Clock:
    """Takes times one after the other.

    :param root: where the commands run.
    :param logs: one file per label is written there.
    """

    def __init__(self, root: Path, logs: Path) -> None:
        self.root, self.logs = root, logs

    def log(self, label: str) -> Path:
        """The log of a run."""
        return self.logs / (re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") + ".log")

    def run(self, label: str, host: Host, words: list[str], **environment: str) -> Timed:
        """Run a command that works on a host to its end.

        :raises BenchError: it failed; the end of its output is in the text.
        """
        print(f"  {label:<44}", end="", flush=True)
        path = os.pathsep.join([str(self.root / ".venv/bin"), os.environ["PATH"]])
        on_host, started = host.cpu_seconds(), time.monotonic()
        with self.log(label).open("wb") as log:
            process = subprocess.Popen(
                words,
                cwd=self.root,
                env={**os.environ, "PATH": path, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                _pid, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                raise
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        cpu = usage.ru_utime + usage.ru_stime + host.cpu_seconds() - on_host
        print(f"{seconds:7.1f} s", flush=True)
        output = self.log(label).read_text(errors="replace")
        if process.returncode != 0:
            tail = "\n".join(output.splitlines()[-40:])
            raise BenchError(f"{label} ended with {process.returncode}; all of it is in {self.log(label)}\n{tail}")
        return Timed(seconds, cpu, output)
