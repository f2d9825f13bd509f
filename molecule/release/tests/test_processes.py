"""Processes and timers follow the service: to the next release, and back again."""

import time

import fleet

WORKER = "django-guestbook-worker.service"
PAIR = [f"django-guestbook-pair@{number}.service" for number in (1, 2)]
JOB_SECONDS = 60 if fleet.PROVE else 0


def release_of(host: str, unit: str) -> str:
    return fleet.environment_of(host, unit)["RELEASE_ID"]


def seen(host: str, name: str) -> bool:
    return fleet.on(host, "test", "-e", f"{fleet.DATA}/{name}", check=False).returncode == 0


def test_worker_ends_its_job_across_a_swap():
    """The job lasts until the test lets it go, which is after the site has moved on."""

    def one(host: str) -> None:
        old, new = fleet.activate(host, "red"), fleet.release(host, "blue")
        worker, began = fleet.main_pid(host, WORKER), time.monotonic()
        fleet.on(host, "rm", "-f", f"{fleet.DATA}/job-done")
        fleet.on(host, "touch", f"{fleet.DATA}/job")
        fleet.wait(lambda: seen(host, "job-in-hand"), 10, f"the job is taken on {host}")
        with fleet.started(host, "activate", new) as process:
            fleet.wait(lambda: fleet.served(host) == new, 60, f"the new release on {host}")
            # The service has moved on, and the worker has been told to.
            fleet.wait(lambda: told_to_end(host), 60, f"the worker of {host} is told to end")
            fleet.wait(lambda: time.monotonic() - began > JOB_SECONDS, JOB_SECONDS + 1, "the job's time", pause=1)
            assert process.poll() is None, "the swap waits for it"
            assert not seen(host, "job-done")
            assert fleet.main_pid(host, WORKER) == worker
            assert release_of(host, WORKER) == old
            fleet.on(host, "rm", f"{fleet.DATA}/job-in-hand")
        assert fleet.on(host, "cat", f"{fleet.DATA}/job-done").stdout == old, "finished, by the release that began it"
        assert fleet.main_pid(host, WORKER) != worker
        assert release_of(host, WORKER) == new

    with fleet.visitors():
        fleet.both(one)


def told_to_end(host: str) -> bool:
    state = fleet.on(host, "systemctl", "show", "--property=ActiveState", "--value", WORKER).stdout.strip()
    return state == "deactivating"


def test_instances_singletons_and_rollback():
    """Continues the test above: `blue` is live, `red` was before."""
    primary, other = fleet.HOSTS
    beat = "django-guestbook-beat.service"
    for host in fleet.HOSTS:
        assert [fleet.environment_of(host, unit)["INSTANCE"] for unit in PAIR] == ["1", "2"]
        assert {release_of(host, unit) for unit in (WORKER, *PAIR)} == {fleet.served(host)}
    assert release_of(primary, beat) == fleet.served(primary)
    assert fleet.on(other, "systemctl", "cat", beat, check=False).returncode != 0

    fleet.both(lambda host: fleet.ctl(host, "guestbook", "rollback"))
    for host in fleet.HOSTS:
        assert fleet.version(host) == "red"
        assert {release_of(host, unit) for unit in (WORKER, *PAIR)} == {fleet.served(host)}
        # An orderly end, by the signal it asks for.
        log = fleet.on(host, "journalctl", "--unit=django-guestbook-pair@1", "--output=cat").stdout
        assert "ending in blue" in log


def test_timer_runs_in_the_live_release():
    words = ["journalctl", "--unit=django-guestbook-tick", "--output=cat"]
    for host in fleet.HOSTS:
        told = f"told: tick in {fleet.served(host)}"
        fleet.wait(lambda host=host, told=told: told in fleet.on(host, *words).stdout, 60, f"{told} on {host}")
