"""probe.py as a release's interpreter runs it: a program of its own, on small projects."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from djangoctl.build import PROBE

SETTINGS = """
import release  # of the project's packages: djangoctl has a module of that name beside probe.py
assert release.OF_THE_PROJECT
SECRET_KEY = "x"
STATIC_URL = "static/"
{settings}
"""
WSGI = """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()
"""
MIGRATION = """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = {dependencies}
    replaces = {replaces}
"""
# By app and name: what each migration depends on, and what it replaces.
MIGRATIONS = {
    ("entries", "0001_initial"): ([], []),
    ("entries", "0002_more"): ([("entries", "0001_initial"), ("tags", "0001_initial")], []),
    ("tags", "0001_initial"): ([], []),
    ("old", "0001_initial"): ([], []),
    ("old", "0002_more"): ([("old", "0001_initial")], []),
    ("old", "0001_squashed_0002"): ([], [("old", "0001_initial"), ("old", "0002_more")]),
}
APPS = "INSTALLED_APPS = ['entries', 'tags', 'old', 'plain']"
DATABASE = "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': '/no/such/directory/db'}}"


@pytest.fixture
def probe(tmp_path):
    """`probe(settings)`: what probe.py finds of a project with these."""
    files = {"shop/__init__.py": "", "shop/wsgi.py": WSGI, "packages/release.py": "OF_THE_PROJECT = True\n"}
    files |= {f"{name}/__init__.py": "" for name in ("entries", "tags", "old", "plain")}
    files |= {f"{name}/migrations/__init__.py": "" for name in ("entries", "tags", "old")}
    for (label, name), (dependencies, replaces) in MIGRATIONS.items():
        text = MIGRATION.format(dependencies=dependencies, replaces=replaces)
        files[f"{label}/migrations/{name}.py"] = text

    def run(*settings):
        files["shop/settings.py"] = SETTINGS.format(settings="\n".join(settings))
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "packages")}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        words = [sys.executable, str(PROBE), "shop.wsgi:application", "probe.json"]
        result = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return json.loads((tmp_path / "probe.json").read_text())

    return run


def test_a_project_with_a_module_named_as_one_of_ours_is_probed(probe):
    found = probe()
    assert (found["database"], found["staticfiles"], found["static_url"]) == (False, False, "/static/")
    assert (found["migrations"], found["leaves"]) == ([], [])


@pytest.mark.parametrize("database", [True, False])
def test_migrations_and_leaves_are_listed_without_a_database(probe, database):
    found = probe(APPS, *([DATABASE] if database else []))
    assert found["database"] is database
    assert found["migrations"] == sorted(f"{label}.{name}" for label, name in MIGRATIONS)
    assert found["leaves"] == ["entries.0002_more", "old.0001_squashed_0002", "tags.0001_initial"]
