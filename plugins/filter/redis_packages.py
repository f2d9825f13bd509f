# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The packages of the role redis."""

from __future__ import annotations

DOCUMENTATION = r"""
name: redis_packages
short_description: The packages of the role redis
author: djangofleet developers (@djangofleet)
description:
  - Gives the server's package, or nothing where nobody uses it.
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
"""

EXAMPLES = r"""
__redis_packages: "{{ __redis_options | djangofleet.stack.redis_packages }}"
"""

RETURN = r"""
_value:
  description: Names of Debian packages.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import redis as rules


def redis_packages(options: Mapping[str, Any]) -> list[str]:
    """The packages."""
    return rules.redis_packages(options)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"redis_packages": redis_packages}
