"""A controller that changes something, and visitors of an app meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from shared import outside
from shared.outside import visiting


@pytest.fixture(scope="module")
def play(name) -> Callable[..., str]:
    """play(playbook, *words, **variables) runs a playbook on the host; returns what it said."""

    def run(playbook: str, *words: str, **variables: Any) -> str:
        words = (f"playbooks/{playbook}.yml", f"--limit={name}", f"--extra-vars={json.dumps(variables)}", *words)
        result = outside.play("pooler", *words)
        assert result.returncode == 0, result.stdout[-8000:] + result.stderr
        return result.stdout + result.stderr

    return run


@pytest.fixture(scope="module")
def visitors(address, authority) -> Callable[..., Any]:
    """visitors(domain, *words) -> a block with visitors."""
    return lambda domain, *words: visiting(address, domain, authority, "--seconds=600", *words)
