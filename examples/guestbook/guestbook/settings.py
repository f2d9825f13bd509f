"""Settings of the guestbook: everything comes from the environment, nothing is read from a file.

README.md lists the variables. Without any of them this is a production configuration that refuses to start;
DEBUG=true turns it into a development one that needs nothing else.
"""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import django
import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = env.bool("DEBUG", default=False)

# What production must say, with the value that development gets instead. There is no production default on
# purpose: a forgotten DATABASE_URL or MEDIA_ROOT would put visitors' data into a release that is thrown away.
_DEVELOPMENT = {
    "SECRET_KEY": "insecure-development-key",
    "DATABASE_URL": f"sqlite:///{BASE_DIR}/db.sqlite3",
    "CACHE_URL": "locmemcache://",
    "STATIC_ROOT": f"{BASE_DIR}/staticfiles",
    "MEDIA_ROOT": f"{BASE_DIR}/media",
}
_required = {name: env.str(name, default="") for name in _DEVELOPMENT}
_required["CACHE_URL"] = _required["CACHE_URL"] or env.str("REDIS_URL", default="")
if DEBUG:
    _required = {name: value or _DEVELOPMENT[name] for name, value in _required.items()}
if _missing := [name for name, value in _required.items() if not value]:
    raise ImproperlyConfigured(
        f"Missing in the environment: {', '.join(_missing)}. Set them, or set DEBUG=true for development only."
    )

SECRET_KEY = _required["SECRET_KEY"]
# Keys before this one, and the one that comes: what they have signed stays valid.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

RELEASE_ID = env.str("RELEASE_ID", default="") or "development"
HOST_NAME = socket.gethostname()
DEMO_SLOW = env.bool("DEMO_SLOW", default=False)

INSTALLED_APPS = [
    "entries",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "guestbook.middleware.request_id",  # first, so that every later log line carries the id
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "guestbook.urls"
WSGI_APPLICATION = "guestbook.wsgi.application"
ASGI_APPLICATION = "guestbook.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "guestbook.context_processors.release",
            ],
        },
    },
]

# --- data ---------------------------------------------------------------------------------------------------

DATABASES = {"default": env.db_url_config(_required["DATABASE_URL"])}
_database = DATABASES["default"]
_options = _database.setdefault("OPTIONS", {})
if _database["ENGINE"] == "django.db.backends.sqlite3":
    # Several workers write to one file. WAL lets readers go on beside a writer; IMMEDIATE takes the write lock
    # at BEGIN, where waiting for `timeout` seconds works, and not in mid-transaction, where SQLite gives up.
    _options.setdefault("init_command", "PRAGMA journal_mode=WAL")
    _options.setdefault("transaction_mode", "IMMEDIATE")
    _options.setdefault("timeout", 20)
elif _database["ENGINE"] == "django.db.backends.postgresql":
    _database.setdefault("CONN_MAX_AGE", env.int("CONN_MAX_AGE", default=60))
    _database.setdefault("CONN_HEALTH_CHECKS", True)
    # Behind a pooler each transaction may have another session of the server, and a cursor lives in one.
    _database["DISABLE_SERVER_SIDE_CURSORS"] = bool(env.str("DATABASE_POOLER", default=""))
    _options.setdefault("connect_timeout", 5)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {"default": env.cache_url_config(_required["CACHE_URL"])}
# The keys that a Redis lets this app use, where it has others too.
CACHES["default"]["KEY_PREFIX"] = env.str("REDIS_PREFIX", default="")

# --- files --------------------------------------------------------------------------------------------------

STATIC_ROOT = _required["STATIC_ROOT"]
STATIC_URL = env.str("STATIC_URL", default="/static/")
MEDIA_ROOT = _required["MEDIA_ROOT"]
MEDIA_URL = env.str("MEDIA_URL", default="/media/")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Names with a hash of the content, so that the web server may let browsers keep them for ever.
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}
# The web server is another user than the app and reads these files, whatever umask the service runs with.
FILE_UPLOAD_PERMISSIONS = 0o644
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o755

# --- security -----------------------------------------------------------------------------------------------

# The proxy in front ends TLS, and overwrites this header whatever the visitor sent.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = not DEBUG
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]  # a probe on the inside may speak plain HTTP
SECURE_HSTS_SECONDS = 0 if DEBUG else env.int("SECURE_HSTS_SECONDS", default=63072000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
CSRF_FAILURE_VIEW = "entries.views.csrf_failure"
X_FRAME_OPTIONS = "DENY"

if django.VERSION >= (6, 0):
    from django.utils.csp import CSP

    def _origins(*urls: str) -> list[str]:
        """Return the origins of those URLs that lead to another host (a CDN)."""
        parts = [urlsplit(url) for url in urls]
        return sorted({f"{part.scheme}://{part.netloc}" for part in parts if part.scheme and part.netloc})

    MIDDLEWARE.insert(2, "django.middleware.csp.ContentSecurityPolicyMiddleware")
    SECURE_CSP = {
        "default-src": [CSP.NONE],
        "script-src": [CSP.SELF, *_origins(STATIC_URL)],
        "style-src": [CSP.SELF, *_origins(STATIC_URL)],
        # blob: is the preview of a picture before it is sent, data: are icons in the admin's style sheets
        "img-src": [CSP.SELF, "blob:", "data:", *_origins(STATIC_URL, MEDIA_URL)],
        "connect-src": [CSP.SELF],
        "base-uri": [CSP.NONE],
        "form-action": [CSP.SELF],
        "frame-ancestors": [CSP.NONE],
    }

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- the rest -----------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "guestbook.logs.RequestIdFilter"}},
    "formatters": {"json": {"()": "guestbook.logs.JsonFormatter"}},
    "handlers": {
        "stdout": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "filters": ["request_id"],
            "formatter": "json",
        },
    },
    "root": {"handlers": ["stdout"], "level": "INFO"},
    "loggers": {
        # Django's own configuration gives these handlers of their own; here every record takes the one above.
        "django": {"handlers": [], "level": "INFO"},
        # Below ERROR this one repeats what the access record of the same request says.
        "django.request": {"level": "ERROR"},
        "django.server": {"handlers": [], "level": "ERROR", "propagate": True},
    },
}
