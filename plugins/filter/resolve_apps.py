# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the apps of an inventory mean."""

from __future__ import annotations

DOCUMENTATION = r"""
name: resolve_apps
short_description: What the apps of an inventory mean
author: djangofleet developers (@djangofleet)
description:
  - Gives each app with all defaults of C(django_app) and what follows from them.
  - Every role is wired from this one result, so that they cannot disagree.
  - Added are C(hosts), C(primary), C(user), C(home), C(listen), C(upstream), C(static), C(media), C(maintenance_page),
    C(certificate_name) and C(packages).
positional: groups, root, partial
options:
  _input:
    description: C(django_apps) as the inventory has it.
    type: list
    elements: dict
    required: true
  groups:
    description: The inventory's groups with their hosts.
    type: dict
    required: true
  root:
    description: The directory of all apps. The default of the role django if not given.
    type: path
  partial:
    description: Leave out an app that its spec does not take, rather than fail.
    type: bool
    default: false
"""

EXAMPLES = r"""
# The first host of the group app is the primary host of each app, whatever --limit says
__apps: "{{ django_apps | djangofleet.stack.resolve_apps(groups, django_root | default(none)) }}"
"""

RETURN = r"""
_value:
  description: The apps.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.djangofleet.stack.plugins.plugin_utils import apps as rules


def resolve_apps(
    apps: Any, groups: Mapping[str, Sequence[str]], root: str | None = None, partial: bool = False
) -> list[dict[str, Any]]:
    """The apps with all defaults and what follows from them.

    :raises AnsibleFilterError: with all that is wrong with what was given, a line each, unless partial.
    """
    try:
        return rules.resolve_apps(apps, groups, root, partial)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"resolve_apps": resolve_apps}
