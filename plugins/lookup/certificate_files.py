# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The keys and certificates on the controller that an inventory names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_files
short_description: The files of the controller that role certificate puts on hosts
author: djangofleet developers (@djangofleet)
description:
  - Reads the files that C(key_file) and C(chain_file) of the certificates name, those of Ansible Vault included.
  - A relative path is looked for in C(files/) of the playbook and beside it, then in the same way at the inventory.
options:
  _terms:
    description: The variables of role certificate by name.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show which files there are
  ansible.builtin.debug:
    msg: "{{ lookup('djangofleet.stack.certificate_files', {'certificate_certificates': certificate_certificates}) }}"
"""

RETURN = r"""
_raw:
  description:
    - For each term a mapping of paths, as the variables give them, to texts.
    - A file that is not there is left out.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate import controller_paths


class LookupModule(LookupBase):
    """Reads files as ansible.builtin.file does, but tells what cannot be read by leaving it out."""

    def run(
        self, terms: list[Mapping[str, Any]], variables: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, str]]:
        self.set_options(var_options=variables, direct=kwargs)
        scope = variables or {}
        roots = [*scope.get("ansible_search_path", []), scope.get("playbook_dir"), scope.get("inventory_dir")]
        search = [str(root) for root in roots if root]
        return [self._texts(controller_paths(term), search) for term in terms]

    def _texts(self, paths: list[str], search: list[str]) -> dict[str, str]:
        found = {}
        for path in paths:
            try:
                place = self._loader.path_dwim_relative_stack(search, "files", path)
                found[path] = self._loader.get_text_file_contents(place)
            except AnsibleError:
                continue
        return found
