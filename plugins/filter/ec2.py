# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. Role ec2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import (
    ec2,
    ec2_plan,
    ec2_problems,
    ec2_records,
    ec2_said,
    ec2_ssh,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import plain


def problems(given: Mapping[str, Any], inventory: Any = None) -> list[str]:
    """What is wrong, a line each."""
    return ec2_problems.problems(given, inventory)


def planned(options: Mapping[str, Any], survey: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is to be done."""
    return ec2_plan.plan(options, plain((survey or {}).get("found") or {}))  # Ansible's own mappings lack some of it


def questions(options: Mapping[str, Any]) -> dict[str, Any]:
    """What an account is asked."""
    return {**ec2.questions(options), **ec2_records.question(options)}


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "ec2_advice": ec2_said.advice,
            "ec2_known_hosts": ec2_ssh.known_hosts,
            "ec2_openings": ec2.openings,
            "ec2_plan": planned,
            "ec2_problems": problems,
            "ec2_questions": questions,
            "ec2_report": ec2_said.report,
            "ec2_shown": ec2_said.shown,
            "ec2_ssh_arguments": ec2_ssh.arguments,
            "ec2_unknown": ec2_said.unknown,
        }
