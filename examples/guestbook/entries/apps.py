from django.apps import AppConfig


class EntriesConfig(AppConfig):
    name = "entries"

    def ready(self) -> None:
        from guestbook.sql import name_requests

        from . import signals  # noqa: F401

        name_requests()
