# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import redis as rules


def redis_config(options: Mapping[str, Any], survey: Mapping[str, Any] | None = None, acl: str = "") -> dict[str, Any]:
    """What the server is configured with."""
    return rules.redis_config(options, survey or {}, acl)


def redis_problems(given: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> list[str]:
    """What is wrong, a line each."""
    return rules.redis_problems(given, facts or {})


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "redis_config": redis_config,
            "redis_packages": rules.redis_packages,
            "redis_problems": redis_problems,
            "redis_questions": rules.redis_questions,
        }
