"""A page that tells which process made it, and events one by one."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

EVERY = 0.4  # seconds between two events


async def page(request: HttpRequest, name: str = "") -> HttpResponse:
    return HttpResponse(f"{name} made by {os.getpid()} at {time.time_ns()}")


async def events(request: HttpRequest) -> StreamingHttpResponse:
    async def told() -> AsyncIterator[str]:
        for number in range(4):
            yield f"id: {number}\ndata: {time.time()}\n\n"
            await asyncio.sleep(EVERY)

    return StreamingHttpResponse(told(), content_type="text/event-stream")


urlpatterns = [path("", page), path("news/", page), path("news/<slug:name>/", page), path("live/events", events)]
