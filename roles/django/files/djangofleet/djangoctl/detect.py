"""Detects a project's settings module and application where the inventory does not name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from .app import App
from .tree import beginning, is_inside

# The line that `startproject` writes into manage.py, wsgi.py and asgi.py.
SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([\w.]+)["']""")


def detect(
    app: App, tree: Path, project: Path, fail: Callable[[str, str, str], None], installed: Iterable[Path] = ()
) -> dict[str, str]:
    """The settings module and the application of a source, as release.json records them.

    :param fail: called with key, finding and advice if nothing is found, or not what the inventory names.
    :param installed: the virtualenv's directories of modules, which may hold the application too.
    """
    build = app.build
    interface = build["interface"]
    settings = build["settings_module"] or _settings(tree, project)
    if not settings:
        fail(
            "settings_module",
            "is not set, and manage.py does not name one",
            "set settings_module, such as shop.settings",
        )
    application = build["application"]
    if not application:
        package = settings.split(".")[0]
        application = f"{package}.{interface}:application"
    module = application.partition(":")[0]
    if not build["packaged"] and not any(_has_module(root, module) for root in (project, *installed)):
        found = [
            ".".join(path.relative_to(project).with_suffix("").parts)
            for path in sorted(project.glob(f"**/{interface}.py"))
        ]
        advice = (
            f"set {interface} to one of: {', '.join(f'{name}:application' for name in found[:5])}"
            if found
            else (
                f"add a module with the {interface.upper()} application, or set project_dir to where it is importable"
            )
        )
        fail(
            interface,
            f"'{application}' is not in the source: there is no module {module} in {project.relative_to(tree)}",
            advice,
        )
    return {
        "settings_module": settings,
        "application": application if ":" in application else f"{application}:application",
    }


def _settings(tree: Path, project: Path) -> str:
    for name in ("manage.py", "*/wsgi.py", "*/asgi.py"):
        for path in sorted(path for path in project.glob(name) if path.is_file() and is_inside(tree, path)):
            if match := SETTINGS.search(beginning(path)):
                return match[1]
    return ""


def _has_module(root: Path, module: str) -> bool:
    path = root.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
