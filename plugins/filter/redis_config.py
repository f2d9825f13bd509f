# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the server of the role redis is configured with."""

from __future__ import annotations

DOCUMENTATION = r"""
name: redis_config
short_description: What the server of the role redis is configured with
author: djangofleet developers (@djangofleet)
description:
  - Gives C(settings), all of them by name, C(own) and C(given), those that are the role's and the inventory's, and
    C(users), the lines of the ACL file.
  - A user of an app keeps the passwords that it has until O(_input) names it among C(redis_app_settled). C(retired) are
    those that had others.
positional: survey, acl
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  survey:
    description: What the host answered to the questions of P(djangofleet.stack.redis_questions#filter).
    type: dict
    default: {}
  acl:
    description: The content of the ACL file that the host has.
    type: str
    default: ""
"""

EXAMPLES = r"""
__redis_config: "{{ __redis_options | djangofleet.stack.redis_config(__redis_survey, acl) }}"
"""

RETURN = r"""
_value:
  description: The settings and the lines.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import redis as rules


def redis_config(options: Mapping[str, Any], survey: Mapping[str, Any] | None = None, acl: str = "") -> dict[str, Any]:
    """What the server is configured with."""
    return rules.redis_config(options, survey or {}, acl)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"redis_config": redis_config}
