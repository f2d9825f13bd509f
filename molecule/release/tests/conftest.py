"""Brings the load to the client, and lets the longest test run beside the others."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import fleet
import pytest

# A release is built once, by the first test that wants it. The deploys of the controller, which bring releases of their
# own and so push those out that were kept, come last.
ORDER = [
    *("image", "swaps", "bad_releases", "interruptions", "processes", "rollback", "private_index"),
    *("deploys", "fleet"),
]


def pytest_collection_modifyitems(items):
    """In that order; what began first, beside all others, is asked for its result last."""

    def place(item) -> tuple[bool, int]:
        return item.name.startswith("test_environment_changes"), ORDER.index(item.module.__name__.removeprefix("test_"))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def client():
    load = Path(fleet.ROOT, "molecule/shared/load.py")
    subprocess.run(["docker", "cp", str(load), f"{fleet.CLIENT}:/root/load.py"], check=True)
    for host in fleet.HOSTS:
        subprocess.run(["docker", "cp", fleet.authority(host), f"{fleet.CLIENT}:/root/{host}.pem"], check=True)


@pytest.fixture(scope="session", autouse=True)
def beside(client, request):
    if any("environment_changes" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("environment_changes")


@dataclass(frozen=True)
class Changes:
    """Changes of an app's environment on each host, with requests of some seconds in flight all the time."""

    changes: int
    seconds: int
    running: Future


@pytest.fixture(scope="session")
def environment_changes(client) -> Iterator[Changes]:
    changes, seconds = (20, 10) if fleet.PROVE else (2, 3)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fleet.both, lambda host: change_environment(host, changes, seconds))
        yield Changes(changes, seconds, running)


def change_environment(host: str, changes: int, seconds: int) -> dict:
    """The changes on one host: what the visitors saw, and which environments the service had."""
    words = [f"--path=/slow/?seconds={seconds}", "--connections=8", "--timeout=60", "--seconds=1800"]
    load = fleet.Load(host, "patient", *words)
    had = []
    try:
        live = fleet.ctl(host, "patient", "status")["release"]
        for number in range(1, changes + 1):
            fleet.on(host, "sed", "-i", f's/^PATIENCE=.*/PATIENCE="{number}"/', "/etc/djangofleet/patient/env")
            changed = fleet.ctl(host, "patient", "activate", live)
            assert changed["changed"], f"change {number} was not seen"
            had.append(fleet.environment_of(host, "django-patient.service")["PATIENCE"])
    finally:
        seen = load.end()
    return {"had": had, **seen}
