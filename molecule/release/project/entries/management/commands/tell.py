"""Says which release it runs in: what hooks and timers of the tests do."""

from django.conf import settings
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Prints a word and the release."

    def add_arguments(self, parser):
        parser.add_argument("word")

    def handle(self, *, word, **options):
        self.stdout.write(f"told: {word} in {settings.RELEASE_ID}")
