# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role backup."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import (
    backup_config,
    backup_packages,
    backup_passphrase_differs,
    backup_problems,
    backup_questions,
)


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "backup_config": backup_config,
            "backup_packages": backup_packages,
            "backup_passphrase_differs": backup_passphrase_differs,
            "backup_problems": backup_problems,
            "backup_questions": backup_questions,
        }
