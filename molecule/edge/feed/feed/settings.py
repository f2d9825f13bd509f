"""The least that a page, a stream and a websocket take."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "of a build")
ALLOWED_HOSTS = ["*"]  # Nginx decides
ROOT_URLCONF = "feed.urls"
ASGI_APPLICATION = "feed.asgi.application"
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
