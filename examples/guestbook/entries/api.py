"""A small JSON API, for load tests and scripts.

It asks for no login and no CSRF token, and nothing but validation and size limits guards it: this is a demo.
Do not copy that part.
"""

import json

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from .forms import ApiEntryForm
from .models import Entry

MAX_BODY_BYTES = 16 * 1024
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def entries(request: HttpRequest) -> JsonResponse:
    return _create(request) if request.method == "POST" else _list(request)


def _list(request: HttpRequest) -> JsonResponse:
    """List entries, newest first: `limit`, `before` (an id), `reference`, `reference_prefix`.

    `count` is the number of all that match, counted in the database and never taken from the cache.
    """
    try:
        limit = min(int(request.GET.get("limit", DEFAULT_LIMIT)), MAX_LIMIT)
        before = int(request.GET.get("before", 2**62))
        if limit < 0 or abs(before) > 2**62:
            raise ValueError
    except ValueError:
        return JsonResponse({"errors": {"limit, before": ["Whole numbers are expected."]}}, status=400)
    matching = Entry.objects.all()
    if reference := request.GET.get("reference"):
        matching = matching.filter(reference=reference)
    if prefix := request.GET.get("reference_prefix"):
        matching = matching.filter(reference__startswith=prefix)
    rows = matching.filter(id__lt=before).values("id", "name", "message", "reference")[:limit]
    return JsonResponse({"count": matching.count(), "entries": list(rows)})


def _create(request: HttpRequest) -> JsonResponse:
    """Create an entry from a form or a JSON object with `name`, `message` and optionally `reference`."""
    try:
        too_large = len(request.body) > MAX_BODY_BYTES
    except RequestDataTooBig:
        too_large = True
    if too_large:
        return JsonResponse({"errors": {"body": [f"At most {MAX_BODY_BYTES} bytes are accepted."]}}, status=413)
    if request.content_type == "application/json":
        try:
            data = json.loads(request.body)
        except ValueError:  # no JSON, or no UTF-8
            return JsonResponse({"errors": {"body": ["This is no valid JSON."]}}, status=400)
        if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
            return JsonResponse({"errors": {"body": ["A JSON object of strings is expected."]}}, status=400)
    elif request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        data = request.POST
    else:
        return JsonResponse({"errors": {"body": ["Send a form or application/json."]}}, status=415)
    form = ApiEntryForm(data)
    if not form.is_valid():
        return JsonResponse({"errors": {field: list(errors) for field, errors in form.errors.items()}}, status=400)
    entry = form.save()
    return JsonResponse({"id": entry.pk, "reference": entry.reference}, status=201)
