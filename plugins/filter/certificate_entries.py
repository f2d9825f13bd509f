# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of role certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_entries
short_description: The files that role certificate writes
author: djangofleet developers (@djangofleet)
description:
  - Gives entries for M(djangofleet.stack.tree), the directories, what the user provides, and what has been issued. A
    key comes together with its certificate.
positional: files, answers, plan, keys, signed
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  files:
    description: The files that they name, as P(djangofleet.stack.certificate_files#lookup) gives them.
    type: dict
    required: true
  answers:
    description: The C(certificates) that M(djangofleet.stack.survey) found.
    type: dict
    required: true
  plan:
    description: What P(djangofleet.stack.certificate_plan#filter) gave.
    type: dict
    required: true
  keys:
    description: Results of M(community.crypto.openssl_privatekey_pipe) over C(new_keys) of the plan.
    type: list
    elements: dict
    default: []
  signed:
    description: Results of M(community.crypto.x509_certificate_pipe) over C(requests) of the plan.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Put the certificates in place
  djangofleet.stack.tree:
    entries: >-
      {{ options | djangofleet.stack.certificate_entries(files, survey.certificates, plan=plan, keys=keys.results,
         signed=signed.results) }}
"""

RETURN = r"""
_value:
  description: Entries of the module.
  type: list
  elements: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_entries import entries


def certificate_entries(
    options: Mapping[str, Any],
    files: Mapping[str, str],
    answers: Mapping[str, Any],
    plan: Mapping[str, Any],
    keys: Iterable[Mapping[str, Any]] = (),
    signed: Iterable[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """All that lies on the host."""
    return entries(options, files, answers, plan, results(keys, "privatekey"), results(signed, "certificate"))


def results(found: Iterable[Mapping[str, Any]], key: str) -> dict[str, str]:
    """What each item of a loop has come to, by the item's name. An item that was skipped has come to nothing."""
    return {result["item"]["name"]: result[key] for result in found if key in result}


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"certificate_entries": certificate_entries}
