"""Builds a release. A build touches nothing live; a failed one is marked and kept with its log."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import atomic, tree
from . import release as releases
from .app import App
from .compress import compress
from .detect import detect
from .errors import BuildError
from .pages import ROOM
from .release import BUILDING, FAILED, GOOD, Release, now
from .requirements import Reader
from .steps import SCRATCH, Steps, cause, untouched
from .systemd import Systemd
from .venv import Installation

PROBE = Path(__file__).with_name("probe.py")
RENDER = Path(__file__).with_name("render.py")
FACTS_LIMIT = 10_000_000  # bytes
# What the probe tells, as empty values of the type that each has.
FACTS = {
    **dict.fromkeys(("python", "django", "static_root", "static_url", "storage", "deploy_check"), ""),
    **dict.fromkeys(("staticfiles", "hashed", "database"), False),
    "migrations": [],
    "leaves": [],
}
# How the first bytes of a tar archive tell what it is packed with, and what tar has to be told.
PACKED = {b"\x1f\x8b": "--gzip", b"BZh": "--bzip2", b"\xfd7zXZ": "--xz", b"\x28\xb5\x2f\xfd": "--zstd"}


@dataclass(frozen=True)
class Source:
    """Where the code comes from: exactly one of the three.

    :param tree: a directory on this host, such as a checkout; its .git is not copied.
    :param archive: a tar archive on this host.
    :param package: a requirement, or the path of a wheel on this host, either with extras.
    """

    tree: Path | None = None
    archive: Path | None = None
    package: str | None = None


def build(app: App, identity: str, source: Source, system: Systemd, **facts: object) -> Release:
    """Build the release of that id, unless a good one exists that the host's Python can run.

    :param facts: written to release.json as they are: version, revision.
    :raises BuildError: a step failed. The release stays, marked as failed, with its log.
    """
    path = app.releases / identity
    release = Release(path, releases.read_json(path / "release.json"))
    if release.is_usable:
        return release
    # One whose directory is gone is built again, also if that broke off. One that is damaged may still serve, and one
    # whose Python is gone does so until its processes end.
    hint = ""
    if path.exists() and "state" not in release.record:
        hint = f"djangoctl {app.name} rollback, then deploy again; or deploy another version"
    elif release.state == GOOD and system.active(f"{app.unit}.service"):
        hint = f"deploy another version; or systemctl stop {app.unit}.service, then deploy again"
    if hint and identity in (releases.live_id(app), releases.linked(app.next_link)):
        raise BuildError(
            f"{app.name}: release {identity} is in use and damaged: {release.damage}",
            state="nothing was changed",
            hint=hint,
        )
    require_space(app)
    if path.exists():
        tree.remove(path)
    ensure_secret(app)
    Build(source, Steps(app, app, release, system)).run(facts)
    return release


def ensure_secret(app: App) -> None:
    """Generate the app's SECRET_KEY once. It never leaves the host and never changes by itself."""
    if lacks_secret(app):
        others = app.secret.read_text() if app.secret.exists() else ""
        atomic.write(app.secret, f"{others}SECRET_KEY={secrets.token_urlsafe(50)}\n", mode=0o600)


def lacks_secret(app: App) -> bool:
    """Whether the app is still to get a SECRET_KEY. The file may have a database's password alone."""
    if not app["generate_secret"]:
        return False
    return not app.secret.exists() or re.search(r"^SECRET_KEY=.", app.secret.read_text(), re.MULTILINE) is None


def require_space(app: App) -> None:
    needed = app["minimum_free_space"]  # MB
    free = shutil.disk_usage(app.root).free // 1_000_000
    if free < needed:
        raise BuildError(
            f"{app.name}: {app.root} has {free} MB free, a release needs {needed} MB (django_minimum_free_space)",
            state=untouched(app),
            hint=f"make room: djangoctl {app.name} releases shows what is kept",
        )


class Build:
    """The parts of one build, in order."""

    def __init__(self, source: Source, steps: Steps) -> None:
        self.source, self.steps = source, steps
        self.app, self.release, self.fail = steps.app, steps.release, steps.fail
        self.tree = self.release.path / "source"
        self.project = self.tree / self.app.build["project_dir"]
        self.static = self.release.path / "static"

    def run(self, facts: dict) -> None:
        """Make a good release from an empty directory, or one that is marked as failed."""
        release = self.release
        release.path.mkdir(parents=True)
        os.chown(release.path, *self.steps.root)
        release.path.chmod(0o750)
        release.record = {}
        release.write(app=self.app.name, id=release.id, state=BUILDING, started_at=now(), **facts)
        try:
            self.take_steps()
        except Exception as error:  # the code and the files of others may raise anything
            message = str(error.message if isinstance(error, BuildError) else error) or type(error).__name__
            release.write(state=FAILED, error=message, ended_at=now())
            if isinstance(error, BuildError):
                raise
            hint = f"see {release.log}"
            raise BuildError(f"{self.app.name}: {message}", state=untouched(self.app), hint=hint) from error
        release.write(state=GOOD, ended_at=now())

    def take_steps(self) -> None:
        steps, build = self.steps, self.app.build
        self.fetch()
        self.link_shared()
        self.add_files()
        tree.give(self.tree, steps.owner)
        requirements = Reader(self.tree, self.project, self.fail).read(build["requirements"])
        self.installation = Installation(steps, requirements, self.project, self.source.package or "")
        self.venv = self.installation.ensure()
        installed = self.venv.glob("lib/python*/site-packages")
        self.release.write(**detect(self.app, self.tree, self.project, self.fail, installed))
        self.run_hooks("before_collectstatic", build.get("before_collectstatic", []))
        facts = self.probe()
        self.run_hooks("build", build["hooks"])
        if build["hooks"]:  # they may have written modules
            self.manage(["python", "-m", "compileall", "-q", "."])
        self.render_pages()
        tree.give(self.tree, steps.root)
        self.compress()
        kept = ("python", "django", "static_url", "database", "migrations", "leaves", "warnings", "deploy_check")
        self.release.write(**{name: facts[name] for name in kept})

    # Source

    def fetch(self) -> None:
        """Put the source into the release. An archive is unpacked in the sandbox: its members may be links too."""
        if self.source.tree:
            with tree.directory(self.source.tree) as source, tree.directory(self.release.path) as release:
                tree.copy(".", source, self.tree.name, release, self.steps.root, without=[".git"])
        else:
            self.tree.mkdir()
        if self.source.archive:
            self.unpack(self.source.archive)
        self.require_project()

    def unpack(self, path: Path) -> None:
        target = self.steps.seen(self.tree)
        tree.give(self.tree, self.steps.owner)
        with open(path, "rb", buffering=0) as archive:  # tar goes on where this leaves the descriptor
            start = archive.read(8)
            archive.seek(0)
            packed = [option for magic, option in PACKED.items() if start.startswith(magic)]
            words = ["tar", "--extract", *packed, "--no-same-owner", "--file=-", f"--directory={target}"]
            sandbox = self.steps.sandbox(writable=[self.release.path])
            result = self.steps.run(words, properties=sandbox, stdin=archive)
        self.steps.check("source", "could not be unpacked", result)

    def require_project(self) -> None:
        name = self.app.build["project_dir"]
        if not self.project.is_dir() or not tree.is_inside(self.tree, self.project):
            self.fail(
                "project_dir",
                f"'{name}' is not a directory of the source",
                "set project_dir to the directory that contains manage.py",
            )
        if not self.app.build["packaged"] and not (self.project / "manage.py").is_file():
            found = sorted(str(path.parent.relative_to(self.tree)) for path in self.tree.glob("**/manage.py"))[:5]
            hint = f"set project_dir to one of: {', '.join(found)}" if found else "the source has no manage.py"
            self.fail("project_dir", f"'{name}' has no manage.py", hint)

    def link_shared(self) -> None:
        """Link media and shared paths into the tree: they are stored outside of the release, which they outlive."""
        build, root = self.app.build, self.app.root
        if build["media_root"]:
            with self.within_source("media_root", build["media_root"]):
                tree.link(self.tree, build["media_root"], root / "media")
        for name in build["shared_paths"]:
            with self.within_source("shared_paths", name):
                self.seed(name)
                tree.link(self.tree, name, root / "shared" / name.rstrip("/"))
        if build["static_root"]:
            with (
                self.within_source("static_root", build["static_root"]),
                tree.directory(self.tree, build["static_root"], create=True),
            ):
                self.static.symlink_to(Path("source", build["static_root"]))
        else:
            self.static.mkdir()
            tree.give(self.static, self.steps.owner)

    def seed(self, name: str) -> None:
        """Make a shared path of what the source has there, the first time. A slash at the end asks for a directory."""
        shared, owner = self.steps.place.root / "shared", self.steps.owner
        shared.mkdir(exist_ok=True)
        with (
            tree.parent_of(self.tree, name, create=True) as (source, last),
            tree.parent_of(shared, name, create=True, owner=owner) as (target, _same),
        ):
            if tree.exists(last, target):
                return
            temporary = f".{last}.new"
            tree.discard(temporary, target)  # a build that was killed may have left it
            if tree.exists(last, source):
                tree.copy(last, source, temporary, target, owner)
            elif name.endswith("/"):
                os.mkdir(temporary, 0o750, dir_fd=target)
                os.chown(temporary, *owner, dir_fd=target, follow_symlinks=False)
            if tree.exists(temporary, target):
                os.rename(temporary, last, src_dir_fd=target, dst_dir_fd=target)

    def add_files(self) -> None:
        for name in self.app.build["files"]:
            with self.within_source("files[].dest", name):
                tree.put(self.tree, name, (self.app.config / "files" / name).read_bytes(), 0o640)

    @contextmanager
    def within_source(self, key: str, name: str) -> Iterator[None]:
        """Fail if a path of the inventory leads through a link or a file of the source."""
        try:
            yield
        except NotADirectoryError as error:
            hint = "name a path that goes through directories only"
            self.fail(key, f"'{name}' leads through '{error.filename}', which is a link or a file of the source", hint)

    # Project

    def run_hooks(self, point: str, commands: Sequence[str]) -> None:
        for command in commands:
            with self.steps.log() as log:
                log.write(f"{point}: {command}\n")
            self.steps.check(f"hooks.{point}", f"'{command}' failed", self.manage(shlex.split(command)))

    def manage(self, words: Sequence[str]) -> subprocess.CompletedProcess:
        return self.steps.manage(words, self.venv)

    def probe(self) -> dict:
        """Import the application as gunicorn will, read what the project is, and collect its static files."""
        output = self.release.path / "probe.json"
        output.touch(mode=0o600)
        os.chown(output, *self.steps.owner)
        static = self.steps.seen(self.static)
        expected = [str(static), str(self.steps.seen(self.static.resolve()))]
        application = self.release.record["application"]
        words = ["python", str(PROBE), application, str(self.steps.seen(output)), *dict.fromkeys(expected)]
        result = self.manage(words)
        with tree.open_file(output) as file:
            text = file.read(FACTS_LIMIT)
        output.unlink()
        if not text:
            self.explain_import(application, result)
        facts = {"deploy_check": "", **self.read_facts(text)}
        if facts["staticfiles"] and facts["static_root"] not in expected:
            self.fail(
                "static_root",
                f"the settings collect static files in '{facts['static_root']}', which is not the release's directory",
                "read STATIC_ROOT from the environment, or set static_root to the directory relative to the source",
            )
        raised = cause(self.steps.output())
        self.steps.check("source", f"collectstatic failed{f': {raised}' if raised else ''}", result)
        facts["warnings"] = []
        if facts["staticfiles"] and not facts["hashed"]:
            facts["warnings"].append(
                f"the staticfiles storage {facts['storage']} does not hash file names: browsers may mix the files of "
                "two releases; ManifestStaticFilesStorage does"
            )
        return facts

    def read_facts(self, text: bytes) -> dict:
        """What the probe has written. The project's code could have written anything there."""
        try:
            facts = json.loads(text)
            if all(isinstance(facts.get(name, empty), type(empty)) for name, empty in FACTS.items()):
                return facts
        except (ValueError, AttributeError, RecursionError):
            pass
        self.fail("source", "the project's code has changed what the build found out about it", "see the log")
        raise AssertionError

    def explain_import(self, application: str, result: subprocess.CompletedProcess) -> None:
        """Fail with the exception that an import ended with, and say so if it looks for what a build does not see."""
        lines = self.steps.output()
        found = f"'{application}' cannot be imported"
        if raised := cause(lines):
            found += f": {raised}"
        hint = ""
        rooms = [room for room in SCRATCH if f"{self.app.root}/{room}" in raised]
        if rooms or "no such table" in raised:
            hint = (
                f"a build sees {', '.join(str(self.app.root / room) for room in SCRATCH)} as empty directories, so "
                "what is imported must not need their content: make it where it is missing, or add it with `files`"
            )
        result.returncode = result.returncode or 1
        self.steps.check(self.app.build["interface"], found, result, hint)

    # Static files

    def render_pages(self) -> None:
        """Make pages of the project's templates, which are published with the static files."""
        pages = self.app.build.get("error_pages", {})
        if pages:
            words = [f"{status}={name}" for status, name in sorted(pages.items())]
            result = self.manage(["python", str(RENDER), str(self.steps.seen(self.static / ROOM)), *words])
            raised = cause(self.steps.output())
            self.steps.check("error_pages", f"cannot be rendered{f': {raised}' if raised else ''}", result)

    def compress(self) -> None:
        """Compress the static files. The tree belongs to root by now, so nobody can change it any more."""
        name = self.app.build["static_root"]
        try:
            with tree.directory(self.tree, name) if name else tree.directory(self.release.path, "static"):
                pass
        except OSError:
            self.fail("static_root", f"the build has replaced '{name}' by a link or a file", "leave it a directory")
        if not name:
            tree.give(self.static, self.steps.root)
        compress(self.release, [other for other in releases.all_of(self.app) if other.state == GOOD])
