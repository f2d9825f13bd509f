"""ASGI entry point: `guestbook.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "guestbook.settings")
# Under ASGI every request has a thread of its own; connections that outlive it would pile up until the server is full.
os.environ.setdefault("CONN_MAX_AGE", "0")

application = get_asgi_application()
