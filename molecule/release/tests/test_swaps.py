"""Swaps under load: nobody is turned away, nothing is lost, nothing is written twice."""

import time

import fleet

SWAPS, REQUESTS = (20, 20_000) if fleet.PROVE else (3, 300)
# In full as many as two shared processors serve while they also start four Gunicorns.
VISITORS = ("--connections=10", "--pause=0.08") if fleet.PROVE else ("--connections=4", "--pause=0.15")


def test_swaps_under_load(figure):
    """As many swaps as it takes until enough requests were answered meanwhile, and some during each."""
    fleet.both(lambda host: (fleet.activate(host, "blue"), fleet.activate(host, "red")))
    swaps: dict[str, list[tuple[float, float]]] = {host: [] for host in fleet.HOSTS}

    def swap(host: str) -> None:
        names = ["blue", "red"]
        while len(swaps[host]) < SWAPS or loads[host].asked() < REQUESTS:
            began = time.monotonic()
            fleet.activate(host, names[len(swaps[host]) % 2])
            swaps[host].append((began, time.monotonic()))

    with fleet.visitors("--path=/healthz", "--post-every=5", *VISITORS) as loads:
        fleet.both(swap)
    for host, load in loads.items():
        asked = [load.result["start"] + at for at, _ in load.result["answers"]]
        during = [sum(began < at < ended for at in asked) for began, ended in swaps[host]]
        assert min(during) > 0, f"{host}: a swap that nobody saw: {during}"
        assert len(asked) >= REQUESTS
    figure("swaps under load", sum(len(seen) for seen in swaps.values()))
    figure("requests answered meanwhile", sum(load.result["requests"] for load in loads.values()))
    figure("of them failed", sum(load.result["failed"] for load in loads.values()))


def test_environment_changes_with_long_requests_in_flight(environment_changes, figure):
    changes, seconds = environment_changes.changes, environment_changes.seconds
    for host, seen in environment_changes.running.result(timeout=1800).items():
        assert seen["failed"] == 0, f"{host}: {seen['failed']} of {seen['requests']} failed: {seen['examples']}"
        assert seen["had"] == [str(number) for number in range(1, changes + 1)]
        assert seen["requests"] > 8 * changes  # each of eight visitors asked again and again
        assert all(milliseconds > seconds * 1000 for _, milliseconds in seen["answers"])
        figure(f"requests of {seconds} s across {changes} changes of the environment, {host}", seen["requests"])
