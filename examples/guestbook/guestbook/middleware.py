"""Request ids, and one access record per request."""

import logging
import re
import time
import uuid
from collections.abc import Callable

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from .logs import current_request_id

access = logging.getLogger("guestbook.access")

# What comes from outside is written to logs and pages: only ids that are harmless everywhere are taken over.
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def _choose_id(received: str) -> str:
    return received if _VALID_ID.fullmatch(received) else uuid.uuid4().hex


def _finish(request: HttpRequest, response: HttpResponse, started: float) -> HttpResponse:
    response["X-Request-ID"] = request.request_id
    access.info(
        "%s %s %s",
        request.method,
        request.path,
        response.status_code,
        extra={
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "duration_ms": round((time.monotonic() - started) * 1000, 1),
        },
    )
    return response


@sync_and_async_middleware
def request_id(get_response: Callable) -> Callable:
    """Take the id from X-Request-ID or make one; put it on the request, the response and every log record."""
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponse:
            started = time.monotonic()
            request.request_id = _choose_id(request.headers.get("X-Request-ID", ""))
            token = current_request_id.set(request.request_id)
            try:
                return _finish(request, await get_response(request), started)
            finally:
                current_request_id.reset(token)

    else:

        def middleware(request: HttpRequest) -> HttpResponse:
            started = time.monotonic()
            request.request_id = _choose_id(request.headers.get("X-Request-ID", ""))
            token = current_request_id.set(request.request_id)
            try:
                return _finish(request, get_response(request), started)
            finally:
                current_request_id.reset(token)

    return middleware
