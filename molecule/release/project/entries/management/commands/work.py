"""A worker as projects have them: it takes a job, finishes it whatever signal comes, and only then ends."""

import signal
import time
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand

# A job is a file. It lasts until somebody removes the file that says that it is in hand.
DATA = Path(settings.MEDIA_ROOT).with_name("data")


class Command(BaseCommand):
    help = "Works on the jobs in the data directory, until a signal says that this one is the last."

    over = False

    def handle(self, **options):
        signal.signal(signal.SIGTERM, self.stop)
        while not self.over:
            if (DATA / "job").exists():
                self.work()
            time.sleep(0.2)

    def stop(self, *_):
        self.over = True

    def work(self):
        (DATA / "job").rename(DATA / "job-in-hand")
        while (DATA / "job-in-hand").exists():
            time.sleep(0.2)
        (DATA / "job-done").write_text(settings.RELEASE_ID)
