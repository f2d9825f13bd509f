"""Virtual environments: one per set of requirements, shared by all releases that have the same.

An environment is built as the app's user in a sandbox that may write to it and to uv's cache, and belongs to root when
it is done. Its record is written last: an environment without one is unfinished, and is built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from . import scm, tree
from .app import App
from .release import Release, lacks_python, now, read_json
from .requirements import Requirements
from .steps import Steps

GUNICORN = Path(__file__).parent.with_name("requirements") / "gunicorn.txt"
GEVENT = GUNICORN.with_name("gevent.txt")
NOT_INSTALLED = "could not be installed"
CACHE_LIMIT = 2_000_000_000  # bytes of uv's cache, beyond which it keeps only what was compiled on this host
WHEEL = re.compile(r"(?P<file>.+\.whl)(?P<extras>\[[^\]]*\])?")

GIT = re.compile(r"git\+(?P<address>https?://[^/\s]*@\S+)")


def wheel_of(package: str) -> tuple[Path, str] | None:
    """The file of a wheel and its extras, such as "[server]"; None if the package is a requirement."""
    match = WHEEL.fullmatch(package)
    return (Path(match["file"]), match["extras"] or "") if match and Path(match["file"]).is_file() else None


def without_login(requirement: str) -> tuple[str, dict[str, str]]:
    """A requirement without the credentials of a Git repository, and the variables by which git logs in with them.

    uv runs git with the address in its command line.
    """
    match = GIT.search(requirement)
    if not match:
        return requirement, {}
    address, settings, secret = scm.login(match["address"])
    plain = requirement[: match.start("address")] + address + requirement[match.end("address") :]
    return plain, {**scm.configured(settings), **secret, "GIT_TERMINAL_PROMPT": "0"}


class Installation:
    """The environment of one release.

    :param project: the directory that uv runs in.
    :param package: the requirement, or the wheel with its extras, that is deployed; empty if the source has the code.
    """

    def __init__(self, steps: Steps, requirements: Requirements, project: Path, package: str) -> None:
        self.steps, self.requirements, self.project = steps, requirements, project
        self.app, self.package = steps.app, package
        self.wheel = wheel_of(package) if package else None
        self.in_use: IO | None = None

    def ensure(self) -> Path:
        """The directory of the environment on this host, built if it is not there."""
        name = self.digest()
        path = self._existing(name) or self._build(name)
        tree.link(self.steps.release.path, "venv", Path("../../venvs") / name)
        return path

    def digest(self) -> str:
        """The name of the environment: a digest of all that is installed, and of what it is installed with.

        Where code of the source is installed, no two releases share an environment.
        """
        build, requirements = self.app.build, self.requirements
        material = {
            "python": os.path.realpath(build["python"]),
            "gunicorn": _digest_of(GUNICORN),
            "index": _digest_of(self.app.config / "build.env"),
            "constraints": build.get("constraints", []),
            "requirements": [requirements.kind, requirements.texts],
            "package": [_digest_of(self.wheel[0]), self.wheel[1]] if self.wheel else without_login(self.package)[0],
            "release": self.steps.release.id if requirements.is_local else "",
            **({"gevent": _digest_of(GEVENT)} if self._needs_gevent() else {}),
        }
        return hashlib.sha256(json.dumps(material, sort_keys=True).encode()).hexdigest()[:20]

    def _existing(self, name: str) -> Path | None:
        """A finished environment. Code of the source is always installed anew: it may leave files in the tree too."""
        if self.requirements.is_local:
            return None
        record = self.app.venvs / f"{name}.json"
        with suppress(FileNotFoundError):
            handle = open(record)  # noqa: SIM115  (held until the end)
            fcntl.flock(handle, fcntl.LOCK_SH)  # so that `remove_unused` leaves it alone: a rehearsal holds no lock
            if read_json(record).get("name") == name and not lacks_python(self.app.venvs / name):
                self.in_use = handle
                return self.app.venvs / name
            handle.close()
        return None

    def _build(self, name: str) -> Path:
        venvs = self.steps.place.venvs
        with tree.directory(venvs.parent, venvs.name, create=True) as descriptor:
            os.fchown(descriptor, *self.steps.root)
            os.fchmod(descriptor, 0o750)
        path, record = venvs / name, venvs / f"{name}.json"
        record.unlink(missing_ok=True)
        tree.remove(path)
        path.mkdir()
        tree.give(path, self.steps.owner)
        self._install(path)
        tree.give(path, self.steps.root)
        content = {"name": name, "made_at": now(), "files": sorted(self.requirements.texts)}
        tree.put(venvs, record.name, json.dumps(content).encode(), 0o600)  # whoever can read a file can lock it
        self._bound_cache(path)
        return path

    def _install(self, path: Path) -> None:
        """Create the environment, install the requirements, and gunicorn if they do not include it."""
        seen, requirements = str(self.steps.seen(path)), self.requirements
        self.uv(
            path, "python", "no virtualenv could be created with it", "venv", "--python", self.app.build["python"], seen
        )
        if requirements.kind == "lock":
            words = ("sync", "--frozen", "--no-dev", "--no-editable", "--compile-bytecode")
            self.uv(path, "requirements", NOT_INSTALLED, *words)
        elif requirements.kind == "file":
            self.pip(path, "requirements", "--requirement", self._relative(requirements.path))
            if requirements.installs_project:
                self.pip(path, "requirements", "--no-deps", str(self.steps.seen(requirements.path.parent)))
        if self.package:
            requirement, environment = without_login(self._packaged())
            words = ("--requirement", "-")
            self.pip(path, "source.package", *self._constraints(), *words, given=requirement, environment=environment)
        if not os.path.lexists(path / "bin" / "gunicorn"):
            self.pip(path, "gunicorn", "--requirement", str(GUNICORN))
        if self._needs_gevent() and not list(path.glob("lib/python3*/site-packages/gevent")):
            self.pip(path, "gunicorn.worker_class", "--requirement", str(GEVENT))

    def _needs_gevent(self) -> bool:
        return self.app.build.get("worker_class") == "gevent"

    def _packaged(self) -> str:
        """The requirement to install. A wheel is copied into the release, where the build may read it."""
        if not self.wheel:
            return self.package
        wheel, extras = self.wheel
        tree.put(self.steps.release.path, wheel.name, wheel.read_bytes(), 0o644)
        name = wheel.name.partition("-")[0]
        return f"{name}{extras} @ {self.steps.seen(self.steps.release.path / wheel.name).as_uri()}"

    def _constraints(self) -> list[str]:
        pins = self.app.build.get("constraints", [])
        if not pins:
            return []
        tree.put(self.steps.release.path, "constraints.txt", "".join(f"{pin}\n" for pin in pins).encode(), 0o644)
        return ["--constraint", str(self.steps.seen(self.steps.release.path / "constraints.txt"))]

    def _relative(self, path: Path) -> str:
        """The path of a requirements file for uv, which runs in the project's directory."""
        inside = path.is_relative_to(self.project)
        return str(path.relative_to(self.project)) if inside else str(self.steps.seen(path))

    def pip(self, path: Path, key: str, *words: str, **options) -> None:
        self.uv(path, key, NOT_INSTALLED, "pip", "install", "--compile-bytecode", *words, **options)

    def uv(self, path: Path, key: str, failure: str, *words: str, **options) -> None:
        self.steps.check(key, failure, self._run(path, *words, **options))

    def _run(
        self, path: Path, *words: str, given: str = "", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess:
        """Run uv. It may write to the environment and to its cache; to the source only where that is installed too.

        :param given: what it reads: a requirement may have a token, and every user of the host can read a command line.
        :param environment: further variables.
        """
        steps, where = self.steps, self.requirements.path.parent if self.requirements.kind == "lock" else self.project
        packages, release = self.app.packages, steps.release.path
        local = self.requirements.is_local
        properties = [
            *steps.sandbox(
                writable=[path, packages, *([release] if local else [])], readable=[] if local else [release]
            ),
            f"EnvironmentFile={self.app.config}/build.env",
            f"WorkingDirectory={steps.seen(where)}",
        ]
        environment = {
            "UV_CACHE_DIR": str(packages),
            "UV_LINK_MODE": "copy",  # no file of an environment shares an inode with one that a build may write
            "UV_PROJECT_ENVIRONMENT": str(steps.seen(path)),
            "VIRTUAL_ENV": str(steps.seen(path)),
            **self._version(),
            **(environment or {}),
        }
        with open(os.memfd_create("requirement"), "w+") as file:  # no disk keeps it
            file.write(given)
            file.seek(0)
            stdin = file if given else subprocess.DEVNULL
            return steps.run([self.app["uv"], *words], properties=properties, environment=environment, stdin=stdin)

    def _version(self) -> dict[str, str]:
        """The version of the project for what takes it from Git, as far as `build_environment` does not name one."""
        found = scm.environment(self.project, self.steps.release.record.get("scm_version", ""))
        path = self.app.config / "build.env"
        given = re.findall(r"^(\w+)=", path.read_text() if path.exists() else "", re.MULTILINE)
        return {name: value for name, value in found.items() if name not in given}

    def _bound_cache(self, path: Path) -> None:
        """Let uv drop what it can download again once its cache is large. What was compiled here stays."""
        if size(self.app.packages) > CACHE_LIMIT:
            self._run(path, "cache", "prune", "--ci")


def size(root: Path) -> int:
    """The bytes that a tree takes on the disk, however deep it is, and also while a rehearsal writes to it."""
    words = ["du", "--summarize", "--block-size=1", "--", str(root)]
    return int(subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()[0])


def _digest_of(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def remove_unused(app: App, remaining: list[Release]) -> list[str]:
    """Remove the environments that none of the remaining releases has, and those that were never finished.

    The record goes first, so that what a crash leaves counts as unfinished.
    """
    used = {
        os.path.basename(os.readlink(link)) for release in remaining if (link := release.path / "venv").is_symlink()
    }
    entries = sorted(app.venvs.iterdir()) if app.venvs.is_dir() else []
    removed = []
    for name in sorted({entry.name.removesuffix(".json") for entry in entries}):
        record = app.venvs / f"{name}.json"
        if name in used and record.exists():
            continue
        if _withdrawn(record):
            tree.remove(app.venvs / name)
            removed.append(name)
    return removed


def _withdrawn(record: Path) -> bool:
    """Remove a record unless a rehearsal uses its environment; returns whether it is gone."""
    with suppress(FileNotFoundError), open(record) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        record.unlink()
    return True
