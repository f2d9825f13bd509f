from django.apps import AppConfig


class EntriesConfig(AppConfig):
    name = "entries"

    def ready(self) -> None:
        from . import signals  # noqa: F401
