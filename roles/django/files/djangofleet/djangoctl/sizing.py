"""How many workers Gunicorn has where `gunicorn.workers` is `auto`.

What the numbers are derived from is measured by `make bench-serve SIZING=1`. docs/serving.md says how to choose others.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """The workers of a worker class: so many for each processor and so many more, within bounds.

    :param least: however few processors there are: one is replaced, or busy, while another serves.
    :param most: however many there are. 12 of 8 threads have as many connections as a PostgreSQL takes by default.
    :param memory_each: megabytes for a worker; all of them take at most half of the memory. The example project's
        takes 13 to 22, a project's with more libraries several times that.
    """

    per_processor: int
    more: int = 0
    least: int = 2
    most: int = 12
    memory_each: int = 100

    def workers(self, processors: int, memory: int) -> int:
        """How many there are on a host with so many processors and megabytes; one at least."""
        wanted = max(self.per_processor * processors + self.more, self.least)
        return max(min(wanted, self.most, memory // 2 // self.memory_each), 1)


# Of a class that serves one request at a time, https://gunicorn.org/reference/settings/ recommends (2 x cores) + 1: on
# two processors, 5 answer 2.6 times as many requests, of which half wait, as 2 do, and 0.9 times as many of those that
# compute. Where a worker has more requests in hand, as many as processors answer about as many or more, and with less
# memory. bench/results/serve-sizing.json has the figures.
SIZES = {
    "sync": Size(2, more=1),
    "gthread": Size(1),
    "gevent": Size(1),
    "tornado": Size(2, more=1),  # Django's code keeps its event loop from all else
    "asgi": Size(1),
}


def auto_workers(worker_class: str, processors: int, memory: int) -> int:
    """What `workers: auto` is on a host with so many processors and megabytes of memory."""
    return SIZES.get(worker_class, SIZES["sync"]).workers(processors, memory)


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def memory() -> int:
    """The memory of the host in megabytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000
