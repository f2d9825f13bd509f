# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with an input, as lines that a person reads: the variable's path, what was found, what to give."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 80
DOUBTFUL = re.compile(r"[^\t\x20-\x7e]")  # what may not be printable


def shown(value: Any) -> str:
    """A value as a message quotes it: one line, cut where it is long."""
    text = one_line(value) if isinstance(value, str) else str(value)
    return f"'{text}'" if len(text) <= LONGEST else f"'{text[: LONGEST - 3]}...'"


def one_line(value: Any) -> str:
    """A value in one line, with control characters written out: they would act on a terminal."""
    text = " ".join(str(value).split())
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def printable_lines(text: str) -> list[str]:
    """The lines of what a host has printed, with control characters written out, as far as they are no tabs."""
    return [
        DOUBTFUL.sub(lambda match: match[0] if match[0].isprintable() else ascii(match[0])[1:-1], line)
        for line in text.split("\n")
    ]


def problem(path: str, value: Any, wanted: str) -> str:
    """The line about one value: "<path>: found '<value>'; give <wanted>"."""
    return f"{path}: found {shown(value)}; give {wanted}"


def no_answer(answer: Mapping[str, Any]) -> str:
    """Why a host has not answered, by what Ansible has registered of the task that asked it."""
    return one_line(answer.get("msg") or "it was not asked").removeprefix("Task failed: ")


def outline(value: Any) -> Any:
    """A value as a message may quote it that does not know where its secrets are."""
    if isinstance(value, Mapping):
        return "(a mapping)"
    return "(a list)" if isinstance(value, (list, tuple)) else value


def labelled(path: str, items: Iterable[Any]) -> list[tuple[str, Any]]:
    """The path of each item of a list: by its name where it has one, by its number otherwise."""
    return [
        (
            f"{path}[{one_line(item['name'])}]"
            if isinstance(item, Mapping) and item.get("name")
            else f"{path}[{number}]",
            item,
        )
        for number, item in enumerate(items)
    ]


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that a misspelt one resembles most; empty where none comes near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)), "")
