"""A step of a move of the database: `transfer.py <module:callable> <step> [JSON]`.

The release's interpreter runs it, with the environment of the old database or of the new one, so it imports nothing of
djangoctl. The answer is the last line of its output, after MARK.

Rows go from SQLite to PostgreSQL by the project's models, table by table. Keys stay as they are, so that no relation
has to be resolved. No model is instantiated: neither signals nor save() nor auto_now see a row.
"""

import contextlib
import fnmatch
import glob
import importlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from types import SimpleNamespace

MARK = "djangofleet-transfer: "
SOURCE = "djangofleet_source"  # the alias of the old database
CLAIM = "djangofleet: rows are being moved to this database"
BATCH, CHUNK = 1000, 100  # rows of a statement at the most, rows that are read at once
VALUES, BYTES = 20000, 4_000_000  # of a statement at the most; one more row may be of any size
PATIENCE = 60  # seconds that a writer of the SQLite database may take until it lets go
GRACE = 5  # seconds that a transaction may take until its connection is ended
PROGRAMS = "/usr/lib/postgresql/*/bin"
LIBPQ = {
    **dict.fromkeys(("dbname", "database"), "PGDATABASE"),
    **{name: f"PG{name.upper()}" for name in ("user", "password", "host", "port", "options")},
    **{name: f"PG{name.upper()}" for name in ("sslmode", "sslrootcert", "sslcert", "sslkey")},
}
# Extensions and the schema are not the app's: role postgresql has made those of the new database.
FOREIGN = re.compile(r" (EXTENSION - |COMMENT - EXTENSION |SCHEMA - public\b|(COMMENT|ACL) - SCHEMA public\b)")
USER_TABLES = """
select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables t
where schemaname not in ('pg_catalog', 'information_schema') and not exists (
  select from pg_depend d where d.classid = 'pg_class'::regclass and d.deptype = 'e'
  and d.objid = (quote_ident(schemaname) || '.' || quote_ident(tablename))::regclass)
order by 1"""
DESCRIPTION = "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
EXTENSIONS = "select extname from pg_extension order by 1"
# A session that has begun before the database is read-only goes on to write. It belongs to the login, not to the owner
# as which the login acts. Those of a superuser are an operator's.
SESSIONS = """from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'
and datname = current_database() and not exists (select from pg_roles where oid = usesysid and rolsuper)"""
OWN = f"{SESSIONS} and pg_has_role(usesysid, 'usage')"


class TransferError(Exception):
    """What keeps rows from being moved, in lines for the operator."""


# Where an app's database is


def place(given):
    """What the settings make of the environment."""
    from django.db import connections

    connection = connections["default"]
    settings = connection.settings_dict
    found = {"vendor": connection.vendor, "engine": settings["ENGINE"], "time_zone": settings["TIME_ZONE"]}
    found |= {key: str(settings[key.upper()]) for key in ("name", "host", "port")}
    if connection.vendor == "sqlite":
        found["name"] = os.path.abspath(found["name"])
    found["place"] = [found["vendor"], found["name"]]
    if connection.vendor == "postgresql":
        parameters = connection.get_connection_params()
        found["place"] += [str(parameters.get(key, "")) for key in ("host", "port")]
        found["version"] = _version(connection)
        with connection.cursor() as cursor:
            found["extensions"] = _column(cursor, EXTENSIONS)
    return found


def claim(given):
    """Mark the new database as the destination of a move. Rows that nobody has marked as such are never overwritten.

    :param given: `extensions` that the old database has, and the major `version` of its server.
    """
    connection = _postgresql()
    if (version := _version(connection)) < given.get("version", 0):
        raise TransferError(
            f"the new server is PostgreSQL {version} and the old one {given['version']}, and no version goes back; "
            "give it a host with a later Debian"
        )
    with connection.cursor() as cursor:
        cursor.execute(DESCRIPTION)
        is_claimed = cursor.fetchone()[0] == CLAIM
        tables = _column(cursor, USER_TABLES)
        if tables and not is_claimed:
            raise TransferError(
                f"the new database {connection.settings_dict['NAME']} is not empty: it has {len(tables)} tables, such "
                f"as {tables[0]}; if nothing there is wanted, drop it and run the playbook again, which makes it anew"
            )
        if lacking := sorted(set(given.get("extensions", ())) - set(_column(cursor, EXTENSIONS))):
            raise TransferError(
                f"the new database lacks extensions that the old one has: {', '.join(lacking)}; give them in "
                "database.extensions"
            )
        cursor.execute(f"comment on database {_quoted(connection)} is '{CLAIM}'")
    return {}


def unclaim(given):
    """Take the mark away: from now on the rows are the app's own."""
    connection = _postgresql()
    with connection.cursor() as cursor:
        if _column(cursor, DESCRIPTION) == [CLAIM]:
            cursor.execute(f"comment on database {_quoted(connection)} is null")
    return {}


def _postgresql():
    from django.db import connections

    connection = connections["default"]
    if connection.vendor != "postgresql":
        raise TransferError(f"the new configuration leads to {connection.vendor}, not to PostgreSQL")
    return connection


def _version(connection):
    """The major version of the server."""
    return connection.pg_version // 10000


def _quoted(connection):
    return connection.ops.quote_name(connection.settings_dict["NAME"])


def _column(cursor, query):
    cursor.execute(query)
    return [row[0] for row in cursor.fetchall()]


# From SQLite


def look(given):
    """Count the rows of the SQLite database, and refuse what cannot be moved. Asks nothing of the new one."""
    with _source(given) as source:
        return {"tables": _counted(source, given)}


def rows(given):
    """Copy all rows.

    A rehearsal does so from a copy of the file, and takes it back. Otherwise nobody writes to the file from before the
    first row is read until djangoctl says a word: "retire" puts the file out of the way, anything else leaves it.
    """
    if given["rehearse"]:
        with _snapshot(given["name"]) as path, _source({**given, "name": path}) as source:
            return {"tables": _copied(source, given)}
    with _source(given) as source:
        source.cursor().execute("begin immediate")
        print("\n" + MARK + json.dumps({"tables": _copied(source, given)}), flush=True)
        is_over = sys.stdin.readline().strip() == "retire"
        source.cursor().execute("rollback")
        if is_over:
            _merge_log(source)
    return {"kept": _retired(given["name"]) if is_over else given["name"]}


def retire(given):
    """Put the file of a move that was killed out of the way, unless that has been done."""
    return {"kept": _retired(given["name"]) if os.path.exists(given["name"]) else given["name"]}


def _merge_log(source):
    """Leave one file without a log beside it, unless somebody else has it open."""
    from django.db import OperationalError

    with contextlib.suppress(OperationalError):
        source.cursor().execute("pragma busy_timeout=1000")
        source.cursor().execute("pragma journal_mode=delete")


def _retired(path):
    """Give the file another name: nobody opens it by mistake."""
    kept = f"{path}.moved-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.rename(path + suffix, kept + suffix)
            os.chmod(kept + suffix, 0o400)
    return kept


@contextlib.contextmanager
def _snapshot(path):
    """A copy of the file, which readers and writers of the file do not wait for."""
    copy = f"{path}.rehearsal"
    try:
        with contextlib.closing(sqlite3.connect(path)) as here, contextlib.closing(sqlite3.connect(copy)) as there:
            here.backup(there)
        yield copy
    finally:
        for name in (copy, f"{copy}-wal", f"{copy}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


@contextlib.contextmanager
def _source(given):
    """A connection to the SQLite database beside that to the new one."""
    from django.db import connections

    if not os.path.isfile(given["name"]):
        raise TransferError(f"{given['name']} is not there")
    connections.databases[SOURCE] = {
        **connections.databases["default"],
        **dict.fromkeys(("HOST", "PORT", "USER", "PASSWORD"), ""),
        "ENGINE": given["engine"],
        "NAME": given["name"],
        "TIME_ZONE": given.get("time_zone"),
        "OPTIONS": {"timeout": PATIENCE},
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": 0,
    }
    try:
        yield connections[SOURCE]
    finally:
        connections[SOURCE].close()


def _models():
    """The models whose tables are in the database, by table. Relations without a model of their own have one too."""
    from django.apps import apps
    from django.db import router

    found = {}
    for model in apps.get_models(include_auto_created=True):
        meta = model._meta
        if meta.managed and not meta.proxy and not meta.swapped and router.allow_migrate_model("default", model):
            found.setdefault(meta.db_table, model)
    return found


def _fields(model):
    """The fields with a column that a row is written with."""
    return [field for field in model._meta.local_concrete_fields if not getattr(field, "generated", False)]


def _counted(source, given):
    """The rows of each table that is to be moved.

    :raises TransferError: something has no place in the new database, and is not left behind by name.
    """
    known, wrong = _models(), []

    def is_left(name):
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in given["leave"])

    with source.cursor() as cursor:
        there = set(source.introspection.table_names(cursor))
        counts = {table: _count(cursor, source, table) for table in sorted(there) if not is_left(table)}
        for table, count in counts.items():
            if table not in known and table != "django_migrations" and count:
                wrong.append(f"{table}: has {count} rows, and no model of the release describes it")
        for table, model in known.items():
            if is_left(table):
                continue
            if table not in there:
                wrong.append(f"{table}: the old database lacks it")
                continue
            columns = {column.name for column in source.introspection.get_table_description(cursor, table)}
            wanted = {field.column for field in model._meta.local_concrete_fields}
            if wanted - columns:
                wrong.append(f"{table}: the old database lacks its column {min(wanted - columns)}")
            surplus = sorted(name for name in columns - wanted if not is_left(f"{table}.{name}"))
            wrong += [f"{table}.{name}: no field of the release describes it" for name in surplus]
    if wrong:
        raise TransferError("\n".join(wrong))
    return {table: count for table, count in counts.items() if table in known}


def _count(cursor, connection, table):
    cursor.execute(f"select count(*) from {connection.ops.quote_name(table)}")
    return cursor.fetchone()[0]


def _copied(source, given):
    """Copy all tables in one transaction, and compare the number of rows.

    :returns: the rows of each table.
    :raises TransferError: PostgreSQL refuses a row, or the numbers differ.
    """
    from django.core.management.color import no_style
    from django.db import transaction

    target, known, expected = _postgresql(), _models(), _counted(source, given)
    _require_same_migrations(source, target)
    models = [known[table] for table in expected]
    quote = target.ops.quote_name
    names = ", ".join(quote(table) for table in expected)
    there = set(target.introspection.table_names())
    if lacking := sorted(expected.keys() - there):
        raise TransferError(f"the migrations of the release make no table {', '.join(lacking)} on PostgreSQL")
    emptied = ", ".join(quote(table) for table in known if table in there)
    with transaction.atomic(using="default"):
        with target.cursor() as cursor:
            for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                cursor.execute(f"set local {limit} = 0")
            cursor.execute(f"truncate {emptied}")  # what migrations have put there is in the old database too
        for model in models:
            _copy_table(model)
        _check_constraints(target)
        with target.cursor() as cursor:
            for statement in target.ops.sequence_reset_sql(no_style(), models):
                cursor.execute(statement)
            _raise_sequences(source, cursor, known, quote)
            found = {table: _count(cursor, target, table) for table in expected}
        if wrong := [f"{table}: {expected[table]} rows, {found[table]} copied" for table in found
                     if found[table] != expected[table]]:  # fmt: skip
            raise TransferError("\n".join(wrong))
        if given["rehearse"]:
            transaction.set_rollback(True, using="default")
    if not given["rehearse"]:
        with target.cursor() as cursor:
            cursor.execute(f"analyze {names}")  # the planner knows nothing of new tables
    return found


def _check_constraints(target):
    """Look for rows that belong to a row which is not there: SQLite may have some from before it looked itself."""
    from django.db import DatabaseError

    try:
        target.check_constraints()
    except DatabaseError as error:
        raise TransferError(str(error).strip()) from None


def _require_same_migrations(source, target):
    from django.db.migrations.recorder import MigrationRecorder

    applied = [set(MigrationRecorder(connection).applied_migrations()) for connection in (source, target)]
    if ahead := sorted(".".join(key) for key in applied[1] - applied[0]):
        raise TransferError(f"the old database lacks migrations of the release: {', '.join(ahead)}; deploy it first")


def _copy_table(model):
    from django.db.models import QuerySet

    fields = _fields(model)
    size = max(1, min(BATCH, VALUES // len(fields)))
    batch, length = [], 0
    query = QuerySet(model, using=SOURCE).order_by().values_list(*(_read(field) for field in fields))
    for row in query.iterator(chunk_size=CHUNK):
        batch.append(row)
        length += sum(len(value) for value in row if isinstance(value, (str, bytes, memoryview)))
        if len(batch) == size or length > BYTES:
            _insert(model, fields, batch)
            batch, length = [], 0
    if batch:
        _insert(model, fields, batch)


def _is_json(field):
    from django.db.models import JSONField

    return isinstance(field, JSONField)


def _read(field):
    """What is asked of a column. JSON stays the text that it is: null in it is not the NULL of a column."""
    from django.db.models import F, TextField
    from django.db.models.functions import Cast

    return Cast(F(field.attname), TextField()) if _is_json(field) else field.attname


def _written(field, value):
    from django.db.models import TextField, Value
    from django.db.models.functions import Cast

    return Cast(Value(value, TextField()), field) if _is_json(field) and value is not None else value


def _insert(model, fields, batch):
    """Insert rows as they are.

    :raises TransferError: with the first row that PostgreSQL refuses.
    """
    from django.db import DatabaseError, transaction

    try:
        with transaction.atomic(using="default"):
            _execute(model, fields, batch)
    except (DatabaseError, ValueError) as error:
        if len(batch) > 1:
            for row in batch:
                _insert(model, fields, [row])
        position = fields.index(model._meta.pk) if model._meta.pk in fields else 0
        raise TransferError(
            f"{model._meta.db_table}: PostgreSQL refuses the row with {fields[position].column} "
            f"{batch[0][position]!r}: {str(error).strip()}"
        ) from None


def _execute(model, fields, batch):
    from django.db.models.sql import InsertQuery

    query = InsertQuery(model)
    items = [
        SimpleNamespace(**{field.attname: _written(field, value) for field, value in zip(fields, row, strict=True)})
        for row in batch
    ]
    query.insert_values(fields, items, raw=True)
    query.get_compiler(using="default").execute_sql()


def _raise_sequences(source, cursor, known, quote):
    """A key that SQLite has given once, it never gives again: neither does the new database."""
    from django.db.models import AutoField

    with source.cursor() as old:
        if not _has_sequences(old):
            return
        old.execute("select name, seq from sqlite_sequence")
        given = dict(old.fetchall())
    for table, last in given.items():
        key = known[table]._meta.pk if table in known else None
        if isinstance(key, AutoField) and last > 0:
            cursor.execute("select setval(pg_get_serial_sequence(%s, %s), %s)", [quote(table), key.column, last])


def _has_sequences(cursor):
    cursor.execute("select count(*) from sqlite_master where name = 'sqlite_sequence'")
    return bool(cursor.fetchone()[0])


# From PostgreSQL


def count(given):
    """Count the rows of the old database, and look whether they can be dumped."""
    connection = _postgresql()
    if glob.glob(f"{PROGRAMS}/pg_dump"):  # a run installs it
        _program("pg_dump", _version(connection))
    return {"tables": _all_counts(connection)}


def _all_counts(connection):
    with connection.cursor() as cursor:
        cursor.execute("set statement_timeout = 0")
        tables = _column(cursor, USER_TABLES)
        found = {}
        for table in tables:
            cursor.execute(f"select count(*) from {table}")
            found[table.removeprefix("public.")] = cursor.fetchone()[0]
    return found


def fence(given):
    """Let nobody write to the old database, and end the connections that still could."""
    connection = _postgresql()
    with connection.cursor() as cursor:
        cursor.execute("set default_transaction_read_only = off")
        cursor.execute(f"alter database {_quoted(connection)} set default_transaction_read_only = on")
        cursor.execute("set role none")
        # What has begun may end: visitors see the maintenance page, so that there is little of it.
        _wait(cursor, f"select count(*) {OWN} and state <> 'idle'", GRACE)
        # Who connects from now on is read-only.
        numbers = ", ".join(map(str, _column(cursor, f"select pid {SESSIONS}"))) or "0"
        before = f"and pid in ({numbers})"
        cursor.execute(f"select pg_terminate_backend(pid) {OWN} {before}")
        _wait(cursor, f"select count(*) {OWN} {before}", PATIENCE)
        if left := _column(cursor, f"select distinct usename {SESSIONS} {before}"):
            raise TransferError(f"connections to the old database do not end: those of {', '.join(left)}; end them")
    return {}


def _wait(cursor, query, seconds):
    """Wait until a query counts nothing, that long at the most."""
    deadline = time.monotonic() + seconds
    while _column(cursor, query) != [0] and time.monotonic() < deadline:
        time.sleep(0.05)


def unfence(given):
    """Let the app write to the old database again."""
    connection = _postgresql()
    with connection.cursor() as cursor:
        cursor.execute("set default_transaction_read_only = off")
        cursor.execute(f"alter database {_quoted(connection)} reset default_transaction_read_only")
    return {}


def dump(given):
    """Write the old database into a file, and count its rows."""
    connection = _postgresql()
    found = _all_counts(connection)
    _run(connection, "pg_dump", "--format=custom", "--compress=1", f"--file={given['file']}")
    return {"tables": found}


def restore(given):
    """Read the file into the new database in one transaction, in place of what an earlier try has left there."""
    connection, path = _postgresql(), given["file"]
    listed = _run(connection, "pg_restore", "--list", path)
    with open(f"{path}.list", "w") as handle:
        handle.write("\n".join(line for line in listed.splitlines() if not FOREIGN.search(line)) + "\n")
    words = ("--no-owner", "--no-acl", "--clean", "--if-exists", "--single-transaction", "--exit-on-error")
    _run(
        connection,
        "pg_restore",
        *words,
        f"--use-list={path}.list",
        f"--dbname={connection.settings_dict['NAME']}",
        path,
    )
    with connection.cursor() as cursor:
        cursor.execute("set statement_timeout = 0")
        for table in _column(cursor, USER_TABLES):
            cursor.execute(f"analyze {table}")
    return {"tables": _all_counts(connection)}


def _run(connection, program, *words):
    """Run a program of PostgreSQL with the connection of the settings, whose password is in no command line."""
    path = _program(program, _version(connection) if program == "pg_dump" else 0)
    given = connection.get_connection_params()
    environment = {LIBPQ[key]: str(value) for key, value in given.items() if key in LIBPQ and value not in (None, "")}
    result = subprocess.run(
        [path, *words], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise TransferError(f"{program}: {result.stderr.strip()[-2000:]}")
    return result.stdout


def _program(name, version):
    """The latest of that name on this host, which is of that version at least."""
    found = {int(path.split("/")[4]): path for path in glob.glob(f"{PROGRAMS}/{name}")}
    if not found:
        raise TransferError(f"{name} is not on this host: install postgresql-client")
    if max(found) < version:
        raise TransferError(
            f"{name} of this host is of version {max(found)}, and refuses a server of version {version}; upgrade the "
            "distribution of this host first"
        )
    return found[max(found)]


STEPS = {
    step.__name__: step for step in (place, claim, unclaim, look, rows, retire, count, fence, unfence, dump, restore)
}  # fmt: skip


def main(application, step, given="{}"):
    sys.path[0] = os.getcwd()  # instead of this file's directory
    importlib.import_module(application.partition(":")[0])  # the project's own module sets Django up
    try:
        answer = STEPS[step](json.loads(given))
    except TransferError as error:
        answer = {"problem": str(error)}
    print("\n" + MARK + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
