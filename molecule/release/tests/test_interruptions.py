"""Commands and processes that are killed: the site is served throughout, and the next command finds its way."""

import subprocess
import time

import fleet
import pytest
from fleet import GUESTBOOK, HOSTS, STAND_IN

# Where a command is killed, and whether the new release serves by then.
POINTS = {
    "build": False,
    "before_migrate": False,
    "before_activate": False,
    STAND_IN: False,
    GUESTBOOK: True,  # `current` is turned over, the service boots, and the stand-in serves
    "after_activate": True,
}
KILLS = 5 if fleet.PROVE else 2
# What was in hand of a process that is killed may be asked of another one, unless it writes.
CONNECTIONS = 6
READERS = (f"--connections={CONNECTIONS}", "--pause=0.05")


def words_to(host: str, point: str) -> tuple[list[str], int]:
    """What leads to a point, and how it ends if nobody interrupts it."""
    if point == "build":
        return [*fleet.build_words(host, "grey"), f"--revision={time.monotonic_ns()}"], 0  # one that is not there
    if point == "before_migrate":
        return ["migrate", fleet.release(host, "ill")], 5
    return ["activate", fleet.release(host, "red")], 0


# Each host is killed at one of two points. The proof kills both at both.
@pytest.mark.parametrize(
    "points", [("build", "before_migrate"), ("before_activate", STAND_IN), (GUESTBOOK, "after_activate")]
)
def test_killed_command(points):
    def cut(host: str) -> None:
        for point in points if fleet.PROVE else points[HOSTS.index(host) :][:1]:
            before = fleet.activate(host, "blue")
            words, code = words_to(host, point)
            with fleet.held_at(host, point, *words) as process:
                fleet.on(host, "pkill", "-9", "-f", f"djangoctl guestbook {words[0]}")
                assert process.wait(timeout=30) != 0
                assert fleet.served(host) == (fleet.release(host, "red") if POINTS[point] else before)
            assert fleet.ctl(host, "guestbook", "status")["lock"] is None
            fleet.ctl(host, "guestbook", *words, code=code)
            if words[0] == "activate":
                assert fleet.served(host) == words[1]
            status = fleet.ctl(host, "guestbook", "status")
            assert not status["restart_pending"]
            assert fleet.on(host, "systemctl", "is-active", STAND_IN, check=False).returncode != 0
            kept = fleet.ctl(host, "guestbook", "releases")["releases"]
            assert not [entry for entry in kept if entry["state"] == "building"]

    fleet.both(lambda host: fleet.activate(host, "blue"))
    with fleet.visitors():
        fleet.both(cut)


@pytest.mark.parametrize("victim", ["worker", "master"])
def test_killed_process(victim, figure):
    """Requests that may be sent twice see no error: what was in hand of the dead is asked of the living."""

    def kill(host: str) -> float:
        def workers() -> list[str]:
            master = fleet.main_pid(host, GUESTBOOK)
            return fleet.on(host, "pgrep", "--parent", master, check=False).stdout.split() if master != "0" else []

        took = []
        for _ in range(KILLS):
            alive = workers()
            number = len(alive)
            fleet.on(host, "kill", "-9", fleet.main_pid(host, GUESTBOOK) if victim == "master" else alive[0])
            took.append(fleet.answers(host, 30))
            fleet.wait(lambda number=number: len(workers()) == number, 30, f"all workers of {host} again")
        return max(took)

    with fleet.visitors(*READERS, cut=KILLS * (CONNECTIONS if victim == "master" else 1)):
        took = fleet.both(kill)
    figure(f"seconds until a host answered after kill -9 of a {victim}, worst of {KILLS}", max(took.values()))


def test_bad_environment_is_not_what_a_crashed_master_starts_with():
    """What the gate refuses stays on the host until the inventory is mended; what served keeps what it served with."""

    def allow(host: str, domain: str) -> None:
        line = f's/^ALLOWED_HOSTS=.*/ALLOWED_HOSTS="{domain}"/'
        fleet.on(host, "sed", "-i", line, "/etc/djangofleet/guestbook/env")

    def one(host: str) -> None:
        before = fleet.served(host)
        allow(host, "other.test")
        try:
            assert "did not pass its gate" in str(fleet.ctl(host, "guestbook", "activate", before, code=6))
            fleet.on(host, "kill", "-9", fleet.main_pid(host, GUESTBOOK))
            fleet.answers(host, 30)
            assert fleet.served(host) == before
            assert fleet.environment_of(host, GUESTBOOK)["ALLOWED_HOSTS"] == "guestbook.test"
            assert fleet.ctl(host, "guestbook", "status")["restart_pending"], "the restart is still pending"
        finally:
            allow(host, "guestbook.test")
        assert not fleet.ctl(host, "guestbook", "status")["restart_pending"]

    with fleet.visitors(*READERS, cut=CONNECTIONS):
        fleet.both(one)


def test_reboot_in_the_middle_of_a_swap(environment_changes):
    """A host that goes down with a stand-in up comes back with what `current` says, and the stand-in gone."""
    environment_changes.running.result()  # or it goes down beneath them
    host = HOSTS[1]
    wanted = fleet.activate(host, "blue")
    with fleet.held_at(host, STAND_IN, "activate", fleet.release(host, "red")):
        subprocess.run(["docker", "restart", "--time", "1", host], check=True, capture_output=True)
    fleet.wait(lambda: fleet.on(host, "systemctl", "is-active", "nginx", check=False).returncode == 0, 60, "nginx")
    fleet.answers(host, 30)
    assert fleet.on(host, "readlink", "/srv/guestbook/current").stdout.strip().rpartition("/")[2] == wanted
    assert fleet.served(host) == wanted
    assert fleet.on(host, "systemctl", "is-active", "--quiet", STAND_IN, check=False).returncode != 0
    fleet.activate(host, "red")
