"""The command line: one function for each command."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from . import drill, postgresql, status
from . import files as disk
from .core import BackupError, Refused, alone, config, exact, moment, note, passphrase, record, say, sealed, shown

DESCRIPTION = """\
djangofleet-backup saves the databases and files of this host and brings them back. Run it as root.

  djangofleet-backup status                            what is saved, what is known to come back, and what is wrong
  djangofleet-backup run                               take a backup now
  djangofleet-backup drill                             restore the newest to scratch, and ask it
  djangofleet-backup restore --app shop --dry-run      what a restore would do
  djangofleet-backup restore --app shop --scratch      beside the live one; discard removes it
  djangofleet-backup restore --app shop --to "2026-11-22 05:00:00+00" --overwrite
  djangofleet-backup point before-cleanup              mark the present, for --to before-cleanup
"""
EXIT_CODES = """\
exit codes:
  0  done; `status`: all is well
  1  failed; `status`: something is wrong
  2  refused, or bad usage: nothing has changed
  3  `has`, `moment`: this host has none of it"""
ABSENT = 3


def parts_of(settings: Mapping[str, Any], app: str = "") -> tuple[list[postgresql.Cluster], list[disk.Files]]:
    """The clusters and files of this host, all or those of an app."""
    clusters, files = postgresql.of(settings), disk.of(settings)
    if not app:
        return clusters, files
    return (
        [each for each in clusters if database_of(each, app)],
        [each for each in files if app in (each.app, each.name)],
    )


def database_of(cluster: postgresql.Cluster, app: str) -> str:
    """The database of an app in a cluster; empty if it has none there. One without an app goes by its own name."""
    return next((each["name"] for each in cluster.databases if app in (each["app"], each["name"])), "")


def do_has(settings: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Print what can be restored here, and say by the exit code whether that is what was asked for."""
    known = [each["app"] or each["name"] for each in (*settings["databases"], *settings["files"])]
    print(", ".join(dict.fromkeys(known)))
    return 0 if any(parts_of(settings, options.app)) else ABSENT


# Backups


def do_prepare(settings: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Make what the repository is to have. The role calls it."""
    clusters, files = parts_of(settings)
    changed, warnings = [], status.warnings(settings)
    for cluster in (*clusters, *([None] if files else [])):
        try:
            changed += _prepare(settings, cluster, make=True)
        except postgresql.Replaced as error:  # on a host in the place of a lost one; the run that sets it up goes on
            warnings.append(error.message)
    note(lambda state: state.setdefault("since", time.time()))
    saved = [name for name, part in record().get("parts", {}).items() if part.get("backup")]
    unsaved = [each.part for each in (*clusters, *files) if each.part not in saved]
    print(json.dumps({"changed": changed, "unsaved": unsaved, "warnings": warnings}))
    return 0


def _prepare(settings: Mapping[str, Any], cluster: postgresql.Cluster | None, *, make: bool) -> list[str]:
    """See to the place of a cluster, or that of the files, in the repository. Returns what was not as it was to be.

    :param make: whether there may be none yet. What has been made there once is not made again: a repository that is
        away would get an empty one in its place.
    """
    name = cluster.part if cluster else "files"
    known = record().get("prepared", {}).get(name)
    if isinstance(known, str):
        known = {"repository": known}  # of an earlier version of this program
    where = ("pgbackrest.conf", "repo1-cipher-pass") if cluster else ("restic.env", "RESTIC_PASSWORD")
    wanted = {
        "repository": settings["repository"],
        "passphrase": sealed(passphrase(*where), (known or {}).get("passphrase", "")),
        **(postgresql.identity(cluster) if cluster else {}),
    }
    if known == wanted:
        return []
    if cluster:
        postgresql.prepare(cluster, known, make=make and (known or {}).get("repository") != wanted["repository"])
    else:
        disk.prepare()

    def change(state: dict[str, Any]) -> None:
        state.setdefault("prepared", {})[name] = wanted
        if known and any(known.get(key, wanted[key]) != wanted[key] for key in wanted if key != "passphrase"):
            # What was saved elsewhere, or of another server, says nothing of this one.
            state["since"] = time.time()
            for part in [name] if cluster else [each.part for each in disk.of(settings)]:
                state.get("parts", {}).pop(part, None)

    note(change)
    return [name]


def _save(settings: Mapping[str, Any], cluster: postgresql.Cluster, full_every: float) -> dict[str, Any]:
    """Back up a cluster. It may be of a later version than the last time, or in the place of a lost one."""
    _prepare(settings, cluster, make=False)
    return postgresql.back_up(cluster, full_every)


def do_run(settings: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Take a backup of all parts. One that fails keeps no other from being saved."""
    full_every = 0 if options.full else settings["full_every_days"]
    clusters, files = parts_of(settings)
    if not (clusters or files):
        say("this host has nothing to save")
    steps: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        (each.part, lambda each=each: _save(settings, each, full_every)) for each in clusters
    ]
    steps += [(each.part, lambda each=each: disk.back_up(each)) for each in files]
    if files:
        name, last = steps.pop()
        steps.append((name, lambda: _then_forget(last, settings["retention_days"])))
    return _each(settings, "backup", steps)


def _then_forget(last: Callable[[], dict[str, Any]], days: int) -> dict[str, Any]:
    """Take the last step with restic, then end what is older than the retention: a step that fails does not keep it."""
    try:
        outcome = last()
    except Exception:
        with suppress(BackupError):  # what has failed is told; it is mostly the same
            disk.forget(days)
        raise
    disk.forget(days)
    return outcome


def do_drill(settings: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Restore the newest backup of all parts to scratch."""
    clusters, files = parts_of(settings)
    steps: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        (each.part, lambda each=each: drill.of_cluster(each)) for each in clusters
    ]
    steps += [(each.part, lambda each=each: drill.of_files(each)) for each in files]
    with alone():
        # Not before: who is waited for may be a restore to scratch.
        if kept := record().get("scratch"):
            raise Refused(f"a restore to scratch is in use since {shown(kept)}", "djangofleet-backup discard")
        return _each(settings, "drill", steps)


def _each(settings: Mapping[str, Any], what: str, steps: Sequence[tuple[str, Callable[[], dict[str, Any]]]]) -> int:
    """Take the steps, record what came of each, and publish it."""
    failed = 0
    with alone():
        for name, step in steps:
            try:
                outcome = {what: {**step(), "at": time.time()}, f"{what}_failure": None}
                say(f"{name}: {what} is done")
            except Exception as error:  # whatever it is: the others have their turn, and status tells it
                failed = 1
                text = error.message if isinstance(error, BackupError) else f"{type(error).__name__}: {error}"
                outcome = {f"{what}_failure": {"at": time.time(), "error": text}}
                say(f"{name}: {what} failed: {text}")
            note(
                lambda state, name=name, outcome=outcome: (
                    state.setdefault("parts", {}).setdefault(name, {}).update(outcome)
                )
            )
        status.publish(settings)
    return failed


def do_status(settings: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Show how the backups are."""
    now = time.time()
    result = status.report(settings, now)
    print(json.dumps(result) if options.json else status.render(result, now))
    return int(any(part["faults"] for part in result["parts"]))


def do_point(settings: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Mark the present of the clusters, or of the one that an app is in."""
    clusters, _files = parts_of(settings, options.app)
    if not clusters:
        raise Refused(f"point: this host has no database of '{options.app}' in a backup")
    with alone():
        for cluster in clusters:
            postgresql.take_point(cluster, options.name)
    app = f" -e app={options.app}" if options.app else ""
    print(f"ansible-playbook playbooks/restore.yml{app} -e to={options.name} -e overwrite=true")
    return 0


def do_moment(settings: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Print when a restore point was taken, and say by the exit code whether this host has it."""
    points = [point for known in record().get("points", {}).values() for point in known]
    found = [point["at"] for point in points if point["name"] == options.name]
    if found:
        print(exact(found[-1]))
    return 0 if found else ABSENT


# The way back


def do_restore(settings: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Bring databases and files back: first what could be wrong, then the copies, then what is live."""
    clusters, files = parts_of(settings, options.app)
    if not (clusters or files):
        known = [entry["app"] or entry["name"] for entry in (*settings["databases"], *settings["files"])]
        raise Refused(f"app: found '{options.app}', of which this host has no backup",
                      f"give one of: {', '.join(dict.fromkeys(known))}")  # fmt: skip
    with alone():
        moments = {cluster.name: _moment(cluster, options.to) for cluster in clusters}
        others = max(moments.values(), default=0) or _moment(None, options.to, options.moment)
        if not options.scratch and not options.overwrite:
            _refuse_newer(clusters, files, options.app)
        if not options.scratch:
            _refuse_unfit(clusters, options.app)
        plans = [(each, postgresql.plan(each, options.to, moments[each.name])) for each in clusters]
        copies = [(each, disk.plan(each, others)) for each in files]
        for part, found in (*plans, *copies):
            say(f"{part.part}: backup {found.backup} leads to {shown(found.moment)}")
        if options.dry_run:
            return 0
        apps = [] if options.scratch else _apps(clusters, files, options.app)
        with closed(apps):
            return _restore(settings, plans, copies, options)


def _moment(cluster: postgresql.Cluster | None, to: str, elsewhere: str = "") -> float:
    """The time that `to` means: itself, that of a restore point, or the present.

    :param elsewhere: what a restore point means that another host has.
    """
    if not to:
        return time.time()
    if not postgresql.POINT.fullmatch(to):
        return moment(to)
    points = record().get("points", {})
    known = points.get(cluster.name, []) if cluster else [point for found in points.values() for point in found]
    found = [point["at"] for point in known if point["name"] == to]
    if not found and elsewhere:
        return moment(elsewhere)
    if not found:
        names = ", ".join(point["name"] for point in known[-5:]) or "none"
        raise Refused(f"to: found '{to}', which is no restore point", f"the last ones are: {names}; or give a time")
    return found[-1]


def _refuse_newer(clusters: Sequence[postgresql.Cluster], files: Sequence[disk.Files], app: str) -> None:
    """Whatever is live is newer than any backup of it."""
    names = {each.name: tuple(database["name"] for database in each.databases) for each in clusters}
    if app:
        names = {each.name: (database_of(each, app),) for each in clusters}
    found = [postgresql.live_content(each, names[each.name]) for each in clusters]
    found += [disk.live_content(each) for each in files]
    if lines := [line for line in found if line]:
        raise Refused("what is live is newer than the backup: " + "; ".join(lines),
                      "-e overwrite=true, or --overwrite, puts it away; scratch restores beside it")  # fmt: skip


def _refuse_unfit(clusters: Sequence[postgresql.Cluster], app: str) -> None:
    for cluster in clusters:
        database = _alone_database(cluster, app)
        if database and not postgresql.answers(cluster):
            raise Refused(f"{cluster.unit}: does not answer, and database {database} goes beside others of it",
                          "start it, or restore all of them: leave the app out")  # fmt: skip
        if not database and postgresql.tablespaces(cluster):
            raise Refused(f"{cluster.part}: has tablespaces, which no rename swaps", "restore to scratch, and dump it")
        if not database and postgresql.has_own_file_system(cluster):
            hint = f"mount that at {cluster.scratch.parent.parent}, or restore to scratch, and dump it"
            raise Refused(f"{cluster.part}: {cluster.data} is on a file system of its own, which no rename swaps", hint)


def _apps(clusters: Sequence[postgresql.Cluster], files: Sequence[disk.Files], app: str) -> list[str]:
    """The apps that a restore is about."""
    named = [entry["app"] for each in clusters for entry in each.databases] + [each.app for each in files]
    return [each for each in dict.fromkeys(named) if each and app in ("", each)]


def _restore(
    settings: Mapping[str, Any],
    plans: Sequence[tuple[postgresql.Cluster, postgresql.Plan]],
    copies: Sequence[tuple[disk.Files, disk.Plan]],
    options: argparse.Namespace,
) -> int:
    """All copies first: when one fails, nothing live has been touched."""
    live = not options.scratch
    parts = [part for part, _plan in (*plans, *copies)]
    restored = []
    try:
        for cluster, plan in plans:
            if postgresql.is_saved(cluster) and not postgresql.flush(cluster):
                say(f"{cluster.part}: the newest WAL has not come to the repository: what is in it will not come back")
            postgresql.to_scratch(cluster, plan, goes_live=live and not _alone_database(cluster, options.app))
        for files, copy in copies:
            restored.append((files, disk.to_scratch(files, copy)))
            if live:
                disk.require_room_to_load(*restored[-1])
        if not live:
            note(lambda state: state.update(scratch=time.time()))  # no drill takes it away
            _tell_scratch(plans, restored)
            return 0
        for cluster, plan in plans:
            _go_live(cluster, plan, options.app)
        is_whole = True
        for files, found in restored:
            lines, has_all = disk.go_live(files, found, overwrite=options.overwrite)
            is_whole = is_whole and has_all
            for line in lines:
                say(f"{files.part}: {line}")
    except BaseException:
        _discard(settings, parts)
        raise
    _discard(settings, parts)
    # What comes next begins with a backup of its own.
    subprocess.run(["systemctl", "start", "--no-block", "djangofleet-backup.service"], check=False)
    return 0 if is_whole else 1


def _alone_database(cluster: postgresql.Cluster, app: str) -> str:
    """The database that is to be brought back without its neighbours; empty where the whole cluster is."""
    database = database_of(cluster, app) if app else ""
    return database if database and postgresql.neighbours(cluster, database) else ""


def _go_live(cluster: postgresql.Cluster, plan: postgresql.Plan, app: str) -> None:
    if database := _alone_database(cluster, app):
        old = postgresql.load_one(cluster, database)
        say(f"{cluster.part}: database {database} is restored" + (f"; the one from before is {old}" if old else ""))
        return
    before = postgresql.swap(cluster, plan)
    say(f"{cluster.part}: is restored" + (f"; the data from before is {before}" if before else ""))


def _tell_scratch(
    plans: Sequence[tuple[postgresql.Cluster, Any]], restored: Sequence[tuple[disk.Files, Mapping[str, Any]]]
) -> None:
    for cluster, _plan in plans:
        print(f"{cluster.part}: runuser -u postgres -- psql -h {cluster.scratch_socket} -p {cluster.port}")
    for files, _found in restored:
        print(f"{files.part}: {files.scratch}")
    print("djangofleet-backup discard removes it")


def do_discard(settings: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Remove what a restore to scratch has left."""
    with alone():
        clusters, files = parts_of(settings)
        found = _discard(settings, (*clusters, *files))
    print(json.dumps({"changed": found}))
    return 0


def _discard(settings: Mapping[str, Any], parts: Sequence[postgresql.Cluster | disk.Files]) -> list[str]:
    """Remove the copies of these parts; returns which had one. When no part has one any more, drills run again."""
    found = [
        part.part for part in parts if (postgresql if isinstance(part, postgresql.Cluster) else disk).discard(part)
    ]
    clusters, files = parts_of(settings)
    if record().get("scratch") and not any(each.scratch.exists() for each in (*clusters, *files)):
        note(lambda state: state.pop("scratch", None))
    return found


@contextmanager
def closed(apps: Sequence[str]) -> Iterator[None]:
    """Show visitors of these apps the maintenance page. One that was closed before stays closed."""
    opened = []
    try:
        for app in apps:
            if os.path.exists(f"/etc/djangofleet/{app}/app.json") and os.path.exists(drill.DJANGOCTL):
                words = [drill.DJANGOCTL, app, "maintenance", "on", "--json"]
                said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
                if '"changed": true' in said:
                    opened.append(app)
        yield
    finally:
        for app in opened:
            subprocess.run([drill.DJANGOCTL, app, "maintenance", "off"], capture_output=True, check=False)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands and their options."""
    top = argparse.ArgumentParser(
        prog="djangofleet-backup",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, action: Callable[..., int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        return command

    add("has", do_has, "whether this host has backups, or those of an app").add_argument("app", nargs="?", default="")
    add("prepare", do_prepare, "make what the repository is to have")
    add("run", do_run, "take a backup now").add_argument("--full", action="store_true", help="a full one")
    add("drill", do_drill, "restore the newest backup to scratch, and ask it")
    add("status", do_status, "how the backups are").add_argument("--json", action="store_true")
    command = add("point", do_point, "mark the present in the WAL, for --to")
    command.add_argument("name")
    command.add_argument("--app", default="", help="of the cluster that this app's database is in")
    command = add("moment", do_moment, "when a restore point was taken")
    command.add_argument("name")
    command = add("restore", do_restore, "bring databases and files back")
    command.add_argument("--app", default="", help="one app, or a database or files by their own name; all by default")
    command.add_argument("--to", default="", help="a time with its zone, or a restore point; the newest by default")
    command.add_argument("--moment", default="", help="what --to means where it is a restore point of another host")
    command.add_argument("--scratch", action="store_true", help="beside what is live, which is not touched")
    command.add_argument("--overwrite", action="store_true", help="put away what is live, which is newer")
    command.add_argument("--dry-run", action="store_true", help="say what would be done, or why it would not")
    add("discard", do_discard, "remove what a restore to scratch has left")
    return top


def main(words: list[str]) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(words)
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # what has been put away comes back, and the sites are opened
    try:
        return options.action(config(), options)
    except BackupError as error:
        say(f"djangofleet-backup: {error}")
        return ABSENT if options.action is do_has else error.code
    except OSError as error:
        say(f"djangofleet-backup: {error.filename or ''}: {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        say("djangofleet-backup: interrupted")
        return 1


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
