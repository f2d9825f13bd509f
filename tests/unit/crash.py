"""Ends djangoctl at any of its steps, on a real file system and beside a model of systemd.

djangoctl runs in a forked process, which ends as by SIGKILL: no handler runs, and the kernel releases its locks. A step
is whatever changes the disk or asks systemd for something. Python's audit events tell of the former, so that new code
of djangoctl has its steps counted without a change here.
"""

from __future__ import annotations

import errno
import gc
import gzip
import hashlib
import io
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conftest import FLEET
from djangoctl import app as apps
from djangoctl import cli, launch
from djangoctl.errors import CtlError

KILLED = 137
SERVICE, STAND_IN = "django-shop.service", "django-shop-next.service"
WORKER = "django-shop-worker.service"
ROOMS = ("etc", "srv", "systemd", "run-of-units", "log", "run/ready")
# Audit events of changes, and which of their arguments are the path and the directory that it is relative to.
CHANGES = {
    "os.mkdir": (0, 2),
    "os.rmdir": (0, 1),
    "os.remove": (0, 1),
    "os.rename": (1, 3),
    "os.symlink": (1, 2),
    "os.link": (1, 3),
    "os.chmod": (0, 2),
    "os.chown": (0, 3),
    "os.truncate": (0, None),
}
FILLING = ("create", "mkdir", "symlink", "link")  # what fails as long as the disk is full
QUESTIONS = ("list-units", "--version", "is-active", "is-enabled", "show")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass
class Outcome:
    """What came of one run.

    :param code: the exit code; None if the process was killed.
    :param steps: what the run did, one line for each.
    :param stray: changes outside of the world, which were refused.
    :param asked: what `status` said before.
    """

    code: int | None = None
    out: str = ""
    err: str = ""
    steps: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)


class Steps:
    """Counts the steps of this process and ends it, or fills its disk, at one of them."""

    def __init__(self, root: Path, stop: int | None, full: bool, pipe: int) -> None:
        self.root, self.stop, self.full, self.pipe = str(root), stop, full, pipe
        self.seen: list[str] = []
        self.stray: list[str] = []
        self.is_full = False
        self._lock, self._inner = threading.RLock(), threading.local()
        self._open = os.open

    def install(self) -> None:
        """Watch this process for the rest of its life: an audit hook cannot be removed."""
        os.open = self.open
        sys.addaudithook(self.hear)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """What happens inside belongs to another process."""
        before, self._inner.busy = getattr(self._inner, "busy", False), True
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit[1], limit[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            self._inner.busy = before

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if getattr(self._inner, "busy", False):
            return
        if event == "open":
            path, mode, flags = arguments
            if mode is not None and flags & WRITING and not isinstance(path, int):
                self._opening(path, flags)
        elif event in CHANGES:
            path, directory = CHANGES[event]
            self.change(event[3:], arguments[path], arguments[directory] if directory is not None else None)
        elif event == "subprocess.Popen":
            self.step(f"start {Path(os.fsdecode(arguments[0])).name}")

    def _opening(self, path: str | Path, flags: int) -> None:
        """A file that Python opens: before, and after it was created or emptied, and nothing was written."""
        if not self.change("create", path):
            return
        if len(self.seen) + 1 == self.stop:
            with suppress(OSError):  # a directory that a temporary file is made in
                self._open(path, flags, 0o666)
        self.step(f"opened {self.name(path)}")

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """os.open, whose audit event does not tell the directory."""
        if getattr(self._inner, "busy", False) or not flags & WRITING:
            return self._open(path, flags, mode, dir_fd=dir_fd)
        known = self.change("create", path, dir_fd)
        descriptor = self._open(path, flags, mode, dir_fd=dir_fd)
        if known:
            self.step(f"opened {self.name(path, dir_fd)}")
        return descriptor

    def change(self, verb: str, path: Any, directory: int | None = None) -> bool:
        """Whether that change is one of the world's; changes elsewhere are refused."""
        full = self.name(path, directory)
        if not full.startswith("/"):
            self.step(f"{verb} {full}")
            return True
        if full.startswith(("/dev/", "/proc/")):
            return False
        self.stray.append(f"{verb} {full}")
        raise PermissionError(errno.EPERM, "outside of the test's world", full)

    def name(self, path: Any, directory: int | None = None) -> str:
        """A path relative to the world, or as it is if it lies elsewhere."""
        if isinstance(path, int):
            text = os.readlink(f"/proc/self/fd/{path}")
        else:
            below = os.getcwd() if directory in (None, -1) else os.readlink(f"/proc/self/fd/{directory}")
            text = os.path.normpath(os.path.join(below, os.fsdecode(path)))
        return text.removeprefix(self.root + "/").replace(str(os.getpid()), "<pid>")

    def step(self, name: str) -> None:
        """One more step: the last one if its turn has come."""
        if getattr(self._inner, "busy", False):
            return
        with self._lock:
            self.seen.append(name)
            reached = len(self.seen) == self.stop
        if reached and not self.full:
            os.write(self.pipe, name.encode())
            os._exit(KILLED)
        if reached:
            self.is_full = True
            # Opening a file works on a full disk, and writing to it fails: as here, but for the name of the error.
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        verb, _space, path = name.partition(" ")
        if self.is_full and not os.path.lexists(os.path.join(self.root, path)) and (reached or verb in FILLING):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


class Host:
    """A model of systemd, and of what the sandboxed commands of an app do to the disk.

    Its state is a file, since djangoctl's process does not outlive its run. `refuses` names releases, by the beginning
    of their ids, that do not pass the gate or do not start.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.config, self.app = root, root / "etc/shop", root / "srv/shop"
        self.path, self.ready = root / "host.json", root / "run/ready/shop"

    # State

    def read(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"active": {}, "enabled": [], "loaded": {}, "applied": [], "hooks": [], "passed": []}
        empty |= {"gate": "-", "start": "-"}
        return json.loads(self.path.read_text()) if self.path.exists() else empty

    def write(self, state: dict[str, Any]) -> None:
        self.path.write_text(json.dumps(state))

    def refuse(self, step: str, release: str) -> None:
        self.write(self.read() | {step: release})

    # What visitors see

    def visit(self) -> dict[str, Any]:
        """What answers visitors: each service with its release and configuration, and what is wrong with it."""
        state = self.read()
        page = self.app / "static/.maintenance.html"
        found: dict[str, Any] = {"answers": [], "problems": [], "page": page.read_text() if page.exists() else None}
        if self._open(state) and not self._up(state):
            self.start(state, SERVICE)  # the first connection starts it
            self.write(state)
        for unit in self._up(state):
            facts = state["active"][unit]
            if facts not in found["answers"]:
                found["answers"].append(facts)
            found["problems"] += self.flaws(self.app / "releases" / facts["release"], published=True)
        return found

    def _open(self, state: dict[str, Any]) -> set[str]:
        """The sockets that visitors come through: those at the address that Nginx knows."""
        return {unit for unit, facts in state["active"].items() if facts.get("listen") == state["entry"]}

    def _up(self, state: dict[str, Any]) -> list[str]:
        """The services that accept what comes through these sockets."""
        known = [unit for unit in (SERVICE, STAND_IN) if unit in state["active"]]
        return [unit for unit in known if self._open(state) & set(state["active"][unit]["sockets"])]

    def expire(self) -> None:
        """RuntimeMaxSec= ends a stand-in that nobody stopped."""
        state = self.read()
        self.stop(state, STAND_IN)
        self.write(state)

    def reboot(self) -> None:
        """Everything stops; what is enabled starts with what is on disk, and /run is empty."""
        state = self.read()
        self.ready.unlink(missing_ok=True)
        for unit in list(state["active"]):
            self.stop(state, unit)
        state["loaded"] = {}
        for unit in state["enabled"]:
            self.start(state, unit)
        if SERVICE in state["active"]:
            self.start(state, WORKER)  # Wants=
        self.write(state)

    def flaws(self, release: Path, *, published: bool = False) -> list[str]:
        """What a release lacks of what it was built from."""
        try:
            wanted = json.loads((release / "source/contents.json").read_text())
        except (OSError, ValueError):
            return [f"{release.name} has no source"]
        places = [(release / "source", wanted["source"]), (release / "static", wanted["static"])]
        if published:
            hashed = {name: digest for name, digest in wanted["static"].items() if "." in name.removesuffix(".css")}
            places.append((self.app / "static", hashed))
        lost = [
            str(path.relative_to(self.root))
            for place, files in places
            for name, digest in files.items()
            for path in [place / name]
            if not path.is_file() or digest_of(path) != digest
        ]
        for name in ("python", "gunicorn"):
            if not (release / "venv/bin" / name).exists():
                lost.append(f"{release.name}/venv/bin/{name}")
        return lost

    # Units

    def start(self, state: dict[str, Any], unit: str) -> str:
        """Start a unit; returns what is wrong, and nothing if it is up."""
        if unit in state["active"]:
            return ""
        text = self.load(state, unit)
        if text is None:
            return f"Unit {unit} not found."
        if unit.endswith(".socket"):
            state["active"][unit] = {"listen": setting(text, "ListenStream")}
            return ""
        sockets = setting(text, "Sockets").split()
        problems = [problem for name in sockets for problem in [self.start(state, name)] if problem]  # Requires=
        stand_in = unit == STAND_IN
        try:
            env = (self.config / ("next/env" if stand_in else "live/env")).read_text()
            app = apps.load_for("shop", "next" if stand_in else "current")
            release = launch.resolve(app, "next" if stand_in else "current")
            json.loads((release / "release.json").read_text())["application"]
        except (CtlError, OSError, ValueError, KeyError) as error:
            return f"{type(error).__name__}: {error}"
        problems += self.flaws(release)
        if release.name.startswith(state["gate" if stand_in else "start"]):
            problems.append("it does not work")
        if problems:
            return "\n".join(problems)
        facts = {"release": release.name, "env": env, "timeout": app["gunicorn"]["timeout"]}
        state["active"][unit] = facts | {"unit": setting(text, "X-Set"), "sockets": sockets}
        if stand_in:
            state["passed"].append(state["active"][unit])
        self.mark(state)
        return ""

    def load(self, state: dict[str, Any], unit: str) -> str | None:
        """The unit file as systemd knows it: as it was at the last daemon-reload."""
        path = self.root / "systemd" / unit
        if unit not in state["loaded"] and path.is_file():
            state["loaded"][unit] = path.read_text()
        return state["loaded"].get(unit)

    def mark(self, state: dict[str, Any] | None = None) -> None:
        """Write the marks of the workers that are ready, and of no others."""
        active = (state or self.read())["active"]
        for unit in (SERVICE, STAND_IN):
            marks = self.root / "run-of-units" / unit.removesuffix(".service")
            shutil.rmtree(marks, ignore_errors=True)
            if unit in active:
                marks.mkdir(parents=True)
                (marks / "worker-7").touch()

    def stop(self, state: dict[str, Any], unit: str) -> None:
        state["active"].pop(unit, None)
        self.mark(state)

    def control(self, verb: str, *words: str) -> tuple[int, str]:
        """systemctl: its exit code and what it says."""
        units, state = [word for word in words if not word.startswith("-")], self.read()
        said: list[str] = []
        code = 0
        if verb == "--version":
            return 0, "systemd 257 (257.9-1~deb13u1)\n"
        if verb == "is-active":
            return (0 if all(unit in state["active"] for unit in units) else 3), ""
        if verb == "is-enabled":
            return (0 if all(unit in state["enabled"] for unit in units) else 1), ""
        if verb == "list-units":
            return 0, ""
        if verb == "show":
            return 0, "".join(
                f"ActiveState={'' if unit in state['active'] else 'in'}active\nNRestarts=0\n" for unit in units
            )
        if verb == "enable":
            state["enabled"] += [unit for unit in units if unit not in state["enabled"]]
        elif verb in ("stop", "restart", "start"):
            for unit in units if verb != "start" else ():
                self.stop(state, unit)
            said = [problem for unit in units if verb != "stop" for problem in [self.start(state, unit)] if problem]
            code = 1 if said else 0
        elif verb == "disable":
            state["enabled"] = [unit for unit in state["enabled"] if unit not in units]
        elif verb == "daemon-reload":
            state["loaded"] = {}
            for unit in state["active"]:
                self.load(state, unit)
        elif verb != "reset-failed":
            raise NotImplementedError(f"systemctl {verb}")
        self.write(state)
        return code, "\n".join(said)

    # Commands

    def command(self, words: list[str]) -> tuple[int, str]:
        """systemd-run: what the command leaves on disk, its exit code and what it says."""
        options = [option.removeprefix("--property=") for option in words[: words.index("--")]]
        words = words[words.index("--") + 1 :]
        variables: dict[str, str] = {}
        mounts: dict[str, Path] = {}
        for name, _sign, value in (option.partition("=") for option in options):
            here, _colon, there = value.removeprefix("-").partition(":")
            if name == "EnvironmentFile" and Path(here).is_file():
                variables |= dict(re.findall(r'^(\w+)="?(.*?)"?$', Path(here).read_text(), re.MULTILINE))
            elif name in ("BindPaths", "BindReadOnlyPaths"):
                mounts[there or here] = Path(here)

        def host(path: str) -> Path:
            """Where a path of the sandbox is on the host."""
            for there in sorted(mounts, key=len, reverse=True):
                if Path(path).is_relative_to(there):
                    return mounts[there] / Path(path).relative_to(there)
            return Path(path)

        if Path(words[0]).name == "uv":
            return self.uv(words[1:], host(variables["VIRTUAL_ENV"]))
        if words[0] == "tar":
            return 0, ""
        _entry, _app, _exec, release, *words = words
        return self.manage(host(str(self.app / "releases" / release)).resolve(), words, host)

    def uv(self, words: list[str], venv: Path) -> tuple[int, str]:
        if words[0] == "venv":
            (venv / "bin").mkdir(parents=True, exist_ok=True)
            (venv / "bin/python").write_text("python")
        else:
            library = venv / "lib/python3.13/site-packages/django"
            library.mkdir(parents=True, exist_ok=True)
            (library / "__init__.py").write_text("")
            (venv / "bin/gunicorn").write_text("gunicorn")
        return 0, "installed\n"

    def manage(self, release: Path, words: list[str], host: Callable[[str], Path]) -> tuple[int, str]:
        contents = json.loads((release / "source/contents.json").read_text())
        state = self.read()
        if words[0] == "python" and words[1].endswith("probe.py"):
            if contents["broken"]:
                return 1, "collectstatic broke\n"
            for name in contents["static"]:
                shutil.copyfile(release / "source/assets" / name, release / "static" / name)
            host(words[3]).write_text(json.dumps(self.facts(words[4], contents)))
        elif words[0] == "python" and words[1].endswith("plan.py"):
            left = [name for name in contents["migrations"] if name not in state["applied"]]
            steps = [{"migration": name, "operations": ["add a field"], "destructive": []} for name in left]
            return 0, f"djangofleet-plan: {json.dumps({'steps': steps})}\n"
        elif "migrate" in words:
            state["applied"] = sorted({*state["applied"], *contents["migrations"]})
        elif words[0] == "hook":
            state["hooks"].append([words[1], release.name])
        self.write(state)
        return 0, "done\n"

    def facts(self, static: str, contents: dict[str, Any]) -> dict[str, Any]:
        return {
            "python": "3.13.5",
            "django": "5.2",
            "staticfiles": True,
            "static_root": static,
            "static_url": "/static/",
            "storage": "ManifestStaticFilesStorage",
            "hashed": True,
            "deploy_check": "",
            "database": True,
            "migrations": contents["migrations"],
            "leaves": contents["migrations"][-1:],
        }


@dataclass(frozen=True)
class Entry:
    """A file, link or directory as it was.

    :param stamp: tells whether it has changed since.
    :param content: the bytes of a file, the target of a link.
    """

    stamp: tuple[int, ...]
    kind: int
    mode: int
    content: bytes | str

    @classmethod
    def of(cls, path: Path) -> Entry:
        mode = path.lstat().st_mode
        content: bytes | str = b""
        if stat.S_ISLNK(mode):
            content = os.readlink(path)
        elif stat.S_ISREG(mode):
            content = path.read_bytes()
        return cls(stamp_of(path), stat.S_IFMT(mode), stat.S_IMODE(mode), content)

    def write(self, path: Path) -> None:
        if self.kind == stat.S_IFLNK:
            path.unlink(missing_ok=True)
            path.symlink_to(self.content)
            return
        if self.kind == stat.S_IFDIR:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(self.content)
        path.chmod(self.mode)


def stamp_of(path: Path) -> tuple[int, ...]:
    """What any change of a file or link changes; for a directory only its mode, since its entries tell the rest."""
    found = path.lstat()
    return (found.st_mode,) if stat.S_ISDIR(found.st_mode) else (found.st_mode, found.st_ino, found.st_ctime_ns)


class World:
    """One host with one app, which can be set back to how it was prepared."""

    def __init__(self, root: Path, make_app: Callable[..., Any]) -> None:
        self.root, self.host = root, Host(root)
        self.kept: dict[Path, Entry] = {}
        self.app = make_app(
            minimum_free_space=0,
            keep_releases=2,
            processes=[WORKER],
            hooks={
                name: [f"hook {name}"]
                for name in ("before_migrate", "after_migrate", "before_activate", "after_activate")
            },
            build={"shared_paths": ["var/"], "media_root": "media", "files": ["local.py"], "hooks": ["hook build"]},
        )
        (self.app.config / "files").mkdir()
        (self.app.config / "files/local.py").write_text("DEBUG = False\n")
        self.rollout = "2026-01-01T10:00:00.5"  # when the rollout began that a command belongs to
        self.configure("one")
        self.enter("shop.sock")

    def join(self, port: int) -> None:
        """Let the app have another host, which answers at that port."""
        path = self.app.config / "app.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fleet": FLEET | {"port": port}}))

    def configure(self, env: str, timeout: int = 30, listen: str = "shop.sock") -> None:
        """Write the configuration as the role does."""
        path = self.app.config / "units/django-shop.socket"
        address = self.root / "run" / listen
        path.write_text(re.sub("^ListenStream=.*", f"ListenStream={address}", path.read_text(), flags=re.MULTILINE))
        (self.app.config / "env").write_text(f"NAME={env}\n")
        settings = json.loads((self.app.config / "app.json").read_text())
        settings["gunicorn"]["timeout"] = timeout
        for unit in (SERVICE, STAND_IN):
            path = self.app.config / "units" / unit
            text = re.sub("^X-Set=.*\n", "", path.read_text(), flags=re.MULTILINE)
            path.write_text(text.replace("[Service]\n", f"[Service]\nX-Set={env}\n"))
        (self.app.config / "app.json").write_text(json.dumps(settings))

    def enter(self, listen: str) -> None:
        """Let Nginx know an address, and no other."""
        address = str(self.root / "run" / listen)
        (self.root / "nginx").mkdir(exist_ok=True)
        (self.root / "nginx/shop.conf").write_text(f"server unix:{address};\n")
        self.host.write(self.host.read() | {"entry": address})

    def project(self, version: str, migrations: int = 1, *, broken: bool = False) -> list[str]:
        """A project's source tree; returns the command that builds it."""
        tree = self.root / f"project-{version}"
        color = f"body {{ color: {version} }}\n"
        stamp = hashlib.sha256(color.encode()).hexdigest()[:12]
        static = {"app.css": color, f"app.{stamp}.css": color * 40}
        source = {
            "manage.py": "#",
            "shop/__init__.py": "",
            "shop/wsgi.py": f"# {version}\n",
            "requirements.txt": f"django\n# {version}\n",
        }
        source["manage.py"] = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
        contents = {
            "source": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in source.items()},
            "static": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in static.items()},
            "migrations": [f"shop.{number:04}" for number in range(1, migrations + 1)],
            "broken": broken,
        }
        source |= {f"assets/{name}": text for name, text in static.items()}
        source |= {"contents.json": json.dumps(contents), "var/seed.txt": "seed"}
        for name, text in source.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        return ["build", "--version", version, "--revision", version, "--tree", str(tree)]

    def identity(self, version: str) -> str:
        """The id of the built release of that version."""
        return next(path.name for path in self.app.releases.iterdir() if path.name.startswith(f"{version}-"))

    def deploy(self, version: str, migrations: int = 1) -> None:
        """Build, migrate and activate, as the playbook does."""
        self.do(*self.project(version, migrations))
        self.do("migrate", self.identity(version))
        self.do("activate", self.identity(version))

    def do(self, *words: str) -> Outcome:
        """A run that has to end well."""
        outcome = self.run(*words)
        assert outcome.code == 0, f"{' '.join(words)}: {outcome.err}{outcome.out}"
        return outcome

    def keep(self) -> None:
        """Remember the present state as the one to come back to."""
        self.kept = {path: Entry.of(path) for path in self.paths()}

    def reset(self) -> None:
        """Come back to the state that was kept. Only what has changed since is written."""
        shutil.rmtree(self.root / "run", ignore_errors=True)
        for path in reversed(self.paths()):
            if path not in self.kept or self.kept[path].kind != stat.S_IFMT(path.lstat().st_mode):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for path, entry in self.kept.items():
            if path == self.host.ready:
                path.parent.mkdir(parents=True)
            if not os.path.lexists(path) or entry.stamp != stamp_of(path):
                entry.write(path)
                self.kept[path] = replace(entry, stamp=stamp_of(path))

    def paths(self) -> list[Path]:
        """Everything that a run may change, parents first."""
        return [self.host.path, *(path for room in ROOMS for path in sorted((self.root / room).rglob("*")))]

    def run(self, *words: str, stop: int | None = None, full: bool = False, ask: bool = False) -> Outcome:
        """Run `djangoctl shop …` in a process of its own.

        :param stop: the step at which it ends.
        :param full: whether that step fills the disk instead of ending the process.
        :param ask: whether `status` is asked first, by the same process.
        """
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            answer: dict[str, Any]
            try:
                answer = self._inside(["shop", *words], Steps(self.root, stop, full, write), ask)
            except BaseException:
                answer = {"code": 70, "err": traceback.format_exc()}
            with os.fdopen(write, "w") as pipe:
                json.dump(answer, pipe)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            text = pipe.read()
        _child, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == KILLED:
            return Outcome(steps=[text])
        return Outcome(**json.loads(text))

    def _inside(self, words: list[str], steps: Steps, ask: bool) -> dict[str, Any]:
        """What the forked process does: nothing here is ever undone."""
        sys.dont_write_bytecode = True
        gc.disable()  # it would touch, and so copy, all memory that is shared with the parent
        (self.root / "run").mkdir(exist_ok=True)
        os.environ["DJANGOCTL_ROLLOUT"] = self.rollout
        self._replace(steps)
        asked = call(["shop", "status", "--json"]) if ask else {}
        steps.install()
        answer = call(words)
        with steps.unwatched():
            return {**answer, "steps": steps.seen, "stray": steps.stray, "asked": asked}

    def _replace(self, steps: Steps) -> None:
        """Put the model in the place of systemd, and take the time out of waiting."""
        real, named = subprocess.run, tempfile.NamedTemporaryFile

        def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
            program = Path(words[0]).name
            if program == "rm":
                remove(Path(words[-1]))
                return subprocess.CompletedProcess(words, 0, "", "")
            if program == "journalctl":
                return subprocess.CompletedProcess(words, 0, "", "")
            if program not in ("systemctl", "systemd-run"):
                return real(words, **options)
            if program == "systemctl" and words[1] not in QUESTIONS:
                steps.step(" ".join(words))
            if program == "systemd-run" and not steps.is_full:
                steps.step("command " + " ".join(words[words.index("--") + 1 :]).replace(str(self.root), ""))
            with steps.unwatched():
                if program == "systemctl":
                    code, said = self.host.control(*words[1:])
                elif steps.is_full:
                    code, said = 1, "No space left on device\n"
                else:
                    code, said = self.host.command(words)
                if hasattr(options.get("stdout"), "write") and not steps.is_full:
                    options["stdout"].write(said)
                    options["stdout"].flush()
            return subprocess.CompletedProcess(words, code, said, said)

        def remove(path: Path) -> None:
            """`rm -rf` takes a while: it may be found half way."""
            steps.step(f"rm {steps.name(path)}")
            with steps.unwatched():
                for entry in sorted(path.rglob("*"))[1::2]:
                    if not entry.is_dir() or entry.is_symlink():
                        entry.unlink()
            steps.step(f"half of {steps.name(path)}")
            with steps.unwatched():
                shutil.rmtree(path, ignore_errors=True)

        def sleep(seconds: float) -> None:
            clock[0] += seconds

        def chown(path: Any, directory: int) -> None:
            sys.audit("os.chown", path, 0, 0, directory)

        clock, monotonic = [0.0], time.monotonic
        subprocess.run = run
        tempfile.NamedTemporaryFile = lambda *given, **options: named(*given, **{**options, "dir": self.root / "run"})
        time.sleep, time.monotonic = sleep, lambda: monotonic() + clock[0]
        shutil.which = lambda _name, **_options: None  # no brotli: a release is the same on every machine
        for name in ("chown", "lchown", "fchown"):  # only root may
            setattr(os, name, lambda path, user, group, **given: chown(path, given.get("dir_fd", -1)))
        shutil.chown = lambda path, user=None, group=None: chown(path, -1)


def setting(text: str, key: str) -> str:
    """The value of a setting of a unit file."""
    return "".join(re.findall(f"^{key}=(.*)$", text, re.MULTILINE))


def call(words: list[str]) -> dict[str, Any]:
    """Exit code, output and errors of djangoctl."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = cli.main(words)
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            code = 70
            traceback.print_exc()
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def picture(world: World) -> dict[str, Any]:
    """All that a run leaves, but for times and logs: what two runs that did the same have in common."""
    found: dict[str, Any] = {}
    pinned = os.readlink(world.app.pinned) if world.app.pinned.is_symlink() else ""
    for room in ("etc", "srv", "systemd"):
        for path in sorted((world.root / room).rglob("*")):
            name = str(path.relative_to(world.root))
            if name.startswith("etc/shop/.live-") and name.split("/")[2] != pinned:
                continue  # of the configurations that were pinned before, one or none is kept
            mode = oct(path.lstat().st_mode)
            if path.is_symlink():
                found[name] = os.readlink(path)
            elif path.is_dir() or path.name == "build.log":
                found[name] = mode
            elif path.suffix == ".json":
                found[name] = mode, _timeless(path)
            elif path.suffix == ".gz":
                found[name] = mode, gzip.decompress(path.read_bytes()).hex()
            elif path.name == "secret":
                found[name] = mode, "kept" if path.stat().st_size else "empty"
            else:
                found[name] = mode, path.read_text(errors="replace")
    state = world.host.read()
    found["ready"] = world.host.ready.exists()
    found["active"], found["enabled"] = state["active"], sorted(state["enabled"])
    found["applied"], found["hooks"] = state["applied"], sorted({tuple(hook) for hook in state["hooks"]})
    return found


def _timeless(path: Path) -> Any:
    try:
        return _without_times(json.loads(path.read_text()))
    except ValueError:
        return "damaged"


def _without_times(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {key: _without_times(value) for key, value in content.items() if not key.endswith("_at")}


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What differs between two pictures, one line each; of a whole directory only its name."""
    lines: dict[str, str] = {}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) == found.get(name) or any(parent in lines for parent in map(str, Path(name).parents)):
            continue
        if name not in wanted:
            lines[name] = f"{name} is left over"
        elif name not in found:
            lines[name] = f"{name} is missing"
        else:
            lines[name] = f"{name} is {found[name]} instead of {wanted[name]}"
    return list(lines.values())
