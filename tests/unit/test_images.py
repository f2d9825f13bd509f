"""The warmed image has what the roles install by default: else every scenario waits for it again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# ec2 runs on the controller.
ROLES = sorted({path.name for path in (ROOT / "roles").iterdir()} - {"ec2"})
# What a role is given in an ordinary run, where it needs nothing without.
GIVEN = {
    "backup": {
        "backup_repository": {"path": "/mnt/backup"},
        "backup_clusters": [{"name": "main", "version": 17, "data": "/var/lib/postgresql/17/main"}],
        "backup_files": [{"name": "shop", "user": "shop", "data": "/srv/shop/data"}],
    },
    "certificate": {"certificate_certificates": [{"name": "shop", "domains": ["shop.example.com"]}]},
    "postgresql": {"postgresql_enabled": True},
    "redis": {"redis_enabled": True},
    "pgbouncer": {"pgbouncer_enabled": True},
}
# The distribution's version comes with the package without a number.
VERSION = re.compile(r"^(postgresql)(?:-client)?-\d+$")


def warm() -> set[str]:
    lines = (ROOT / "molecule/images/warm.packages").read_text().splitlines()
    return {name for line in lines if (name := line.partition("#")[0].strip())}


@pytest.mark.parametrize("role", ROLES)
def test_packages_of_a_role_are_in_the_warmed_image(evaluate, role):
    wanted = {VERSION.sub(r"\1", name) for name in evaluate(role, f"__{role}_packages", **GIVEN.get(role, {}))}
    assert wanted, f"role {role} installs nothing: does this test still ask the right question?"
    assert wanted <= warm(), f"add to molecule/images/warm.packages: {sorted(wanted - warm())}"
