"""The gate: loads a release's application and requests its health path, before the release may serve.

Usage: gate.py <app.json> <module:attribute>. The release's interpreter runs it, so it imports nothing of djangoctl. The
request is made in process, with the site's own Host and as if over https. Without these, a well-configured Django
answers 400 or redirects, which says nothing about its health.
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


class HealthTimeout(BaseException):
    """The health check took too long. Not an Exception, which the app's own handlers would turn into a response."""


def load(application: str):
    """The application object that `module:attribute` names."""
    module, _colon, name = application.partition(":")
    target = importlib.import_module(module)
    for part in (name or "application").split("."):
        target = getattr(target, part)
    return target


def ask_wsgi(application, path: str, query: str, host: str) -> tuple[int, bytes]:
    """Status and body of a GET by PEP 3333."""
    statuses: list[str] = []
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
    parts = application(environ, lambda status, headers, exc_info=None: statuses.append(status))
    try:
        body = b"".join(parts)
    finally:
        getattr(parts, "close", lambda: None)()
    return int(statuses[-1].split()[0]), body


def ask_asgi(application, path: str, query: str, host: str) -> tuple[int, bytes]:
    """Status and body of a GET by ASGI 3."""
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

    asyncio.run(exchange())
    status = next(message["status"] for message in sent if message["type"] == "http.response.start")
    return status, b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")


def unhealthy_reason(health: dict, status: int, body: bytes) -> str:
    """Why a response is not healthy; empty if it is."""
    if status == 400 and status not in (health["status_min"], health["status_max"]):
        return "answered 400: Django refuses the host or the scheme; look at ALLOWED_HOSTS and SECURE_PROXY_SSL_HEADER"
    if not health["status_min"] <= status <= health["status_max"]:
        return f"answered {status}, expected {health['status_min']} to {health['status_max']}"
    if health["contains"] and health["contains"].encode() not in body:
        return f"answered {status} without the text {health['contains']!r}"
    return ""


def main(config: str, name: str) -> int:
    with open(config) as handle:
        settings = json.load(handle)
    health = settings["health"]
    if not health["enabled"]:
        return 0
    sys.path[0] = os.getcwd()  # instead of this file's directory: the project may have a package `release` too

    def time_out(_signal, _frame) -> None:
        raise HealthTimeout(f"no answer within {health['timeout']} s")

    signal.signal(signal.SIGALRM, time_out)
    path, _mark, query = health["path"].partition("?")
    ask = ask_asgi if settings["build"]["interface"] == "asgi" else ask_wsgi
    host = settings["domains"][0].replace("*", "www", 1)
    application, reason = None, ""
    for attempt in range(1 + health["retries"]):
        if attempt:
            time.sleep(health["delay"])
        signal.alarm(health["timeout"])
        try:
            application = application or load(name)
            reason = unhealthy_reason(health, *ask(application, path, query, host))
        except (Exception, HealthTimeout) as error:
            signal.alarm(0)
            if application is None:
                raise
            reason = str(error) if isinstance(error, HealthTimeout) else f"{type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
        if not reason:
            return 0
        print(f"gate: GET {health['path']} as {host}: {reason}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
