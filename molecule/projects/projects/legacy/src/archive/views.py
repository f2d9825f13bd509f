import hashlib
import logging
import os
import subprocess
from importlib.metadata import distribution

import xxhash
from django.conf import settings
from django.core.cache import cache
from django.http import JsonResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from . import EDITION
from .models import Document
from .templatetags.bundles import bundle

logger = logging.getLogger(__name__)


def index(request):
    return render(request, "archive/index.html", {"site_name": settings.SITE_NAME, "count": Document.objects.count()})


@csrf_exempt
@require_POST
def documents(request):
    upload = request.FILES["file"]
    document = Document(file=upload, checksum=xxhash.xxh64(upload.read()).hexdigest())
    document.save()
    words = ["file", "--brief", "--mime-type", document.file.path]
    document.kind = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    document.save()
    with (settings.VAR_DIR / "daybook.txt").open("a") as daybook:
        daybook.write(f"{document.file.name}\n")
    logger.info("received %s", document.file.name)
    cache.set("last", document.file.name, None)
    return JsonResponse({"url": document.file.url, "kind": document.kind}, status=201)


def facts(request):
    daybook = settings.VAR_DIR / "daybook.txt"
    return JsonResponse(
        {
            "edition": EDITION,
            "debug": settings.DEBUG,
            "site_name": settings.SITE_NAME,
            "motto": settings.MOTTO,
            "hosts": settings.ALLOWED_HOSTS,
            "origins": settings.CSRF_TRUSTED_ORIGINS,
            "secret_digest": hashlib.sha256(settings.SECRET_KEY.encode()).hexdigest(),
            "price": os.environ["LEGACY_PRICE"],
            "server": request.META["SERVER_SOFTWARE"],
            "xxhash": distribution("xxhash").read_text("WHEEL"),
            "documents": [[entry.file.url, entry.kind, entry.checksum] for entry in Document.objects.order_by("id")],
            "daybook": daybook.read_text().split() if daybook.exists() else [],
            "last": cache.get("last"),
            "stylesheet": static("archive/site.css"),
            "bundle": bundle("site"),
        }
    )
