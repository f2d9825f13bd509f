"""Brings the load to the client, and lets the longest test run beside the others."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fleet
import pytest


@pytest.fixture(scope="session", autouse=True)
def client():
    load = Path(fleet.ROOT, "molecule/shared/load.py")
    subprocess.run(["docker", "cp", str(load), f"{fleet.CLIENT}:/root/load.py"], check=True)
    for host in fleet.HOSTS:
        subprocess.run(["docker", "cp", fleet.authority(host), f"{fleet.CLIENT}:/root/{host}.pem"], check=True)


def pytest_collection_modifyitems(items):
    """The test that takes longest began first, beside all others; it is asked for its result last."""
    items.sort(key=lambda item: "environment_changes" in item.fixturenames)


@pytest.fixture(scope="session", autouse=True)
def beside(client, request):
    if any("environment_changes" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("environment_changes")


@pytest.fixture(scope="session")
def environment_changes(client):
    """20 changes of an app's environment on each host, with requests of ten seconds in flight all the time."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(fleet.both, change_environment)


def change_environment(host: str) -> dict:
    """The changes on one host: what the visitors saw, and which environments the service had."""
    load = fleet.Load(host, "patient", "--path=/slow/?seconds=10", "--connections=8", "--timeout=60", "--seconds=1800")
    had = []
    try:
        live = fleet.ctl(host, "patient", "status")["release"]
        for number in range(1, 21):
            fleet.on(host, "sed", "-i", f's/^PATIENCE=.*/PATIENCE="{number}"/', "/etc/djangofleet/patient/env")
            changed = fleet.ctl(host, "patient", "activate", live)
            assert changed["changed"], f"change {number} was not seen"
            had.append(fleet.environment_of(host, "django-patient.service")["PATIENCE"])
    finally:
        seen = load.end()
    return {"had": had, **seen}
