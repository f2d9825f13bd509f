"""Gunicorn's configuration for every app of this host, read from the app.json that DJANGOFLEET_APP names."""

import json
import os

with open(os.environ["DJANGOFLEET_APP"]) as handle:
    settings = json.load(handle)["gunicorn"]

# https://gunicorn.org/reference/settings/ recommends (2 x cores) + 1 workers, and says that 4 to 12 are enough.
workers = settings.pop("workers") or min(2 * len(os.sched_getaffinity(0)) + 1, 12)
# Workers write a heartbeat file. On a disk, it blocks them when the disk is busy.
worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True
accesslog = None  # Nginx writes one
# The one that Nginx always sets. By default gunicorn answers 400 where another one says so in another way, such as
# "X-Forwarded-Protocol: https" for a project that reads that.
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
if settings["worker_class"] != "gthread":
    settings["threads"] = 1  # with more than one, gunicorn replaces sync by gthread
globals().update(settings.pop("extra"))
globals().update(settings)


def pre_fork(server, worker):
    """Close database connections that the import of a preloaded app opened: workers must not share them."""
    from django.db import connections

    connections.close_all()


def post_worker_init(worker):
    """Mark the worker as ready. djangoctl waits for the first one before it stops the stand-in."""
    if directory := os.environ.get("RUNTIME_DIRECTORY"):
        open(os.path.join(directory, f"worker-{worker.pid}"), "w").close()
