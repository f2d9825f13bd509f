# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role pgbouncer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import pgbouncer as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils.pgbouncer import pgbouncer_config


def pgbouncer_packages(options: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> list[str]:
    """The packages."""
    return rules.pgbouncer_packages(options, facts or {})


def pgbouncer_problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong, a line each."""
    return rules.pgbouncer_problems(given)


def pgbouncer_questions(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """The arguments of djangofleet.stack.survey."""
    return rules.pgbouncer_questions(given)


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "pgbouncer_config": pgbouncer_config,
            "pgbouncer_packages": pgbouncer_packages,
            "pgbouncer_problems": pgbouncer_problems,
            "pgbouncer_questions": pgbouncer_questions,
        }
