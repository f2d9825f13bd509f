"""Settings that attack whoever imports them."""

import os

import attack

attack.everything("import")

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")
INSTALLED_APPS = ["django.contrib.staticfiles"]
ROOT_URLCONF = "hostile.urls"
STATIC_URL = os.environ["STATIC_URL"]
STATIC_ROOT = os.environ["STATIC_ROOT"]
STATICFILES_DIRS = ["assets"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
