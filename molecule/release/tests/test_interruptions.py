"""Deploys that are cut short, deploys that meet, and processes that are killed: the site is served throughout."""

import subprocess
import time

import fleet
import pytest

# Where a deploy is cut off: when the play says that it begins a task, or when a host is seen in a state.
STEPS = {
    "configure": ("TASK [django : Write the app's configuration]", None),
    "build": ("TASK [django : Build the release]", None),
    "built": ("TASK [django : Build the release]", "test -e /srv/guestbook/releases/{release}*/venv/bin/gunicorn"),
    "migrate": ("TASK [django : Migrate on the first host]", None),
    "activate": ("TASK [django : Put the release live]", None),
    "stand-in": ("TASK [django : Put the release live]", "systemctl is-active django-guestbook-next.service"),
    "turned": ("TASK [django : Put the release live]", "readlink /srv/guestbook/current | grep {release}"),
}

KILLS = 5


def free(host: str) -> bool:
    """Whether nothing of a deploy is at work: a step outlives its controller, and ends what it was told to do."""
    at_work = fleet.on(host, "pgrep", "-f", "[A]nsiballZ|djangoctl guestbook (build|migrate|activate)", check=False)
    return at_work.returncode != 0 and fleet.ctl(host, "guestbook", "status")["lock"] is None


@pytest.mark.parametrize("step", STEPS)
def test_killed_controller(step, tmp_path):
    text, state = STEPS[step]
    release = f"cut-{step}"

    def cut(host: str) -> None:
        before = fleet.served(host)
        output = tmp_path / host
        process = fleet.begin("deploy", output=output, host=host, release_version=release)
        try:
            fleet.wait(lambda: text in output.read_text(), 120, f"{text} on {host}")
            if state:
                look = ["sh", "-c", state.format(release=release)]
                fleet.wait(lambda: fleet.on(host, *look, check=False).returncode == 0, 60, state, pause=0.02)
        finally:
            fleet.kill(process)
        time.sleep(3)  # what the controller had just asked the host to start has started by then
        if host == fleet.HOSTS[list(STEPS).index(step) % 2]:  # on one of them all that it had begun dies with it
            fleet.on(host, "pkill", "-9", "-f", "[A]nsiballZ|djangoctl guestbook (build|migrate|activate)", check=False)
        assert fleet.served(host) in (before, fleet.ctl(host, "guestbook", "status")["release"])
        fleet.wait(lambda: free(host), 120, f"the lock of {host}")

    with fleet.visitors():
        fleet.both(cut)
        fleet.deploy(release)
    assert set(fleet.both(fleet.version).values()) == {release}
    for host in fleet.HOSTS:
        status = fleet.ctl(host, "guestbook", "status")
        assert not status["restart_pending"]
        assert fleet.on(host, "systemctl", "is-active", "django-guestbook-next.service", check=False).returncode != 0
        assert not [
            entry for entry in fleet.ctl(host, "guestbook", "releases")["releases"] if entry["state"] == "building"
        ]


def test_two_deploys_at_once(tmp_path):
    moment = time.strftime("%H%M%S")  # a release that is there already would not be built
    outputs = [tmp_path / f"race-one-{moment}", tmp_path / f"race-two-{moment}"]
    with fleet.visitors():
        deploys = [fleet.begin("deploy", output=output, release_version=output.name) for output in outputs]
        codes = [process.wait(timeout=300) for process in deploys]
    winner = codes.index(0)
    assert codes[1 - winner] != 0, "both were told that they had won"
    assert set(fleet.both(fleet.version).values()) == {outputs[winner].name}
    said = outputs[1 - winner].read_text()
    assert "guestbook: locked by " in said, said[-4000:]
    assert " since 20" in said
    assert f" {outputs[winner].name}-" in said


@pytest.mark.parametrize("host", fleet.HOSTS)
@pytest.mark.parametrize("victim", ["worker", "master"])
def test_killed_process(victim, host):
    """Requests that may be sent twice see no error: what was in hand of the dead is asked of the living."""
    unit = "django-guestbook.service"

    def alive() -> list[str]:
        master = fleet.main_pid(host, unit)
        return fleet.on(host, "pgrep", "--parent", master, check=False).stdout.split() if master != "0" else []

    took = []
    with fleet.visitors("--connections=6", "--pause=0.05", hosts=[host], cut=KILLS):
        for _ in range(KILLS):
            workers = alive()
            number = len(workers)
            fleet.on(host, "kill", "-9", fleet.main_pid(host, unit) if victim == "master" else workers[0])
            took.append(fleet.answers(host, 10))
            fleet.wait(lambda number=number: len(alive()) == number, 30, f"all workers of {host} again")
    print(host, victim, "answered after", took)
    assert max(took) < 2


def test_reboot_in_the_middle_of_a_swap():
    """A host that goes down with a stand-in up comes back with what `current` says, and the stand-in gone."""
    host = fleet.HOSTS[1]
    fleet.deploy("steady", host=host)
    swap = subprocess.Popen(
        ["docker", "exec", host, "djangoctl", "guestbook", "rollback"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stand_in = ["systemctl", "is-active", "--quiet", "django-guestbook-next.service"]
    fleet.wait(lambda: fleet.on(host, *stand_in, check=False).returncode == 0, 60, "the stand-in", pause=0.02)
    subprocess.run(["docker", "restart", "--time", "1", host], check=True, capture_output=True)
    swap.wait()
    fleet.wait(lambda: fleet.on(host, "systemctl", "is-active", "nginx", check=False).returncode == 0, 60, "nginx")
    assert fleet.answers(host, 30) < 30
    live = fleet.on(host, "readlink", "/srv/guestbook/current").stdout.strip().rpartition("/")[2]
    assert fleet.served(host) == live
    assert fleet.on(host, *stand_in, check=False).returncode != 0
    fleet.deploy("steady")
    assert fleet.version(host) == "steady"
