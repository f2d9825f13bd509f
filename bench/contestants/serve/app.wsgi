# Apache itself reads this file, and may not read those of a release.
from guestbook.wsgi import application  # noqa: F401
