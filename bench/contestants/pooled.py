"""The settings of the example with the way to the database that bench/pool names in BENCH_DATABASE."""

import os

from guestbook.settings import *  # noqa: F403
from guestbook.settings import DATABASES

WAYS = {
    "kept": {"CONN_MAX_AGE": 60},
    "new": {"CONN_MAX_AGE": 0},
    "pool": {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 1, "max_size": 5}}},
}
_way = WAYS[os.environ["BENCH_DATABASE"]]
_options = {**DATABASES["default"]["OPTIONS"], **_way.get("OPTIONS", {})}
DATABASES["default"] |= {**_way, "OPTIONS": _options}
