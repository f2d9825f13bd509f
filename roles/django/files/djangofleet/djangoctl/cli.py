"""The command line: parses the arguments, calls one function per command, prints its result."""

from __future__ import annotations

import argparse
import html
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import __version__, launch, swap, units
from . import release as releases
from .app import App, load, names
from .build import Source, build, rehearsal
from .errors import BuildError, ConfigError, CtlError, UnhealthyError
from .lock import audit, held, holder
from .migrate import migrate, plan
from .prune import prune
from .systemd import Systemd

DESCRIPTION = """\
djangoctl manages the releases of the Django apps on this host. Run it as root.

  djangoctl                          which apps are here, and what is live
  djangoctl shop status              the live release of shop, its units and its lock
  djangoctl shop check               request the health path, as the gate does
  djangoctl shop logs --follow       the log of the service, its processes and timers
  djangoctl shop releases            the releases on this host
  djangoctl shop rollback --dry-run  which release a rollback would activate
  djangoctl shop rollback            put the previous release live again
  djangoctl shop activate <id>       put another release live
  djangoctl shop maintenance on      show visitors a maintenance page; `off` ends it
  djangoctl shop manage shell        run manage.py as the service runs

`djangoctl shop <command> --help` lists the options of a command."""
EXIT_CODES = """\
exit codes:
  0  done
  1  unexpected failure
  2  bad usage or input, or no permission
  3  locked by somebody else
  4  the build failed
  5  a migration failed or was refused
  6  the gate refused the release, or the app is not healthy
  7  activation failed; the previous release was put back if possible
  8  a hook failed

After 2 to 6 the same release is live as before. After 7 and 8 the message says which one is. `manage` and `logs` end
with the code of the command that they run."""
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Maintenance</title>
<style>:root{{color-scheme:light dark}}
body{{font:1.2rem/1.5 system-ui;max-width:36rem;margin:20vh auto;padding:0 1rem}}</style>
<h1>Maintenance</h1>
<p>{message}</p>
</html>
"""


def maintenance_page(message: str) -> str:
    return PAGE.format(message=html.escape(message))


def do_list(options: argparse.Namespace) -> dict:
    system = Systemd()
    return {"apps": [swap.status(load(name), system) for name in names()]}


def do_status(app: App, options: argparse.Namespace) -> dict:
    return {**swap.status(app, Systemd()), "lock": holder(app)}


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
    """Build the release of a source, unless it is built already."""
    system = Systemd()
    identity = releases.identify(app, options.version or options.revision[:12], options.revision)
    release = releases.Release(app.releases / identity, releases.read_json(app.releases / identity / "release.json"))
    result = {
        "release": identity,
        "before": releases.live_id(app),
        "changed": release.state != releases.GOOD,
        "pending": release.state != releases.GOOD or swap.pending(app, identity, system),
        "plan": [],
    }
    source = Source(tree=options.tree, archive=options.archive, package=options.package)
    if result["changed"] and not options.dry_run and source != Source():
        if options.rehearse:
            return {**result, **_rehearse(app, identity, source, system)}
        with recorded(app, "build", identity):
            try:
                release = build(app, identity, source, system, version=options.version, revision=options.revision)
            except BuildError:
                prune(app)  # of the failed releases only this one stays
                raise
        live = releases.Release(app.current, releases.read_json(app.current / "release.json"))
        if release.migrations - live.migrations:  # without new ones the plan is empty, and takes seconds to make
            result["plan"] = plan(app, release, system)
    return {**result, **_advice(release)}


def _rehearse(app: App, identity: str, source: Source, system: Systemd) -> dict:
    """Build a release to see whether it builds and what its migrations would do, and leave nothing of it."""
    with rehearsal(app, identity, source, system) as (trial, options):
        return {"plan": plan(app, trial, system, **options), **_advice(trial)}


def _advice(release: releases.Release) -> dict:
    return {"warnings": release.record.get("warnings", []), "deploy_check": release.record.get("deploy_check", "")}


def do_plan(app: App, options: argparse.Namespace) -> dict:
    return {"plan": plan(app, releases.read(app, options.release), Systemd())}


def do_migrate(app: App, options: argparse.Namespace) -> dict:
    release = releases.read(app, options.release)
    with recorded(app, "migrate", release.id) as facts:
        steps = migrate(app, release, Systemd(), allow_destructive=options.allow_destructive)
        facts["applied"] = [step["migration"] for step in steps]
    return {"release": release.id, "changed": bool(steps), "plan": steps}


def do_activate(app: App, options: argparse.Namespace) -> dict:
    return _activate(app, releases.read(app, options.release), "activate", options)


def do_rollback(app: App, options: argparse.Namespace) -> dict:
    release = releases.read(app, options.release) if options.release else swap.previous(app)
    return _activate(app, release, "rollback", options)


def _activate(app: App, release: releases.Release, action: str, options: argparse.Namespace) -> dict:
    system, before = Systemd(), releases.live_id(app)
    done = options.unless_live and release.id == before
    result = {"release": release.id, "before": before, "changed": not done and swap.pending(app, release.id, system)}
    if result["changed"] and not options.dry_run:
        with recorded(app, action, release.id) as facts:
            facts["before"] = before
            swap.activate(app, release, system, allow_schema_ahead=options.allow_schema_ahead)
    return result


@contextmanager
def recorded(app: App, action: str, identity: str) -> Iterator[dict]:
    """Hold the lock for an action and record its result in the audit trail. Yields a dictionary for further facts."""
    facts: dict = {"release": identity}
    with held(app, f"{action} {identity}"):
        try:
            yield facts
        except CtlError as error:
            audit(app, action, **facts, ok=False, error=error.message)
            raise
        audit(app, action, **facts, ok=True)


def do_check(app: App, options: argparse.Namespace) -> dict:
    """Request the health path of a release, as the gate does, and check that all units of the app are up."""
    system = Systemd()
    seen = swap.status(app, system)
    result = system.manage(app, options.release, ["gate"], purpose="check")
    problems = [line for line in (result.stdout or "").splitlines() if line] if result.returncode else []
    if options.release == "current":
        down = [f"{app.unit}.{kind}" for kind in ("service", "socket") if not seen[kind]]
        problems += [f"{unit} is not active" for unit in [*down, *seen["idle_units"]]]
    if problems:
        raise UnhealthyError(
            f"{app.name}: {options.release} is not healthy",
            state=f"release {seen['release']} is live",
            hint=f"look at: djangoctl {app.name} logs",
            log="\n".join(problems[-25:]),
        )
    return {"app": app.name, "release": launch.resolve(app, options.release).name, "healthy": True}


def do_maintenance(app: App, options: argparse.Namespace) -> dict:
    """Show visitors a maintenance page, or the site again. Addresses in `maintenance_allow` always see the site."""
    wanted, before = options.switch == "on", app.maintenance.exists()
    if wanted:
        temporary = releases.beside(app.maintenance)
        temporary.write_text(maintenance_page(options.message))
        temporary.chmod(0o644)
        temporary.replace(app.maintenance)  # half a page would close the site without a word
    else:
        app.maintenance.unlink(missing_ok=True)
    if wanted != before:
        audit(app, f"maintenance {options.switch}")
    return {"app": app.name, "maintenance": wanted, "changed": wanted != before}


def do_prune(app: App, options: argparse.Namespace) -> dict:
    with held(app, "prune"):
        removed = prune(app)
        if removed:
            audit(app, "prune", removed=removed)
    return {"app": app.name, "changed": bool(removed), "removed": removed}


def do_manage(app: App, options: argparse.Namespace) -> int:
    """Run manage.py in a release with the user, environment and sandbox of its service."""
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
    # Units are listed by name: the pattern django-shop* would match those of the app shop-two. `@.` is a template.
    known = sorted({*units.installed(app), *app["unit_files"]})
    chosen = [f"--unit={name.replace('@.', '@*.')}" for name in known]
    words = ["journalctl", *chosen, f"--lines={options.lines}", "--no-pager", "--output=short-iso"]
    return subprocess.run([*words, *(["--follow"] if options.follow else [])], check=False).returncode


def parser() -> argparse.ArgumentParser:
    """The parser of all commands and their options."""
    top = argparse.ArgumentParser(
        prog="djangoctl",
        usage="djangoctl [list | <app> <command>] [--json]",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--version", action="version", help="show the version and exit", version=f"djangoctl {__version__}"
    )
    top.add_argument("app", help="the name of an app; `djangoctl` alone, or `djangoctl list`, lists the apps")
    commands = top.add_subparsers(dest="command", required=True, metavar="command", prog="djangoctl <app>")

    def add(name: str, action: Callable, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        return command

    add("status", do_status, "which release is live, and whether its units are up")
    add("releases", do_releases, "the releases on this host")
    command = add("build", do_build, "build a release; harmless to what is live")
    command.add_argument("--revision", required=True, help="the immutable name of the source: a commit, a digest")
    command.add_argument("--version", default="", help="the readable name of the release")
    source = command.add_mutually_exclusive_group()
    source.add_argument("--tree", type=Path, help="a directory on this host")
    source.add_argument("--archive", type=Path, help="a tar archive on this host")
    source.add_argument("--package", help="a requirement, or a wheel on this host")
    command.add_argument("--dry-run", action="store_true", help="say what would be done")
    command.add_argument("--rehearse", action="store_true", help="build aside, plan the migrations, leave nothing")
    command.add_argument("--config", type=Path, help="with --rehearse: a directory with the configuration to use")
    command = add("plan", do_plan, "what the migrations of a release would do")
    command.add_argument("release")
    command = add("migrate", do_migrate, "run the migrations of a release")
    command.add_argument("release")
    command.add_argument(
        "--allow-destructive", action="store_true", help="also run operations that destroy or rewrite data"
    )
    command = add("activate", do_activate, "put a release live without dropping a request")
    command.add_argument("release")
    _swap_options(command)
    command = add("rollback", do_rollback, "put the previous release, or a named one, live again")
    command.add_argument("release", nargs="?")
    _swap_options(command)
    command = add("check", do_check, "request the health path as the gate does, and check the units")
    command.add_argument("release", nargs="?", default="current")
    command = add("maintenance", do_maintenance, "show visitors a maintenance page instead of the site")
    command.add_argument("switch", choices=["on", "off"])
    command.add_argument("--message", default="We are at work here and will be back soon.")
    add("prune", do_prune, "remove old releases beyond the number to keep")
    command = add("manage", do_manage, "run manage.py with user, environment and sandbox of the service")
    command.add_argument("--release", default="current", help="run it in this release instead of the live one")
    command.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]", help="a further variable")
    command.add_argument("words", nargs=argparse.REMAINDER, help="the arguments of manage.py")
    command = add("logs", do_logs, "the log of the app's units")
    command.add_argument("--lines", type=int, default=50)
    command.add_argument("--follow", action="store_true")
    return top


def _swap_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dry-run", action="store_true", help="say what would be done")
    command.add_argument("--allow-schema-ahead", action="store_true", help="although the database is ahead of it")
    command.add_argument(
        "--unless-live", action="store_true", help="leave a live release alone, even if a restart is pending"
    )


def main(words: list[str]) -> int:
    """Run one command; returns the exit code."""
    as_json = "--json" in words
    try:
        if len(words) > 2 and words[1] == "exec":  # every process of an app starts here: skip argparse
            launch.run(load(words[0], pinned=words[2] == "current"), words[2], words[3:])
        os.umask(0o022)  # with a stricter umask of the caller, Nginx could not read static files
        if [word for word in words if word != "--json"] in ([], ["list"]):  # an app named list has a command after it
            result = do_list(argparse.Namespace())
        else:
            options = parser().parse_args(words)
            result = options.action(load(options.app, config=getattr(options, "config", None)), options)
    except CtlError as error:
        return _report(error, as_json)
    except PermissionError as error:
        return _report(ConfigError(f"{error.filename}: permission denied", hint="run djangoctl as root"), as_json)
    if isinstance(result, int):
        return result
    print(json.dumps(result) if as_json else render(result))
    return 0


def _report(error: CtlError, as_json: bool) -> int:
    """Print a failure and return its exit code."""
    print(json.dumps(error.as_dict()) if as_json else f"djangoctl: {error}", file=sys.stdout if as_json else sys.stderr)
    return error.code


def render(result: dict) -> str:
    """A result as text: a table for a list of dictionaries, a line for anything else."""
    lines = []
    for key, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = [list(value[0]), *([_cell(row[name]) for name in value[0]] for row in value)]
            widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
            lines += [
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
            ]
        elif value not in ("", [], None):
            lines.append(f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else _cell(value)}")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items())
    return (
        {True: "yes", False: "no", None: "-"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)
    )
