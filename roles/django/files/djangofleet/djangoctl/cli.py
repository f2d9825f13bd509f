"""The command line: parses the arguments, calls one function per command, prints its result."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from . import __version__, atomic, backups, cached, catch_up, fleet, health, launch, output, pages, swap, tree, units
from . import release as releases
from .app import App, load, load_for, names
from .build import Source, build
from .errors import BuildError, ConfigError, CtlError, Interrupted, LockedError, UnhealthyError, refused
from .fetch import fetch
from .fleet import Claim
from .interrupt import finished_first, interruptible
from .lock import audit, held, holder, recorded, rollout, say
from .migrate import is_due, migrate, plan
from .move import move
from .prune import prune
from .rehearsal import rehearsal
from .remove import remove
from .static import publish, unpublished
from .systemd import Systemd

DESCRIPTION = """\
djangoctl manages the releases of the Django apps on this host. Run it as root.

  djangoctl                          which apps are here, and what is live
  djangoctl shop status              what shop answers, its release and units, and what heals what is wrong
  djangoctl shop check               the same as an exit code, for a monitoring
  djangoctl shop logs --follow       the log of the service, its processes and timers
  djangoctl shop releases            the releases on this host
  djangoctl shop rollback --dry-run  which release a rollback would activate
  djangoctl shop rollback            put the previous release live again
  djangoctl shop activate <id>       put another release live
  djangoctl shop catch-up            serve what the other hosts serve, after this one was away; without an app: all apps
  djangoctl shop purge --url /news/  remove a page from the cache of Nginx; `--prefix /news/`, `--all`
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
  6  the gate refused the release, or the app is not healthy; `status`, the list: it does not serve; `catch-up`: behind
  7  activation failed; the previous release was put back if possible
  8  a hook failed
  9  `status`: the app serves, and its backups are not well
 10  the database was not moved

After 2 to 6 and 10 the same release is live as before. After 7 and 8 the message says which one is. `manage` and `logs`
end with the code of the command that they run. A signal ends a command with 128 and its number; activate, rollback,
migrate, move, prune, remove and maintenance are finished first."""


CATCH_UP = "catch-up"
Outcome = dict | int | tuple[dict, int]  # what is printed, the exit code, or both


def do_list() -> Outcome:
    """All apps with their health. One that is damaged is listed with what is wrong with it."""
    system = Systemd()
    found = names()
    with ThreadPoolExecutor(max(1, min(8, len(found)))) as pool:
        apps = list(pool.map(lambda name: _listed(name, system), found))
    if any("error" in entry for entry in apps):
        return {"apps": apps}, ConfigError.code
    return {"apps": apps}, 0 if all(entry["serves"] for entry in apps) else UnhealthyError.code


def _listed(name: str, system: Systemd) -> dict:
    try:
        return health.report(load(name), system)
    except (CtlError, OSError) as error:
        failure = error if isinstance(error, CtlError) else refused(error)
        return {"app": name, "serves": False, "error": failure.message, "hint": failure.hint}


def do_status(app: App, options: argparse.Namespace) -> Outcome:
    """Everything about the health of the app. The exit code says whether it serves."""
    result = {**health.report(app, Systemd()), "lock": holder(app)}
    if not result["serves"]:
        return result, UnhealthyError.code
    return result, backups.CODE if any(part["faults"] for part in result["backups"]) else 0


def do_releases(app: App, options: argparse.Namespace) -> dict:
    live = releases.live_id(app)
    return {
        "releases": [
            {"id": entry.id, "state": entry.state, "live": entry.id == live}
            | {key: entry.record.get(key) for key in ("version", "started_at", "ended_at", "error")}
            for entry in releases.all_of(app)
        ]
    }


def do_fetch(app: App, options: argparse.Namespace) -> dict:
    """Fetch a version of a repository, and say where its files are and what names them for good."""
    found = fetch(app, options.repository, options.version, key=options.key, known_hosts=options.known_hosts)
    return {"changed": False, "revision": found.commit, "tree": str(found.tree), "scm_version": found.scm_version}


def do_build(app: App, options: argparse.Namespace) -> dict:
    """Build the release of a source, unless it is built already."""
    system = Systemd()
    identity = releases.identify(app, options.version or options.revision[:12], options.revision)
    release = releases.Release(app.releases / identity, releases.read_json(app.releases / identity / "release.json"))
    result = {
        "release": identity,
        "before": releases.live_id(app),
        "changed": not release.is_usable,
        "pending": not release.is_usable or swap.pending(app, identity, system),
        "plan": [],
    }
    result["migrate"] = result["pending"]  # unless its plan says that nothing is to be done
    if options.config and not (options.rehearse or options.dry_run):
        raise ConfigError("--config goes with --rehearse or --dry-run: a release is built with what the role wrote")
    package = os.environ.get("DJANGOCTL_PACKAGE") if options.package_from_environment else options.package
    source = Source(tree=options.tree, archive=options.archive, package=package)
    if source == Source() and not options.dry_run:
        raise ConfigError(
            f"{app.name}: a build needs a source", hint="give --tree, --archive or --package, or ask with --dry-run"
        )
    if result["changed"] and not options.dry_run:
        if options.rehearse:
            return {**result, **_rehearse(app, identity, source, system, scm_version=options.scm_version)}
        with recorded(app, "build", identity):
            facts = {"version": options.version, "revision": options.revision, "scm_version": options.scm_version}
            release = _build(app, identity, source, system, **facts)
        result |= _planned(app, release, system)
    return {**result, **_advice(release)}


def _build(app: App, identity: str, source: Source, system: Systemd, **facts: object) -> releases.Release:
    """Build a release under the lock, after what an interrupted build has left at work is ended."""
    system.end_interrupted(app, "build")
    try:
        return build(app, identity, source, system, **facts)
    except BuildError:
        prune(app)  # of the failed releases only this one stays
        raise


def _rehearse(app: App, identity: str, source: Source, system: Systemd, **facts: object) -> dict:
    """Build a release to see whether it builds and what its migrations would do, and leave nothing of it."""
    with rehearsal(app, identity, source, system, **facts) as (trial, options):
        return {**_planned(app, trial, system, **options), **_advice(trial)}


def _planned(app: App, release: releases.Release, system: Systemd, **options) -> dict:
    """What the release's migrations would do, and whether there is any need to ask for `migrate`."""
    steps = plan(app, release, system, **options)
    return {"plan": steps, "migrate": is_due(app, release, steps)}


def _advice(release: releases.Release) -> dict:
    return {"warnings": release.record.get("warnings", []), "deploy_check": release.record.get("deploy_check", "")}


def do_plan(app: App, options: argparse.Namespace) -> dict:
    return {"plan": plan(app, releases.read(app, options.release), Systemd())}


def do_migrate(app: App, options: argparse.Namespace) -> dict:
    release = releases.read(app, options.release)
    with recorded(app, "migrate", release.id) as facts:
        done = migrate(app, release, Systemd(), allow_destructive=options.allow_destructive)
        facts["applied"] = [step["migration"] for step in done.plan]
    warnings = {"warnings": [done.restore_point]} if done.restore_point else {}
    return {"release": release.id, "changed": done.changed, "plan": done.plan, **warnings}


def do_move(app: App, options: argparse.Namespace) -> dict:
    """Move the rows to the database of the configuration that --config names."""
    if options.dry_run:
        return move(app, Systemd(), leave=options.leave, dry_run=True)
    if options.only == "rehearsal":
        return move(app, Systemd(), leave=options.leave, only=options.only)
    with recorded(app, "move", releases.live_id(app) or "") as facts:
        done = move(app, Systemd(), leave=options.leave, only=options.only)
        facts |= {key: done[key] for key in ("from", "rows", "maintenance_seconds", "kept")}
    return done


def do_publish(app: App, options: argparse.Namespace) -> dict:
    """Add the static files of a release to those that Nginx serves, and replace none that the live release uses."""
    release = releases.read(app, options.release)
    swap.require_good(app, release)
    files = unpublished(app, release)
    if files and not options.dry_run:
        with recorded(app, "publish", release.id) as facts:
            files = facts["files"] = publish(app, release, replace=False)
    return {"release": release.id, "changed": files > 0, "files": files}


def do_activate(app: App, options: argparse.Namespace) -> dict:
    return _activate(app, releases.read(app, _existing(app, options.release)), "activate", options)


def do_rollback(app: App, options: argparse.Namespace) -> dict:
    release = releases.read(app, options.release) if options.release else swap.previous(app)
    return _activate(app, release, "rollback", options)


def _activate(app: App, release: releases.Release, action: str, options: argparse.Namespace) -> dict:
    system, before = Systemd(), releases.live_id(app)
    is_choice = options.release not in launch.LINKS  # else what is live only starts anew
    # --unless-live is for a host that goes back with the others: what it leaves has failed on one of them.
    goes_back = action == "rollback" or options.unless_live
    chosen = rollout() or (releases.now() if goes_back else "")
    claim = Claim(is_choice, chosen if is_choice else "", returns=options.unless_live)
    is_left = options.unless_live and release.id == before
    is_pending = not is_left and swap.pending(app, release.id, system, is_choice=is_choice)
    result = {"release": release.id, "before": before, "changed": is_pending}
    if result["changed"]:
        swap.require_good(app, release)  # a dry run says so too
    if result["changed"] and not options.dry_run:
        began = time.time()
        with recorded(app, action, release.id) as facts:
            if options.release in launch.LINKS:  # whoever held the lock may have put another one live
                release = releases.read(app, _existing(app, options.release))
                result["release"] = release.id
            facts |= {"release": release.id, "before": before}
            ahead = options.allow_schema_ahead
            swap.activate(app, release, system, allow_schema_ahead=ahead, rolls_back=goes_back, claim=claim)
        if ended := health.signals(app, system, began):
            result["warnings"] = [
                f"processes of {entry['unit']} ended by {entry['signal']} during the swap: {entry['heals']}"
                for entry in ended
            ]
    if not result["changed"] and not options.dry_run and claim.rollout:
        _confirm(app, release, claim)
    return result


def _confirm(app: App, release: releases.Release, claim: Claim) -> None:
    """Note that a rollout has chosen what is live here already. A host that is not ready has no say in that."""
    if app.peers and fleet.is_ready(app):
        with suppress(LockedError), held(app, f"confirm {release.id}"):
            if release.id == releases.live_id(app):
                fleet.confirm(app, release, claim)


def do_catch_up(app: App, options: argparse.Namespace) -> dict:
    """Ask the app's other hosts what they serve, serve the same, and be ready."""
    return catch_up.catch_up(app, Systemd(), _build, wait=options.wait)


def do_catch_up_all(options: argparse.Namespace) -> Outcome:
    """The same for each app of this host that is not ready. One that cannot catch up keeps no other from it."""
    found = catch_up.catch_up_all(Systemd(), _build, wait=options.wait)
    return {"catch_up": found}, next((entry["code"] for entry in found if "code" in entry), 0)


def do_check(app: App, options: argparse.Namespace) -> dict:
    """Ask the running service; or another release in process, as nobody serves it."""
    system = Systemd()
    live = f"release {releases.live_id(app)} is live"
    if options.release == "current":
        seen = health.report(app, system, limit=app["health"]["timeout"])
        # What is wrong with a backup keeps nobody from being served: `status` tells it.
        saved = [fault for part in seen["backups"] for fault in part["faults"]]
        if wrong := [fault for fault in seen["faults"] if fault not in saved]:
            raise UnhealthyError(
                f"{app.name} is not healthy",
                state=live if seen["release"] else "nothing is live",
                hint=f"look at: djangoctl {app.name} status",
                log="\n".join(f"{fault['found']}\n  heals: {fault['heals']}" for fault in wrong),
                facts={**{key: seen[key] for key in ("serves", "answers", "warnings")}, "faults": wrong},
            )
        return {"app": app.name, "release": seen["release"], "healthy": True, "answers": seen["answers"]}
    release = _existing(app, options.release)
    if not app["health"]["enabled"]:
        note = f"not asked: {app.variable('health.enabled')} is false, so that nobody has said which page is well"
        return {"app": app.name, "release": release, "healthy": None, "note": note}
    result = system.manage(app, options.release, ["gate"], purpose="check")
    if result.returncode:
        raise UnhealthyError(
            f"{app.name}: {options.release} is not healthy",
            state=live,
            hint=f"look at: djangoctl {app.name} logs",
            log="\n".join([line for line in (result.stdout or "").splitlines() if line][-25:]),
        )
    return {"app": app.name, "release": release, "healthy": True}


def _existing(app: App, name: str) -> str:
    """The id of a release that is there, by its id or by one of the links `current` and `next`."""
    return launch.resolve(app, name).name if name in launch.LINKS else releases.read(app, name).id


def do_maintenance(app: App, options: argparse.Namespace) -> dict:
    """Show visitors a maintenance page, or the site again. Addresses in `maintenance_allow` always see the site."""
    wanted, before = options.switch == "on", app.maintenance.exists()
    if wanted:
        with tree.directory(app.static) as static:
            with interruptible():  # nothing has begun
                fcntl.flock(static, fcntl.LOCK_EX)  # it goes beside a deploy, and one at a time
            atomic.write(app.maintenance, pages.maintenance_page(app, options.message))
    else:
        app.maintenance.unlink(missing_ok=True)
    if wanted != before:
        audit(app, f"maintenance {options.switch}")
    return {"app": app.name, "maintenance": wanted, "changed": wanted != before}


def do_purge(app: App, options: argparse.Namespace) -> dict:
    """Remove pages from the cache of the app's site, so that the next visitor gets new ones."""
    chosen = {key: value for key, value in (("url", options.url), ("prefix", options.prefix)) if value}
    if not (chosen or options.all):
        raise ConfigError("an empty text names no page", hint="give a URL or a path, or --all")
    removed = cached.purge(app, **chosen, dry_run=options.dry_run)
    if removed and not options.dry_run:
        audit(app, "purge", **(chosen or {"all": True}), removed=removed)
    return {"app": app.name, "changed": removed > 0, "removed": removed}


def do_prune(app: App, options: argparse.Namespace) -> dict:
    with held(app, "prune"):
        removed = prune(app)
        if removed:
            audit(app, "prune", removed=removed)
    return {"app": app.name, "changed": bool(removed), "removed": removed}


def do_remove(app: App, options: argparse.Namespace) -> dict:
    if not options.dry_run:
        with recorded(app, "remove", releases.live_id(app) or ""):
            remove(app, Systemd(), with_data=options.with_data)
    return {"app": app.name, "changed": True, "data": "removed" if options.with_data else f"kept in {app.root}"}


def do_manage(app: App, options: argparse.Namespace) -> int:
    """Run manage.py in a release with the user, environment and sandbox of its service."""
    _existing(app, options.release)
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
            further=options.property,
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
        usage="djangoctl [list | catch-up | <app> <command>] [--json]",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--version", action="version", help="show the version and exit", version=f"djangoctl {__version__}"
    )
    top.add_argument("app", help="the name of an app; `djangoctl` alone, or `djangoctl list`, lists the apps")
    commands = top.add_subparsers(dest="command", required=True, metavar="command", prog="djangoctl <app>")

    def add(name: str, action: Callable, text: str, *, finishes: bool = False) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action, finishes=finishes)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        return command

    add("status", do_status, "what the app answers, its release, units and timers, and what heals what is wrong")
    add("releases", do_releases, "the releases on this host")
    command = add("fetch", do_fetch, "fetch a version of a Git repository for a build")
    address = os.environ.get("DJANGOCTL_REPOSITORY")  # any user can read a command line, and the address in it
    command.add_argument(
        "--repository", default=address, required=not address, help="its address; else that in DJANGOCTL_REPOSITORY"
    )
    command.add_argument("--version", default="HEAD", help="a branch, a tag or a commit")
    command.add_argument("--key", type=Path, help="the private key to log in with")
    command.add_argument("--known-hosts", type=Path, help="the only host keys to trust")
    command = add("build", do_build, "build a release; harmless to what is live")
    command.add_argument("--revision", required=True, help="the immutable name of the source: a commit, a digest")
    command.add_argument("--version", default="", help="the readable name of the release")
    command.add_argument("--scm-version", default="", help="the version of a project that takes it from Git")
    source = command.add_mutually_exclusive_group()
    source.add_argument("--tree", type=Path, help="a directory on this host")
    source.add_argument("--archive", type=Path, help="a tar archive on this host")
    source.add_argument("--package", help="a requirement, or a wheel on this host")
    source.add_argument(
        "--package-from-environment", action="store_true", help="what DJANGOCTL_PACKAGE says, such as one with a token"
    )
    command.add_argument("--dry-run", action="store_true", help="say what would be done")
    command.add_argument("--rehearse", action="store_true", help="build aside, plan the migrations, leave nothing")
    command.add_argument(
        "--config", type=Path, help="with --rehearse or --dry-run: a directory with the configuration to use"
    )
    command = add("plan", do_plan, "what the migrations of a release would do")
    command.add_argument("release")
    command = add("migrate", do_migrate, "run the migrations of a release", finishes=True)
    command.add_argument("release")
    command.add_argument(
        "--allow-destructive", action="store_true", help="also run operations that destroy or rewrite data"
    )
    command = add(
        "move", do_move, "move the rows to another database; playbooks/move-database.yml calls it", finishes=True
    )
    command.add_argument("--config", type=Path, required=True, help="a directory with the configuration that names it")
    command.add_argument("--leave", action="append", default=[], metavar="TABLE", help="a table to leave, or a pattern")
    command.add_argument("--dry-run", action="store_true", help="count the rows, and say what could not be moved")
    command.add_argument(
        "--only", choices=["rehearsal", "move"], help="what is tried while the app serves, or the rest"
    )
    command = add("publish", do_publish, "add the static files of a release to those that are served; replaces none")
    command.add_argument("release")
    command.add_argument("--dry-run", action="store_true", help="count them and add none")
    command = add("activate", do_activate, "put a release live without dropping a request", finishes=True)
    command.add_argument("release", help="its id; `current` is the live one, which starts anew where that is due")
    _swap_options(command)
    command = add("rollback", do_rollback, "put the previous release, or a named one, live again", finishes=True)
    command.add_argument("release", nargs="?")
    _swap_options(command)
    command = add("catch-up", do_catch_up, "serve what the other hosts of the app serve, and let visitors in")
    _wait_option(command)
    command = add("check", do_check, "whether the app answers and its units are up, or whether another release would")
    command.add_argument("release", nargs="?", default="current")
    command = add("maintenance", do_maintenance, "show visitors a maintenance page instead of the site", finishes=True)
    command.add_argument("switch", choices=["on", "off"])
    command.add_argument("--message", default="We are at work here and will be back soon.")
    command = add("purge", do_purge, "remove pages from the cache that Nginx keeps of the app's site")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--url", help="one page, with all of its variants; a path means it on all domains")
    what.add_argument("--prefix", help="all pages whose URL, or path, begins so")
    what.add_argument("--all", action="store_true", help="all pages")
    command.add_argument("--dry-run", action="store_true", help="count them and remove none")
    add("prune", do_prune, "remove old releases beyond the number to keep", finishes=True)
    command = add(
        "remove", do_remove, "stop the app and remove its units and configuration; its data stays", finishes=True
    )
    command.add_argument("--with-data", action="store_true", help="remove releases, uploads, SQLite and key too")
    command.add_argument("--dry-run", action="store_true", help="say what would be done")
    command = add("manage", do_manage, "run manage.py with user, environment and sandbox of the service")
    command.add_argument("--release", default="current", help="run it in this release instead of the live one")
    command.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]", help="a further variable")
    command.add_argument(
        "--property", action="append", default=[], metavar="KEY=VALUE", help="a further setting of systemd"
    )
    command.add_argument("words", nargs=argparse.REMAINDER, help="the arguments of manage.py")
    command = add("logs", do_logs, "the log of the app's units")
    command.add_argument("--lines", type=int, default=50)
    command.add_argument("--follow", action="store_true")
    return top


def _wait_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait", type=float, default=catch_up.WAIT, metavar="SECONDS", help="until nobody who is silent is asked again"
    )


def _catch_up_all_parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(prog="djangoctl catch-up", description=do_catch_up_all.__doc__)
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    _wait_option(command)
    return command


def _swap_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dry-run", action="store_true", help="say what would be done")
    command.add_argument("--allow-schema-ahead", action="store_true", help="although the database is ahead of it")
    command.add_argument(
        "--unless-live", action="store_true", help="leave a live release alone, even if a restart is pending"
    )


def main(words: list[str]) -> int:
    """Run one command; returns the exit code. Whatever fails ends in one message, and its traceback in the journal."""
    as_json = "--json" in words
    try:
        if len(words) > 2 and words[1] == "exec":  # every process of an app starts here: skip argparse
            launch.run(load_for(words[0], words[2]), words[2], words[3:])
        os.umask(0o022)  # with a stricter umask of the caller, Nginx could not read static files
        outcome = _run(words)
    except Interrupted as stop:
        print(f"djangoctl: ended by {signal.Signals(stop.number).name}", file=sys.stderr)
        return 128 + stop.number
    except CtlError as error:
        if error.__cause__ is not None:
            say(traceback.format_exc())
        return output.report(error, as_json)
    except OSError as error:
        say(traceback.format_exc())
        return output.report(refused(error), as_json)
    except Exception as error:
        say(traceback.format_exc())
        hint = "this is a fault of djangoctl; the journal has the details: journalctl -t djangoctl"
        return output.report(CtlError(f"{type(error).__name__}: {error}", hint=hint), as_json)
    if isinstance(outcome, int):
        return outcome
    result, code = outcome if isinstance(outcome, tuple) else (outcome, 0)
    output.show(result, as_json)
    return code


def _run(words: list[str]) -> Outcome:
    if [word for word in words if word != "--json"] in ([], ["list"]):  # an app named list has a command after it
        with interruptible():
            return do_list()
    plain = [word for word in words if word != "--json"]
    if plain[:1] == [CATCH_UP] and (len(plain) == 1 or plain[1].startswith("-")):  # an app may have that name too
        with interruptible():
            return do_catch_up_all(_catch_up_all_parser().parse_args([word for word in words if word != CATCH_UP]))
    options = parser().parse_args(words)
    app = load(options.app, config=getattr(options, "config", None))
    if not options.finishes:
        with interruptible():
            return options.action(app, options)
    with finished_first() as came:
        outcome = options.action(app, options)
    for number in came:
        print(f"djangoctl: {signal.Signals(number).name} came meanwhile; this was finished first", file=sys.stderr)
    return outcome
