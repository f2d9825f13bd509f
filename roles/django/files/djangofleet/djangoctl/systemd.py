"""The interface to systemd. Tests replace it by an object of their own."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from .app import App, load_for
from .errors import Interrupted

ENTRY = "/usr/local/bin/djangoctl"
SERIAL = itertools.count(1)
PROCESS_NAMESPACES = 257  # the first version of systemd that has PrivatePIDs=
# Variables that make the C library load or write files: those that it ignores in setuid programs, and that do either.
LOADING = (
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "LD_PROFILE", "LD_PROFILE_OUTPUT", "LD_DEBUG", "LD_DEBUG_OUTPUT"),
    *("GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH", "MALLOC_TRACE", "TMPDIR"),
)
PROPERTIES = (
    *("Id", "ActiveState", "Result", "NRestarts", "ActiveEnterTimestamp", "InactiveExitTimestamp"),
    *("LastTriggerUSec", "NextElapseUSecRealtime"),
)
MOST_EVENTS = 500


@contextmanager
def environment_file(variables: Mapping[str, str]) -> Iterator[str]:
    """A temporary file in systemd's EnvironmentFile= syntax that only root can read."""
    with tempfile.NamedTemporaryFile("w", prefix="djangoctl-", dir="/run") as handle:
        for name, value in variables.items():
            quoted = re.sub(r'(["\\\\$`])', r"\\\1", value)
            handle.write(f'{name}="{quoted}"\n')
        handle.flush()
        yield handle.name


class Systemd:
    """systemctl, systemd-run and the journal."""

    def control(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run systemctl. The caller checks returncode and stderr."""
        return _ask("systemctl", *words)

    def active(self, unit: str) -> bool:
        return self.control("is-active", "--quiet", unit).returncode == 0

    def steady(self, unit: str) -> bool:
        """Whether a unit is active and systemd has not restarted it since its last start."""
        shown = self.control("show", "--property=ActiveState,NRestarts", unit).stdout.split()
        return "ActiveState=active" in shown and "NRestarts=0" in shown

    def show(self, units: Iterable[str]) -> dict[str, dict[str, str]]:
        """PROPERTIES of units, by unit. Times are UTC, as systemd writes them."""
        shown = _ask("systemctl", "show", f"--property={','.join(PROPERTIES)}", *units).stdout
        blocks = [
            dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in shown.split("\n\n")
        ]
        return {block["Id"]: block for block in blocks if "Id" in block}

    def events(self, units: Iterable[str], pattern: str, since: float) -> list[tuple[str, str]]:
        """The journal's lines about units that match a pattern, those of systemd too, each as (unit, message).

        :param since: seconds since the epoch.
        """
        words = ["--quiet", "--no-pager", "--output=json", f"--lines={MOST_EVENTS}", "--case-sensitive=yes"]
        words += [f"--grep={pattern}", f"--since=@{int(since)}", *(f"--unit={unit}" for unit in units)]
        found = []
        for line in _ask("journalctl", *words).stdout.splitlines():
            entry = json.loads(line)
            if isinstance(entry.get("MESSAGE"), str):  # what is no text comes as a list of numbers
                found.append((entry.get("UNIT") or entry.get("_SYSTEMD_UNIT", ""), entry["MESSAGE"]))
        return found

    def enabled(self, unit: str) -> bool:
        return self.control("is-enabled", "--quiet", unit).returncode == 0

    def journal(self, unit: str, lines: int = 20, since: str | None = None) -> str:
        """The last lines that a unit logged, without the journal's prefix."""
        words = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={lines}", f"--unit={unit}"]
        if since:
            words.append(f"--since={since}")
        found = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        return found.stdout.strip()

    def run(
        self,
        app: App,
        words: Sequence[str],
        *,
        properties: Iterable[str],
        environment: Mapping[str, str] | None = None,
        output: IO | int | None = None,
        stdin: IO | int | None = subprocess.DEVNULL,
        purpose: str = "run",
        alone: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the app's user in a transient unit and wait for it.

        :param properties: unit settings, each as `Key=value`: the sandbox and the environment files.
        :param environment: further variables. They are passed in a file that only root can read, since every user of
            the host can read a command line and the properties of a unit.
        :param output: where stdout and stderr go; captured when None.
        :param alone: whether the command sees its own processes only. Another one of the same user, such as the live
            service, would lead out of the sandbox by /proc/<pid>/root, and could be killed.
        """
        user, prefix = self._alone(app) if alone else ([f"User={app['user']}", f"Group={app['group']}"], [])
        if prefix:
            environment = {"USER": app["user"], "LOGNAME": app["user"], **(environment or {})}
        unit = f"{app.unit}-{purpose}-{os.getpid()}-{next(SERIAL)}"
        call = ["systemd-run", "--pipe", "--wait", "--collect", "--quiet", "--service-type=exec", f"--unit={unit}"]
        call += [f"--property={item}" for item in (*user, *properties)]
        with environment_file(environment or {}) as path:
            try:
                return subprocess.run(
                    [*call, f"--property=EnvironmentFile={path}", "--", *prefix, *words],
                    stdin=stdin,
                    stdout=subprocess.PIPE if output is None else output,
                    stderr=subprocess.STDOUT if output is None else output,
                    text=True,
                    errors="replace",  # a hook may print anything
                    check=False,
                    # A Ctrl-C is for djangoctl, which knows whether the command may end. A shell keeps its terminal.
                    start_new_session=stdin == subprocess.DEVNULL,
                )
            except Interrupted:
                self.control("stop", f"{unit}.service")  # it would run on without systemd-run
                raise

    def end_interrupted(self, app: App, purpose: str) -> None:
        """Stop the commands of `run` whose djangoctl was killed: systemd runs them on, and they write to the disk."""
        if left := [unit for unit, process in self._commands(app, purpose) if not os.path.exists(f"/proc/{process}")]:
            self.control("stop", *left)

    def end(self, app: App, purpose: str) -> None:
        """Stop the commands of `run`, whoever waits for them."""
        if running := [unit for unit, _process in self._commands(app, purpose)]:
            self.control("stop", *running)

    def _commands(self, app: App, purpose: str) -> list[tuple[str, str]]:
        """The units of `run` that are there, each with the process of its djangoctl."""
        stem = f"{app.unit}-{purpose}-"
        listed = self.control("list-units", "--plain", "--no-legend", "--full", f"{stem}*.service").stdout
        found = re.findall(rf"^({re.escape(stem)}(\d+)-\d+\.service)\s", listed, re.MULTILINE)
        # A process of the app may be called so.
        return [(unit, process) for unit, process in found if unit not in app["unit_files"]]

    def version(self) -> int:
        """The version of systemd; 0 if it does not say."""
        match = re.match(r"systemd (\d+)", self.control("--version").stdout)
        return int(match[1]) if match else 0

    def _alone(self, app: App) -> tuple[list[str], list[str]]:
        """Unit settings and words before a command that give it a process namespace of its own.

        Before version 257 systemd has no setting for it. Then root makes the namespace and becomes the app's user,
        without the variables that would make these two programs load what the app names.
        """
        if self.version() >= PROCESS_NAMESPACES:
            return [f"User={app['user']}", f"Group={app['group']}", "PrivatePIDs=yes"], []
        become = [f"--reuid={app['user']}", f"--regid={app['group']}", "--init-groups", "--inh-caps=-all"]
        return [f"UnsetEnvironment={' '.join(LOADING)}"], [
            *("/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("/usr/bin/setpriv", *become, "--no-new-privs", "--"),
        ]

    def manage(
        self,
        app: App,
        release: str,
        words: Sequence[str],
        *,
        sandbox: Iterable[str] | None = None,
        further: Iterable[str] = (),
        **options,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside a release with the user, environment and sandbox of its service.

        :param sandbox: unit settings that replace the service's sandbox.
        :param further: unit settings beside it, such as a mount.
        """
        if release in ("current", "next"):
            app = load_for(app.name, release)
        files = [f"EnvironmentFile=-{app.secret}", f"EnvironmentFile={app.settings_file.parent}/env"]
        properties = [*files, *(app["sandbox"] if sandbox is None else sandbox), *further]
        return self.run(app, [ENTRY, app.name, "exec", release, *words], properties=properties, **options)


def _ask(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of systemd, which a Ctrl-C in the middle of a swap must not reach."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    return subprocess.run(
        list(words),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        start_new_session=True,
        errors="replace",
    )
