"""Swaps under load: nobody is turned away, nothing is lost, nothing is written twice."""

import re

import fleet
from variants import project

SWAPS, REQUESTS = 20, 20_000


def test_twenty_swaps_under_load():
    first = fleet.both(fleet.served)
    fleet.deploy("second", project("second", {"entries/static/entries/css/site.css": "/* second */\n"}))
    second = fleet.both(fleet.served)
    assert all(first[host] != second[host] for host in fleet.HOSTS)

    def swap(host: str) -> None:
        for number in range(SWAPS):
            wanted = (first, second)[number % 2][host]
            assert fleet.ctl(host, "guestbook", "activate", wanted)["changed"]
            assert fleet.served(host) == wanted

    # As many as two shared processors serve while they also start four Gunicorns.
    busy = ("--path=/healthz", "--connections=10", "--pause=0.08", "--post-every=5", f"--least={REQUESTS}")
    with fleet.visitors(*busy) as loads:
        fleet.both(swap)
    assert all(load.result["requests"] >= REQUESTS for load in loads.values())


def test_environment_changes_with_long_requests_in_flight(environment_changes):
    for host, seen in environment_changes.result(timeout=1800).items():
        assert seen["failed"] == 0, f"{host}: {seen['failed']} of {seen['requests']} failed: {seen['examples']}"
        assert seen["had"] == [str(number) for number in range(1, 21)]
        assert seen["requests"] > 8 * 20  # each of eight visitors asked again and again
        assert all(milliseconds > 10_000 for _, milliseconds in seen["answers"])


def test_environment_change_by_a_deploy():
    fleet.deploy("calm")
    release = fleet.both(fleet.served)
    pids = {host: fleet.main_pid(host, "django-guestbook.service") for host in fleet.HOSTS}
    with fleet.visitors():
        fleet.deploy("calm", release_environment={"MOTTO": 'a b"c'})
    for host in fleet.HOSTS:
        assert fleet.environment_of(host, "django-guestbook.service")["MOTTO"] == 'a b"c'
        assert fleet.main_pid(host, "django-guestbook.service") != pids[host]
    assert fleet.both(fleet.served) == release
    assert not re.search(r"changed=[1-9]", fleet.deploy("calm", release_environment={"MOTTO": 'a b"c'}))
