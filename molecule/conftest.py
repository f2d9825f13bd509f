"""Fixtures of the scenarios' tests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest
from shared.outside import ROOT, Browser, address_of


@pytest.fixture(scope="session")
def figure() -> Iterator[Callable[[str, float], None]]:
    """figure(name, value): note what a test has measured, for `make prove` to write into docs/proof.md."""
    path = ROOT / "build/results/figures" / f"{os.environ.get('MOLECULE_SCENARIO_NAME', 'none')}.json"
    seen: dict[str, float] = {}
    yield lambda name, value: seen.update({name: round(value, 2)})
    if seen:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(seen, indent=2) + "\n")


@pytest.fixture(scope="module")
def name(host) -> str:
    """The host's name in the inventory, which is its container's name."""
    return host.backend.get_hostname() if hasattr(host.backend, "get_hostname") else host.backend.name


@pytest.fixture(scope="module")
def address(name) -> str:
    return address_of(name)


@pytest.fixture(scope="module")
def authority(host, tmp_path_factory) -> str:
    """The certificate of the host's local authority, as a file on the controller."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    path.write_text(host.check_output("cat /etc/djangofleet/authority/ca.pem"))
    return str(path)


@pytest.fixture
def browse(address, authority):
    """browse(domain, authority=…) -> a Browser with no cookies yet."""

    def opened(domain: str, trust: str = authority) -> Browser:
        return Browser(address, domain, trust)

    return opened
