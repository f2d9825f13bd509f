"""What djangoctl prints: results and failures, as text or as JSON."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import backups
from .errors import CtlError

# What may not be printable: all but ASCII, and of that all control characters but newline and tab.
DOUBTFUL = re.compile(r"[^\n\t\x20-\x7e]")


def report(error: CtlError, as_json: bool) -> int:
    """Print a failure and return its exit code."""
    text = json.dumps(printable(error.as_dict())) if as_json else printable(f"djangoctl: {error}")
    _print(text, sys.stdout if as_json else sys.stderr)
    return error.code


def show(result: dict, as_json: bool) -> None:
    """Print a result."""
    result = printable(result)
    _print(json.dumps(result) if as_json else render(result), sys.stdout)


def printable(value: Any) -> Any:
    """A text, or what has texts, with control characters written out: those of a log would act on root's terminal.

    JSON gets the same: whoever reads it, such as Ansible, prints its texts too.
    """
    if isinstance(value, str):
        return DOUBTFUL.sub(lambda match: match[0] if match[0].isprintable() else _escaped(match[0]), value)
    if isinstance(value, Mapping):
        return {printable(key): printable(inner) for key, inner in value.items()}
    return [printable(inner) for inner in value] if isinstance(value, list | tuple) else value


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _print(text: str, stream) -> None:
    """Print a text. What has been done does not fail because nobody reads it, or because the output's disk is full."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python flushes again when it ends
    except OSError as error:
        print(f"djangoctl: the result could not be printed: {error}", file=sys.stderr)


def render(result: dict) -> str:
    """A result as text: a table for a list of dictionaries, a line for anything else."""
    if "apps" in result:
        told = ("ready",) if any("ready" in entry for entry in result["apps"]) else ()
        return "\n".join(_table([_overview(entry, told) for entry in result["apps"]]))
    if "catch_up" in result:
        return "\n".join(line for entry in result["catch_up"] for line in _caught_up(entry))
    if "faults" in result:
        return "\n".join(_status(result))
    lines = []
    for key, value in result.items():
        if _is_table(value):
            lines += _table(value)
        elif value not in ("", [], None):
            lines.append(_line(key, value))
    return "\n".join(lines)


def _caught_up(entry: Mapping) -> Iterator[str]:
    """An app that catches up: that it is ready, or what keeps it from that."""
    if "error" not in entry:
        yield f"{entry['app']}: ready on release {entry['release']}: {entry['note']}"
        return
    yield f"{entry['app']}: not ready: {entry['error']}"
    yield from (f"  {line}" for key in ("log", "state", "hint") for line in entry[key].splitlines())


def _overview(entry: Mapping, told: Sequence[str]) -> dict:
    """A row of the list of apps.

    :param told: what is told only where an app has it.
    """
    problems = [entry["error"]] if "error" in entry else [fault["found"] for fault in entry["faults"]]
    row = {key: entry.get(key) for key in ("app", "release", "activated_at", *told, "serves", "maintenance")}
    return {**row, "restart_pending": entry.get("restart_pending"), "problem": "; ".join(problems) or None}


def _status(result: Mapping) -> Iterator[str]:
    """The health of an app: what is so, then what is wrong and what heals it."""
    for key, value in result.items():
        if key in ("faults", "warnings") or value in ("", [], None):
            continue
        shown = [backups.shown(part) for part in value] if key == "backups" else value
        if _is_table(shown):
            yield f"{key}:"
            yield from (f"  {row}" for row in _table(shown))
        else:
            yield _line(key, shown)
    for kind in ("faults", "warnings"):
        for fault in result[kind]:
            yield f"{kind.removesuffix('s')}: {fault['found']}"
            yield f"  heals: {fault['heals']}"


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _table(entries: Sequence[Mapping]) -> list[str]:
    rows = [list(entries[0]), *([_cell(row.get(name)) for name in entries[0]] for row in entries)] if entries else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _line(key: str, value: object) -> str:
    return f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else _cell(value)}"


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return {True: "yes", False: "no", None: "-"}[value] if isinstance(value, bool | None) else str(value)
