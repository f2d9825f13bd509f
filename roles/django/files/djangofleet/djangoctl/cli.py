"""The command line: reads words, calls one function, prints a result.

Exit codes: 0 done · 1 unexpected failure · 2 bad usage or input · 3 locked by somebody else · 4 the build failed ·
5 a migration failed · 6 the gate said no · 7 activation failed and was undone. After 3 to 6 nothing live has changed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from . import launch, swap
from . import release as releases
from .app import App, load, names
from .build import Source, build
from .errors import ConfigError, CtlError
from .lock import audit, held
from .migrate import migrate
from .systemd import Systemd


def do_list(options: argparse.Namespace) -> dict:
    system = Systemd()
    return {"apps": [swap.status(load(name), system) for name in names()]}


def do_status(app: App, options: argparse.Namespace) -> dict:
    return swap.status(app, Systemd())


def do_releases(app: App, options: argparse.Namespace) -> dict:
    live = releases.live_id(app)
    return {
        "releases": [
            {"id": entry.id, "state": entry.state, "live": entry.id == live}
            | {key: entry.record.get(key) for key in ("version", "started_at", "ended_at", "error")}
            for entry in releases.all_of(app)
        ]
    }


def do_build(app: App, options: argparse.Namespace) -> dict:
    """Build a release of a source, unless the very same is there."""
    system = Systemd()
    identity = releases.identify(app, options.version or options.revision[:12], options.revision)
    there = releases.Release(app.releases / identity, releases.read_json(app.releases / identity / "release.json"))
    result = {
        "release": identity,
        "before": releases.live_id(app),
        "changed": there.state != releases.GOOD,
        "pending": there.state != releases.GOOD or swap.pending(app, identity, system),
    }
    source = Source(tree=options.tree, archive=options.archive, package=options.package)
    if result["changed"] and not options.dry_run and (options.tree or options.archive or options.package):
        with held(app, f"build {identity}"):
            try:
                there = build(app, identity, source, system, version=options.version, revision=options.revision)
            except CtlError as error:
                audit(app, "build", release=identity, ok=False, error=error.message)
                raise
            audit(app, "build", release=identity, ok=True)
    result["warnings"] = there.record.get("warnings", [])
    result["deploy_check"] = there.record.get("deploy_check", "")
    return result


def do_migrate(app: App, options: argparse.Namespace) -> dict:
    release = releases.read(app, options.release)
    with held(app, f"migrate {release.id}"):
        try:
            applied = migrate(app, release, Systemd())
        except CtlError as error:
            audit(app, "migrate", release=release.id, ok=False, error=error.message)
            raise
        if applied:
            audit(app, "migrate", release=release.id, ok=True, applied=applied)
    return {"release": release.id, "changed": bool(applied), "applied": applied}


def do_activate(app: App, options: argparse.Namespace) -> dict:
    return _activate(app, releases.read(app, options.release), "activate", options.dry_run)


def do_rollback(app: App, options: argparse.Namespace) -> dict:
    release = releases.read(app, options.release) if options.release else swap.previous(app)
    return _activate(app, release, "rollback", options.dry_run)


def _activate(app: App, release: releases.Release, action: str, dry_run: bool) -> dict:
    system, before = Systemd(), releases.live_id(app)
    if dry_run:
        return {"release": release.id, "before": before, "changed": swap.pending(app, release.id, system)}
    with held(app, f"{action} {release.id}"):
        try:
            changed = swap.activate(app, release, system)
        except CtlError as error:
            audit(app, action, release=release.id, before=before, ok=False, error=error.message)
            raise
        if changed:
            audit(app, action, release=release.id, before=before, ok=True)
    return {"release": release.id, "before": before, "changed": changed}


def do_manage(app: App, options: argparse.Namespace) -> int:
    """Run manage.py in the live release as its service runs: same user, environment and sandbox."""
    given = {}
    for item in options.env:
        name, sign, value = item.partition("=")
        given[name] = value if sign else os.environ.get(name, "")
    return (
        Systemd()
        .manage(
            app,
            options.release,
            ["manage.py", *options.words],
            environment=given,
            output=sys.stdout,
            stdin=sys.stdin,
            purpose="manage",
        )
        .returncode
    )


def do_logs(app: App, options: argparse.Namespace) -> int:
    units = [f"--unit={app.unit}.service", f"--unit={app.unit}-next.service"]  # a pattern finds those of shop2 for shop
    words = ["journalctl", *units, f"--lines={options.lines}", "--no-pager", "--output=short-iso"]
    return subprocess.run([*words, *(["--follow"] if options.follow else [])], check=False).returncode


def parser() -> argparse.ArgumentParser:
    """The words djangoctl understands."""
    top = argparse.ArgumentParser(prog="djangoctl", usage="djangoctl [<app> <command>] [--json]", description=__doc__)
    top.add_argument("app", help="the name of an app; `djangoctl` alone lists them")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, action: Callable, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        return command

    add("status", do_status, "what is live, and how it is")
    add("releases", do_releases, "the releases on this host")
    command = add("build", do_build, "build a release; harmless to what is live")
    command.add_argument("--revision", required=True, help="what names the source for good: a commit, a digest")
    command.add_argument("--version", default="", help="what names it for people")
    source = command.add_mutually_exclusive_group()
    source.add_argument("--tree", type=Path, help="a directory on this host")
    source.add_argument("--archive", type=Path, help="a tar archive on this host")
    source.add_argument("--package", help="a requirement, or a wheel on this host")
    command.add_argument("--dry-run", action="store_true", help="say what would be done")
    command = add("migrate", do_migrate, "bring the database to a release")
    command.add_argument("release")
    command = add("activate", do_activate, "put a release live without dropping a request")
    command.add_argument("release")
    command.add_argument("--dry-run", action="store_true", help="say what would be done")
    command = add("rollback", do_rollback, "put the release before, or a named one, live again")
    command.add_argument("release", nargs="?")
    command.add_argument("--dry-run", action="store_true", help="say what would be done")
    command = add("manage", do_manage, "run manage.py as the app's service runs")
    command.add_argument("--release", default="current", help="in this release instead of the live one")
    command.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]", help="a further variable")
    command.add_argument("words", nargs=argparse.REMAINDER, help="the words after manage.py")
    command = add("logs", do_logs, "what the app has logged")
    command.add_argument("--lines", type=int, default=50)
    command.add_argument("--follow", action="store_true")
    return top


def main(words: list[str]) -> int:
    """Run one command; returns the exit code."""
    as_json = "--json" in words
    try:
        if len(words) > 2 and words[1] == "exec":  # the start of every process of an app: no argparse on that way
            launch.run(load(words[0]), words[2], words[3:])
        os.umask(0o022)  # a stricter one of the caller would keep Nginx from static files and the socket's directory
        if not [word for word in words if word != "--json"]:
            result = do_list(argparse.Namespace())
        else:
            options = parser().parse_args(words)
            result = options.action(load(options.app), options)
    except CtlError as error:
        return _refuse(error, as_json)
    except PermissionError as error:
        return _refuse(ConfigError(f"{error.filename}: permission denied", hint="run djangoctl as root"), as_json)
    if isinstance(result, int):
        return result
    print(json.dumps(result) if as_json else render(result))
    return 0


def _refuse(error: CtlError, as_json: bool) -> int:
    print(json.dumps(error.as_dict()) if as_json else f"djangoctl: {error}", file=sys.stdout if as_json else sys.stderr)
    return error.code


def render(result: dict) -> str:
    """A result as a person reads it: lists as tables, all else a line each."""
    lines = []
    for key, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = [list(value[0]), *([_word(row[name]) for name in value[0]] for row in value)]
            widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
            lines += [
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
            ]
        elif value not in ("", [], None):
            lines.append(f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else _word(value)}")
    return "\n".join(lines)


def _word(value: object) -> str:
    return (
        {True: "yes", False: "no", None: "-"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)
    )
