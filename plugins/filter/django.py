# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role django."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import django_problems as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django import (
    django_packages,
    django_questions,
    django_returns,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_entries import (
    django_entries,
    django_fetch,
    django_move_entries,
    django_scratch,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_problems import (
    calendar_problems as django_calendar_problems,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_settings import django_settings


def django_problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the role's variables, one line each."""
    return rules.django_problems(given, rules.is_on_controller)


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "django_calendar_problems": django_calendar_problems,
            "django_entries": django_entries,
            "django_fetch": django_fetch,
            "django_move_entries": django_move_entries,
            "django_packages": django_packages,
            "django_problems": django_problems,
            "django_questions": django_questions,
            "django_returns": django_returns,
            "django_scratch": django_scratch,
            "django_settings": django_settings,
        }
