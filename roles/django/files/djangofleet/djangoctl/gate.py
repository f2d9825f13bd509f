"""The gate: requests the health path of a release's application, before the release may serve.

The stand-in's Gunicorn asks it before it is ready (warm.py). Usage as a program: gate.py <app.json> <module:attribute>.
The release's interpreter runs it, so it imports nothing of djangoctl. The request is made in process, with the site's
own Host and as if over https. Without these, a well-configured Django answers 400 or redirects, which says nothing
about its health.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple


class HealthTimeout(BaseException):
    """The health check took too long. Not an Exception, which the app's own handlers would turn into a response."""


class Answer(NamedTuple):
    """What came back.

    :param location: where a redirect leads to; empty if it is none.
    """

    status: int
    body: bytes
    location: str


def load(application: str):
    """The application object that `module:attribute` names."""
    module, _colon, name = application.partition(":")
    target = importlib.import_module(module)
    for part in (name or "application").split("."):
        target = getattr(target, part)
    return target


def ask_wsgi(application, path: str, query: str, host: str) -> Answer:
    """A GET by PEP 3333."""
    starts: list[tuple[str, list[tuple[str, str]]]] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": host,
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": host,
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_FORWARDED_FOR": "127.0.0.1",
        "HTTP_X_REQUEST_ID": "gate",
        "HTTP_USER_AGENT": "djangofleet-gate",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    parts = application(environ, lambda status, headers, exc_info=None: starts.append((status, headers)))
    try:
        body = b"".join(parts)
    finally:
        getattr(parts, "close", lambda: None)()
    status, headers = starts[-1]
    return Answer(int(status.split()[0]), body, _location(headers))


def ask_asgi(application, path: str, query: str, host: str, run: Callable[..., Any] = asyncio.run) -> Answer:
    """A GET by ASGI 3.

    :param run: runs a coroutine to its end. What an app keeps open belongs to the loop that it was opened in.
    """
    headers = {
        "host": host,
        "x-forwarded-proto": "https",
        "x-forwarded-for": "127.0.0.1",
        "x-request-id": "gate",
        "user-agent": "djangofleet-gate",
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": (host, 443),
    }
    sent: list[dict] = []

    async def exchange() -> None:
        answered = asyncio.Event()
        requests = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict:
            if requests:
                return requests.pop()
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            sent.append(message)

        await application(scope, receive, send)
        answered.set()

    run(exchange())
    start = next(message for message in sent if message["type"] == "http.response.start")
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    decoded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())]
    return Answer(start["status"], body, _location(decoded))


def _location(headers: Iterable[tuple[str, str]]) -> str:
    return next((value for name, value in headers if name.lower() == "location"), "")


def unhealthy_reason(health: dict, status: int, body: bytes) -> str:
    """Why a response is not healthy; empty if it is."""
    if status == 400 and status not in (health["status_min"], health["status_max"]):
        return "answered 400: Django refuses the host or the scheme; look at ALLOWED_HOSTS and SECURE_PROXY_SSL_HEADER"
    if not health["status_min"] <= status <= health["status_max"]:
        return f"answered {status}, expected {health['status_min']} to {health['status_max']}"
    if health["contains"] and health["contains"].encode() not in body:
        return f"answered {status} without the text {health['contains']!r}"
    return ""


def pooler_reason(databases: Mapping[str, Mapping[str, Any]]) -> str:
    """Why the databases of a project may not be reached through the pooler; empty if they may.

    A cursor of the server lives in one session, and the pooler lends another one for each transaction.
    """
    host = os.environ.get("DATABASE_HOST") if os.environ.get("DATABASE_POOLER") else None
    wrong = [
        alias
        for alias, database in databases.items()
        if host and host in (database.get("HOST"), database.get("OPTIONS", {}).get("host"))
        if not database.get("DISABLE_SERVER_SIDE_CURSORS")
    ]
    if not wrong:
        return ""
    return (
        f"DATABASES['{wrong[0]}'] goes through {os.environ['DATABASE_POOLER']} without DISABLE_SERVER_SIDE_CURSORS; "
        "set it where the environment has DATABASE_POOLER"
    )


def _databases() -> Mapping[str, Mapping[str, Any]]:
    """DATABASES of the application that has been loaded, where that is Django's."""
    connections = getattr(sys.modules.get("django.db"), "connections", None)
    return connections.settings if connections else {}


def host_of(settings: Mapping[str, Any]) -> str:
    """The Host that is asked for: the app's first domain, and one below it where that is a wildcard."""
    return settings["domains"][0].replace("*", "www", 1)


def time_out_after(seconds: int) -> None:
    """Raise HealthTimeout in so many seconds; 0 calls it off."""

    def time_out(_signal, _frame) -> None:
        raise HealthTimeout(f"no answer within {seconds} s")

    if seconds:
        signal.signal(signal.SIGALRM, time_out)
    signal.alarm(seconds)


def passes(
    settings: Mapping[str, Any],
    get_application: Callable[[], Any],
    tried: int = 0,
    start_over: Callable[[int], None] | None = None,
) -> bool:
    """Whether the application is healthy. Each failure is printed.

    :param settings: what app.json holds.
    :param get_application: loads it. What it raises is raised.
    :param tried: how many tries there were before.
    :param start_over: called after a try that took too long, if there is another, with how many there were. What is
        interrupted may be half done, so a process that is to serve does not go on from there.
    """
    health, host = settings["health"], host_of(settings)
    path, _mark, query = health["path"].partition("?")
    ask = ask_asgi if settings["build"]["interface"] == "asgi" else ask_wsgi
    application, reason = None, ""
    for attempt in range(tried, 1 + health["retries"]):
        if attempt:
            time.sleep(health["delay"])
        is_late = False
        time_out_after(health["timeout"])
        try:
            application = application or get_application()
            if reason := pooler_reason(_databases()):
                print(f"gate: {reason}", file=sys.stderr, flush=True)
                return False
            answer = ask(application, path, query, host)
            reason = unhealthy_reason(health, answer.status, answer.body)
        except (Exception, HealthTimeout) as error:
            time_out_after(0)
            if application is None:
                raise
            is_late = isinstance(error, HealthTimeout)
            reason = str(error) if is_late else f"{type(error).__name__}: {error}"
        finally:
            time_out_after(0)
        if not reason:
            return True
        print(f"gate: GET {health['path']} as {host}: {reason}", file=sys.stderr, flush=True)
        if is_late and start_over and attempt < health["retries"]:
            start_over(attempt + 1)
    return False


def main(config: str, name: str) -> int:
    with open(config) as handle:
        settings = json.load(handle)
    if not settings["health"]["enabled"]:
        return 0
    sys.path[0] = os.getcwd()  # instead of this file's directory: the project may have a package `release` too
    return 0 if passes(settings, lambda: load(name)) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
