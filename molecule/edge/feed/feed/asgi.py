"""Django, and beside it a websocket that says what it hears."""

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feed.settings")
django = get_asgi_application()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket" and scope["path"] == "/live/echo":
        await echo(receive, send)
    else:
        await django(scope, receive, send)


async def echo(receive: Any, send: Any) -> None:
    await receive()  # the wish to connect
    await send({"type": "websocket.accept"})
    while (heard := await receive())["type"] == "websocket.receive":
        key = "text" if heard.get("text") is not None else "bytes"
        await send({"type": "websocket.send", key: heard[key]})
