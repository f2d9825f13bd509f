"""Imports the application as gunicorn will, and writes what the project's settings and migrations are.

Usage: probe.py <module:callable> <output file>. The release's interpreter runs it, so it imports nothing of djangoctl.
"""

import importlib
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


def main(application: str, output: str) -> None:
    sys.path[0] = os.getcwd()  # instead of this file's directory: the project may have a package `release` too
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
    facts = {
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
    with open(output, "w") as handle:
        json.dump(facts, handle)


if __name__ == "__main__":
    main(*sys.argv[1:])
