# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Imports the collection's filters and lookups, and reads its roles, once for all tasks of a run.

Ansible runs each task in a fork of its main process, and each fork compiles the modules of a collection anew. The
action plugin of a task is imported before the fork, so what that imports is there for all forks that follow.
"""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import suppress
from functools import cache
from pathlib import Path

from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, spec_of

COLLECTION = "ansible_collections.djangofleet.stack"
PLUGINS = Path(__file__).resolve().parents[1]
KINDS = ("filter", "lookup")


def preload() -> None:
    """Import every filter and lookup. One that cannot be imported says so where it is used."""
    for kind in KINDS:
        for module in pkgutil.iter_modules([str(PLUGINS / kind)]):
            with suppress(ImportError):
                importlib.import_module(f"{COLLECTION}.plugins.{kind}.{module.name}")
    read()


@cache
def read() -> None:
    """Read the specs, defaults and vars of all roles."""
    room = importlib.import_module(f"{COLLECTION}.plugins.lookup.role_variables").room
    for path in ROLES.glob("*/meta/argument_specs.yml"):
        role = path.parents[1].name
        spec_of(role)
        room(role, "defaults")
        room(role, "vars")
