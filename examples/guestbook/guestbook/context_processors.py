"""What every page may say about the process that made it."""

from django.conf import settings
from django.http import HttpRequest


def release(request: HttpRequest) -> dict[str, str]:
    return {
        "release_id": settings.RELEASE_ID,
        "host_name": settings.HOST_NAME,
        "request_id": getattr(request, "request_id", ""),
    }
