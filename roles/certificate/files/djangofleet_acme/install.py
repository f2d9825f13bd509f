"""certbot, in an environment of its own: made anew beside the one in use, which goes when the new one is whole."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .core import AcmeError, run

LISTS = Path(__file__).parent / "requirements"
SECONDS = 900
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"  # another one after an upgrade of the distribution


def ensure(settings: Mapping[str, Any]) -> bool:
    """Install what the configuration names, if it is not there. Returns whether there was anything to do."""
    wanted = settings["installation"]
    path, complete = Path(wanted["path"]), Path(wanted["complete"])
    link = Path(settings["link"])
    if complete.is_file() and complete.read_text() == PYTHON:
        return False
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    _check([sys.executable, "-m", "venv", str(path)], settings)
    pip = [str(path / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    lists = [word for name in wanted["lists"] for word in ("--requirement", str(LISTS / f"{name}.txt"))]
    _check([*pip, "--require-hashes", *lists], settings)
    if wanted["further"]:
        constraints = path / "constraints.txt"
        constraints.write_text("".join(f"{pin}\n" for pin in wanted["constraints"]))
        _check([*pip, "--constraint", str(constraints), *wanted["further"]], settings)
    complete.write_text(PYTHON)
    new = link.with_name(f"{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(path)
    new.rename(link)
    for other in path.parent.glob(f"{link.name}-*"):
        if other != path:
            shutil.rmtree(other, ignore_errors=True)
    return True


def is_usable(settings: Mapping[str, Any]) -> bool:
    """Whether there is an environment, though perhaps not the one that the configuration names."""
    complete = Path(settings["link"]) / "complete"
    return complete.is_file() and complete.read_text() == PYTHON


def _check(words: list[str], settings: Mapping[str, Any]) -> None:
    code, printed = run(words, SECONDS, settings["pip"])
    if code != 0:
        lines = [line.strip() for line in printed.splitlines() if line.strip()]
        raise AcmeError(f"certbot could not be installed: {' '.join(lines[-4:])}")
