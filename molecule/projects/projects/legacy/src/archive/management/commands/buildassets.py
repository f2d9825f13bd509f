import hashlib
import json

from django.conf import settings
from django.core.cache import cache
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Put the collected style sheets together into one."

    def handle(self, *args, **options):
        collected = sorted(settings.STATIC_ROOT.glob("archive/*.css"))
        if not collected:
            raise CommandError("run collectstatic first")
        sheet = "".join(path.read_text() for path in collected if path.stem in ("site", "print"))
        name = f"site.{hashlib.sha256(sheet.encode()).hexdigest()[:12]}.css"
        directory = settings.STATIC_ROOT / "bundles"
        directory.mkdir(exist_ok=True)
        (directory / name).write_text(sheet)
        (directory / "manifest.json").write_text(json.dumps({"site": name}))
        cache.set("bundle", name, 60)
