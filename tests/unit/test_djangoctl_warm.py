"""What Gunicorn asks of an application before it serves. Each test runs Gunicorn as a release does."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from django.utils.functional import SimpleLazyObject
from djangoctl import launch, warm

# Answers `cold` to the first request of a process and of those forked from it, and takes its time for it.
WSGI = """
import ctypes, json, os, signal, socket, sys, threading, time
IS_WARM = []
open("imports", "a").write("x")
def application(environ, start_response):
    path, status = environ["PATH_INFO"], "200 OK"
    open("asked", "a").write(f"{path} {environ['HTTP_HOST']} {environ['wsgi.url_scheme']}\\n")
    body = b"warm" if IS_WARM else b"cold"
    headers = []
    {body}
    IS_WARM.append(True)
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
    return [body]
"""
# What it opens belongs to the loop that it was opened in.
ASGI = """
import asyncio, os, sys, time
LOOPS = []
open("imports", "a").write("x")
async def application(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    path, status = scope["path"], 200
    open("asked", "a").write(f"{path}\\n")
    loop = asyncio.get_running_loop()
    body = (b"warm" if LOOPS[0] is loop else b"of another loop") if LOOPS else b"cold"
    LOOPS.append(loop)
    {body}
    await receive()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
PATIENCE = 60  # seconds, on a machine with much else to do
KINDS = {
    "sync": {"worker_class": "sync"},
    "gthread": {"worker_class": "gthread"},
    "no preload": {"worker_class": "gthread", "preload_app": False},
    "asgi": {"worker_class": "asgi"},
    "asgi, no preload": {"worker_class": "asgi", "preload_app": False},
    "gevent": {"worker_class": "gevent"},
}
kinds = pytest.mark.parametrize("kind", KINDS)
# Without preload, and with it where it warms the master.
each_way = pytest.mark.parametrize("kind", ["gthread", "no preload"])


class Gunicorn:
    """One that runs as the service does, with what systemd would give it."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory, self.socket = directory, directory / "gunicorn.sock"
        self.log = directory / "log"
        (directory / "run").mkdir()
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(directory / "notify"))
        words = [str(Path(sys.executable).with_name("gunicorn")), "--config", str(launch.GUNICORN)]
        systemd = {"NOTIFY_SOCKET": str(directory / "notify"), "RUNTIME_DIRECTORY": str(directory / "run")}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*words, "--bind", f"unix:{self.socket}", "site_:application"],
                cwd=directory,
                env=os.environ | systemd | {"DJANGOFLEET_APP": str(directory / "app.json")} | environment,
                stdout=log,
                stderr=log,
            )

    def is_ready(self) -> bool:
        """Whether it has said so before it ended."""
        self.notices.settimeout(0.05)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                return self.notices.recv(1000).startswith(b"READY=1")
            except TimeoutError:
                if self.process.poll() is not None:
                    return False
        raise AssertionError(f"neither ready nor ended:\n{self.said}")

    def wait(self, workers: int) -> None:
        """Until so many workers have said that they are ready."""
        deadline = time.monotonic() + PATIENCE
        while len(self.marks) < workers:
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    @property
    def marks(self) -> list[int]:
        return [int(path.name.rpartition("-")[2]) for path in self.directory.glob("run/worker-*")]

    @property
    def said(self) -> str:
        return self.log.read_text()

    def ask(self, path: str = "/", timeout: float = PATIENCE) -> tuple[int, str]:
        connection = http.client.HTTPConnection("shop.example.com", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(str(self.socket))
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, body

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            for worker in self.marks:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        self.process.wait(timeout=PATIENCE)
        self.notices.close()


@pytest.fixture
def serve(tmp_path, app_settings):
    """`serve(body, kind, gate=False, health={}, **gunicorn)`: Gunicorn with that in the view, not waited for."""
    running = []

    def run(body="pass", kind="gthread", *, gate=False, health=None, environment=None, text=None, **gunicorn):
        interface = "asgi" if "asgi" in kind else "wsgi"
        text = text or {"wsgi": WSGI, "asgi": ASGI}[interface]
        (tmp_path / "site_.py").write_text(text.replace("{body}", body))
        content = app_settings | {"health": app_settings["health"] | {"timeout": PATIENCE, "delay": 0} | (health or {})}
        content["gunicorn"] = app_settings["gunicorn"] | {"workers": 2} | KINDS[kind] | gunicorn
        content["build"] = app_settings["build"] | {"interface": interface}
        (tmp_path / "app.json").write_text(json.dumps(content))
        given = {"DJANGOFLEET_GATE": "strict"} if gate else {}
        running.append(Gunicorn(tmp_path, given | (environment or {})))
        return running[-1]

    yield run
    for each in running:
        each.end()


# Warm


@kinds
@pytest.mark.parametrize("gate", [True, False], ids=["stand-in", "service"])
def test_nobody_meets_a_cold_worker(serve, kind, gate):
    gunicorn = serve(kind=kind, gate=gate)
    assert gunicorn.is_ready(), gunicorn.said
    gunicorn.wait(2)
    assert {gunicorn.ask() for _ in range(10)} == {(200, "warm")}


@kinds
def test_a_worker_that_replaces_another_is_warm(serve, kind):
    gunicorn = serve(kind=kind, workers=1)
    gunicorn.wait(1)
    os.kill(gunicorn.marks[0], signal.SIGKILL)
    gunicorn.wait(2)
    assert gunicorn.ask() == (200, "warm")


@each_way
def test_a_worker_that_max_requests_replaces_is_warm(serve, kind):
    gunicorn = serve(kind=kind, workers=1, max_requests=2)
    gunicorn.wait(1)
    assert {gunicorn.ask() for _ in range(6)} == {(200, "warm")}
    assert len(gunicorn.marks) > 1


def test_the_number_of_workers_is_told_to_djangoctl(serve, tmp_path):
    serve(workers=3).wait(3)
    assert (tmp_path / "run/workers").read_text() == "3"


def test_workers_of_a_warm_master_do_not_wait_for_each_other(serve):
    """Gunicorn sleeps for a random part of 0.1 s after each, here for longer than anybody waits."""
    gunicorn = serve(f"import random; random.random = lambda: {100 * PATIENCE}")
    gunicorn.wait(2)
    assert gunicorn.ask() == (200, "warm")


def asked(directory: Path) -> list[str]:
    return [line.split()[0] for line in (directory / "asked").read_text().splitlines()]


def test_what_is_asked_for(serve, tmp_path):
    serve(health={"path": "/healthz?full=1", "warm": ["/", "/login/"]}).wait(2)
    lines = (tmp_path / "asked").read_text().splitlines()
    assert lines == [f"{path} shop.example.com https" for path in ("/healthz", "/", "/login/")]


def test_a_redirect_within_the_site_is_followed(serve, tmp_path):
    body = """
    leads = {"/": "/login/?next=/", "/login/": "https://elsewhere.example.com/"}
    if path in leads:
        status, headers = "302 Found", [("Location", leads[path])]
"""
    serve(body, health={"path": "/healthz"}).wait(2)
    assert asked(tmp_path) == ["/healthz", "/", "/login/"]


def test_a_redirect_to_itself_ends(serve, tmp_path):
    serve("status, headers = '302 Found', [('Location', '/')]", health={"enabled": False}).wait(2)
    assert asked(tmp_path) == ["/"] * (1 + warm.REDIRECTS)


@pytest.mark.parametrize("gate", [True, False])
def test_nothing_is_asked_if_nothing_is_configured(serve, tmp_path, gate):
    gunicorn = serve(gate=gate, health={"enabled": False, "warm": []})
    assert gunicorn.is_ready()
    assert not (tmp_path / "asked").exists()


def test_a_configuration_from_before_there_was_warming(serve, app_settings, monkeypatch):
    """The pinned one, after an upgrade."""
    monkeypatch.delitem(app_settings["health"], "warm")
    assert serve().is_ready()


# The gate

FAILURES = {
    "answers 500": ("status = 500 if {asgi} else '500 X'", "answered 500, expected 200 to 499"),
    "raises": ("raise RuntimeError('no table here')", "RuntimeError: no table here"),
    "hangs": ("time.sleep(60)", "no answer within 1 s"),
}


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        *((kind, "raises") for kind in KINDS),
        *((kind, failure) for kind in ("gthread", "no preload") for failure in ("answers 500", "hangs")),
        *((kind, "hangs") for kind in ("asgi", "gevent")),
    ],
)
def test_a_stand_in_that_is_not_healthy_is_never_ready(serve, kind, failure):
    body, reason = FAILURES[failure]
    health = {"timeout": 1 if failure == "hangs" else PATIENCE}
    gunicorn = serve(body.format(asgi="asgi" in kind), kind, gate=True, health=health)
    assert not gunicorn.is_ready()
    assert gunicorn.process.wait(timeout=PATIENCE) != 0
    assert f"gate: GET / as shop.example.com: {reason}" in gunicorn.said
    assert gunicorn.marks == []


@each_way
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module_", "No module named 'no_such_module_'"),
        ("x = 1", "Failed to find attribute 'application' in 'site_'"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
    ],
)
def test_a_stand_in_that_cannot_be_imported_is_never_ready(serve, kind, text, said):
    gunicorn = serve(kind=kind, text=text, gate=True, health={"timeout": 1 if "sleep" in text else PATIENCE})
    assert not gunicorn.is_ready()
    assert said in gunicorn.said


def test_only_the_health_path_decides(serve):
    gunicorn = serve("if path == '/': raise RuntimeError('oh')", gate=True, health={"path": "/healthz"})
    assert gunicorn.is_ready()
    assert "warm: GET / as shop.example.com: RuntimeError: oh" in gunicorn.said


def test_what_a_timeout_interrupted_does_not_serve(serve, tmp_path):
    """It may be half done. The next try is one of another process with the same id."""
    body = "tries = len(open('asked').readlines())\n    if tries == 1: time.sleep(60)"
    gunicorn = serve(body, gate=True, health={"timeout": 2, "retries": 1})
    assert gunicorn.is_ready()
    assert (tmp_path / "imports").read_text() == "xx"
    gunicorn.wait(2)
    assert gunicorn.ask() == (200, "warm")


def test_tries_are_counted_across_processes(serve, tmp_path):
    gunicorn = serve("time.sleep(60)", gate=True, health={"timeout": 1, "retries": 2})
    assert not gunicorn.is_ready()
    assert gunicorn.said.count("no answer within 1 s") == 3


# The service


@pytest.mark.parametrize(
    ("kind", "failure"), [*((kind, "raises") for kind in KINDS), *((kind, "answers 500") for kind in ("sync", "asgi"))]
)
def test_a_service_starts_whatever_it_answers_itself(serve, kind, failure):
    body = FAILURES[failure][0].format(asgi="asgi" in kind)
    gunicorn = serve(body, kind)
    assert gunicorn.is_ready()
    gunicorn.wait(2)
    assert gunicorn.ask()[0] == 500
    assert "warm: GET / as shop.example.com: " in gunicorn.said


PYTHON, C = "time.sleep(60)", "__import__('ctypes').CDLL(None).sleep(60)"


# Under gevent the limit itself waits for what does not wait together with others, as gevent's own requests do.
@pytest.mark.parametrize(
    ("kind", "sleep"),
    [*((kind, sleep) for kind in ("gthread", "no preload", "asgi") for sleep in (PYTHON, C)), ("gevent", PYTHON)],
)
def test_a_service_that_cannot_be_warmed_in_time_starts_without(serve, kind, sleep):
    """An exception would interrupt neither a library that waits nor an app that catches all."""
    gunicorn = serve(f"if path == '/away': {sleep}", kind, health={"path": "/away", "timeout": 1})
    assert gunicorn.is_ready()
    gunicorn.wait(2)
    assert gunicorn.ask("/")[0] == 200
    assert "starting without" in gunicorn.said


@pytest.mark.parametrize(
    "body",
    [
        "raise __import__('asyncio').CancelledError",
        "sys.exit(7)",
        "status, headers = '302 Found', [('Location', 'https://[')]",
    ],
)
@each_way
def test_a_service_starts_even_after_what_is_no_exception(serve, kind, body):
    gunicorn = serve(f"if not IS_WARM: IS_WARM.append(True); {body}", kind)
    assert gunicorn.is_ready(), gunicorn.said
    gunicorn.wait(2)
    assert gunicorn.ask() == (200, "warm")


def test_a_cold_start_keeps_the_process(serve):
    """systemd knows it by its id."""
    gunicorn = serve("if path == '/away': time.sleep(60)", health={"path": "/away", "timeout": 1})
    gunicorn.wait(2)
    assert gunicorn.process.poll() is None


# Hooks


@each_way
def test_hooks_of_the_project_are_called_too(serve, tmp_path, kind):
    (tmp_path / "hooks.py").write_text(
        "def starting(server): open('started', 'a').write('x')\n"
        "def init(worker): open(f'init-{worker.pid}', 'w').close()\n"
        "def fork(server, worker): open('forked', 'a').write('x')\n"
    )
    hooks = {"on_starting": "hooks.starting", "post_worker_init": "hooks.init", "pre_fork": "hooks.fork"}
    gunicorn = serve(kind=kind, extra=hooks)
    gunicorn.wait(2)
    assert gunicorn.ask() == (200, "warm")
    assert ((tmp_path / "started").read_text(), (tmp_path / "forked").read_text()) == ("x", "xx")
    assert {path.name for path in tmp_path.glob("init-*")} == {f"init-{worker}" for worker in gunicorn.marks}


# What must not cross the fork

DJANGO = """
import asyncio, gc, os
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db", "CONN_MAX_AGE": None}},
    SECRET_KEY="x", ALLOWED_HOSTS=["*"])
import django
django.setup()
from asgiref.sync import sync_to_async
from django.db import connections
def application(environ, start_response):
    connection = connections["default"]
    body = b"own" if connection.connection is None and gc.get_freeze_count() else b"shared"
    connection.cursor().execute("SELECT 1")
    connection.close_pool = lambda: open("pool", "a").write("x")
    asyncio.run(sync_to_async(lambda: None)())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_what_the_master_has_opened_is_closed(serve, tmp_path):
    """A database's connection, its pool, and the thread that asgiref keeps, for which a worker would wait for ever."""
    gunicorn = serve(text=DJANGO, worker_class="sync", workers=1)
    gunicorn.wait(1)
    assert (tmp_path / "pool").read_text() == "x"
    assert gunicorn.ask() == (200, "own")
    assert "warm: all workers share" not in gunicorn.said
    assert "warm: no worker has" not in gunicorn.said


# Django's own handler sends the signals, and keeps a connection of each thread.
QUERY = """
import time
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db", "CONN_MAX_AGE": 60}},
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="site_", MIDDLEWARE=[])
import django
django.setup()
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpResponse
from django.urls import re_path
def view(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    time.sleep(0.2)
    return HttpResponse("answered")
urlpatterns = [re_path("", view)]
application = WSGIHandler()
"""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "asgi" not in kind])
def test_no_request_gets_the_connection_of_another_one(serve, kind):
    """Where the app was imported before gevent has patched threads, all requests of a worker had the same one."""
    gunicorn = serve(text=QUERY, kind=kind, workers=1)
    gunicorn.wait(1)
    with ThreadPoolExecutor() as visitors:  # at the same time: the view waits
        answers = [visitors.submit(gunicorn.ask) for _count in range(3)]
    assert [answer.result() for answer in answers] == [(200, "answered")] * 3, gunicorn.said


def test_what_is_left_open_is_named(serve, tmp_path):
    body = """
    if not IS_WARM:
        global KEPT
        KEPT = socket.create_connection(("127.0.0.1", int(open("port").read())))
        threading.Thread(target=time.sleep, args=(60,), name="beats", daemon=True).start()
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "port").write_text(str(port))
        gunicorn = serve(body)
        gunicorn.wait(2)
    named = re.findall(r"warm: (all workers share|no worker has) (.*);", gunicorn.said)
    assert named == [
        ("all workers share", f"a socket to 127.0.0.1:{port}"),
        ("no worker has", "the thread 'beats'"),
    ]


def test_pools_of_redis_are_disconnected():
    class Pool(redis.ConnectionPool):
        def disconnect(self, *_words, **_options):
            closed.append(self)

    def evaluate():
        raise AssertionError("a lazy object was evaluated")

    closed, pool, lazy = [], Pool(), SimpleLazyObject(evaluate)
    warm._close_caches()
    assert closed == [pool]
    del lazy
