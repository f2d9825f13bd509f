"""The arithmetic of bench/pool; nothing here takes a time."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from loading import load

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load("bench/pool")


def test_a_way_is_compared_with_connections_that_are_kept(bench):
    kept = bench.Seen(seconds=10, connections=32, times=[10.0] * 99 + [20.0])
    new = bench.Seen(seconds=10, connections=30, times=[20.0] * 49 + [50.0])
    assert bench.figures_of(new, kept) == {
        "requests_per_second": 5.0,
        "rate_ratio": 0.5,
        "p50_ms": 20.0,
        "p99_ms": 50.0,
        "p99_ratio": 2.5,
        "connections": 30,
    }


def test_every_way_has_its_settings(bench):
    text = (ROOT / "bench/contestants/pooled.py").read_text()
    assert all(f'"{settings}": ' in text for settings, _pooled in bench.WAYS.values())
