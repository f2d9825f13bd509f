"""Gunicorn's settings for any app of this host, read from the app.json beside the environment that names it."""

import json
import os

with open(os.environ["DJANGOFLEET_APP"]) as handle:
    settings = json.load(handle)["gunicorn"]

# https://gunicorn.org/reference/settings/ : (2 x cores) + 1 workers, and 4 to 12 serve thousands of requests a second.
workers = settings.pop("workers") or min(2 * len(os.sched_getaffinity(0)) + 1, 12)
# A heartbeat on a disk blocks workers when the disk is busy.
worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True
accesslog = None  # Nginx keeps one
if settings["worker_class"] != "gthread":
    settings["threads"] = 1  # with more gunicorn takes gthread for sync
globals().update(settings.pop("extra"))
globals().update(settings)


def pre_fork(server, worker):
    """Close what the import of a preloaded app has opened: a connection shared by two workers garbles both."""
    from django.db import connections

    connections.close_all()


def post_worker_init(worker):
    """Say that there is a worker: djangoctl waits for the first one before it takes the stand-in away."""
    if directory := os.environ.get("RUNTIME_DIRECTORY"):
        open(os.path.join(directory, f"worker-{worker.pid}"), "w").close()
