"""The steps that touch what an app owns. They run as the app's user: a link that the app has put there leads nowhere
that it could not go itself.

Usage: asapp.py databases <tree> | stage <tree> <target> | assemble <staged> <copy> | load <copy> <tree> <kept> |
merge <copy> <tree> <kept> <overwrite> | check <database> <query> | count <tree>. `stage` and `load` read the names of
the databases from their standard input. It imports nothing of the package.
"""

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import takewhile
from pathlib import Path

MAGIC = b"SQLite format 3\0"
PAGE = 512  # bytes, of which each page of a database is a multiple
PATIENCE = 60  # seconds to wait for who writes to the database
COMPANIONS = ("-wal", "-shm", "-journal")
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Or one that the app's user may not lock, so that the app cannot have it in use
SPOILED = (*DAMAGED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


# What is there


def walk(tree: Path) -> Iterator[os.DirEntry[str]]:
    """What is below a directory, by name. No link is followed, and no depth is too deep.

    A directory that may not be read, or has gone since, has nothing.
    """
    ahead = [str(tree)]
    while ahead:
        entries: list[os.DirEntry[str]] = []
        with suppress(PermissionError, FileNotFoundError, NotADirectoryError), os.scandir(ahead.pop()) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                ahead.append(entry.path)


def files_of(tree: Path) -> Iterator[Path]:
    """The files and links below a directory, by their relative paths."""
    for entry in walk(tree):
        if entry.is_symlink() or entry.is_file(follow_symlinks=False):
            yield Path(entry.path).relative_to(tree)


def count_of(tree: Path) -> int:
    return sum(1 for name in files_of(tree))


def is_sqlite(path: Path) -> bool:
    """Whether a file looks like a database. Of others, such as uploads, hardly any is opened for it."""
    with suppress(OSError):  # what it means to restic is for restic to say
        if path.is_symlink() or not path.is_file() or path.stat().st_size % PAGE:
            return False
        with path.open("rb") as handle:
            return handle.read(len(MAGIC)) == MAGIC
    return False


def databases_of(tree: Path) -> dict[str, int]:
    """The databases below a directory, by their relative paths: how many bytes each has, with its log."""
    found = sorted(name for name in files_of(tree) if is_sqlite(tree / name))
    return {str(name): sum(_size(path) for path in family(tree / name)) for name in found}


def family(database: Path) -> list[Path]:
    """A database and the files that SQLite may keep beside it."""
    return [database.with_name(database.name + end) for end in ("", *COMPANIONS)]


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0


# Copies


def copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite database by its online backup: whoever reads or writes it goes on, and the copy is of one moment.

    As a target, a database in use gets the new content in one transaction. A source that has gone is not made anew.
    """
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True, timeout=PATIENCE)) as old,
        closing(sqlite3.connect(target, timeout=PATIENCE)) as new,
    ):
        old.backup(new)


def is_one_of(error: sqlite3.Error, codes: Sequence[int]) -> bool:
    """Whether this is what SQLite has said. A full disk is a DatabaseError, too."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in codes


def stage(tree: Path, target: Path, names: Sequence[str]) -> dict:
    """Copy databases of a tree.

    :returns: those that were `copied`, and why others, which look like a database, cannot be read as one: `spoiled`.
    """
    copied, spoiled = [], {}
    for name in names:
        live, copy = tree / name, target / name
        make(copy.parent)
        try:
            copy_database(live, copy)
            shutil.copymode(live, copy)
        except (sqlite3.DatabaseError, FileNotFoundError) as error:
            remove(copy)
            if not os.path.lexists(live):  # it has gone since
                continue
            if not (isinstance(error, sqlite3.Error) and is_one_of(error, SPOILED)):
                error.add_note(str(live))
                raise
            spoiled[name] = str(error)
        else:
            copied.append(name)
    return {"copied": copied, "spoiled": spoiled}


def make(directory: Path) -> None:
    """Make a directory and those above it, of which there may be more than Python can make by itself."""
    missing = takewhile(lambda path: not os.path.lexists(path), (directory, *directory.parents))
    for path in reversed(list(missing)):
        path.mkdir(exist_ok=True)


def remove(database: Path) -> None:
    for path in family(database):
        path.unlink(missing_ok=True)


def put_away(path: Path, kept: Path) -> None:
    make(kept.parent)
    shutil.move(path, kept)  # across file systems, too


def put_away_database(database: Path, kept: Path) -> None:
    """With its log, which would spoil the file that comes in its place."""
    for path, other in zip(family(database), family(kept), strict=True):
        if os.path.lexists(path):
            put_away(path, other)


def assemble(staged: Path, copy: Path) -> None:
    """Move staged databases into the copy of the tree that they come from."""
    for name in list(files_of(staged)):
        remove(copy / name)  # as it lay in use there, if its name could not be excluded
        make((copy / name).parent)
        os.rename(staged / name, copy / name)


# The way back


def load(copy: Path, database: Path, kept: Path) -> bool:
    """Move the content of a copy into a database in use, and keep what it had.

    :returns: whether it was done. If not, the copy is like any other file, for `merge`.
    """
    if not (can_be_read(copy) and can_take(database)):
        return False
    is_new = not database.exists()
    if not is_new:
        make(kept.parent)
        try:
            copy_database(database, kept)
        except sqlite3.DatabaseError as error:
            remove(kept)
            if not is_one_of(error, DAMAGED):  # a disk is full, say: what is live goes on
                raise
            put_away_database(database, kept)  # nothing can be put into it either
    make(database.parent)
    copy_database(copy, database)
    if is_new:
        shutil.copymode(copy, database)
    remove(copy)
    return True


def load_all(copy: Path, tree: Path, kept: Path, names: Sequence[str]) -> list[str]:
    """Load databases of a copy into a tree; returns those that were."""
    done = []
    for name in names:
        try:
            if load(copy / name, tree / name, kept / name):
                done.append(name)
        except sqlite3.Error as error:
            error.add_note(str(tree / name))
            raise
    return done


def can_be_read(copy: Path) -> bool:
    """Whether a file that looks like a database is one."""
    try:
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.DatabaseError as error:
        if not is_one_of(error, DAMAGED):
            raise
        return False
    return True


def can_take(database: Path) -> bool:
    """Whether a database can be written where it is, and its log beside it."""
    above = next(path for path in database.parents if os.path.lexists(path))
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        return False
    return not os.path.lexists(database) or (database.is_file() and os.access(database, os.R_OK | os.W_OK))


def merge(copy: Path, tree: Path, kept: Path, overwrite: bool) -> dict:
    """Move files of a copy into a tree. What is only in the tree stays, and what is replaced is kept.

    What may not be put there, such as into a directory of another user, is put beside what is kept: `barred`.
    """
    done = {"restored": 0, "replaced": 0, "left": 0}
    barred = []
    for name in files_of(copy):
        source, target = copy / name, tree / name
        try:
            if os.path.lexists(target):
                new, old = source.lstat(), target.lstat()
                if (new.st_size, int(new.st_mtime)) == (old.st_size, int(old.st_mtime)) or not overwrite:
                    done["left"] += 1
                    continue
            # Where the copy has a directory there may be a file by now.
            for part in (*reversed(name.parents[:-1]), name):
                each = tree / part
                if os.path.lexists(each) and (part == name or not each.is_dir()):
                    (put_away_database if is_sqlite(each) else put_away)(each, kept / part)
                    done["replaced"] += 1
            make(target.parent)
            shutil.move(source, target)
            done["restored"] += 1
        except PermissionError:
            put_away(source, kept.with_name(f"{kept.name}.not-restored") / name)
            barred.append(str(target))
    return {**done, "barred": barred} if barred else done


def check(database: Path, query: str) -> dict:
    """Whether a database is whole, and what a query answers in the first column of its first row.

    `error` is why it does not answer, such as a table that another database has.
    """
    found = {"whole": "", "tables": 0, "answer": None}
    with closing(sqlite3.connect(database)) as connection:
        try:
            found["whole"] = connection.execute("PRAGMA integrity_check").fetchone()[0]
            tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
            found["tables"] = connection.execute(tables).fetchone()[0]
        except sqlite3.DatabaseError as error:
            if not is_one_of(error, DAMAGED):
                raise
            return {**found, "whole": str(error)}
        try:
            found["answer"] = (connection.execute(query).fetchone() or [None])[0] if query else None
        except sqlite3.Error as error:
            found["error"] = str(error)
    return found


def main(verb: str, *words: str) -> None:
    paths = [Path(word) for word in words]
    if verb == "databases":
        print(json.dumps(databases_of(paths[0])))
    elif verb == "stage":
        print(json.dumps(stage(paths[0], paths[1], json.load(sys.stdin))))
    elif verb == "assemble":
        assemble(paths[0], paths[1])
    elif verb == "load":
        print(json.dumps(load_all(*paths, json.load(sys.stdin))))
    elif verb == "merge":
        print(json.dumps(merge(*paths[:3], words[3] == "true")))
    elif verb == "check":
        print(json.dumps(check(paths[0], words[1])))
    elif verb == "count":
        print(count_of(paths[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
