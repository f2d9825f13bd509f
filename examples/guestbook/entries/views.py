"""The pages, and what a platform asks of an app: health, version, a slow request."""

import logging
import math
import platform
import time
import uuid

import django
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.views.decorators import staff_member_required
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseServerError, JsonResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from .forms import EntryForm
from .models import Entry
from .private import private_file
from .stats import get_stats

logger = logging.getLogger(__name__)

PER_PAGE = 10
MAX_SLOW_SECONDS = 15


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """Show the entries and the form; take a new entry."""
    form = EntryForm()
    if request.method == "POST":
        form = EntryForm(request.POST, request.FILES)
        if form.is_valid():
            entry = form.save()
            logger.info("Entry %s written", entry.pk)
            messages.success(request, f"Thank you, {entry.name}. Your entry is in the book.")
            return redirect("index")
    paginator = Paginator(Entry.objects.all(), PER_PAGE)
    page = paginator.get_page(request.GET.get("page"))
    return render(
        request,
        "entries/index.html",
        {
            "form": form,
            "page": page,
            "page_range": paginator.get_elided_page_range(page.number, on_each_side=1, on_ends=1),
            "ellipsis": Paginator.ELLIPSIS,
            "stats": get_stats(),
        },
    )


@never_cache
@require_safe
def about(request: HttpRequest) -> HttpResponse:
    """Show what served this very request."""
    context = {
        "python_version": platform.python_version(),
        "django_version": django.get_version(),
        "database": connection.vendor,
        "cache": settings.CACHES["default"]["BACKEND"].rpartition(".")[2],
    }
    return render(request, "entries/about.html", context)


def _database_answers() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone() == (1,)


def _cache_answers() -> bool:
    key, value = f"healthz:{uuid.uuid4().hex}", uuid.uuid4().hex
    cache.set(key, value, 10)
    try:
        return cache.get(key) == value
    finally:
        cache.delete(key)


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the database and the cache work, else 503 and which does not. The reason is in the log only."""
    checks = {}
    for name, answers in (("database", _database_answers), ("cache", _cache_answers)):
        try:
            checks[name] = "ok" if answers() else "failed"
        except Exception:
            checks[name] = "failed"
            logger.exception("Health check failed: %s", name)
    failed = [name for name, state in checks.items() if state != "ok"]
    body = {"status": "failed" if failed else "ok", "checks": checks, "failed": failed, "release": settings.RELEASE_ID}
    return JsonResponse(body, status=503 if failed else 200)


@never_cache
@require_safe
def slow(request: HttpRequest) -> JsonResponse:
    """Sleep for `seconds`: tests use it to have a request in flight while something is restarted."""
    if not settings.DEMO_SLOW:
        raise Http404
    try:
        seconds = float(request.GET.get("seconds", "1"))
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:  # also true for "nan"
        return JsonResponse({"error": "seconds must be a number, 0 or more"}, status=400)
    seconds = min(seconds, MAX_SLOW_SECONDS)
    time.sleep(seconds)
    return JsonResponse({"slept": seconds, "release": settings.RELEASE_ID, "host": settings.HOST_NAME})


@never_cache
@require_safe
@staff_member_required
def export(request: HttpRequest, name: str) -> HttpResponse:
    """Hand out a file that `manage.py export` has written. Only names that are there lead anywhere."""
    try:
        _directories, names = default_storage.listdir("exports")
    except FileNotFoundError:
        names = []
    if name not in names:
        raise Http404
    return private_file(f"exports/{name}")


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Lead browsers that ask at the root (the pages name the icon themselves) to the icon."""
    return redirect(static("entries/img/favicon.svg"))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Explain a refused form in words for a visitor; the reason is in the log."""
    return render(request, "403_csrf.html", status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    """Show the error page with the request id; if even that fails, say the same in plain text."""
    try:
        return render(request, "500.html", status=500)
    except Exception:
        logger.exception("The error page cannot be rendered")
        text = f"Something went wrong on our side. Request id: {getattr(request, 'request_id', '')}\n"
        return HttpResponseServerError(text, content_type="text/plain; charset=utf-8")
