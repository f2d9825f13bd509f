"""The example's settings with the views of bench/serve, and with Django's pool where BENCH_POOL says so.

Under gevent and ASGI a connection would live as long as the request: `kept for a thread` means nothing to them.
"""

import os

from guestbook.settings import *  # noqa: F403
from guestbook.settings import DATABASES

ROOT_URLCONF = "serving.urls"
if os.environ.get("BENCH_POOL"):
    _options = {**DATABASES["default"]["OPTIONS"], "pool": {"min_size": 1, "max_size": 8}}
    DATABASES["default"] |= {"CONN_MAX_AGE": 0, "OPTIONS": _options}
