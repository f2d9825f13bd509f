# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role nginx needs to know of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_questions
short_description: What the role nginx needs to know of a host before it changes anything
author: djangofleet developers (@djangofleet)
description:
  - Gives the arguments for M(djangofleet.stack.survey) that find out whether Nginx runs, which sites it serves and
    which certificates are there.
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {'units': ['nginx.service'], 'paths': ['/etc/nginx/sites/*.conf', '/etc/ssl/shop/fullchain.pem', ...]}
__nginx_questions: "{{ __nginx_given | djangofleet.stack.nginx_questions }}"
"""

RETURN = r"""
_value:
  description: The questions, C(units) and C(paths).
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx import questions


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"nginx_questions": questions}
