"""SQLite databases and files of apps: copies of databases, each of one moment, and increments of files, by restic."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .asapp import family, walk
from .core import CONFIG, STATE, BackupError, Refused, record, require_room, run, say, shown, stamp
from .history import choose

STEPS = Path(__file__).with_name("asapp.py")
PATIENCE = 3600  # seconds that a step of the app's user may take


@dataclass(frozen=True)
class Files:
    """What an app has on the disk.

    :param user: its owner.
    :param data: what the app keeps for itself; empty for none. All that looks like a database there must be one.
    :param trees: further directories, such as uploads.
    :param assertion: SQL for the first database that knows its tables, whose answer must be true; empty for none.
    """

    name: str
    app: str
    user: str
    data: str
    trees: tuple[str, ...]
    assertion: str = ""

    @property
    def part(self) -> str:
        return f"files of {self.name}"

    @property
    def places(self) -> tuple[str, ...]:
        """All directories that are saved, the data first."""
        return tuple(str(Path(path)) for path in (self.data, *self.trees) if path)

    @property
    def staging(self) -> Path:
        """Where the copies of the databases lie while restic saves them."""
        return STATE / "staging" / self.name

    def staged(self, place: str) -> Path:
        """Where the copies of a directory's databases lie. Only root makes or changes what is above it."""
        is_data = self.data and place == self.places[0]
        return self.staging / "data" if is_data else self.staging / "trees" / quote(place, safe="")

    @property
    def scratch(self) -> Path:
        """Where a restore lies before any of it is live: beside what it replaces, where nobody but root writes."""
        return next(path for path in Path(self.places[0]).parents if _is_roots(path)) / f".restore-{self.name}"


def _is_roots(path: Path) -> bool:
    """Whether only root can put anything into a directory."""
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_uid == 0 and not found.st_mode & 0o022


def of(settings: Mapping[str, Any]) -> list[Files]:
    """The files of the configuration."""
    return [
        Files(each["name"], each["app"], each["user"], each["data"], tuple(each["trees"]), each["assertion"])
        for each in settings["files"]
    ]


def restic(*words: str, before: Sequence[str] = ()) -> str:
    """Ask restic. The passphrase and the keys of the store are in a file that only root reads.

    :param before: a program that runs it.
    """
    lines = (CONFIG / "restic.env").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    own = {"RESTIC_CACHE_DIR": str(STATE / "cache"), "TZ": "UTC"}
    # What the restic of Debian 12 takes by an option alone
    options = {"SFTP_COMMAND": ("-o", "sftp.command={}"), "RESTIC_CACERT": ("--cacert", "{}")}
    first = [
        word.format(environment[name]) for name, option in options.items() if name in environment for word in option
    ]
    return run([*before, "restic", "--quiet", *first, *words], environment={**environment, **own})


def as_owner(files: Files, *words: str, given: str = "") -> str:
    """Run a step of asapp.py as who owns the files."""
    return run([sys.executable, "-I", str(STEPS), *words], user=files.user, given=given, timeout=PATIENCE)


def _remove(path: Path) -> None:
    """Remove a directory. An app may have nested others in it, more deeply than Python follows."""
    run(["rm", "-rf", "--one-file-system", "--", str(path)])


def prepare() -> None:
    """Make the repository, unless it is there.

    :raises BackupError: it is there, and the passphrase does not open it.
    """
    try:
        restic("cat", "config")
    except BackupError as error:
        if "wrong password" in error.message or "no key found" in error.message:
            raise BackupError(f"backup_passphrase: does not open the repository: {error.message}",
                              "give the one that it was made with") from None  # fmt: skip
        restic("init")


def snapshots(files: Files) -> list[dict[str, Any]]:
    """The snapshots of an app's files, oldest first: `label`, `stop`."""
    found = json.loads(restic("snapshots", "--json", "--tag", f"part={files.name}") or "[]") or []
    return sorted(
        (
            {"label": each["short_id"], "stop": datetime.fromisoformat(_microseconds(each["time"])).timestamp()}
            for each in found
        ),
        key=lambda each: each["stop"],
    )


def _microseconds(text: str) -> str:
    """A time of restic, whose nanoseconds Python does not read."""
    head, dot, tail = text.partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}" if dot else text


def back_up(files: Files) -> dict[str, Any]:
    """Save an app's files: `label`, `stop`, `size` in bytes and `count` of files.

    :raises BackupError: a directory is not there, such as one of a disk that is not mounted.
    """
    for path in files.places:
        if os.path.islink(path):
            raise BackupError(f"{path}: is a link, of which nothing but the link would be saved",
                              f"give the directory that it leads to, {os.path.realpath(path)}, "
                              "or mount that there instead of the link")  # fmt: skip
        if not os.path.isdir(path):
            raise BackupError(f"{path}: is not there", "bring it back, or take it out of backup_files")
    _remove(files.staging)
    try:
        return _snapshot(files, _stage(files))
    finally:
        _remove(files.staging)


def _stage(files: Files) -> list[Path]:
    """Copy all databases. Returns the live ones, with their logs, of which restic is to save the copies instead."""
    files.staging.mkdir(parents=True, mode=0o711)
    (files.staging / "trees").mkdir()
    for own in {files.staging / "data", *map(files.staged, files.places)}:  # `data` tells a restore who the owner was
        own.mkdir(mode=0o700)
        shutil.chown(own, files.user, files.user)
    there = {place: databases_of(files, place) for place in files.places}
    require_room(files.staging, sum(sum(found.values()) for found in there.values()), "copies of the databases take")
    live = []
    for place, found in there.items():
        names = json.dumps(list(found))
        done = json.loads(as_owner(files, "stage", place, str(files.staged(place)), given=names))
        live += [path for name in done["copied"] for path in family(Path(place, name))]
        for name, error in done["spoiled"].items():
            if files.data and place == files.places[0]:
                raise BackupError(f"{place}/{name}: cannot be read as a database: {error}",
                                  "mend it, bring an older one back, or take it away from there")  # fmt: skip
            # A user of the app may have put it there: it keeps no other file from being saved.
            say(f"{files.part}: {place}/{name} is saved as a file, since it cannot be read as a database: {error}")
    return live


def _snapshot(files: Files, copied: Sequence[Path]) -> dict[str, Any]:
    began = int(time.time())
    excluded = files.staging / "excluded"
    excluded.write_bytes(b"".join(os.fsencode(f"{line}\n") for line in patterns(copied)))
    words = (
        "--tag",
        f"part={files.name}",
        "--host",
        "djangofleet",
        "--time",
        f"{datetime.fromtimestamp(began, UTC):%F %T}",
        "--exclude-file",
        str(excluded),
    )
    # With 3 it tells that it has saved all but some files, and names them.
    lenient = ("sh", "-c", '"$@" 2>&1 || [ $? = 3 ]', "restic")
    own = (str(files.staging / "data"), str(files.staging / "trees"))
    try:
        said = restic("backup", "--json", *words, *own, *files.places, before=lenient)
    except BackupError as error:
        raise BackupError(error.message.replace("sh: ", "restic: ", 1), error.heals) from None
    told = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    done = next(each for each in reversed(told) if each["message_type"] == "summary")
    unread = [each["item"] for each in told if each["message_type"] == "error" and each.get("during") == "archival"]
    # Most are files of a moment, which have gone since. What is in no UTF-8 it does not name as it is.
    unread = [path for path in unread if os.path.lexists(path) or "\ufffd" in path]
    if unread:
        raise BackupError(f"{unread[0]}: could not be read, nor {len(unread) - 1} others", "look at the disk: dmesg")
    count, size = done["total_files_processed"], done["total_bytes_processed"]
    return {"label": done["snapshot_id"][:8], "stop": began, "size": size, "count": count}


def patterns(paths: Sequence[Path]) -> list[str]:
    """Lines of restic's --exclude-file, each of which means one path.

    A name that no line can tell is left out: then the database is saved as it lies there, too, and `assemble` drops it.
    """
    lines = [re.sub(r"([\\*?\[\]])", r"\\\1", str(path)).replace("$", "$$") for path in paths]
    return [line for line in lines if line == line.strip() and "\n" not in line]


def forget(days: int) -> None:
    """Remove snapshots that are older than the retention. The newest of a part stays."""
    words = ("forget", "--prune", "--group-by", "tags", "--keep-last", "1", "--keep-within", f"{days}d")
    try:
        restic(*words)
    except BackupError as error:
        if "locked" not in error.message:
            raise
        restic("unlock")  # a restic that was killed has left it: no other host works on this repository
        restic(*words)


@dataclass(frozen=True)
class Plan:
    """Which snapshot is restored."""

    backup: str
    moment: float
    size: int


def plan(files: Files, moment: float) -> Plan:
    """The newest snapshot up to a moment.

    :raises Refused: there is none.
    """
    there = snapshots(files)
    found = choose(there, [], moment)
    if not found:
        oldest = f"the oldest backup is of {shown(there[0]['stop'])}" if there else "there is no backup"
        raise Refused(f"{files.part}: nothing leads to {shown(moment)}: {oldest}", "give a later time")
    newest = record().get("parts", {}).get(files.part, {}).get("backup") or {}
    if newest.get("label") == found["label"]:
        return Plan(found["label"], found["stop"], newest["size"])
    size = json.loads(restic("stats", "--json", "--mode", "restore-size", found["label"]))["total_size"]
    return Plan(found["label"], found["stop"], size)


def live_content(files: Files) -> str:
    """What a restore would replace; empty where nothing is."""
    found = {place: int(as_owner(files, "count", place)) for place in files.places if os.path.isdir(place)}
    return "; ".join(f"{tree} has {count} files" for tree, count in found.items() if count)


def to_scratch(files: Files, plan: Plan) -> dict[str, Any]:
    """Restore into the scratch.

    :returns: `trees`, the copy of each directory that is there, with its databases; the staged `databases`; `links`,
        the directories of which the backup has but a link; the `count` of files.
    """
    discard(files)
    files.scratch.mkdir(mode=0o700)  # nobody is in it before it is whole
    require_room(files.scratch, plan.size)
    say(f"{files.part}: restoring backup {plan.backup} to {files.scratch}")
    restic("restore", plan.backup, "--target", str(files.scratch))
    count = sum(entry.is_file(follow_symlinks=False) for entry in walk(files.scratch))  # restic counts no links
    staged = {place: _below(files.scratch, files.staged(place)) for place in files.places}
    copies = {place: _below(files.scratch, place) for place in files.places}
    links = [place for place, copy in copies.items() if copy.is_symlink()]
    for link in links:
        say(f"{files.part}: of {link} the backup has a link, and nothing that is in it")
    there = {path for path in (*staged.values(), *copies.values()) if _is_inside(files, path)}
    _adopt(files, there)
    _open_way(files, there)
    databases = []
    for place in files.places:
        if staged[place] not in there or place in links:
            continue
        names = databases_of(files, staged[place])
        if copies[place] in there:
            as_owner(files, "assemble", str(staged[place]), str(copies[place]))
        else:  # an older backup, for which all of `data` was staged
            copies[place] = staged[place]
            there.add(copies[place])
        databases += [copies[place] / name for name in names]
    trees = {place: copy for place, copy in copies.items() if copy in there}
    return {"trees": trees, "databases": databases, "links": links, "count": count}


def _below(directory: Path, path: str | Path) -> Path:
    return directory / str(path).lstrip("/")


def _is_inside(files: Files, path: Path) -> bool:
    """Whether a copy is a directory of the scratch, and no link leads out of it to what is live."""
    return path.is_dir() and path.resolve() == files.scratch.resolve() / path.relative_to(files.scratch)


def _adopt(files: Files, copies: Iterable[Path]) -> None:
    """Give the copy to who owns the files on this host: on the one that it comes from, the user had another number.

    So the user gets what they could not read, or move to where it belongs, such as uploads that somebody else has
    brought. All of this is before anybody else comes into the scratch: no path means another file at the next step.
    """
    user = pwd.getpwnam(files.user)
    was = _below(files.scratch, files.staging / "data").stat()
    if (was.st_uid, was.st_gid) != (user.pw_uid, user.pw_gid):
        for entry in walk(files.scratch):
            found = os.lstat(entry.path)
            uid = user.pw_uid if found.st_uid == was.st_uid else -1
            os.lchown(entry.path, uid, user.pw_gid if found.st_gid == was.st_gid else -1)
            if not entry.is_symlink():
                os.chmod(entry.path, found.st_mode & 0o7777)  # another owner takes setgid off
    for copy in copies:
        for path in (str(copy), *(entry.path for entry in walk(copy))):
            _make_movable(path, user)


def _make_movable(path: str, user: pwd.struct_passwd) -> None:
    """Let a user read a file, or take files out of a directory."""
    found = os.lstat(path)
    is_directory, is_own = stat.S_ISDIR(found.st_mode), found.st_uid == user.pw_uid
    if not (is_directory or stat.S_ISREG(found.st_mode)):
        return
    needed = 0o7 if is_directory else 0o4
    shift = 6 if is_own else 3 if found.st_gid == user.pw_gid else 0
    is_sticky = is_directory and found.st_mode & stat.S_ISVTX and not is_own  # only its owner moves files of others
    if (found.st_mode >> shift) & needed == needed and not is_sticky:
        return
    os.lchown(path, user.pw_uid, -1)
    # What somebody else has made does not run as the user.
    os.chmod(path, found.st_mode & (0o7777 if is_directory or is_own else 0o777) | needed << 6)


def _open_way(files: Files, copies: Iterable[Path]) -> None:
    """Let the owner of the files, and nobody else, through the directories above the copies."""
    user = pwd.getpwnam(files.user)
    for path in {parent for copy in copies for parent in copy.parents if files.scratch in parent.parents}:
        if path.lstat().st_uid != user.pw_uid:
            os.lchown(path, 0, 0)
            path.chmod(0o711)
    shutil.chown(files.scratch, "root", files.user)
    files.scratch.chmod(0o710)


def databases_of(files: Files, tree: str | Path) -> dict[str, int]:
    """The SQLite databases below a directory, with their sizes. What the owner can change only the owner looks at."""
    return json.loads(as_owner(files, "databases", str(tree)))


def go_live(files: Files, restored: Mapping[str, Any], *, overwrite: bool) -> tuple[list[str], bool]:
    """Bring the scratch to where it belongs; returns what was done, and whether all has come back.

    A database in use gets the content in one transaction. A file that is there stays, unless it is another one and may
    be overwritten; a file that was added since stays in any case.
    """
    databases = _databases(files, restored)
    kept = files.scratch.with_name(f".before-{files.name}-{stamp(time.time())}")
    kept.mkdir(mode=0o700)
    shutil.chown(kept, files.user, files.user)
    done, is_whole = [], True
    for place, names in databases.items():
        words = ("load", str(restored["trees"][place]), place, str(_below(kept, place)))
        loaded = json.loads(as_owner(files, *words, given=json.dumps(list(names))))
        done += [f"{place}/{name} is restored" for name in loaded]
    for place, copy in restored["trees"].items():
        words = ("merge", str(copy), place, str(_below(kept, place)), "true" if overwrite else "false")
        counts = json.loads(as_owner(files, *words))
        barred = counts.pop("barred", [])
        done.append(f"{place}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
        if barred:
            is_whole = False
            done.append(
                f"{place}: {len(barred)} files are NOT restored, such as {barred[0]}: {files.user} may not write there."
                f" They lie in {_below(kept, place)}.not-restored; chown -R {files.user} {place}, and restore again"
            )
    with suppress(OSError):
        kept.rmdir()
    if kept.exists():
        done.append(f"what was replaced is kept in {kept}")
    return done, is_whole


def _databases(files: Files, restored: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """The SQLite databases of a copy by the tree that they belong to, with their sizes."""
    return {place: databases_of(files, copy) for place, copy in restored["trees"].items()}


def require_room_to_load(files: Files, restored: Mapping[str, Any]) -> None:
    """Refuse before anything changes: a database is kept, written to its log, and grows to what the copy is."""
    kept = files.scratch.parent
    needed: dict[int, list[Any]] = {}
    for place, names in _databases(files, restored).items():
        above = next(path for path in (Path(place), *Path(place).parents) if path.is_dir())
        for name, new in names.items():
            old = sum(path.lstat().st_size for path in family(Path(place, name)) if os.path.lexists(path))
            for where, size in ((kept, old), (above, 2 * max(old, new) - old)):
                needed.setdefault(where.stat().st_dev, [where, 0])[1] += size
    for where, size in needed.values():
        require_room(where, size)


def discard(files: Files) -> bool:
    """Remove the scratch. Returns whether there was one."""
    if not files.scratch.exists():
        return False
    _remove(files.scratch)
    return True


def check(files: Files, database: Path) -> dict[str, Any]:
    """Whether a restored database is whole, and what the assertion answers."""
    found = json.loads(as_owner(files, "check", str(database), files.assertion))
    if found["whole"] != "ok":
        place = database.relative_to(files.scratch)
        raise BackupError(f"/{place}: is damaged: {found['whole']}", "look at the live one: sqlite3 FILE .recover")
    return found
