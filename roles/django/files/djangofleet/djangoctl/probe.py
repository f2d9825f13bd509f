"""Runs inside a release, by its interpreter: imports the application as gunicorn will and writes down what it found.

Usage: probe.py <module:callable> <output file>. It stands alone: nothing of djangoctl is importable from there.
"""

import importlib
import json
import os
import platform
import sys


def main(application: str, output: str) -> None:
    sys.path.insert(0, os.getcwd())
    module, _, name = application.partition(":")
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
        # Without DATABASES Django puts in one that refuses everything.
        "database": connections.settings["default"]["ENGINE"] != "django.db.backends.dummy",
    }
    with open(output, "w") as handle:
        json.dump(facts, handle)


if __name__ == "__main__":
    main(*sys.argv[1:])
