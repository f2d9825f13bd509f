"""Uploads of several hosts in one store: the lines of the guide, against a server that speaks S3."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
import os
from urllib.parse import urlsplit

SECRET_KEY = "x"
MEDIA_URL = "https://media.example.com/files/"
STORAGES = {"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
"""
UPLOAD = """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage as store
first = store.save("photos/cat.txt", ContentFile(b"a cat"))
second = store.save("photos/cat.txt", ContentFile(b"another one"))
print(first, second != first, store.url(first))
"""
READ = """
from django.core.files.storage import default_storage as store
print(store.open("photos/cat.txt").read().decode())
"""


@pytest.fixture
def store() -> Iterator[str]:
    """The address of a store with a bucket."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        pool = urllib3.HTTPConnectionPool("127.0.0.1", port, retries=urllib3.Retry(40, backoff_factor=0.1))
        assert pool.request("PUT", "/shop-media").status == 200
        yield f"http://127.0.0.1:{port}"
        server.terminate()


def test_what_one_host_stores_another_one_has(tmp_path, store):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/fleet.md").read_text(), re.DOTALL)
    (tmp_path / "shop_settings.py").write_text(SETTINGS + snippet)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
        "DJANGO_SETTINGS_MODULE": "shop_settings",
        "PYTHONPATH": str(tmp_path),
        "MEDIA_BUCKET": "shop-media",
        "MEDIA_ENDPOINT": store,
        "AWS_ACCESS_KEY_ID": "shop",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }

    def host(program: str) -> str:
        """What a host prints that has nothing but the store in common with another one."""
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert host(UPLOAD) == "photos/cat.txt True https://media.example.com/files/photos/cat.txt"
    assert host(READ) == "a cat"
