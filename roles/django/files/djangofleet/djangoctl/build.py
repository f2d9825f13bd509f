"""Builds a release. A build touches nothing live; a failed one is marked and kept with its log."""

from __future__ import annotations

import grp
import gzip
import json
import os
import pwd
import secrets
import shlex
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import atomic
from . import release as releases
from .app import App
from .detect import detect
from .errors import BuildError
from .release import BUILDING, FAILED, GOOD, Release, now
from .systemd import Systemd

PROBE = Path(__file__).with_name("probe.py")
GUNICORN = Path(__file__).parent.with_name("requirements") / "gunicorn.txt"
LOG_LINES = 25
NOT_INSTALLED = "could not be installed"
# Formats that compress well. Images, fonts and archives are compressed already.
COMPRESSIBLE = {
    *(".css", ".csv", ".htm", ".html", ".ico", ".js", ".json", ".map", ".md", ".mjs", ".otf", ".svg"),
    *(".ttf", ".txt", ".wasm", ".webmanifest", ".xml", ".yaml", ".yml"),
}


@dataclass(frozen=True)
class Source:
    """Where the code comes from: exactly one of the three.

    :param tree: a directory on this host, such as a checkout; its .git is not copied.
    :param archive: a tar archive on this host.
    :param package: a requirement, or the path of a wheel on this host.
    """

    tree: Path | None = None
    archive: Path | None = None
    package: str | None = None


def build(app: App, identity: str, source: Source, system: Systemd, **facts: object) -> Release:
    """Build the release of that id, unless a good one exists.

    :param facts: written to release.json as they are: version, revision.
    :raises BuildError: a step failed. The release stays, marked as failed, with its log.
    """
    path = app.releases / identity
    release = Release(path, releases.read_json(path / "release.json"))
    if release.state == GOOD:
        return release
    # One whose directory is gone is built again, also if that broke off. One that is damaged may still serve.
    is_damaged = path.exists() and "state" not in release.record
    if is_damaged and identity in (releases.live_id(app), releases.linked(app.next_link)):
        raise BuildError(
            f"{app.name}: release {identity} is in use and damaged: {release.damage}",
            state="nothing was changed",
            hint=f"djangoctl {app.name} rollback, then deploy again; or deploy another version",
        )
    _require_space(app)
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    shutil.chown(path, "root", app["group"])
    path.chmod(0o750)
    release.record = {}
    release.write(app=app.name, id=identity, state=BUILDING, started_at=now(), **facts)
    try:
        _Build(app, release, source, system).run()
    except (BuildError, OSError) as error:
        message = str(error.message if isinstance(error, BuildError) else error)
        release.write(state=FAILED, error=message, ended_at=now())
        if isinstance(error, BuildError):
            raise
        raise BuildError(f"{app.name}: {message}", state=_untouched(app), hint=f"see {release.log}") from error
    release.write(state=GOOD, ended_at=now())
    return release


def ensure_secret(app: App) -> None:
    """Generate the app's SECRET_KEY once. It never leaves the host and never changes by itself."""
    if app["generate_secret"] and not app.secret.exists():
        atomic.write(app.secret, f"SECRET_KEY={secrets.token_urlsafe(50)}\n", mode=0o600)


def _untouched(app: App) -> str:
    live = releases.live_id(app)
    return f"nothing live was changed: release {live} is still live" if live else "nothing was live before"


def _require_space(app: App) -> None:
    needed = app["minimum_free_space"]  # MB
    free = shutil.disk_usage(app.root).free // 1_000_000
    if free < needed:
        raise BuildError(
            f"{app.name}: {app.root} has {free} MB free, a release needs {needed} MB (django_minimum_free_space)",
            state=_untouched(app),
            hint=f"make room: djangoctl {app.name} releases shows what is kept",
        )


class _Build:
    """The steps of one build, in order."""

    def __init__(self, app: App, release: Release, source: Source, system: Systemd) -> None:
        self.app, self.release, self.source, self.system = app, release, source, system
        self.tree = release.path / "source"
        self.project = self.tree / app.build["project_dir"]
        self.static = release.path / "static"

    def run(self) -> None:
        ensure_secret(self.app)
        self.fetch()
        self.link_shared()
        self.add_files()
        self.own(self.app["user"], self.tree)
        self.install()
        installed = (self.release.path / "venv").glob("lib/python*/site-packages")
        self.release.write(**detect(self.app, self.tree, self.project, self.fail, installed))
        facts = self.probe()
        self.collect(facts)
        for command in self.app.build["hooks"]:
            self.check("hooks.build", f"'{command}' failed", self.manage(shlex.split(command)))
        self.deploy_check()
        # The app cannot write to its code later, so the bytecode is compiled now.
        self.manage(["python", "-m", "compileall", "-q", "."])
        self.own("root", self.tree, self.static)
        precompress(self.static)
        self.release.write(
            python=facts["python"],
            django=facts["django"],
            static_url=facts["static_url"],
            database=facts["database"],
            migrations=facts["migrations"],
            leaves=facts["leaves"],
            warnings=facts["warnings"],
        )

    # Source

    def fetch(self) -> None:
        if self.source.tree:
            shutil.copytree(self.source.tree, self.tree, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        else:
            self.tree.mkdir()
        if self.source.archive:
            words = [
                "tar",
                "--extract",
                "--no-same-owner",
                "--file",
                str(self.source.archive),
                "--directory",
                str(self.tree),
            ]
            self.check(
                "source",
                "could not be unpacked",
                subprocess.run(words, stdout=self.log(), stderr=subprocess.STDOUT, check=False),
            )
        if not self.project.is_dir():
            self.fail(
                "project_dir",
                f"'{self.app.build['project_dir']}' is not a directory of the source",
                "set project_dir to the directory that contains manage.py",
            )
        if not self.app.build["packaged"] and not (self.project / "manage.py").is_file():
            found = sorted(str(path.parent.relative_to(self.tree)) for path in self.tree.glob("**/manage.py"))[:5]
            hint = f"set project_dir to one of: {', '.join(found)}" if found else "the source has no manage.py"
            self.fail("project_dir", f"'{self.app.build['project_dir']}' has no manage.py", hint)

    def link_shared(self) -> None:
        """Link media and shared paths into the tree: they are stored outside of the release, which they outlive."""
        build = self.app.build
        if build["media_root"]:
            self.link(build["media_root"], self.app.root / "media")
        for name in build["shared_paths"]:
            target = self.app.root / "shared" / name.rstrip("/")
            source = self.tree / name.rstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                if source.is_dir():
                    shutil.copytree(source, target, symlinks=True)
                elif source.exists():
                    shutil.copy2(source, target)
                elif name.endswith("/"):
                    target.mkdir()
            self.own(self.app["user"], self.app.root / "shared")
            self.link(name.rstrip("/"), target)
        if build["static_root"]:
            collected = self.tree / build["static_root"]
            collected.mkdir(parents=True, exist_ok=True)
            self.static.symlink_to(os.path.relpath(collected, self.release.path))
        else:
            self.static.mkdir()
            self.own(self.app["user"], self.static)

    def link(self, name: str, target: Path) -> None:
        """Replace a path of the tree by a link."""
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def add_files(self) -> None:
        for name in self.app.build["files"]:
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            shutil.copyfile(self.app.config / "files" / name, path)
            path.chmod(0o640)

    # Environment

    def install(self) -> None:
        """Create the virtualenv, install the project's requirements, and gunicorn if they do not include it."""
        build, venv = self.app.build, self.release.path / "venv"
        venv.mkdir()
        self.own(self.app["user"], venv)
        self.uv(
            "python",
            "no virtualenv could be created with it",
            "venv",
            "--clear",
            "--python",
            build["python"],
            str(venv),
        )
        kind, name = self.requirements()
        if kind == "lock":
            self.uv(
                "requirements", NOT_INSTALLED, "sync", "--frozen", "--no-dev", "--no-editable", "--compile-bytecode"
            )
        elif kind == "file":
            self.uv("requirements", NOT_INSTALLED, "pip", "install", "--compile-bytecode", "--requirement", name)
            if self.needs_installation(name):
                root = str(self._found(name).parent)
                self.uv("requirements", NOT_INSTALLED, "pip", "install", "--compile-bytecode", "--no-deps", root)
        if self.app.build["packaged"]:
            self.uv("source.package", NOT_INSTALLED, "pip", "install", "--compile-bytecode", self.package())
        if not (venv / "bin" / "gunicorn").exists():
            self.uv("gunicorn", NOT_INSTALLED, "pip", "install", "--compile-bytecode", "--requirement", str(GUNICORN))

    def package(self) -> str:
        """The requirement to install. A wheel is copied into the release, where the build may read it."""
        wheel = Path(self.source.package)
        if not wheel.is_file():
            return self.source.package
        copy = self.release.path / wheel.name
        shutil.copyfile(wheel, copy)
        self.own(self.app["user"], copy)
        return str(copy)

    def requirements(self) -> tuple[str, str]:
        """The file that lists the project's dependencies: ("lock"|"file"|"none", name)."""
        name = self.app.build["requirements"]
        if name and not (self.project / name).is_file() and not (self.tree / name).is_file():
            known = sorted(path.name for path in self.project.iterdir() if path.suffix in (".txt", ".toml", ".lock"))
            self.fail(
                "requirements",
                f"'{name}' is not in the source",
                f"set it to one of: {', '.join(known)}" if known else "add one, or leave requirements out",
            )
        for candidate in [name] if name else ["uv.lock", "requirements.txt", "pyproject.toml"]:
            if (self.project / candidate).is_file() or (self.tree / candidate).is_file():
                return ("lock", candidate) if Path(candidate).name == "uv.lock" else ("file", self._relative(candidate))
        return "none", ""

    def needs_installation(self, name: str) -> bool:
        """Whether the project's own code is in src/, where manage.py can import it only once it is installed."""
        path = self._found(name)
        source = path.parent / "src"
        if path.name != "pyproject.toml" or not source.is_dir() or self.project.is_relative_to(source):
            return False
        return "build-system" in tomllib.loads(path.read_text())

    def _found(self, name: str) -> Path:
        return self.project / name if (self.project / name).is_file() else self.tree / name

    def _relative(self, name: str) -> str:
        """The path of a requirements file for uv, which runs in the project's directory."""
        return name if (self.project / name).is_file() else str(self.tree / name)

    def uv(self, key: str, failure: str, *words: str) -> None:
        venv = self.release.path / "venv"
        where = (
            self.project if (self.project / "uv.lock").is_file() or not (self.tree / "uv.lock").is_file() else self.tree
        )
        result = self.system.run(
            self.app,
            [self.app["uv"], *words],
            properties=[
                *self.app["build_sandbox"],
                f"EnvironmentFile={self.app.config}/build.env",
                f"ReadWritePaths={self.app.releases}",  # one mount for cache and venv: hard links do not cross mounts
                f"WorkingDirectory={where}",
            ],
            environment={
                "UV_CACHE_DIR": str(self.app.packages),
                "UV_PROJECT_ENVIRONMENT": str(venv),
                "VIRTUAL_ENV": str(venv),
                "HOME": str(self.app.root),
            },
            output=self.log(),
            purpose="build",
        )
        self.check(key, failure, result)

    # Project

    def probe(self) -> dict:
        """Import the application as gunicorn will, and read its settings, such as where static files go."""
        output = self.release.path / "probe.json"
        output.touch()
        shutil.chown(output, self.app["user"])
        interface = self.app.build["interface"]
        application = self.release.record["application"]
        failure = f"'{application}' cannot be imported"
        self.check(interface, failure, self.manage(["python", str(PROBE), application, str(output)]))
        facts = json.loads(output.read_text())
        output.unlink()
        expected = [str(self.static), str(self.static.resolve())]
        facts["warnings"] = []
        if facts["staticfiles"] and facts["static_root"] not in expected:
            self.fail(
                "static_root",
                f"the settings collect static files in '{facts['static_root']}', which is not the release's directory",
                "read STATIC_ROOT from the environment, or set static_root to the directory relative to the source",
            )
        if facts["staticfiles"] and not facts["hashed"]:
            facts["warnings"].append(
                f"the staticfiles storage {facts['storage']} does not hash file names: browsers may mix the files of "
                "two releases; ManifestStaticFilesStorage does"
            )
        return facts

    def collect(self, facts: dict) -> None:
        if facts["staticfiles"]:
            words = ["manage.py", "collectstatic", "--noinput", "--verbosity=1"]
            self.check("source", "collectstatic failed", self.manage(words))

    def deploy_check(self) -> None:
        """Record the advice of `check --deploy`. It fails no build: real errors have failed collectstatic already."""
        result = self.manage(["manage.py", "check", "--deploy"], output=None)
        text = (result.stdout or "").strip()
        with self.log() as log:
            log.write(text + "\n")
        self.release.write(deploy_check=text)

    def manage(self, words: Sequence[str], **options) -> subprocess.CompletedProcess:
        """Run a command in the release with the app's environment. It may write to the tree.

        It may also write to the linked directories and the cache, since some settings open a log file at import.
        """
        root = self.app.root
        writable = " ".join(str(path) for path in (self.release.path, root / "shared", root / "media", root / "cache"))
        sandbox = [*self.app["build_sandbox"], f"ReadWritePaths={writable}"]
        options.setdefault("output", self.log())
        return self.system.manage(self.app, self.release.id, words, sandbox=sandbox, purpose="build", **options)

    # Plumbing

    def log(self) -> IO:
        """The build's log, opened for the next step. `step` is where the step's output begins."""
        handle = open(self.release.log, "a")  # noqa: SIM115  (a child writes to it)
        self.step = handle.tell()
        return handle

    def check(self, key: str, failure: str, result: subprocess.CompletedProcess) -> None:
        if result.returncode != 0:
            with open(self.release.log, errors="replace") as log:
                log.seek(self.step)
                lines = log.read().splitlines()[-LOG_LINES:]
            self.fail(key, failure, f"fix it and deploy again; the whole log is in {self.release.log}", lines)

    def fail(self, key: str, found: str, hint: str, lines: Sequence[str] = ()) -> None:
        raise BuildError(
            f"{self.app.variable(key)}: {found}",
            state=_untouched(self.app),
            hint=hint,
            log="\n".join(lines),
        )

    def own(self, user: str, *roots: Path) -> None:
        """Give trees to a user without following links. Once root owns a tree, the app can read it and not write it."""
        uid, gid = pwd.getpwnam(user).pw_uid, grp.getgrnam(self.app["group"]).gr_gid
        for root in roots:
            below = (
                os.path.join(directory, name) for directory, *kinds in os.walk(root) for kind in kinds for name in kind
            )
            for path in (root, *below):
                os.lchown(path, uid, gid)
                if not os.path.islink(path):
                    os.chmod(path, _group_readable(os.stat(path).st_mode))


def _group_readable(mode: int) -> int:
    """The mode with the owner's read and execute bits for the group too, and write access for the owner alone."""
    owner = stat.S_IMODE(mode) & 0o700
    return (stat.S_IMODE(mode) | (owner >> 3)) & ~0o022


def precompress(root: Path) -> None:
    """Write a .gz and, if the host has brotli, a .br beside every static file that shrinks by it."""
    files = [path for path in sorted(root.rglob("*")) if path.suffix in COMPRESSIBLE and _worth_compressing(path)]
    brotli = shutil.which("brotli")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda path: _compress(path, brotli), files))


def _worth_compressing(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size >= 256


def _compress(path: Path, brotli: str | None) -> None:
    content = path.read_bytes()
    results = {".gz": gzip.compress(content, 9, mtime=0)}
    if brotli:
        results[".br"] = subprocess.run(
            [brotli, "--stdout", "--best"], input=content, capture_output=True, check=True
        ).stdout
    for ending, packed in results.items():
        if len(packed) < len(content):
            target = path.with_name(path.name + ending)
            target.write_bytes(packed)
            shutil.copystat(path, target)
