# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run came to."""

from __future__ import annotations

DOCUMENTATION = r"""
name: summary
short_description: What a run of the playbooks came to, as a text that a person reads
author: djangofleet developers (@djangofleet)
description:
  - Says of each app where it is, which release is live, whether it answers, when its certificate ends and what is next.
positional: hostvars, hosts
options:
  _input:
    description: The resolved apps that the run was about.
    type: list
    elements: dict
    required: true
  hostvars:
    description: Ansible's own C(hostvars), which hold what the hosts have done and seen.
    type: dict
    required: true
  hosts:
    description: The hosts that may have taken part.
    type: list
    elements: str
    required: true
  began:
    description: When the run began, in seconds since the epoch.
    type: float
    required: true
  check:
    description: Whether the run was in check mode.
    type: bool
    default: false
  public_port:
    description: The port under which the world reaches the sites.
    type: int
    default: 443
"""

EXAMPLES = r"""
- name: Say how it went
  ansible.builtin.debug:
    msg: "{{ apps | djangofleet.stack.summary(hostvars, groups.app, began=began, check=ansible_check_mode) }}"
"""

RETURN = r"""
_value:
  description: The text, a paragraph for each app.
  type: str
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.summary import backups_of, health_of, summarize


def summary(
    apps: Sequence[Mapping[str, Any]],
    hostvars: Mapping[str, Mapping[str, Any]],
    hosts: Sequence[str],
    began: float,
    check: bool = False,
    public_port: int = 443,
) -> str:
    """The text, as of now."""
    seen = {
        host: {
            "builds": _of(hostvars[host], "__django_builds", {}),
            "visits": _of(_of(hostvars[host], "djangofleet_visit", {}), "visits", []),
            "health": health_of(_of(_of(hostvars[host], "djangofleet_visit", {}), "services", ""))
            or backups_of(_of(_of(hostvars[host], "djangofleet_backup_status", {}), "stdout", "")),
        }
        for host in hosts
    }
    now = datetime.datetime.now(datetime.UTC)
    lines = summarize(apps, seen, began=float(began), now=now, check=check, public_port=int(public_port))
    return "\n".join(lines)


def _of(values: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    return values[name] if name in values else otherwise  # noqa: SIM401  # hostvars has no get() of its own


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"summary": summary}
