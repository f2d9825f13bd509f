from pathlib import Path

BASE_DIR = Path(__file__).resolve().parents[2]
VAR_DIR = BASE_DIR.parent / "var"

INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "archive",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
ROOT_URLCONF = "legacy.urls"
WSGI_APPLICATION = "legacy.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": VAR_DIR / "cache"},
}

STATIC_URL = "/assets/"
STATIC_ROOT = BASE_DIR / "public" / "assets"
MEDIA_URL = "/uploads/"
MEDIA_ROOT = BASE_DIR / "public" / "uploads"

# The site keeps its log itself.
(VAR_DIR / "log").mkdir(parents=True, exist_ok=True)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"file": {"class": "logging.FileHandler", "filename": VAR_DIR / "log" / "legacy.log"}},
    "loggers": {"archive": {"handlers": ["file"], "level": "INFO"}},
}
