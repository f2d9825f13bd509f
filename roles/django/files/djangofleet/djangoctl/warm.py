"""Warms an application in Gunicorn before it takes requests, and closes what its workers must not share.

An application's first request imports URL configuration, views and templates. The preloaded master makes it before it
forks, so that no visitor waits for that, in no worker and after no crash. The stand-in's master says only then that it
is ready, and only if the health path answered: this is the gate. The service starts whatever comes back, since what
fails may be a database that is away.

gunicorn.conf.py calls this in the release's interpreter, so it imports nothing but the gate.
"""

from __future__ import annotations

import gc
import mmap
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from . import gate

# These run requests in threads or one after the other, as the master does. The others have an event loop in each
# worker: what the master had opened would belong to none.
WARM_IN_MASTER = ("sync", "gthread")
REDIRECTS = 2
STARTED_WITH = dict(os.environ)
IS_GATE = os.environ.get("DJANGOFLEET_GATE") == "strict"
TRIED = int(os.environ.get("DJANGOFLEET_TRIED", "0"))
# Master and workers share this byte: whether warming took too long, so that workers do without.
is_cold = mmap.mmap(-1, 1)
is_cold[0] = os.environ.get("DJANGOFLEET_WARM") == "no"


def _sockets() -> dict[int, str]:
    """The sockets of this process: their descriptors with the kernel's names."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return {number: target for number, target in found.items() if target.startswith("socket:")}


INHERITED = _sockets()


def _is_in_master(gunicorn: Mapping[str, Any]) -> bool:
    return gunicorn["preload_app"] and gunicorn["worker_class"] in WARM_IN_MASTER


def limit_import(app: Mapping[str, Any]) -> None:
    """Let the gate fail if the import that Gunicorn begins now takes too long."""
    if IS_GATE and app["health"]["enabled"] and _is_in_master(app["gunicorn"]):
        gate.time_out_after(app["health"]["timeout"])


def start_master(server: Any, app: Mapping[str, Any]) -> None:
    """Prepare Gunicorn's master for its workers: gate, warming, and what must not cross a fork.

    :param app: what app.json holds.
    :raises SystemExit: the release did not pass its gate.
    """
    if directory := os.environ.get("RUNTIME_DIRECTORY"):
        with open(os.path.join(directory, "workers"), "w") as handle:
            handle.write(str(server.num_workers))
    is_gate, is_in_master = IS_GATE and app["health"]["enabled"], _is_in_master(app["gunicorn"])
    if is_gate and is_in_master and not gate.passes(app, server.app.wsgi, TRIED, _try_anew):
        raise SystemExit(1)
    if server.cfg.preload_app:
        if not is_cold[0]:
            with _limit(app["health"]["timeout"], partial(_start_cold, server.log)):
                if is_in_master:
                    _visit_all(server.log, app, partial(_ask, server.app.wsgi(), app))
                else:
                    _try(server.log, _import_urls)
        close(server.log)
        _fork_at_once(server)
    if is_gate and not is_in_master and not _passes_in_child(server, app):
        raise SystemExit(1)


def _fork_at_once(server: Any) -> None:
    """Let Gunicorn fork its first workers without a pause.

    Its pauses spread the imports of workers, which these need not make. Those that replace others keep them.
    """

    def spawn_workers() -> None:
        del server.spawn_workers
        for _count in range(server.num_workers):
            server.spawn_worker()

    server.spawn_workers = spawn_workers


def start_worker(worker: Any, app: Mapping[str, Any]) -> None:
    """Warm a worker that was not forked from a warm master."""
    if _is_in_master(app["gunicorn"]) or is_cold[0]:
        return
    loop = getattr(worker, "loop", None)
    run = {"run": loop.run_until_complete} if loop and app["build"]["interface"] == "asgi" else {}
    worker.notify()  # the master ends a worker that is silent for longer than twice worker.timeout
    seconds = min(app["health"]["timeout"], worker.timeout or float("inf"))
    with _limit(seconds, partial(_end_cold, worker.log)):
        _visit_all(worker.log, app, partial(_ask, worker.app.wsgi(), app, **run))
    if app["gunicorn"]["worker_class"] == "gevent":
        _try(worker.log, _close_databases)  # no request gets what this greenlet has opened


def _ask(application: Any, app: Mapping[str, Any], path: str, **options: Any) -> gate.Answer:
    ask = gate.ask_asgi if app["build"]["interface"] == "asgi" else gate.ask_wsgi
    path, _mark, query = path.partition("?")
    return ask(application, path, query, gate.host_of(app), **options)


def _visit_all(log: Any, app: Mapping[str, Any], ask: Callable[[str], gate.Answer]) -> None:
    """Ask for the health path and each of `health.warm`. An answer is logged, whatever it is."""
    health = app["health"]
    is_asked = IS_GATE and _is_in_master(app["gunicorn"])  # by the gate
    paths = [health["path"]] if health["enabled"] and not is_asked else []
    for path in dict.fromkeys([*paths, *health.get("warm", ())]):
        _visit(log, ask, gate.host_of(app), path)


def _visit(log: Any, ask: Callable[[str], gate.Answer], host: str, path: str) -> None:
    """Ask for a path, and for where it redirects to as long as that is of the same site."""
    for _hop in range(1 + REDIRECTS):
        began = time.monotonic()
        try:
            answer = ask(path)
            target = urlsplit(urljoin(f"https://{host}{path}", answer.location))
        except BaseException as error:  # an app may raise what is no Exception, such as CancelledError
            log.warning("warm: GET %s as %s: %s: %s", path, host, type(error).__name__, error)
            return
        tell = log.warning if answer.status >= 500 else log.info
        tell("warm: GET %s as %s: %d in %.2f s", path, host, answer.status, time.monotonic() - began)
        if not answer.location or target.netloc != host:
            return
        path = f"{target.path}?{target.query}" if target.query else target.path


@contextmanager
def _limit(seconds: float, give_up: Callable[[], None]) -> Iterator[None]:
    """Call something in another thread after so many seconds, unless this is over by then.

    Raising an exception in this thread would leave half done what it interrupts, in a process that is to serve; and no
    exception interrupts a library that waits for a database.
    """
    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _start_over(**environment: str) -> None:
    """Replace this process by a new one with the same command, environment, descriptors and process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, sys.orig_argv, STARTED_WITH | environment)


def _try_anew(tried: int) -> None:
    _start_over(DJANGOFLEET_TRIED=str(tried))


def _start_cold(log: Any) -> None:
    log.warning("warm: it takes longer than health.timeout: starting without")
    _start_over(DJANGOFLEET_WARM="no")


def _end_cold(log: Any) -> None:
    """End this worker, for Gunicorn to start another, which does not warm itself."""
    log.warning("warm: it takes too long: starting without")
    is_cold[0] = True
    os._exit(0)


def _passes_in_child(server: Any, app: Mapping[str, Any]) -> bool:
    """Whether the release passes the gate in a process that ends with it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    code = 1
    try:
        code = 0 if gate.passes(app, server.app.wsgi) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def close(log: Any) -> None:
    """Close what the application has opened and workers must not share, and name what is left."""
    for action in (_close_databases, _close_caches, _renew_executor):
        _try(log, action)
    gc.collect()
    for number, target in _sockets().items():
        if INHERITED.get(number) != target:
            log.warning("warm: all workers share a socket to %s; preload: false gives each its own", _peer(number))
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            log.warning("warm: no worker has the thread '%s'; preload: false gives each its own", thread.name)
    gc.freeze()  # what workers share stays shared: their collections do not touch it


def _try(log: Any, action: Callable[[], None]) -> None:
    try:
        action()
    except (Exception, SystemExit) as error:
        log.warning("warm: %s: %s: %s", action.__name__.strip("_"), type(error).__name__, error)


def _import_urls() -> None:
    """Import URL configuration and views without a request."""
    if _is_django():
        from django.urls import get_resolver

        get_resolver().url_patterns  # noqa: B018


def _is_django() -> bool:
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    return settings is not None and settings.configured


def _close_databases() -> None:
    if _is_django():
        from django.db import connections

        for connection in connections.all():
            connection.close()
            getattr(connection, "close_pool", lambda: None)()


def _close_caches() -> None:
    if _is_django():
        from django.core.cache import close_caches

        close_caches()
    if redis := sys.modules.get("redis"):
        # issubclass: isinstance would evaluate Django's lazy objects.
        for pool in [item for item in gc.get_objects() if issubclass(type(item), redis.ConnectionPool)]:
            pool.disconnect()


def _renew_executor() -> None:
    """asgiref keeps one thread for the process, which workers would wait for in vain."""
    if sync := sys.modules.get("asgiref.sync"):
        sync.SyncToAsync.single_thread_executor.shutdown()
        sync.SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)


def _peer(number: int) -> str:
    """What a socket is connected to."""
    with socket.socket(fileno=os.dup(number)) as copy:
        try:
            peer = copy.getpeername()
        except OSError:
            return f"nobody (descriptor {number})"
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer)
