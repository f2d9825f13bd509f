# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which certificate files of the sites a host does not have yet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_missing_certificates
short_description: Which certificate files of the sites a host does not have yet
author: djangofleet developers (@djangofleet)
description:
  - Nginx refuses a configuration whose certificates are not there. A check of a host that is still to get them cannot
    test its configuration.
positional: survey
options:
  _input:
    description: The variables as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  survey:
    description: What the host answered to the questions of P(djangofleet.stack.nginx_questions#filter).
    type: dict
    required: true
"""

EXAMPLES = r"""
# ['/etc/ssl/shop/privkey.pem']
can_be_tested: "{{ __nginx | djangofleet.stack.nginx_missing_certificates(djangofleet_survey) | length == 0 }}"
"""

RETURN = r"""
_value:
  description: The paths of the files.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx import missing_certificates


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"nginx_missing_certificates": missing_certificates}
