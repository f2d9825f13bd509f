"""Fixtures of the scenarios' tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from shared.outside import Browser, address_of


@pytest.fixture
def figure(request) -> Callable[[str, float], None]:
    """figure(name, value): note what a test has measured, for `make prove` to write into docs/proof.md."""
    return lambda name, value: request.node.user_properties.append((name, round(value, 2)))


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
