"""plan.py as a program, on a project with SQLite: one Django app for each kind of migration."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from djangoctl import plan
from djangoctl.migrate import MARK, PLAN

SETTINGS = """
import os
import release  # of the project's environment: djangoctl has a module of that name beside plan.py
assert release.OF_THE_PROJECT
SECRET_KEY = "x"
INSTALLED_APPS = os.environ["APPS"].split()
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
print("noise of the settings")
"""
MODELS = """
from django.db import models


class Entry(models.Model):
    pass
"""
WSGI = """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()
"""
MIGRATION = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [{dependency}]
    operations = [{operations}]
"""
FIRST = """
migrations.CreateModel("Entry", [
    ("id", models.BigAutoField(primary_key=True)),
    ("title", models.CharField(max_length=50)),
    ("note", models.TextField()),
]),
migrations.CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))]),
"""
FRESH = 'migrations.CreateModel("Fresh", [("id", models.BigAutoField(primary_key=True)), ("a", models.TextField())])'
LONG = f"DELETE FROM t WHERE a IN ({'1, ' * 50}1)"
# The second migration of each app, and what of it is destructive.
CASES = {
    "remove_field": ('migrations.RemoveField("entry", "title")', ["Remove field title from entry"]),
    "delete_model": ('migrations.DeleteModel("Tag")', ["Delete model Tag"]),
    "sql": ('migrations.RunSQL("SELECT 1")', ["SQL: SELECT 1"]),
    "sql_of_both_kinds": (
        "migrations.RunSQL('CREATE INDEX i ON t (a); -- DROP\\nDROP TABLE old;')",
        ["SQL: DROP TABLE old"],
    ),
    "sql_with_values": ('migrations.RunSQL([("UPDATE t SET a = %s", ["x"])])', ["SQL: UPDATE t SET a = %s"]),
    "long_sql": (f'migrations.RunSQL("DELETE FROM t WHERE a IN ({"1, " * 50}1)")', [f"SQL: {LONG[:99]}…"]),
    "sql_that_adds": ('migrations.RunSQL("CREATE UNIQUE INDEX i ON t (a)", migrations.RunSQL.noop)', []),
    "no_sql": ("migrations.RunSQL(migrations.RunSQL.noop)", []),
    "rename_field": (
        'migrations.RenameField("entry", "title", "name")',
        ["Rename field title on entry to name"],
    ),
    "rename_model": ('migrations.RenameModel("Tag", "Label")', ["Rename model Tag to Label"]),
    "rename_table": ('migrations.AlterModelTable("tag", "labels")', ["Rename table for tag to labels"]),
    "narrow": (
        'migrations.AlterField("entry", "title", models.CharField(max_length=20))',
        ["Alter field title on entry"],
    ),
    "retype": ('migrations.AlterField("entry", "note", models.IntegerField())', ["Alter field note on entry"]),
    "retype_text": ('migrations.AlterField("entry", "title", models.TextField())', ["Alter field title on entry"]),
    "within": (
        'migrations.SeparateDatabaseAndState(database_operations=[migrations.RemoveField("entry", "note")])',
        ["Remove field note from entry"],
    ),
    "within_in_turn": (
        "migrations.SeparateDatabaseAndState(database_operations=["
        'migrations.AddField("entry", "x", models.TextField(default="")), '
        'migrations.AlterField("entry", "x", models.IntegerField(default=0))])',
        ["Alter field x on entry"],
    ),
    "after_another": (
        'migrations.AlterField("entry", "title", models.CharField(max_length=80)), '
        'migrations.AlterField("entry", "title", models.CharField(max_length=60))',
        ["Alter field title on entry"],
    ),
    "mixed": (
        f'{FRESH}, migrations.RemoveField("fresh", "a"), migrations.RemoveField("entry", "note")',
        ["Remove field note from entry"],
    ),
    "fresh_sql": (f'{FRESH}, migrations.RunSQL("SELECT 1")', ["SQL: SELECT 1"]),
    # Harmless
    "widen": ('migrations.AlterField("entry", "title", models.CharField(max_length=80))', []),
    "relabel": ('migrations.AlterField("entry", "note", models.TextField(blank=True, help_text="x"))', []),
    "add_field": ('migrations.AddField("entry", "more", models.TextField(default=""))', []),
    "add_index": ('migrations.AddIndex("entry", models.Index(fields=["title"], name="add_index_t"))', []),
    "code": ("migrations.RunPython(migrations.RunPython.noop)", []),
    "state_only": ('migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("Tag")])', []),
    "fresh": (
        f'{FRESH}, migrations.AlterField("fresh", "a", models.IntegerField()), migrations.RemoveField("fresh", "a"), '
        'migrations.RenameModel("Fresh", "Newer"), migrations.DeleteModel("Newer")',
        [],
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """`project(...)` runs plan.py on a project whose first migrations are applied and whose second ones are pending."""
    root = tmp_path_factory.mktemp("plan")
    files = {"shop/__init__.py": "", "shop/settings.py": SETTINGS, "shop/wsgi.py": WSGI}
    files |= {"packages/release.py": "OF_THE_PROJECT = True\n"}
    for name in CASES:
        files |= {f"{name}/__init__.py": "", f"{name}/migrations/__init__.py": ""}
        files[f"{name}/migrations/0001_initial.py"] = MIGRATION.format(dependency="", operations=FIRST)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    environment = {**os.environ, "APPS": " ".join(CASES), "DATABASE": str(root / "db.sqlite3")}
    environment |= {"PYTHONPATH": str(root / "packages"), "DJANGO_SETTINGS_MODULE": "shop.settings"}

    def run(*words, **more):
        words = [sys.executable, *(words or (str(PLAN), "shop.wsgi:application"))]
        return subprocess.run(words, cwd=root, env=environment | more, capture_output=True, text=True, check=False)

    migrated = run("-m", "django", "migrate", "--verbosity=0", "--skip-checks")
    assert migrated.returncode == 0, migrated.stderr
    shutil.copy(root / "db.sqlite3", root / "done.sqlite3")
    run.nothing_to_do = answer(run())
    for name, (operations, _destructive) in CASES.items():
        text = MIGRATION.format(dependency=f'("{name}", "0001_initial")', operations=operations)
        (root / name / "migrations/0002_next.py").write_text(text)
    run.root = root
    return run


def answer(result):
    assert result.returncode == 0, result.stderr
    line = result.stdout.splitlines()[-1]
    assert line.startswith(MARK)
    return json.loads(line.removeprefix(MARK))


@pytest.fixture(scope="module")
def steps(project):
    found = answer(project())
    assert found["vendor"] == "sqlite"
    return {step["migration"]: step for step in found["steps"]}


def test_plan_and_migrate_share_the_mark():
    assert plan.MARK == MARK


@pytest.mark.parametrize("name", CASES)
def test_destructive_operations_are_named(steps, name):
    assert steps[f"{name}.0002_next"]["destructive"] == CASES[name][1]


def test_every_pending_operation_is_listed(steps):
    assert set(steps) == {f"{name}.0002_next" for name in CASES}
    assert steps["mixed.0002_next"]["operations"] == [
        "Create model Fresh",
        "Remove field a from fresh",
        "Remove field note from entry",
    ]
    assert steps["state_only.0002_next"]["operations"] == []


def test_without_pending_migrations_the_plan_is_empty(project):
    nothing = {"vendor": "sqlite", "new": False, "pgoptions": "", "steps": [], "unknown": []}
    assert project.nothing_to_do == {**nothing, "database": {"name": str(project.root / "db.sqlite3")}}


def test_what_is_applied_and_not_there_is_told(project, tmp_path):
    """Migrations of another release. Those of Django apps that are gone count too."""
    shutil.copy(project.root / "done.sqlite3", tmp_path / "ahead.sqlite3")
    with sqlite3.connect(tmp_path / "ahead.sqlite3") as connection:
        rows = [("add_field", "0009_other"), ("gone", "0001_initial")]
        connection.executemany("insert into django_migrations (app, name, applied) values (?, ?, 0)", rows)
    found = answer(project(DATABASE=str(tmp_path / "ahead.sqlite3")))
    assert found["unknown"] == ["add_field.0009_other", "gone.0001_initial"]


def test_on_a_new_database_only_sql_is_destructive(project, tmp_path):
    found = answer(project(DATABASE=str(tmp_path / "new.sqlite3"), PGOPTIONS="-c x=1"))
    assert len(found["steps"]) == 2 * len(CASES)
    assert {operation[:5] for step in found["steps"] for operation in step["destructive"]} == {"SQL: "}
    assert (found["new"], found["pgoptions"]) == (True, "-c x=1")


@pytest.mark.parametrize(("table", "new"), [("within_entry", False), ("spatial_ref_sys", True)])
def test_a_database_with_tables_of_the_project_is_not_new(project, tmp_path, table, new):
    """Restored without its record of migrations, say. What an extension brings does not count."""
    with sqlite3.connect(tmp_path / "old.sqlite3") as connection:
        connection.execute(f"create table {table} (id integer)")
    for name in CASES:
        (project.root / name / "models.py").write_text(MODELS)
    assert answer(project(DATABASE=str(tmp_path / "old.sqlite3")))["new"] is new


@pytest.mark.parametrize(
    ("statement", "harmless"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", True),
        ("create table t (a int references b on delete cascade on update restrict)", True),
        ("CREATE EXTENSION IF NOT EXISTS pg_trgm", True),
        ("CREATE VIRTUAL TABLE x USING fts5(title)", True),
        ("INSERT INTO t (a) VALUES ('DROP TABLE t; it''s a delete')", True),
        ("INSERT INTO t SELECT $x$ update $x$", True),
        ('CREATE TABLE "update" (a int)', True),
        ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1", False),
        ("INSERT INTO t WITH d AS (DELETE FROM o RETURNING *) SELECT * FROM d", False),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", False),
        ("CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION f()", False),
        ("ALTER TABLE t DROP COLUMN a", False),
        ("ALTER TABLE t ALTER COLUMN a TYPE int", False),
        ("TRUNCATE t", False),
        ("WITH d AS (DELETE FROM t RETURNING *) SELECT 1", False),
        ("VACUUM", False),
        ("DO $$ BEGIN DROP TABLE t; END $$", False),
        ("INSERTX INTO t", False),
    ],
)
def test_sql_is_judged_by_its_statements(statement, harmless):
    assert plan.is_harmless_sql(statement) is harmless


def test_planning_changes_nothing_in_the_database(project, steps):
    """Not even the table of applied migrations changes."""
    dumps = []
    for name in ("db", "done"):
        with sqlite3.connect(project.root / f"{name}.sqlite3") as connection:
            dumps.append(list(connection.iterdump()))
    assert dumps[0] == dumps[1]


def test_a_database_that_does_not_answer(project):
    result = project(DATABASE="/no/such/directory/db.sqlite3")
    assert result.returncode != 0
    assert "unable to open database file" in result.stderr
    assert MARK not in result.stdout
