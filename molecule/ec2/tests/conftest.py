"""A copy of Amazon's API, and inventories of environments in it: each test has its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from account import ROOT, Amazon, Environment


@pytest.fixture(scope="session")
def amazon(tmp_path_factory) -> Iterator[Amazon]:
    state = tmp_path_factory.mktemp("amazon")
    with (state / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "molecule/ec2/amazon.py"), "0", str(state)], stdout=log, stderr=log
        )
    try:
        for _ in range(600):
            if (state / "port").exists() and (state / "port").read_text():
                break
            assert server.poll() is None, (state / "log").read_text()
            time.sleep(0.1)
        found = Amazon(int((state / "port").read_text()), state)
        found.client("route53").create_hosted_zone(Name="example.com", CallerReference="tests")
        yield found
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def environment(amazon, tmp_path):
    """environment(name, ec2_instances=[…], …): an inventory of its own."""
    made: list[Environment] = []

    def make(name: str, region: str = "us-east-1", **given: Any) -> Environment:
        made.append(Environment(amazon, tmp_path / f"{name}-{region}", name, region, **given))
        return made[-1]

    yield make
    amazon.refuse()
