"""Versions of one project: the example, with the commands of ../project, and with what a version changes about it.

Usage: variants.py NAME... makes them below build/release.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / "build" / "release"
MIGRATION = """from django.db import migrations, models


def fail(apps, schema_editor):
    raise ValueError("the ledger does not add up")


class Migration(migrations.Migration):
    dependencies = [("entries", "{before}")]
    operations = [{operation}]
"""


def project(name: str, changes: dict[str, str] | None = None) -> Path:
    """Make a version of the project, and return where it is.

    :param changes: what is different about it, if that does not stand in VARIANTS: texts by path, to add to the end of
        the file that is there or to make a new one.
    """
    path = BUILD / name
    shutil.rmtree(path, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.sqlite3", "tests", "media", "staticfiles")
    shutil.copytree(ROOT / "examples" / "guestbook", path, ignore=ignored)
    shutil.copytree(ROOT / "molecule" / "release" / "project", path, ignore=ignored, dirs_exist_ok=True)
    for relative, text in (BOOT | VARIANTS.get(name, {}) | (changes or {})).items():
        target = path / relative
        target.write_text((target.read_text() if target.exists() else "") + text)
    return path


def replace(clone: Path, source: Path) -> None:
    """Give a clone of a repository the content of a directory."""
    for path in clone.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(source, clone, dirs_exist_ok=True)


def migration(name: str, before: str, operation: str) -> dict[str, str]:
    """The change that adds a migration of one operation."""
    return {f"entries/migrations/{name}.py": MIGRATION.format(before=before, operation=operation)}


# Each with all that come before it.
MOOD = migration("0002_mood", "0001_initial", 'migrations.AddField("entry", "mood", models.TextField(null=True))')
HELD = MOOD | migration("0003_held", "0002_mood", 'migrations.AddField("entry", "held", models.TextField(null=True))')
NO_HELD = HELD | migration("0004_no_held", "0003_held", 'migrations.RemoveField("entry", "held")')

WSGI, REQUIREMENTS, STYLE = "guestbook/wsgi.py", "requirements.txt", "entries/static/entries/css/site.css"
HEALTH = """

from pathlib import Path


@require_safe
def healthz(request):
    if Path(settings.MEDIA_ROOT).with_name("data").joinpath("hangs").exists():
        time.sleep(600)
    raise RuntimeError("no heart")
"""
BOOT = {WSGI: "\nfrom entries import points\n\npoints.boot()\n"}
# What is different about a version, beside its name.
VARIANTS = {
    "red": {STYLE: "/* red */\n"},
    "blue": {STYLE: "/* blue */\n"},
    "green": {STYLE: "/* green */\n"},
    "grey": {STYLE: "/* grey */\n"},
    "heirloom": {REQUIREMENTS: "\nheirloom==1.0\n", WSGI: BOOT[WSGI] + "import heirloom\n"},
    "no-module": {WSGI: "\nimport a_module_nobody_has\n"},
    "no-package": {REQUIREMENTS: "\na-package-nobody-has==1.0\n"},
    "ill": {
        "entries/views.py": HEALTH,
        **migration("0002_fails", "0001_initial", "migrations.RunPython(fail)"),
    },
}

if __name__ == "__main__":
    for argument in sys.argv[1:]:
        project(argument)
