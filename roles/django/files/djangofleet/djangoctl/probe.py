"""Imports the application as gunicorn will, writes what the project is, and collects its static files.

All that a build asks of a project is asked here, with one import. Usage: probe.py <module:callable> <output file>
[<static directory>...]. Static files are collected if the settings name one of these directories. The release's
interpreter runs it, so it imports nothing of djangoctl.
"""

import compileall
import contextlib
import importlib
import io
import json
import os
import platform
import sys


def migrations() -> dict[str, list[str]]:
    """The names of the release's migrations. They compare releases without a database.

    `leaves` are the last migrations of each Django app: the schema that they lead to.
    """
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(None, ignore_no_migrations=True)
    nodes = {"migrations": loader.disk_migrations, "leaves": loader.graph.leaf_nodes()}
    return {kind: sorted(f"{app}.{name}" for app, name in found) for kind, found in nodes.items()}


def facts_of(application: str) -> dict:
    """Import the application, and read the settings that come with it."""
    module, _colon, name = application.partition(":")
    target = importlib.import_module(module)
    for part in (name or "application").split("."):
        target = getattr(target, part)

    import django
    from django.apps import apps
    from django.conf import settings
    from django.db import connections

    staticfiles = apps.is_installed("django.contrib.staticfiles")
    storage, hashed = "", False
    if staticfiles:
        from django.contrib.staticfiles.storage import staticfiles_storage

        hashed = hasattr(staticfiles_storage, "hashed_name")
        storage = type(staticfiles_storage._wrapped).__qualname__
    root = str(settings.STATIC_ROOT or "")
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "staticfiles": staticfiles,
        "static_root": os.path.normpath(root) if root else "",
        "static_url": str(settings.STATIC_URL or ""),
        "storage": storage,
        "hashed": hashed,
        **migrations(),
        # Without DATABASES, Django configures a dummy engine that refuses every query.
        "database": connections.settings["default"]["ENGINE"] != "django.db.backends.dummy",
    }


def deploy_check() -> str:
    """The advice of `check --deploy`. Its errors fail nothing: real ones have failed collectstatic already."""
    from django.core.management import call_command

    said = io.StringIO()
    try:
        call_command("check", deploy=True, no_color=True, stdout=said, stderr=said)
    except Exception as error:  # a check of the project's own may raise anything
        said.write(str(error))
    return said.getvalue().strip()


def write(output: str, facts: dict) -> None:
    with open(output, "w") as handle:
        json.dump(facts, handle)


def main(application: str, output: str, *directories: str) -> None:
    sys.path[0] = os.getcwd()  # instead of this file's directory: the project may have a package `release` too
    facts = facts_of(application)
    write(output, facts)  # djangoctl tells by it that the import has worked
    if facts["staticfiles"]:
        if facts["static_root"] not in directories:
            return
        from django.core.management import call_command

        call_command("collectstatic", interactive=False, verbosity=1, skip_checks=False)
    facts["deploy_check"] = deploy_check()
    # The app cannot write to its code later, so the bytecode is compiled now.
    with contextlib.redirect_stdout(sys.stderr):
        compileall.compile_dir(".", quiet=1)
    write(output, facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
