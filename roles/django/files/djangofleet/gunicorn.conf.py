"""Gunicorn's configuration for every app of this host, read from the app.json that DJANGOFLEET_APP names."""

import importlib
import json
import os
import pkgutil
import sys

with open(os.environ["DJANGOFLEET_APP"]) as handle:
    app = json.load(handle)
if app["gunicorn"]["worker_class"] == "gevent":
    # Gunicorn does it in each worker. What a preloaded app has imported by then keeps what is local to threads, and all
    # requests of a worker would share that: a connection of Django's first of all.
    importlib.import_module("gevent.monkey").patch_all()
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
warm = importlib.import_module("djangoctl.warm")
named = importlib.import_module("djangoctl.named")
sizing = importlib.import_module("djangoctl.sizing")
del sys.path[0]

settings = app["gunicorn"]
workers = settings.pop("workers") or sizing.auto_workers(settings["worker_class"], sizing.processors(), sizing.memory())
# Workers write a heartbeat file. On a disk, it blocks them when the disk is busy.
worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True
accesslog = None  # Nginx writes one
# The one that Nginx always sets. By default gunicorn answers 400 where another one says so in another way, such as
# "X-Forwarded-Protocol: https" for a project that reads that.
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
if settings["worker_class"] != "gthread":
    settings["threads"] = 1  # with more than one, gunicorn replaces sync by gthread
extra = settings.pop("extra")
globals().update(extra)
globals().update(settings)
warm.limit_import(app)


def on_starting(server):
    """Ask the application before systemd is told that the service is ready."""
    given("on_starting", server)
    warm.start_master(server, app)


def post_worker_init(worker):
    """Mark the worker as ready. djangoctl waits for the marks before it stops the stand-in."""
    given("post_worker_init", worker)
    named.name_release(worker, os.environ.get("RELEASE_ID", ""))
    warm.start_worker(worker, app)
    if directory := os.environ.get("RUNTIME_DIRECTORY"):
        open(os.path.join(directory, f"worker-{worker.pid}"), "w").close()


def given(name, subject):
    """Call the hook of that name that the app's own settings give as `module.function`."""
    if name in extra:
        pkgutil.resolve_name(extra[name])(subject)
