"""Moves the rows of an app to another database: from SQLite to PostgreSQL, or from one PostgreSQL to another.

The configuration that names the new database lies beside the app's own until the rows are there. All steps run in the
live release, as the app's user: those that read with the configuration that is live, those that write with the new one.

Visitors see the maintenance page from before the last row is read until the app is live on the new database. Nobody
writes to the old one meanwhile: the lock of a SQLite file is held, and a PostgreSQL database is made read-only. Until
the app is live on the new database, a failure leaves it on the old one, and the next run begins anew.

A move that is killed leaves a note. The next run brings it to an end where the app is live by then: on the new
database, or on the old one, from where it begins anew unless that is the one that the inventory means again.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from . import atomic, pages, swap, workers
from . import release as releases
from .app import App, load
from .errors import ConfigError, CtlError, MoveError
from .fleet import Claim
from .release import Release, read_json, write_json
from .systemd import Systemd

TRANSFER = Path(__file__).with_name("transfer.py")
MARK = "djangofleet-transfer: "
LOG_LINES = 25
ADAPTER = "the live release lacks psycopg: add it to the requirements, deploy that on the old database, and move then"
DUMP = "data/.move.dump"
MESSAGE = "We are moving house and will be back soon."


class Side:
    """The live release with one of the two configurations."""

    def __init__(self, app: App, release: Release, system: Systemd) -> None:
        self.app, self.release, self.system = app, release, system

    def words(self, step: str, given: dict) -> list[str]:
        return ["python", str(TRANSFER), self.release.application, step, json.dumps(given)]

    def ask(self, step: str, **given: object) -> dict:
        """The answer of a step.

        :raises MoveError: it was refused, or failed.
        """
        result = self.system.manage(self.app, self.release.id, self.words(step, given), purpose="move")
        lines = (result.stdout or "").splitlines()
        found = [line for line in lines if line.startswith(MARK)]
        if result.returncode != 0 or not found:
            raise self.failed(f"step {step} failed", lines)
        return self.checked(found[-1])

    def checked(self, line: str) -> dict:
        """An answer.

        :raises MoveError: it is a refusal.
        """
        answer = json.loads(line.removeprefix(MARK))
        if "problem" in answer:
            raise self.failed(answer["problem"], [])
        return answer

    def failed(self, message: str, lines: list[str]) -> MoveError:
        log = "\n".join(lines[-LOG_LINES:])
        return MoveError(f"{self.app.name}: {message}", log=log, hint=ADAPTER if "psycopg" in log else "")

    @contextmanager
    def held(self, step: str, **given: object) -> Iterator[tuple[dict, Callable[[str], dict]]]:
        """The first answer of a step that goes on until it is told how to end.

        :returns: the answer, and what says the word and gives the last answer.
        """
        heard, said = os.pipe()
        told, order = os.pipe()

        def run() -> None:
            try:
                words = self.words(step, given)
                self.system.manage(self.app, self.release.id, words, purpose="move", output=said, stdin=told)
            finally:
                os.close(said)
                os.close(told)

        thread = threading.Thread(target=run)
        thread.start()
        with open(heard, errors="replace") as lines, open(order, "w") as orders:
            try:
                yield self._answer(step, lines), lambda word: self._told(step, lines, orders, word)
            finally:
                with suppress(OSError):  # it has ended by itself
                    orders.close()
                for _rest in lines:
                    pass
                thread.join()

    def _answer(self, step: str, lines: Iterator[str]) -> dict:
        seen = []
        for line in lines:
            seen.append(line.rstrip())
            if line.startswith(MARK):
                return self.checked(line)
        raise self.failed(f"step {step} failed", seen)

    def _told(self, step: str, lines: Iterator[str], orders, word: str) -> dict:
        orders.write(f"{word}\n")
        orders.flush()
        return self._answer(step, lines)


def move(
    app: App, system: Systemd, *, leave: Sequence[str] = (), dry_run: bool = False, only: str | None = None
) -> dict:
    """Move the rows of an app to the database of its new configuration, and go over to it.

    :param app: as the new configuration has it, which lies beside the app's own.
    :param leave: patterns of tables, and of columns as table.column, that stay behind.
    :param only: "rehearsal", which copies the rows while the app serves as before, or "move", which goes without.
    :returns: the rows of each table, the seconds that visitors saw the maintenance page, and what is kept.
    :raises MoveError: it was refused or failed. The app is live on the database that it had.
    """
    identity = releases.live_id(app)
    if not identity or not app.pinned.exists():
        raise ConfigError(f"{app.name}: nothing is live, so that there are no rows to move", hint="run site.yml")
    release = releases.read(app, identity)
    _take_secret(app)
    old, new = Side(load(app.name, config=app.pinned.resolve()), release, system), Side(app, release, system)
    with explained(app):
        source = old.ask("place")
        if source["vendor"] not in WAYS:
            raise MoveError(f"{app.name}: rows of {source['vendor']} cannot be moved")
        given = {**source, "leave": [*leave]}
        broken_off = read_json(_note(app))
        is_over = broken_off and source["place"] == new.ask("place")["place"]
        if broken_off and not dry_run and not (is_over and only == "rehearsal"):
            system.end_interrupted(app, "move")  # it holds the lock of the file
            ended = _end(new if is_over else old, source["vendor"], broken_off)
        if is_over:
            return {"changed": True} if dry_run or only == "rehearsal" else ended
        if dry_run:
            answer = new.ask("look", **given) if source["vendor"] == "sqlite" else old.ask("count")
            return _summary(app, source, answer["tables"])
        system.end_interrupted(app, "move")
        rehearse, go = WAYS[source["vendor"]]
        if only != "move":
            rehearse(app, old, new, given)
        if only == "rehearsal":
            return {"changed": False}
        try:
            return go(app, old, new, given)
        except BaseException:
            if _is_back(app):  # and all is as it was
                _note(app).unlink(missing_ok=True)
            raise


def _note(app: App) -> Path:
    """What a move leaves that is killed: whether the maintenance page was there before, and where the rows are from."""
    return app.pinned.with_name("move.json")


def _end(live: Side, vendor: str, broken_off: dict) -> dict:
    """Bring a move that was killed to its end, on the database that is live."""
    app, source = live.app, broken_off["source"]
    if not (app.config / "secret").exists():  # an older djangoctl has pinned what is live
        _take_secret(app)
    with paused(app, live.system, source) as pause:
        if vendor == "postgresql":
            live.ask("unfence")
            live.ask("unclaim")
        late, kept = _go_over(app, live), source["name"]
        workers.restart(load(app.name, pinned=True), live.system)  # nothing was pending, where it was killed early
        if vendor != source["vendor"]:
            kept = live.ask("retire", name=kept)["kept"]
    _remove_dump(app)
    _note(app).unlink()
    if late:
        raise late
    done = {"release": live.release.id, "changed": True, "from": source["vendor"], "rows": 0, "ended": True}
    return {**done, "maintenance_seconds": pause.seconds, "kept": kept}


@contextmanager
def explained(app: App) -> Iterator[None]:
    """Says of a failure what is live after it, and what to do."""
    try:
        yield
    except MoveError as error:
        which = "the database that it had" if _is_back(app) else "the new database"
        error.state = error.state or f"the app is live on {which}: release {releases.live_id(app)}"
        error.hint = error.hint or "mend it and run the playbook again, which begins anew"
        raise


def _rehearse_sqlite(app: App, old: Side, new: Side, given: dict) -> None:
    new.ask("look", **given)
    new.ask("claim")
    _make_tables(new)
    new.ask("rows", **given, rehearse=True)


def _rehearse_postgresql(app: App, old: Side, new: Side, given: dict) -> None:
    new.ask("claim", extensions=given["extensions"], version=given["version"])
    _restored(app, old, new)


def _from_sqlite(app: App, old: Side, new: Side, given: dict) -> dict:
    with paused(app, new.system, given) as pause, new.held("rows", **given, rehearse=False) as (answer, tell):
        late = _go_over(app, new)
        new.system.end(app, "manage")  # one that waits for the lock would write to the old file
        kept = given["name"]
        with suppress(MoveError):  # the app has gone over, whatever the file is called
            kept = tell("retire")["kept"]
    _settle(app, new, late)
    return {**_summary(app, given, answer["tables"]), "maintenance_seconds": pause.seconds, "kept": kept}


def _from_postgresql(app: App, old: Side, new: Side, given: dict) -> dict:
    with paused(app, new.system, given) as pause, _fenced(app, old):
        tables, found = _restored(app, old, new)
        if tables != found:
            names = sorted(name for name in tables | found if tables.get(name) != found.get(name))
            lines = [f"{name}: {tables.get(name, 0)} rows, {found.get(name, 0)} copied" for name in names]
            raise new.failed("\n".join(lines), [])
        late = _go_over(app, new)
    _settle(app, new, late)
    kept = f"database {given['name']} on {given['host'] or 'this host'}, read-only"
    return {**_summary(app, given, tables), "maintenance_seconds": pause.seconds, "kept": kept}


# By the engine of the old database: what is tried while visitors are served, and the move.
WAYS = {
    "sqlite": (_rehearse_sqlite, _from_sqlite),
    "postgresql": (_rehearse_postgresql, _from_postgresql),
}


@contextmanager
def _fenced(app: App, old: Side) -> Iterator[None]:
    """Nobody writes to the old database; if the app does not go over, it does again."""
    try:
        old.ask("fence")
        yield
    except BaseException:
        if _is_back(app):
            old.ask("unfence")
        raise


def _restored(app: App, old: Side, new: Side) -> tuple[dict[str, int], dict[str, int]]:
    """Bring all of the old database to the new one; returns the rows of each table there and here."""
    file = str(app.root / DUMP)
    try:
        return old.ask("dump", file=file)["tables"], new.ask("restore", file=file)["tables"]
    finally:
        _remove_dump(app)


def _remove_dump(app: App) -> None:
    for path in app.root.glob(f"{DUMP}*"):
        path.unlink()


def _settle(app: App, new: Side, late: CtlError | None) -> None:
    """Take the mark off the new database. What failed after the app had gone over is told last."""
    new.ask("unclaim")
    _note(app).unlink()
    if late:
        raise late


def _make_tables(new: Side) -> None:
    """Migrate the new database to the live release. Hooks do not run: their rows come from the old one."""
    words = ["manage.py", "migrate", "--noinput", "--no-color"]
    result = new.system.manage(new.app, new.release.id, words, purpose="migrate")
    if result.returncode != 0:
        raise new.failed("the tables could not be made in the new database", (result.stdout or "").splitlines())


def _go_over(app: App, new: Side) -> CtlError | None:
    """Put the live release live with the new configuration, which becomes the app's own.

    :returns: what failed when it was live there, such as a hook.
    :raises MoveError: it did not start there. What was live is live again.
    """
    late = None
    try:
        swap.activate(app, new.release, new.system, allow_schema_ahead=True, claim=Claim(is_choice=False))
    except CtlError as error:
        if _is_back(app):
            raise MoveError(f"on the new database: {error.message}", log=error.log) from error
        late = error
    _keep_configuration(app)
    return late


def _is_back(app: App) -> bool:
    """Whether the configuration that is live is still, or again, the one before the move."""
    return (app.pinned / "env").read_bytes() != (app.config / "env").read_bytes()


def _keep_configuration(app: App) -> None:
    """Write the app's own configuration: all but its secrets, which were taken from there."""
    for name, text in swap.configuration_files(app).items():
        if name == "secret":
            continue
        path = app.pinned.parent / name
        seen = path.stat() if path.exists() else None
        mode, owner = (stat.S_IMODE(seen.st_mode), (seen.st_uid, seen.st_gid)) if seen else (0o644, (0, 0))
        atomic.write(path, text, mode=mode, owner=owner)


def _take_secret(app: App) -> None:
    """What the host has made itself belongs to the configuration too, as it is now: a killed move leaves what was."""
    made, taken = app.pinned.with_name("secret"), app.config / "secret"
    if made.exists():
        atomic.write(taken, made.read_bytes(), mode=0o600)
    else:
        taken.unlink(missing_ok=True)


class Pause:
    """How long the maintenance page is shown, in seconds."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.seconds = 0.0

    def end(self) -> None:
        self.seconds = round(time.monotonic() - self.began, 1)


@contextmanager
def paused(app: App, system: Systemd, source: dict) -> Iterator[Pause]:
    """Shows the maintenance page, stops processes and timers, and ends what `manage` runs.

    Page, processes and timers are afterwards as they were before.

    :param source: where the rows are from, for the note.
    """
    was_shown = read_json(_note(app)).get("maintenance", app.maintenance.exists())
    write_json(_note(app), {"maintenance": was_shown, "source": source})
    pause = Pause()
    try:
        if not was_shown:
            atomic.write(app.maintenance, pages.maintenance_page(app, MESSAGE))
        workers.stop(load(app.name, pinned=True), system)
        system.end(app, "manage")
        yield pause
    except BaseException:
        workers.restart(load(app.name, pinned=True), system)
        raise
    finally:
        if not was_shown:
            app.maintenance.unlink(missing_ok=True)
        pause.end()


def _summary(app: App, source: dict, tables: dict[str, int]) -> dict:
    return {
        "release": releases.live_id(app),
        "changed": True,
        "from": source["vendor"],
        "tables": tables,
        "rows": sum(tables.values()),
    }
