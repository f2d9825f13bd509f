# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import host, host_bans, host_ssh


def host_entries(
    options: Mapping[str, Any], facts: Mapping[str, Any] | None = None, survey: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The files of the host."""
    return host.entries(options, facts or {}, survey)


def host_problems(
    given: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    survey: Mapping[str, Any] | None = None,
    connection: str = "local",
    port: int = 22,
    user: str = "",
    by_password: bool = False,
) -> list[str]:
    """What is wrong with the variables, one line each."""
    login = host_ssh.Login(user, int(port), by_password)
    return host.problems(given, facts or {}, survey or {}, connection, login)


def host_questions(given: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """What the role asks of a host."""
    return host.questions(given, facts or {})


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "host_bans": host_bans.wired,
            "host_entries": host_entries,
            "host_packages": host.packages,
            "host_problems": host_problems,
            "host_questions": host_questions,
        }
