"""Settings of the tests: the real ones, under an environment that the tests bring themselves."""

import atexit
import io
import os
import tempfile

_directory = tempfile.TemporaryDirectory(prefix="guestbook-test-")
atexit.register(_directory.cleanup)

for _name in ("DEBUG", "CONN_MAX_AGE", "REDIS_URL", "STATIC_URL", "MEDIA_URL", "SECURE_HSTS_SECONDS"):
    os.environ.pop(_name, None)
os.environ.update(
    SECRET_KEY="only-for-tests-" + "0123456789abcdef" * 4,
    ALLOWED_HOSTS="testserver,guestbook.test",
    CSRF_TRUSTED_ORIGINS="https://guestbook.test",
    # Another engine may be tested: TEST_DATABASE_URL=postgresql://...
    DATABASE_URL=os.environ.get("TEST_DATABASE_URL", "sqlite://:memory:"),
    CACHE_URL=f"filecache://{_directory.name}/cache",
    STATIC_ROOT=f"{_directory.name}/static",
    MEDIA_ROOT=f"{_directory.name}/media",
    RELEASE_ID="test-release",
    DEMO_SLOW="true",
)

from .settings import *  # noqa: E402, F403
from .settings import LOGGING, STORAGES  # noqa: E402

# Tests speak plain HTTP to the test client; what production answers is tested in processes of its own.
SECURE_SSL_REDIRECT = False
# Hashed names need a collectstatic first; test_static.py runs one.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# The tests read what production would write to standard output.
LOG_STREAM = io.StringIO()
LOGGING["handlers"]["stdout"]["stream"] = LOG_STREAM
