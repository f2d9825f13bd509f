"""Processes and timers follow the service: to the next release, back again, and away when nobody names them."""

import fleet

WORKER = "django-guestbook-worker.service"
DATA = "/srv/guestbook/data"
JOB_SECONDS = 60


def release_of(host: str, unit: str) -> str:
    return fleet.environment_of(host, unit)["RELEASE_ID"]


def test_worker_ends_its_job_across_a_deploy(tmp_path):
    fleet.deploy("hired")
    old = fleet.both(fleet.served)
    worker = {host: fleet.main_pid(host, WORKER) for host in fleet.HOSTS}
    for host in fleet.HOSTS:
        fleet.on(host, "rm", "-f", f"{DATA}/job-done")
        fleet.on(host, "sh", "-c", f"echo {JOB_SECONDS} > {DATA}/job.part && mv {DATA}/job.part {DATA}/job")
        fleet.wait(lambda host=host: seen(host, "job-in-hand"), 10, f"the job is taken on {host}")

    def moved_on(host: str) -> None:
        """The site has, and the worker is at its job still."""
        fleet.wait(lambda: fleet.version(host) == "promoted", JOB_SECONDS - 5, f"the new release on {host}", pause=0.5)
        assert seen(host, "job-in-hand")
        assert not seen(host, "job-done")
        assert fleet.main_pid(host, WORKER) == worker[host]
        assert release_of(host, WORKER) == old[host]

    output = tmp_path / "deploy"
    with fleet.visitors():
        process = fleet.begin("deploy", output=output, release_version="promoted", deploy_serial="100%")
        fleet.both(moved_on)
        assert process.wait(timeout=JOB_SECONDS + 60) == 0, output.read_text()[-4000:]
    for host in fleet.HOSTS:
        assert fleet.on(host, "cat", f"{DATA}/job-done").stdout == old[host], (
            "finished, and by the release that began it"
        )
        assert fleet.main_pid(host, WORKER) != worker[host]
        assert release_of(host, WORKER) == fleet.served(host)


def seen(host: str, name: str) -> bool:
    return fleet.on(host, "test", "-e", f"{DATA}/{name}", check=False).returncode == 0


def test_instances_singletons_and_rollback():
    """Continues the test above: `promoted` is live, `hired` was before."""
    pair = [f"django-guestbook-pair@{number}.service" for number in (1, 2)]
    primary, other = fleet.HOSTS
    for host in fleet.HOSTS:
        assert fleet.version(host) == "promoted"
        assert [fleet.environment_of(host, unit)["INSTANCE"] for unit in pair] == ["1", "2"]
        assert {release_of(host, unit) for unit in (WORKER, *pair)} == {fleet.served(host)}
    assert release_of(primary, "django-guestbook-beat.service") == fleet.served(primary)
    assert fleet.on(other, "systemctl", "cat", "django-guestbook-beat.service", check=False).returncode != 0

    result = fleet.play("rollback")
    assert result.returncode == 0, result.stdout
    assert set(fleet.both(fleet.version).values()) == {"hired"}
    for host in fleet.HOSTS:
        assert {release_of(host, unit) for unit in (WORKER, *pair)} == {fleet.served(host)}
    # An orderly end, by the signal it asks for.
    log = fleet.on(primary, "journalctl", "--unit=django-guestbook-pair@1", "--output=cat").stdout
    assert "ending in promoted" in log


def test_timer_runs_in_the_live_release_and_goes_when_removed():
    words = ["journalctl", "--unit=django-guestbook-tick", "--output=cat"]
    for host in fleet.HOSTS:
        told = f"told: tick in {fleet.served(host)}"
        fleet.wait(lambda host=host, told=told: told in fleet.on(host, *words).stdout, 60, f"{told} on {host}")
    fleet.deploy("ticking", release_timers=[])
    for host in fleet.HOSTS:
        units = fleet.on(host, "systemctl", "list-units", "--all", "--plain", "--no-legend", "django-guestbook*").stdout
        assert "tick" not in units
        assert fleet.on(host, "sh", "-c", "ls /etc/systemd/system | grep tick", check=False).stdout == ""
        assert fleet.on(host, "systemctl", "is-active", WORKER).stdout.strip() == "active"
