# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role django asks a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: django_questions
short_description: What the role django asks a host
author: djangofleet developers (@djangofleet)
description:
  - The arguments for M(djangofleet.stack.survey). Can be asked before there is an app.
positional: uv
options:
  _input:
    description: The role's variables, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  uv:
    description: The directory that uv is installed in.
    type: path
    required: true
"""

EXAMPLES = r"""
__django_questions: "{{ __django_given | djangofleet.stack.django_questions(__django_uv) }}"
"""

RETURN = r"""
_value:
  description: C(users) and C(paths).
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django import django_questions


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"django_questions": django_questions}
