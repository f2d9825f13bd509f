# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The packages of role host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: host_packages
short_description: The packages that role host installs
author: djangofleet developers (@djangofleet)
description:
  - Gives C(host_packages) and what the parts need that are switched on.
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
"""

EXAMPLES = r"""
# by default: ca-certificates, curl, iproute2, less, procps, tzdata, systemd-timesyncd, nftables, unattended-upgrades
__host_packages: "{{ __host_options | djangofleet.stack.host_packages }}"
"""

RETURN = r"""
_value:
  description: Names of packages.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils import host


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"host_packages": host.packages}
