# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Debian packages of the role django."""

from __future__ import annotations

DOCUMENTATION = r"""
name: django_packages
short_description: Debian packages of the role django and of its apps
author: djangofleet developers (@djangofleet)
description:
  - Can be asked before there is an app, by a playbook that installs the packages of all roles at once.
positional: base
options:
  _input:
    description: The role's variables, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  base:
    description: The packages that the role needs whatever the app.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
__django_packages: "{{ __django_given | djangofleet.stack.django_packages(['git', 'tar']) }}"
"""

RETURN = r"""
_value:
  description: The packages.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django import django_packages


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"django_packages": django_packages}
