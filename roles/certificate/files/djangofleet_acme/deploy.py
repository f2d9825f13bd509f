"""Puts the pair of a lineage where servers read it, and has them read it."""

from __future__ import annotations

import ctypes
import grp
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .core import AcmeError, Record, alone, digest_of, lineage, place, run, write

FILES = ("privkey.pem", "fullchain.pem")
# What a unit would load, tested before it is told to: outside of the timer's sandbox, which is closed to the logs and
# directories that a site may have anywhere.
TESTS = {"nginx.service": "nginx"}
TEST = ("systemd-run", "--quiet", "--wait", "--pipe", "--collect")
EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
AT_FDCWD = -100


def exchange(one: Path, other: Path) -> None:
    """Swap two directories at once: nobody ever sees the key of one and the chain of the other."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def group_of(item: Mapping[str, Any]) -> int:
    name = item["key_group"]
    try:
        return grp.getgrnam(name).gr_gid if name else os.getegid()
    except KeyError:
        raise AcmeError(f"this host has no group '{name}'; correct key_group") from None


def lies_there(settings: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """Whether the newest pair lies where servers read it, with the right modes."""
    wanted = {
        "privkey.pem": (0o640 if item["key_group"] else 0o600, group_of(item)),
        "fullchain.pem": (0o644, os.getegid()),
    }
    source, target = lineage(settings, item["name"]), place(settings, item["name"])
    for name, (mode, group) in wanted.items():
        try:
            found = os.lstat(target / name)
            if (found.st_mode & 0o7777, found.st_uid, found.st_gid) != (mode, os.geteuid(), group):
                return False
            if (target / name).read_bytes() != (source / name).read_bytes():
                return False
        except FileNotFoundError:
            return False
    return True


def deploy(settings: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """Bring the newest pair of a certificate to its servers. Returns whether there was anything to do."""
    name = item["name"]
    with alone(settings, "deploy"):
        source = lineage(settings, name)
        if not (source / FILES[1]).is_file():
            return False
        record, digest = Record(settings), digest_of((source / FILES[1]).read_bytes())
        there = lies_there(settings, item)
        if there and record.of(name).get("loaded") == digest:
            return False
        before = None if there else _put(settings, item)
        problem = _test(settings)
        if problem and before is not None:
            # With the pair from before too, something else is wrong, and a restart would fail anyway.
            exchange(before, place(settings, name))
            if not _test(settings):
                shutil.rmtree(before)
                raise AcmeError(f"it is not served, since Nginx refuses it: {problem}")
            exchange(before, place(settings, name))
        if before is not None:
            _drop(before, place(settings, name))
        if problem:
            raise AcmeError(f"it is in place and not loaded: {problem}; correct it, then systemctl reload nginx")
        _reload(settings)
        record.note(name, loaded=digest)
        return True


def _put(settings: Mapping[str, Any], item: Mapping[str, Any]) -> Path | None:
    """Put the pair in place; the directory that has what lay there before, if anything did."""
    source, target = lineage(settings, item["name"]), place(settings, item["name"])
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = target.with_name(f".{target.name}.new")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(mode=0o755)
    stage.chmod(0o755)
    write(stage / "privkey.pem", (source / "privkey.pem").read_bytes(), 0o640 if item["key_group"] else 0o600,
          group_of(item))  # fmt: skip
    write(stage / "fullchain.pem", (source / "fullchain.pem").read_bytes(), 0o644)
    if not target.is_dir():
        stage.rename(target)
        return None
    exchange(stage, target)
    return stage


def _drop(before: Path, target: Path) -> None:
    """Remove the pair from before. What else lay beside it stays."""
    for path in before.iterdir():
        if path.name not in FILES and not (target / path.name).exists():
            path.rename(target / path.name)
    shutil.rmtree(before)


def _running(settings: Mapping[str, Any]) -> list[str]:
    return [unit for unit in settings["reload_units"] if run(["systemctl", "is-active", "-q", "--", unit], 60)[0] == 0]


def _test(settings: Mapping[str, Any]) -> str:
    """What the servers say against what they would load; empty if nothing."""
    for unit in settings["reload_units"]:
        program = shutil.which(TESTS.get(unit if unit.endswith(".service") else f"{unit}.service", ""))
        if program:
            code, printed = run([*TEST, program, "-q", "-t"], 60)
            if code != 0:
                return " ".join(printed.split())
    return ""


def _reload(settings: Mapping[str, Any]) -> None:
    """Reload the units that use it. All are tried. One that does not run reads it when it starts.

    What cannot be reloaded is restarted, such as Redis as the distribution starts it, before it is set up.
    """
    wrong = []
    for unit in _running(settings):
        code, printed = run(["systemctl", "reload-or-restart", "--", unit], 120)
        if code != 0:
            wrong.append(f"{unit} could not be reloaded: {' '.join(printed.split())}")
    if wrong:
        raise AcmeError(f"it is in place, but {'; '.join(wrong)}")


def drop_stages(settings: Mapping[str, Any]) -> None:
    """Remove what a run that was killed has left beside the certificates."""
    with suppress(FileNotFoundError), alone(settings, "deploy"):
        for item in settings["certificates"]:
            stage = place(settings, item["name"]).with_name(f".{item['name']}.new")
            shutil.rmtree(stage, ignore_errors=True)
