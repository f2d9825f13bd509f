# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role nginx."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx import balancer as nginx_balancer
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx import caches as nginx_caches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx import config as nginx_config
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx import (
    missing_certificates as nginx_missing_certificates,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx import questions as nginx_questions
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_problems import problems


def nginx_problems(
    given: Mapping[str, Any], survey: Mapping[str, Any] | None = None, release: int | str = ""
) -> list[str]:
    """What is wrong, a line each."""
    return problems(given, survey or {}, release)


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "nginx_balancer": nginx_balancer,
            "nginx_caches": nginx_caches,
            "nginx_config": nginx_config,
            "nginx_missing_certificates": nginx_missing_certificates,
            "nginx_problems": nginx_problems,
            "nginx_questions": nginx_questions,
        }
