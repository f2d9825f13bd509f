"""What several test modules share."""

import io
import os
import subprocess
import sys
from pathlib import Path

from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

PROJECT = Path(__file__).resolve().parents[2]


def picture(format: str = "PNG", size: tuple[int, int] = (8, 6), name: str | None = None) -> SimpleUploadedFile:
    """Return a small but genuine picture, as a browser would upload it."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (184, 64, 31)).save(buffer, format)
    return SimpleUploadedFile(name or f"mine.{format.lower()}", buffer.getvalue(), f"image/{format.lower()}")


def production_environment(directory: str, **changes: str | None) -> dict[str, str]:
    """Return the environment of a production process whose data lie below a directory; None takes a variable out."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "DJANGO_SETTINGS_MODULE": "guestbook.settings",
        "SECRET_KEY": "production-" + "kQ7-zR2_xW9.pL4" * 4,
        "ALLOWED_HOSTS": "guestbook.test,www.guestbook.test",
        "CSRF_TRUSTED_ORIGINS": "https://guestbook.test",
        "DATABASE_URL": f"sqlite:///{directory}/db.sqlite3",
        "CACHE_URL": f"filecache://{directory}/cache",
        "STATIC_ROOT": f"{directory}/static",
        "STATIC_URL": "/static/",
        "MEDIA_ROOT": f"{directory}/media",
        "MEDIA_URL": "/media/",
        "RELEASE_ID": "20260101T000000-abcdef0",
    }
    environment.update(changes)
    return {name: value for name, value in environment.items() if value is not None}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    """Run Python in the project with this environment and no other."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
    )


def request(environment: dict[str, str], code: str) -> subprocess.CompletedProcess:
    """Run code that has `client`, a visitor behind the TLS-ending proxy, in a process of its own."""
    prelude = (
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "client = Client(raise_request_exception=False, enforce_csrf_checks=True, "
        "headers={'host': 'guestbook.test', 'x-forwarded-proto': 'https'})\n"
    )
    return run(environment, "-c", prelude + code)
