"""Releases over the fleet, hosts that are drained, and a fleet that grows and shrinks, under load."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from fleet import (
    APP1,
    APP2,
    BALANCER,
    HOSTS,
    Readers,
    all_in,
    answered,
    browser,
    docker,
    on,
    out,
    release,
    run,
    served_by,
    visitors,
)
from shared.outside import PROVE, ROOT, within


@pytest.fixture
def project(tmp_path):
    """project(name): the guestbook with a stylesheet of its own."""

    def make(name: str) -> str:
        path = tmp_path / name
        if path.exists():
            return str(path)
        shutil.copytree(ROOT / "examples/guestbook", path, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3"))
        style = path / "entries/static/entries/css/site.css"
        style.write_text(f"{style.read_text()}\n/* {name} */\n")
        return str(path)

    return make


def test_releases_roll(authority, project, figure):
    """No request fails, and no asset is missing: not of a page that another host has written, nor of an old tab."""
    count = 5 if PROVE else 1
    with visitors(authority) as seen, Readers(authority) as readers:
        for number in range(count):
            run("playbooks/deploy.yml", fleet_version=f"round{number}", fleet_project=project(f"round{number}"))
            assert {release(host).partition("-")[0] for host in HOSTS} == {f"round{number}"}
    figure("rolling releases: requests", seen["requests"])
    figure("rolling releases: requests failed", seen["failed"])
    figure("rolling releases: assets loaded", readers.loaded)
    assert seen["failed"] == 0, seen["examples"]
    assert readers.loaded > 20
    assert readers.lost == []


@pytest.mark.skipif(not PROVE, reason="minutes, of what unit tests and scenario release see in part")
def test_a_release_that_fails_on_the_second_host_is_live_on_none(authority, project):
    before = release(APP1)
    on(APP2, "touch", "/srv/guestbook/media/refuse")
    try:
        with visitors(authority) as seen:
            said = run("playbooks/deploy.yml", fleet_version="bad", fleet_project=project("bad"), code=2)
        assert "refuse" in said or "hook" in said
    finally:
        on(APP2, "rm", "/srv/guestbook/media/refuse")
    assert {release(host) for host in HOSTS} == {before}
    assert seen["failed"] == 0, seen["examples"]


def test_a_host_that_was_away_catches_up(authority, project):
    """What it has not got, a deploy brings; what lies on it, it puts live by itself. Until then it takes no visitor."""
    before, missed = release(APP1), [f"missed{number}" for number in range(3 if PROVE else 1)]
    with visitors(authority) as seen:
        docker("kill", APP2)
        for name in missed:
            run("playbooks/deploy.yml", f"--limit={APP1}", fleet_version=name, fleet_project=project(name))
        docker("start", APP2)
        within(lambda: standing(APP2).get("service"), 90, "it is up")
        time.sleep(5)  # in which it may ask the other one
        said = standing(APP2)
        assert (said["ready"], said["serves"], said["release"]) == (False, False, before)
        assert APP2 in out()
        run("playbooks/deploy.yml", f"--limit={APP2}", fleet_version=missed[-1], fleet_project=project(missed[-1]))
        all_in()
        assert release(APP2) == release(APP1) != before

        if PROVE:  # so that both have what a rollback goes back to
            run("playbooks/deploy.yml", fleet_version="both", fleet_project=project("both"))
        docker("kill", APP2)
        run("playbooks/rollback.yml", f"--limit={APP1}", app="guestbook")
        docker("start", APP2)
        within(lambda: release(APP2) == release(APP1), 90, "it goes back too, by itself")
        all_in(60)
    assert answered(seen) >= 99.9, seen["examples"]


def standing(host: str) -> dict:
    """What djangoctl says of the app on a host; nothing while the host boots."""
    try:
        return json.loads(on(host, "djangoctl", "guestbook", "status", "--json", check=False))
    except ValueError:
        return {}


def controller(*words: str, **variables: str) -> subprocess.Popen:
    """A run of ansible-playbook that goes on."""
    inventories = [os.environ["MOLECULE_INVENTORY_FILE"], "molecule/fleet/inventory"]
    given = [f"--inventory={path}" for path in inventories] + ["--extra-vars", json.dumps(variables)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(["ansible-playbook", *given, *words], cwd=ROOT, start_new_session=True, **quiet)


@pytest.mark.skipif(not PROVE, reason="scenario release has it, without a balancer")
def test_two_controllers_at_once(authority, project):
    sides = {name: project(name) for name in ("left", "right")}
    with visitors(authority) as seen:
        both = [
            controller("playbooks/deploy.yml", fleet_version=name, fleet_project=path) for name, path in sides.items()
        ]
        codes = [process.wait(600) for process in both]
    assert 0 in codes
    assert release(APP1) == release(APP2)
    assert seen["failed"] == 0, seen["examples"]


@pytest.mark.skipif(not PROVE, reason="scenario release has it, without a balancer")
@pytest.mark.parametrize("seconds", range(3, 24, 3))
def test_a_controller_is_killed_on_the_way(authority, project, seconds):
    """Whatever it was at: nobody notices, and the next run ends as if nothing had happened."""
    name = f"killed{seconds}"
    given = {"fleet_version": name, "fleet_project": project(name)}
    with visitors(authority) as seen:
        process = controller("playbooks/deploy.yml", **given)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        time.sleep(5)
        run("playbooks/deploy.yml", **given)
        assert {release(host).partition("-")[0] for host in HOSTS} == {name}
    assert seen["failed"] == 0, seen["examples"]
    all_in()


def test_a_host_is_drained_and_comes_back(authority):
    with visitors(authority) as seen:
        run("playbooks/drain.yml", host=APP2)
        assert "drained" in out()[APP2]
        assert {served_by(browser(authority)) for _ in range(8)} == {APP1}
        assert "changed=0" in run("playbooks/drain.yml", host=APP2), "a second time changes nothing"
        run("playbooks/drain.yml", host=APP2, back=True)
        assert out() == {}
    assert seen["failed"] == 0, seen["examples"]
    said = run("playbooks/drain.yml", host="nobody", code=2)
    assert "host: found 'nobody'" in said


@pytest.mark.skipif(not PROVE, reason="minutes, of what unit tests and scenario release see in part")
def test_the_last_host_is_not_drained(authority):
    run("playbooks/drain.yml", host=APP1)
    try:
        run("playbooks/drain.yml", host=APP2, code=2)
        assert browser(authority).get("/healthz").status == 200
    finally:
        run("playbooks/drain.yml", host=APP1, back=True)


def test_hosts_are_maintained_one_after_the_other(authority, figure):
    with visitors(authority) as seen:
        said = run("playbooks/maintain.yml", "--limit", f"{BALANCER}:{APP1}:{APP2}")
        assert f"{BALANCER} is left as it is" in said
    figure("maintenance of two hosts: requests", seen["requests"])
    assert seen["failed"] == 0, seen["examples"]
    all_in()


@pytest.mark.skipif(not PROVE, reason="minutes, of what unit tests and scenario release see in part")
def test_the_fleet_shrinks_and_grows(authority, figure):
    """One app host less, and back, by the inventory and a run of site.yml."""
    with visitors(authority) as seen:
        run("site.yml", fleet_hosts=[APP1])
        assert {served_by(browser(authority)) for _ in range(6)} == {APP1}
        assert "guestbook" not in on(APP2, "djangoctl", "list", check=False)
        run("site.yml")
        all_in()
        assert {served_by(browser(authority)) for _ in range(12)} == set(HOSTS)
    figure("from two hosts to one and back: requests", seen["requests"])
    assert seen["failed"] == 0, seen["examples"]


@pytest.mark.skipif(not PROVE, reason="runs more")
def test_the_way_to_the_hosts_changes(authority):
    """Other methods, of which some know no backup, and plain HTTP instead of TLS, on a site that is live."""
    spare = {"method": "least_conn", "server_options": [{"address": APP2, "backup": True}]}
    with visitors(authority) as seen:
        run("site.yml", "--tags=web", fleet_upstream={"method": "ip_hash"})
        assert len({served_by(browser(authority)) for _ in range(8)}) == 1
        run("site.yml", "--tags=web", fleet_upstream=spare, fleet_tls_enabled=False)
        assert {served_by(browser(authority)) for _ in range(8)} == {APP1}
        run("site.yml", "--tags=web", fleet_upstream={"method": "ip_hash"}, fleet_tls_enabled=False)
        run("site.yml", "--tags=web")
        all_in()
        assert {served_by(browser(authority)) for _ in range(12)} == set(HOSTS)
    assert seen["failed"] == 0, seen["examples"]
