# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role certificate."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import certificate_acme
from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate import authorities_elsewhere, questions
from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate import signer as certificate_signer
from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_entries import entries
from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_plan import plan
from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_problems import problems, warnings
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of


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


def certificate_plan(
    options: Mapping[str, Any], answers: Mapping[str, Any] | None = None, host: str = ""
) -> dict[str, Any]:
    """What is issued today, and why."""
    return plan(options, answers or {}, datetime.datetime.now(datetime.UTC), host)


def certificate_problems(given: Mapping[str, Any], files: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with the variables today, one line each."""
    return problems(given, files or {}, datetime.datetime.now(datetime.UTC))


def certificate_warnings(
    options: Mapping[str, Any], files: Mapping[str, str] | None = None, answers: Mapping[str, Any] | None = None
) -> list[str]:
    """What ends soon, one line each."""
    now = datetime.datetime.now(datetime.UTC)
    return warnings(options, files or {}, now) + certificate_acme.warnings(options, answers or {}, now)


def certificate_questions(given: Mapping[str, Any], host: str = "") -> dict[str, Any]:
    """What is asked of the host."""
    options, found = resolve(spec_of("certificate"), given)
    return {} if found else {**questions(given, host), **certificate_acme.questions(options)}


def certificate_acme_entries(options: Mapping[str, Any], reload_units: Sequence[str]) -> list[dict[str, Any]]:
    """What the host needs for ACME."""
    return certificate_acme.entries(options, reload_units)


def certificate_acme_plan(options: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """What the host has to do for certificates of an authority, today."""
    found = certificate_acme.plan(options, answers, datetime.datetime.now(datetime.UTC))
    return {**found, "installation": certificate_acme.installation(options)}


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "authorities_elsewhere": authorities_elsewhere,
            "certificate_acme_entries": certificate_acme_entries,
            "certificate_acme_outcome": certificate_acme.outcome,
            "certificate_acme_plan": certificate_acme_plan,
            "certificate_entries": certificate_entries,
            "certificate_plan": certificate_plan,
            "certificate_problems": certificate_problems,
            "certificate_questions": certificate_questions,
            "certificate_signer": certificate_signer,
            "certificate_warnings": certificate_warnings,
        }
