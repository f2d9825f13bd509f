"""Deploys from the controller to hosts of which each has the app for itself: that are cut short, that meet, that change
the environment and timers alone."""

import re
import time

import fleet
import pytest
from fleet import GUESTBOOK, STAND_IN

# Where the controller of each host is killed; the new release serves at the points in SERVING. The proof has them all.
POINTS = [("build", GUESTBOOK)]
if fleet.PROVE:
    POINTS += [("before_activate", "build"), (STAND_IN, "after_activate"), (GUESTBOOK, STAND_IN)]
    POINTS += [("after_activate", "before_activate")]
SERVING = {GUESTBOOK, "after_activate"}
AT_WORK = "[A]nsiballZ|djangoctl guestbook (build|migrate|activate)"


def free(host: str) -> bool:
    """Whether nothing of a deploy is at work: a step outlives its controller, and ends what it was told to do."""
    at_work = fleet.on(host, "pgrep", "-f", AT_WORK, check=False)
    return at_work.returncode != 0 and fleet.ctl(host, "guestbook", "status")["lock"] is None


@pytest.mark.parametrize("points", POINTS, ids="-".join)
def test_killed_controller(points, tmp_path):
    """On the first host the step under way ends without its controller; on the second one it dies with it."""
    version = f"cut-{POINTS.index(points)}-{time.strftime('%H%M%S')}"  # one that is there would not be built

    def cut(host: str) -> None:
        first, point = host == fleet.HOSTS[0], points[fleet.HOSTS.index(host)]
        before = fleet.served(host)
        with fleet.held(host, point) as there:
            process = fleet.begin("deploy", output=tmp_path / host, host=host, release_version=version)
            there.wait()
            fleet.kill(process)
            if not first:
                fleet.on(host, "pkill", "-9", "-f", AT_WORK)
            if point in SERVING:
                assert fleet.version(host) == version
            else:
                assert fleet.served(host) == before
        fleet.wait(lambda: free(host), 120, f"the lock of {host}")
        if first:
            kept = fleet.ctl(host, "guestbook", "releases")["releases"]
            assert {entry["state"] for entry in kept if entry["version"] == version} == {"good"}
            if point != "build":
                assert fleet.version(host) == version

    with fleet.visitors():
        fleet.both(cut)
        fleet.deploy(version)
    assert set(fleet.both(fleet.version).values()) == {version}
    for host in fleet.HOSTS:
        assert not fleet.ctl(host, "guestbook", "status")["restart_pending"]
        assert fleet.on(host, "systemctl", "is-active", STAND_IN, check=False).returncode != 0
        kept = fleet.ctl(host, "guestbook", "releases")["releases"]
        assert not [entry for entry in kept if entry["state"] == "building"]


def test_two_deploys_at_once(tmp_path):
    """The later one comes while the earlier one builds on one of the hosts."""
    moment = time.strftime("%H%M%S")
    outputs = [tmp_path / f"race-one-{moment}", tmp_path / f"race-two-{moment}"]
    with fleet.visitors():
        with fleet.held(fleet.HOSTS[0], "build") as there:
            winner = fleet.begin("deploy", output=outputs[0], release_version=outputs[0].name)
            there.wait()
            loser = fleet.begin("deploy", output=outputs[1], release_version=outputs[1].name)
            assert loser.wait(timeout=110) != 0, "both were told that they had won"
        assert winner.wait(timeout=300) == 0, outputs[0].read_text()[-4000:]
    assert set(fleet.both(fleet.version).values()) == {outputs[0].name}
    said = outputs[1].read_text()
    assert "guestbook: locked by " in said, said[-4000:]
    assert " since 20" in said
    assert f" {outputs[0].name}-" in said


def test_change_of_environment_and_timers():
    """Continues the test above. The release stays, the service restarts, a timer that nobody names any more is gone;
    the second time nothing is changed.
    """
    (version,) = set(fleet.both(fleet.version).values())
    changes = {"release_environment": {"MOTTO": 'a b"c'}, "release_timers": []}
    before = fleet.both(fleet.served)
    pids = {host: fleet.main_pid(host, GUESTBOOK) for host in fleet.HOSTS}
    with fleet.visitors():
        fleet.deploy(version, **changes)
    assert fleet.both(fleet.served) == before
    for host in fleet.HOSTS:
        assert fleet.main_pid(host, GUESTBOOK) != pids[host]
        assert fleet.environment_of(host, GUESTBOOK)["MOTTO"] == 'a b"c'
        units = fleet.on(host, "systemctl", "list-units", "--all", "--plain", "--no-legend", "django-guestbook*").stdout
        assert "tick" not in units
        assert fleet.on(host, "sh", "-c", "ls /etc/systemd/system | grep tick", check=False).stdout == ""
        assert fleet.on(host, "systemctl", "is-active", "django-guestbook-worker.service").stdout.strip() == "active"
    assert not re.search(r"changed=[1-9]", fleet.deploy(version, **changes))
