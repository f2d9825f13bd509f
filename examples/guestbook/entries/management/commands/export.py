"""`manage.py export`: the book as a file that only staff may fetch, at /exports/."""

import csv
import io

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand
from django.utils import timezone

from entries.models import Entry


class Command(BaseCommand):
    help = "Write all entries to a file below MEDIA_ROOT/exports, as CSV, and print its name."

    def handle(self, *args, **options) -> None:
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(["id", "created_at", "name", "message", "reference"])
        for entry in Entry.objects.order_by("id").iterator():
            rows.writerow([entry.pk, entry.created_at.isoformat(), entry.name, entry.message, entry.reference])
        name = f"exports/entries-{timezone.now():%Y%m%dT%H%M%S}.csv"
        self.stdout.write(default_storage.save(name, ContentFile(text.getvalue().encode())).removeprefix("exports/"))
