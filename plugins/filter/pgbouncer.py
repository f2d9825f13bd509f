# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role pgbouncer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import pgbouncer as rules


def pgbouncer_packages(options: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> list[str]:
    """The packages."""
    return rules.pgbouncer_packages(options, facts or {})


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "pgbouncer_config": rules.pgbouncer_config,
            "pgbouncer_packages": pgbouncer_packages,
            "pgbouncer_problems": rules.pgbouncer_problems,
            "pgbouncer_questions": rules.pgbouncer_questions,
        }
