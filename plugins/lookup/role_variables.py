# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The variables of a role, as an inventory gives them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: role_variables
short_description: The public variables of a role of this collection, or one of its values
author: djangofleet developers (@djangofleet)
description:
  - Gives what an inventory says for every variable that the role's argument spec knows, and the role's defaults where
    it says nothing. Works inside of the role and outside of it, so that a playbook can ask before a role runs.
  - With O(value) it gives one variable of the role instead, and evaluates no other.
options:
  _terms:
    description: The role's name.
    type: list
    elements: str
    required: true
  value:
    description: The name of a variable of the role, in its C(defaults/) or C(vars/).
    type: str
"""

EXAMPLES = r"""
- name: Show what the host says about Nginx
  ansible.builtin.debug:
    msg: "{{ lookup('djangofleet.stack.role_variables', 'nginx').nginx_http_port }}"

- name: Show what is wrong with it
  ansible.builtin.debug:
    msg: "{{ lookup('djangofleet.stack.role_variables', 'nginx', value='__nginx_problems') }}"
"""

RETURN = r"""
_raw:
  description: For each role a mapping of its variables, or the value that O(value) names.
  type: list
  elements: raw
"""

from functools import cache
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.lookup import LookupBase
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, spec_of


@cache
def room(role: str, name: str) -> dict[str, Any]:
    """What Ansible reads from a room of a role: main.yml, or every file of main/ in order. Nobody changes it."""
    directory = ROLES / role / name
    paths: list[Path] = [directory / "main.yml", *sorted((directory / "main").glob("*.yml"))]
    found: dict[str, Any] = {}
    for path in paths:
        if path.is_file():
            # "unsafe" leaves out a copy, which takes longer than to read the file.
            content = DataLoader().load_from_file(str(path), cache="none", unsafe=True, trusted_as_template=True)
            found |= content or {}
    return found


class LookupModule(LookupBase):
    """Evaluates variables in the scope that the role has, or would have."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        value = self.get_option("value")
        return [self._of(role, variables or {}, value) for role in terms]

    def defines(self, role: str, name: str) -> bool:
        """Whether the role's vars/ have a variable of that name."""
        return name in room(role, "vars")

    def _of(self, role: str, variables: dict[str, Any], value: str | None) -> Any:
        # In Ansible's order: a role's vars outrank an inventory, which outranks a role's defaults.
        scope = {**room(role, "defaults"), **variables, **room(role, "vars")}
        scope |= {"role_name": role, "role_path": str(ROLES / role), "ansible_search_path": [str(ROLES / role)]}
        templar = self._templar.copy_with_new_env(available_variables=scope)
        if value:
            return templar.template(scope[value])
        return {name: templar.template(scope[name]) for name in spec_of(role) if name in scope}
