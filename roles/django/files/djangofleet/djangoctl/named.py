"""Names the release in each answer, for the log of Nginx, which takes the header away.

gunicorn.conf.py calls this in the release's interpreter, so it imports nothing of djangoctl.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

HEADER = "X-Release"


def name_release(worker: Any, release: str) -> None:
    """Let a worker of Gunicorn say which release answers.

    :param release: its id; empty where nobody has named one.
    """
    if release and hasattr(worker, "asgi"):
        worker.asgi = asgi(worker.asgi, release)
    elif release and hasattr(worker, "wsgi"):
        worker.wsgi = wsgi(worker.wsgi, release)


def wsgi(application: Callable, release: str) -> Callable:
    """A WSGI application whose answers have the header."""

    def named(environ: MutableMapping[str, Any], start_response: Callable) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *words: Any, **more: Any) -> Any:
            return start_response(status, [*headers, (HEADER, release)], *words, **more)

        return application(environ, start)

    return named


def asgi(application: Callable, release: str) -> Callable:
    """An ASGI application whose answers have the header."""
    header = (HEADER.lower().encode(), release.encode())

    async def named(scope: MutableMapping[str, Any], receive: Callable, send: Callable) -> None:
        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await application(scope, receive, sent if scope["type"] == "http" else send)

    return named
