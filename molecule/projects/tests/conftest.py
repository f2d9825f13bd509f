"""What the tests of this scenario share: the facts that a project's own page gives, and its service from outside."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[3] / "build" / "projects"


@pytest.fixture
def facts(browse):
    """facts(app, path) -> the JSON of a page, asked for over TLS through Nginx."""

    def ask(app: str, path: str = "/facts/") -> dict:
        return json.loads(browse(f"{app}.test").text(path))

    return ask


@pytest.fixture
def before(host) -> dict:
    """What the first release of `legacy` said before the second was deployed."""
    return json.loads(host.check_output("cat /root/before.json"))


@pytest.fixture(scope="session")
def locked() -> dict[str, str]:
    """The versions that the lock file of `locked` names."""
    packages = tomllib.loads((BUILD / "locked" / "uv.lock").read_text())["package"]
    return {entry["name"]: entry["version"] for entry in packages}


@pytest.fixture
def record(host):
    """record(app) -> the release.json of its live release."""

    def read(app: str) -> dict:
        return json.loads(host.check_output("cat %s", f"/srv/{app}/current/release.json"))

    return read
