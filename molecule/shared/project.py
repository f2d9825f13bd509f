"""The example project with migrations of its own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from shared.outside import ROOT

MIGRATION = """from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("entries", "{before}")]
    operations = [{operation}]
"""
COLUMN = 'migrations.AddField("entry", "mood", models.TextField(null=True))'
NO_COLUMN = 'migrations.RemoveField("entry", "mood")'
# What a deploy that destroys says: the command of the playbook, or that of a copy of SQLite. YAML may have quoted it.
BACK = re.compile(r"back to it: (ansible-playbook \S.*? -e overwrite=true|runuser .*?/db\.sqlite3)(?='?(?:\s|$))")


def guestbook(path: Path, *operations: str) -> Path:
    """Make the guestbook with a migration for each of these operations, and return where it is."""
    shutil.copytree(
        ROOT / "examples/guestbook", path, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3", "media")
    )
    before = "0001_initial"
    for number, operation in enumerate(operations, 2):
        name = f"{number:04}_next"
        (path / f"entries/migrations/{name}.py").write_text(MIGRATION.format(before=before, operation=operation))
        before = name
    return path


def way_back(said: str) -> str:
    """The command that a deploy has printed, which Ansible may have broken into lines."""
    found = BACK.search(" ".join(said.split()))
    assert found, f"no way back was told: {said[-4000:]}"
    return found[1]
