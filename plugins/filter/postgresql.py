# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role postgresql."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import postgresql as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_plan import plan
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_problems import problems
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_upgrade import (
    postgresql_upgrades as upgrades,
)


def postgresql_clusters(
    options: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    survey: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The clusters of a host."""
    return rules.postgresql_clusters(options, facts or {}, survey or {})


def postgresql_packages(options: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> list[str]:
    """The packages."""
    return rules.postgresql_packages(options, facts or {})


def postgresql_plan(
    options: Mapping[str, Any], clusters: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]] = ()
) -> dict[str, list[Any]]:
    """What is to be done, a list of each kind."""
    found = {answer["item"]["name"]: answer["query_result"][0]["catalog"] for answer in answers}
    return plan(options, clusters, found)


def postgresql_problems(
    given: Mapping[str, Any], facts: Mapping[str, Any] | None = None, survey: Mapping[str, Any] | None = None
) -> list[str]:
    """What is wrong, a line each."""
    return problems(given, facts or {}, survey or {})


def postgresql_questions(given: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """The arguments of djangofleet.stack.survey."""
    return rules.postgresql_questions(given, facts or {})


def postgresql_upgrades(
    options: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    survey: Mapping[str, Any] | None = None,
    whole: Sequence[str] = (),
) -> dict[str, list[Any]]:
    """What there is to upgrade."""
    return upgrades(options, facts or {}, survey or {}, whole)


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "postgresql_clusters": postgresql_clusters,
            "postgresql_packages": postgresql_packages,
            "postgresql_plan": postgresql_plan,
            "postgresql_problems": postgresql_problems,
            "postgresql_questions": postgresql_questions,
            "postgresql_sandbox": rules.sandbox_of,
            "postgresql_upgrades": postgresql_upgrades,
        }
