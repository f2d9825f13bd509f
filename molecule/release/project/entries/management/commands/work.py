"""A worker as projects have them: it takes a job, finishes it whatever signal comes, and only then ends."""

import signal
import time
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand

# A job is a file with the number of seconds it takes.
DATA = Path(settings.MEDIA_ROOT).with_name("data")


class Command(BaseCommand):
    help = "Works on the jobs in the data directory, until a signal says that this one is the last."

    over = False

    def add_arguments(self, parser):
        parser.add_argument("--idle", action="store_true", help="take no job")

    def handle(self, *, idle, **options):
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        self.stdout.write(f"working in {settings.RELEASE_ID}")
        while not self.over:
            if not idle and (DATA / "job").exists():
                self.work()
            time.sleep(0.2)
        self.stdout.write(f"ending in {settings.RELEASE_ID}")

    def stop(self, *_):
        self.over = True

    def work(self):
        seconds = float((DATA / "job").read_text())
        (DATA / "job").rename(DATA / "job-in-hand")
        end = time.monotonic() + seconds
        while time.monotonic() < end:  # a signal cuts a sleep short
            time.sleep(0.2)
        (DATA / "job-in-hand").unlink()
        (DATA / "job-done").write_text(settings.RELEASE_ID)
