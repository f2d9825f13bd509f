"""What the collection says of itself, and what its archive is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("role", "template", "interpreter"),
    [
        ("django", "usr/local/bin/djangoctl.j2", "/usr/bin/python3 -I"),
        ("host", "etc/nftables.conf.j2", "/usr/sbin/nft -f"),
        ("redis", "usr/local/lib/djangofleet/redis-prepare.j2", "/usr/bin/python3"),
    ],
)
def test_a_program_names_its_interpreter_first(render, role, template, interpreter):
    assert render(role, template).splitlines()[0] == f"#!{interpreter}"


def test_the_collection_depends_on_what_a_checkout_installs():
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    required = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    # The demo and the tests need Docker, a user does not.
    expected = {entry["name"]: entry["version"] for entry in required if entry["name"] != "community.docker"}
    assert galaxy["dependencies"] == expected
