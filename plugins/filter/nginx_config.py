# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the templates of the role nginx see."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_config
short_description: What the templates of the role nginx see
author: djangofleet developers (@djangofleet)
description:
  - Gives the role's settings without their prefix, and as C(sites) the sites of both lists with all that follows from
    their options, such as the redirect to HTTPS that a certificate brings.
  - As C(sandbox) the lines of systemd's settings, and as C(run_in_sandbox) what goes before a command that
    is to run with them.
positional: release, sandbox, headers, cleared
options:
  _input:
    description: The variables as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  release:
    description: Debian's major version.
    type: int
    required: true
  sandbox:
    description: systemd's settings for Nginx.
    type: dict
    required: true
  headers:
    description: The headers of every answer.
    type: dict
    required: true
  cleared:
    description: The headers of clients that no app gets.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
# {'http_port': 80, 'sites': [{'name': 'shop', 'redirect_to_https': true, 'hsts_header': 'max-age=63072000', ...}], ...}
__nginx_config: "{{ __nginx | djangofleet.stack.nginx_config(13, __nginx_sandbox, __nginx_headers, []) }}"
"""

RETURN = r"""
_value:
  description: The settings by name.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx import config


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"nginx_config": config}
