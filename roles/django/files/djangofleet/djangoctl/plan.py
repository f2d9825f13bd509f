"""Runs inside a release, by its interpreter: prints what its migrations would do to the database as it is.

Usage: plan.py <module:callable>. It stands alone. The answer is the last line of its output, after MARK.
"""

import importlib
import json
import os
import sys

MARK = "djangofleet-plan: "
# Operations that lose data, or whose effect is unknown. A rename, like a removal, breaks the live release, which still
# uses the old name.
DESTRUCTIVE_OPERATIONS = ("RemoveField", "DeleteModel", "RenameField", "RenameModel", "AlterModelTable", "RunSQL")


def flat(operations):
    """The operations that touch the database: those within a SeparateDatabaseAndState too."""
    for operation in operations:
        inner = getattr(operation, "database_operations", None)
        yield from flat(inner) if inner is not None else [operation]


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


def touched(operation, app_label: str) -> tuple[str, str]:
    """The model that an operation is about."""
    name = (
        getattr(operation, "model_name", None) or getattr(operation, "old_name", None) or operation.__dict__.get("name")
    )
    return app_label, str(name).lower()


def plan() -> dict:
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor

    connection = connections["default"]
    connection.prepare_database()
    executor = MigrationExecutor(connection)
    todo = executor.migration_plan(executor.loader.graph.leaf_nodes())
    state = executor._create_project_state(with_applied_migrations=True)
    steps, made = [], set()
    for migration, _backwards in todo:
        label = migration.app_label
        step = {"migration": f"{label}.{migration.name}", "operations": [], "destructive": []}
        for operation in migration.operations:
            parts = list(flat([operation]))
            # What a SeparateDatabaseAndState does to the database, it does to a state of its own.
            within = state if parts == [operation] else state.clone()
            for part in parts:
                step["operations"].append(part.describe())
                # A table that the same plan makes holds nothing yet. What SQL touches, nobody can tell.
                if type(part).__name__ == "CreateModel":
                    made.add(touched(part, label))
                elif touched(part, label) in made:
                    if type(part).__name__ == "RenameModel":
                        made.add((label, part.new_name.lower()))
                elif is_destructive(part, label, within, connection):
                    step["destructive"].append(part.describe())
                if within is not state:
                    part.state_forwards(label, within)
            operation.state_forwards(label, state)
        steps.append(step)
    return {"vendor": connection.vendor, "steps": steps}


def main(application: str) -> None:
    sys.path[0] = os.getcwd()  # in place of the directory of this file: a project may have a package `build` too
    importlib.import_module(application.partition(":")[0])  # sets Django up the way the project wants it
    print("\n" + MARK + json.dumps(plan()))


if __name__ == "__main__":
    main(*sys.argv[1:])
