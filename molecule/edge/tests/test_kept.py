"""What kept connections to an app cost when a worker is killed: forms that nobody can know to be taken or not.

It measures: the figures are for the decision about the default of upstream.keepalive. What is asserted holds
for both.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3
from shared.outside import PROVE, hosts_of

testinfra_hosts = hosts_of("edge", gate=13)
SECONDS, EVERY, VISITORS = (30, 0.3, 8) if PROVE else (3, 0.5, 4)


def statuses(address: str, domain: str, method: str, until: float, answered: Counter[int], me: int) -> Counter[int]:
    """What one visitor is answered, request after request, over one connection to Nginx."""
    seen: Counter[int] = Counter()
    with urllib3.HTTPConnectionPool(address, 80, timeout=20, retries=False) as pool:
        while time.monotonic() < until:
            body = b"a=b" if method == "POST" else None
            seen[pool.request(method, "/news/", headers={"Host": domain}, body=body, redirect=False).status] += 1
            answered[me] += 1
    return seen


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("site", ["kept", "anew"])
def test_workers_that_are_killed(host, address, figure, site, method):
    until, stopped, answered = time.monotonic() + SECONDS, threading.Event(), Counter(range(VISITORS))
    killing = "pkill -KILL -n -P $(systemctl show -P MainPID django-feed.service)"

    def kill() -> int:
        count = 0
        while not stopped.wait(EVERY):
            count += host.run(killing).rc == 0
            before = Counter(answered)
            # A request is repeated once: on a slow machine the next kill would meet those that the last one met.
            while not stopped.wait(0.01) and any(answered[me] < before[me] + 2 for me in range(VISITORS)):
                pass
        return count

    with ThreadPoolExecutor(VISITORS + 1) as pool:
        killer = pool.submit(kill)
        given = (address, f"{site}.test", method, until, answered)
        asking = [pool.submit(statuses, *given, me) for me in range(VISITORS)]
        seen = sum((each.result() for each in asking), Counter())
        stopped.set()
        kills = killer.result()
    lost = sum(count for status, count in seen.items() if status >= 500)
    assert kills > 1
    assert seen[200] > 50
    figure(f"{site}_{method.lower()}_kills", kills)
    figure(f"{site}_{method.lower()}_requests", sum(seen.values()))
    figure(f"{site}_{method.lower()}_lost", lost)
    assert method == "POST" or not lost, "a request that is safe to repeat is repeated"
