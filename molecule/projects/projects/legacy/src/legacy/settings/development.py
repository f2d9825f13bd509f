from .base import *  # noqa: F403

DEBUG = True
SECRET_KEY = "for the desk only"  # noqa: S105
SITE_NAME = "Legacy (development)"
