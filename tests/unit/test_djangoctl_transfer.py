"""transfer.py as a program, on a project with SQLite: what it counts, and what it refuses to forget.

What PostgreSQL makes of the rows is in scenario moves.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys

import pytest
from djangoctl.move import MARK, TRANSFER

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "shelf"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "elsewhere.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
print("noise of the settings")
"""
MODELS = """
from django.db import models

class Tag(models.Model):
    name = models.CharField(max_length=9)

class Book(models.Model):
    tags = models.ManyToManyField(Tag)

class Old(models.Model):
    class Meta:
        managed = False
        db_table = "old"
"""
TABLES = {
    "django_content_type": "id integer, app_label text, model text",
    "django_migrations": "id integer, app text, name text, applied text",
    "shelf_tag": "id integer, name text",
    "shelf_book": "id integer",
    "shelf_book_tags": "id integer, book_id integer, tag_id integer",
}


@pytest.fixture
def library(tmp_path):
    """A project, and its database with a row in each table."""
    for name, text in {
        "site_of_books/__init__.py": "",
        "site_of_books/settings.py": SETTINGS,
        "site_of_books/wsgi.py": "import django\ndjango.setup()\napplication = None\n",
        "shelf/__init__.py": "",
        "shelf/models.py": MODELS,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with sqlite3.connect(tmp_path / "db.sqlite3") as database:
        for table, columns in TABLES.items():
            database.execute(f"create table {table} ({columns})")
            database.execute(f"insert into {table} default values")
    database.close()
    return tmp_path


def sql(library, statement):
    with sqlite3.connect(library / "db.sqlite3") as database:
        database.execute(statement)
    database.close()


def ask(library, step, **given):
    given = {"engine": "django.db.backends.sqlite3", "name": str(library / "db.sqlite3"), "leave": [], **given}
    result = subprocess.run(
        [sys.executable, str(TRANSFER), "site_of_books.wsgi:application", step, json.dumps(given)],
        cwd=library,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "site_of_books.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1].removeprefix(MARK))


def test_where_the_database_is(library):
    found = ask(library, "place")
    assert (found["vendor"], found["name"]) == ("sqlite", str(library / "elsewhere.sqlite3"))


def test_the_tables_of_models_are_counted(library):
    expected = dict.fromkeys(TABLES.keys() - {"django_migrations"}, 1)
    assert ask(library, "look") == {"tables": expected}


@pytest.mark.parametrize(
    ("change", "problem", "left"),
    [
        ("create table notes as select 1 as a", "notes: has 1 rows, and no model of the release describes it", "notes"),
        ("create table old as select 1 as a", "old: has 1 rows, and no model of the release describes it", "ol*"),
        ("alter table shelf_tag add column hue text", "shelf_tag.hue: no field of the release", "shelf_tag.hue"),
        ("alter table shelf_tag drop column name", "shelf_tag: the old database lacks its column name", "shelf_tag"),
        ("drop table shelf_book_tags", "shelf_book_tags: the old database lacks it", "shelf_book_tags"),
    ],
)
def test_nothing_is_forgotten_but_by_name(library, change, problem, left):
    sql(library, change)
    assert ask(library, "look")["problem"].startswith(problem)
    assert "tables" in ask(library, "look", leave=[left])


def test_an_empty_table_without_a_model_is_nothing(library):
    sql(library, "create table notes (a integer)")
    assert "notes" not in ask(library, "look")["tables"]


def test_a_file_that_is_not_there_is_not_made(library):
    assert ask(library, "look", name=str(library / "gone.sqlite3")) == {
        "problem": f"{library / 'gone.sqlite3'} is not there"
    }
    assert not (library / "gone.sqlite3").exists()


@pytest.mark.parametrize("step", ["claim", "fence", "unfence", "dump", "restore", "count"])
def test_rows_go_to_postgresql_alone(library, step):
    answer = ask(library, step, file=str(library / "dump"))
    assert answer == {"problem": "the new configuration leads to sqlite, not to PostgreSQL"}
