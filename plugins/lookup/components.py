# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the components of a host say about it: one answer of each role that is applied to it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: components
short_description: A value of every role that the playbooks apply to this host
author: djangofleet developers (@djangofleet)
description:
  - A component is a file in C(playbooks/components/). It bears the name of its role, and its first play names the
    groups that the role is applied to.
  - Gives the variable C(__<role>_<term>) of each role whose component names a group of this host, as the role's
    C(vars/) define it. A role that does not define it is left out.
  - Where a role has no C(problems) of its own, its argument spec answers.
options:
  _terms:
    description: What is asked for, such as V(problems), V(packages) or V(questions).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Check what the inventory says about this host
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ query('djangofleet.stack.components', 'problems') | flatten }}"
"""

RETURN = r"""
_raw:
  description: The values, in the order of the roles' names.
  type: list
  elements: raw
"""

import re
from pathlib import Path
from typing import Any

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, read_yaml, resolve, spec_of

COMPONENTS = ROLES.parent / "playbooks" / "components"


def is_applied(hosts: str, group_names: list[str]) -> bool:
    """Whether the `hosts` of a play name a group of the host: a group, or a regular expression after '~'."""
    if hosts.startswith("~"):
        return any(re.match(hosts[1:], name) for name in group_names)
    return hosts in group_names


def roles_of(group_names: list[str], directory: Path = COMPONENTS) -> list[str]:
    """The roles that the components apply to a host of these groups."""
    plays = {path.stem: read_yaml(path)[0] for path in sorted(directory.glob("*.yml"))}
    return [role for role, play in plays.items() if is_applied(str(play["hosts"]), group_names)]


class LookupModule(LookupBase):
    """Asks each role of the host."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        variables = variables or {}
        roles = roles_of(list(variables.get("group_names", [])))
        return [value for term in terms for role in roles for value in self._ask(role, term, variables)]

    def _ask(self, role: str, term: str, variables: dict[str, Any]) -> list[Any]:
        """The role's answer, in a list; an empty one if it has none."""
        asked = lookup_loader.get("djangofleet.stack.role_variables", loader=self._loader, templar=self._templar)
        name = f"__{role}_{term}"
        if asked.defines(role, name):
            return asked.run([role], variables, value=name)
        if term == "problems":
            return [resolve(spec_of(role), asked.run([role], variables)[0])[1]]
        return []
