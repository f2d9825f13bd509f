"""Prints what a release's migrations would do to the database in its present state.

Usage: plan.py <module:callable>. The release's interpreter runs it, so it imports nothing of djangoctl. The plan is the
last line of its output, after MARK.
"""

import importlib
import json
import os
import re
import sys

MARK = "djangofleet-plan: "
# Operations that lose data, or whose effect is unknown. A rename, like a removal, breaks the live release, which still
# uses the old name.
DESTRUCTIVE_OPERATIONS = ("RemoveField", "DeleteModel", "RenameField", "RenameModel", "AlterModelTable")
# SQL that adds something. Any other statement counts as destructive.
HARMLESS_SQL = re.compile(
    r"(CREATE (UNIQUE )?INDEX|CREATE ((GLOBAL |LOCAL )?TEMP(ORARY)? |UNLOGGED |VIRTUAL )?TABLE|CREATE EXTENSION"
    r"|CREATE SCHEMA|CREATE SEQUENCE|CREATE STATISTICS|COMMENT ON|ANALYZE|INSERT INTO)\b"
)
# What loses data within it: INSERT ... ON CONFLICT DO UPDATE, WITH x AS (DELETE ...). A foreign key says ON DELETE.
LOSING_SQL = re.compile(r"(?<!ON )\b(DELETE|DROP|TRUNCATE|UPDATE|REPLACE)\b")
QUOTED_SQL = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$", re.DOTALL)
SHOWN = 100  # characters of a statement


def flatten(operations):
    """The operations that change the database, including those inside a SeparateDatabaseAndState."""
    for operation in operations:
        inner = getattr(operation, "database_operations", None)
        yield from flatten(inner) if inner is not None else [operation]


def field_of(state, app_label, operation):
    return state.apps.get_model(app_label, operation.model_name)._meta.get_field(operation.name)


def changes_type(operation, app_label, state, connection) -> bool:
    """Whether an AlterField changes the column's type. A longer limit for the same kind of text does not."""
    after = state.clone()
    operation.state_forwards(app_label, after)
    old, new = field_of(state, app_label, operation), field_of(after, app_label, operation)
    if old.get_internal_type() == new.get_internal_type() and (old.max_length or 0) <= (new.max_length or 0):
        return (old.max_length is None) != (new.max_length is None) or (
            old.max_length is None and old.db_type(connection) != new.db_type(connection)
        )
    return old.db_type(connection) != new.db_type(connection)


def is_destructive(operation, app_label, state, connection) -> bool:
    """Whether an operation destroys or rewrites existing data."""
    if type(operation).__name__ == "AlterField":
        return changes_type(operation, app_label, state, connection)
    return type(operation).__name__ in DESTRUCTIVE_OPERATIONS


def statements(operation) -> list[str]:
    """The statements of a RunSQL, each in one line without comments."""
    import sqlparse

    given = operation.sql if isinstance(operation.sql, (list, tuple)) else [operation.sql]
    texts = [item[0] if isinstance(item, (list, tuple)) else item for item in given]
    found = [part for text in texts for part in sqlparse.split(sqlparse.format(str(text), strip_comments=True))]
    lines = [" ".join(part.split()).rstrip("; ") for part in found]
    return [line for line in lines if line]


def is_harmless_sql(statement: str) -> bool:
    """Whether a statement adds something and takes nothing away."""
    bare = " ".join(QUOTED_SQL.sub(" x ", statement).upper().split())
    return bool(HARMLESS_SQL.match(bare)) and not LOSING_SQL.search(bare)


def shown(statement: str) -> str:
    return "SQL: " + (statement if len(statement) <= SHOWN else f"{statement[: SHOWN - 1]}…")


def is_new(connection, executor) -> bool:
    """Whether the database has nothing of the project yet: no migration is applied, and no model has a table."""
    if executor.loader.applied_migrations:
        return False
    return not connection.introspection.django_table_names(only_existing=True)


def model_of(operation, app_label: str) -> tuple[str, str]:
    """The model that an operation changes."""
    name = (
        getattr(operation, "model_name", None) or getattr(operation, "old_name", None) or operation.__dict__.get("name")
    )
    return app_label, str(name).lower()


def place(vendor: str, settings) -> dict[str, str]:
    """Where a database is: the file of SQLite, a server of PostgreSQL, nothing of any other.

    The options of PostgreSQL win over what Django calls HOST and PORT, as libpq sees it.
    """
    if vendor == "sqlite":
        return {"name": os.path.abspath(settings["NAME"])}
    if vendor != "postgresql":
        return {}
    options = settings.get("OPTIONS") or {}
    host = options.get("host") or settings.get("HOST") or "/run/postgresql"
    return {
        "name": str(settings["NAME"]),
        "host": host,
        "port": str(options.get("port") or settings.get("PORT") or 5432),
    }


def plan() -> dict:
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor
    from django.db.migrations.operations import RunSQL

    connection = connections["default"]
    connection.prepare_database()
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    state = executor._create_project_state(with_applied_migrations=True)
    steps, created = [], set()
    for migration, _backwards in pending:
        label = migration.app_label
        step = {"migration": f"{label}.{migration.name}", "operations": [], "destructive": []}
        for operation in migration.operations:
            parts = list(flatten([operation]))
            # The database operations of a SeparateDatabaseAndState apply to a state of their own.
            database_state = state if parts == [operation] else state.clone()
            for part in parts:
                lines = statements(part) if isinstance(part, RunSQL) else []
                step["operations"] += [shown(line) for line in lines] or [part.describe()]
                step["destructive"] += [shown(line) for line in lines if not is_harmless_sql(line)]
                # A table that the same plan creates has no rows yet.
                if type(part).__name__ == "CreateModel":
                    created.add(model_of(part, label))
                elif model_of(part, label) in created:
                    if type(part).__name__ == "RenameModel":
                        created.add((label, part.new_name.lower()))
                elif is_destructive(part, label, database_state, connection):
                    step["destructive"].append(part.describe())
                if database_state is not state:
                    part.state_forwards(label, database_state)
            operation.state_forwards(label, state)
        steps.append(step)
    there = set(executor.loader.disk_migrations)
    return {
        "vendor": connection.vendor,
        "database": place(connection.vendor, connection.settings_dict),
        "new": is_new(connection, executor),
        "pgoptions": os.environ.get("PGOPTIONS", ""),
        "steps": steps,
        "unknown": sorted(".".join(key) for key in executor.loader.applied_migrations if key not in there),
    }


def main(application: str) -> None:
    sys.path[0] = os.getcwd()  # instead of this file's directory: the project may have a package `build` too
    importlib.import_module(application.partition(":")[0])  # the project's own module sets Django up
    print("\n" + MARK + json.dumps(plan()))


if __name__ == "__main__":
    main(*sys.argv[1:])
