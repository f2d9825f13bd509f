"""Visitors of the apps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from shared.outside import visiting


@pytest.fixture
def visitors(address, authority) -> Callable[..., Any]:
    """visitors(domain, *words) -> a block with visitors, each with a connection of its own for each request."""
    return lambda domain, *words: visiting(address, domain, authority, "--fresh", "--seconds=300", *words)
