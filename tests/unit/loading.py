"""Programs and files of roles and plugins, as modules that tests can ask."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load(path: str) -> ModuleType:
    """A module of its own from a file of the project, which may carry no suffix. Each call runs the file anew.

    :param path: below the project's root, or absolute.
    """
    name = f"loaded_{path.replace('/', '_').removesuffix('.py')}"
    loader = SourceFileLoader(name, str(ROOT / path))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = sys.modules[name] = module_from_spec(spec)  # dataclasses look there
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # a program's would lie beside it, for ever
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module
