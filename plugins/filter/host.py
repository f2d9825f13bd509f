# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import host


def host_entries(options: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The files of the host."""
    return host.entries(options, facts or {})


def host_problems(
    given: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    survey: Mapping[str, Any] | None = None,
    connection: str = "local",
    port: int = 22,
) -> list[str]:
    """What is wrong with the variables, one line each."""
    return host.problems(given, facts or {}, survey or {}, connection, int(port))


def host_questions(given: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """What the role asks of a host."""
    return host.questions(given, facts or {})


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "host_entries": host_entries,
            "host_packages": host.packages,
            "host_problems": host_problems,
            "host_questions": host_questions,
        }
