"""Brings to Nginx which servers are out: writes what it includes, tests that, and has it reloaded."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files, state
from .errors import BalancerError, refused
from .upstream import out_of, rendered

UPSTREAMS = Path(os.environ.get("DJANGOFLEET_BALANCER_UPSTREAMS", "/etc/nginx/upstreams"))
UNIT = "nginx.service"
PATHS = "/usr/sbin:/usr/bin:/sbin:/bin"  # behind the caller's own: that of an operator may lack nginx
SECONDS = 30  # for each command
STOPPED = ("inactive", "failed", "deactivating", "unknown")
PROC, PID_FILE = Path("/proc"), Path("/run/nginx.pid")
PAUSE = 0.05  # seconds between two looks at the workers
RETIREMENT = 5.0  # seconds that those from before a reload have to stop taking connections; mostly it is a tenth of one


@dataclass(frozen=True)
class Brought:
    """What bringing came to.

    :param changed: the names of files that are new.
    :param reloaded: whether Nginx was told to load them. It is not where it does not run.
    :param earlier: the workers from before.
    :param is_pending: whether some of them still take requests.
    :param warnings: what went wrong beside that.
    """

    changed: tuple[str, ...] = ()
    reloaded: bool = False
    earlier: tuple[int, ...] = ()
    is_pending: bool = False
    warnings: tuple[str, ...] = ()


def wanted(config: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, bytes]:
    """What Nginx is to include of each site, by its file's name.

    :param known: the state.
    """
    return {site["file"]: rendered(site, out_of(site, known)).encode() for site in config["sites"]}


def is_brought(contents: Mapping[str, bytes]) -> bool:
    """Whether Nginx has loaded just this, by what is on the disk."""
    return not contents or (not _differing(contents) and files.content_of(_stamp()) == _digest(contents))


def bring(contents: Mapping[str, bytes]) -> Brought:
    """Have Nginx use what the sites' files are to say, and wait until no worker goes by what was before. The lock has
    to be held.

    A process that is killed on the way leaves no trace in the stamp, so that the next one makes up for it.

    :raises BalancerError: Nginx refuses it, and the files are as they were; or it could not be reloaded.
    :raises OSError: a file could not be written. All are as they were.
    """
    if is_brought(contents):
        return Brought()
    before = {name: files.content_of(_file(name)) for name in _differing(contents)}
    try:
        for name in before:
            files.write(_file(name), contents[name])
        is_running = _is_running()
        if is_running:
            _run(["nginx", "-t", "-q"], "Nginx refuses what would take effect, and goes on as before")
    except BaseException:
        _put_back(before)
        raise
    changed, earlier = tuple(sorted(before)), tuple(workers())
    if is_running:
        _run(["systemctl", "reload", UNIT], f"{UNIT} could not be reloaded, and goes on as before")
        if not retired(earlier, time.monotonic() + RETIREMENT):  # told again
            warning = f"workers of Nginx from before still take requests after {RETIREMENT:g} s"
            return Brought(changed, is_running, earlier, is_pending=True, warnings=(warning,))
    try:
        files.write(_stamp(), _digest(contents))
    except OSError as error:  # Nginx has it all the same, and is told again when there is room
        return Brought(changed, is_running, earlier, warnings=(refused(error).message,))
    return Brought(changed, is_running, earlier)


def _file(name: str) -> Path:
    return UPSTREAMS / f"{name}.conf"


def _stamp() -> Path:
    """Where it is recorded what Nginx has loaded."""
    return state.STATE / "loaded"


def _digest(contents: Mapping[str, bytes]) -> bytes:
    listed = {name: content.decode() for name, content in contents.items()}
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest().encode() + b"\n"


def _differing(contents: Mapping[str, bytes]) -> list[str]:
    """The names of the files that say something else."""
    return [name for name, content in contents.items() if files.content_of(_file(name)) != content]


def _put_back(before: Mapping[str, bytes | None]) -> None:
    """Restore files. One that cannot be restored keeps no other from it."""
    for name, content in before.items():
        with suppress(OSError):
            if content is None:
                _file(name).unlink(missing_ok=True)
            elif files.content_of(_file(name)) != content:
                files.write(_file(name), content)


def _is_running() -> bool:
    """Whether Nginx runs, or is about to.

    :raises BalancerError: systemd does not say.
    """
    code, printed = _answer(["systemctl", "is-active", UNIT])
    if code != 0 and printed.partition("\n")[0] in STOPPED:
        return False
    if code != 0 and printed not in ("activating", "reloading", "refreshing"):
        raise BalancerError(f"systemd does not say whether {UNIT} runs: {printed or code}", f"systemctl status {UNIT}")
    return True


def _run(words: Sequence[str], failure: str) -> None:
    """Run a program.

    :raises BalancerError: it fails; the message is `failure` with what it said.
    """
    code, printed = _answer(words)
    if code:
        said = " ".join(printed.split()) or f"{words[0]} ended with {code}"
        raise BalancerError(f"{failure}: {said}", "correct what it names, then: djangofleet-balancer apply")


def _answer(words: Sequence[str]) -> tuple[int, str]:
    """The exit code of a program, and what it printed."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{PATHS}".strip(":"), "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=SECONDS, env=environment, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return 127, f"{words[0]} is not there"
    except subprocess.TimeoutExpired:
        return 124, f"{words[0]} has not ended within {SECONDS} s"
    return done.returncode, done.stdout.strip()


# The workers, by what the kernel shows of them


def workers() -> list[int]:
    """The processes of Nginx that take new connections."""
    try:
        master = int(PID_FILE.read_text())
        children = (PROC / f"{master}/task/{master}/children").read_text().split()
    except (OSError, ValueError):
        return []
    return [int(child) for child in children if _takes_connections(int(child))]


def retired(earlier: Sequence[int], end: float) -> bool:
    """Wait until workers have stopped taking new connections. A reload returns before they have.

    :param end: until when, by the monotonic clock.
    """
    while any(_takes_connections(worker) for worker in earlier):
        if time.monotonic() >= end:
            return False
        time.sleep(PAUSE)
    return True


def _takes_connections(worker: int) -> bool:
    """Whether a process is a worker that is not shutting down. Nginx says so in the name that it gives it."""
    try:
        title = (PROC / f"{worker}/cmdline").read_bytes()
    except OSError:
        return False
    return title.startswith(b"nginx: worker process") and b"shutting down" not in title
