"""The warmed image has what the roles install by default: else every scenario waits for it again."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
# What a role is given in an ordinary run, where it needs nothing without.
GIVEN = {"certificate": {"certificate_certificates": [{"name": "shop", "domains": ["shop.example.com"]}]}}


def warm() -> set[str]:
    lines = (ROOT / "molecule/images/warm.packages").read_text().splitlines()
    return {name for line in lines if (name := line.partition("#")[0].strip())}


@pytest.mark.parametrize("role", ROLES)
def test_packages_of_a_role_are_in_the_warmed_image(evaluate, role):
    wanted = set(evaluate(role, f"__{role}_packages", **GIVEN.get(role, {})))
    assert wanted, f"role {role} installs nothing: does this test still ask the right question?"
    assert wanted <= warm(), f"add to molecule/images/warm.packages: {sorted(wanted - warm())}"
