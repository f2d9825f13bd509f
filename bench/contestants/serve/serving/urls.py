import time

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from entries import views

WAIT = 0.05  # seconds: a database or another service that answers late


def trivial(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


def wait(request: HttpRequest) -> HttpResponse:
    time.sleep(WAIT)
    return HttpResponse("ok\n", content_type="text/plain")


def page(request: HttpRequest) -> HttpResponse:
    """The guestbook's page as a cache may keep it: without the cookie of its form."""
    response = views.index(request)
    request.META["CSRF_COOKIE_NEEDS_UPDATE"] = False
    response["Cache-Control"] = "public, max-age=600"
    return response


urlpatterns = [
    path("serve/trivial", trivial),
    path("serve/wait", wait),
    path("serve/page", page),
    path("", include("guestbook.urls")),
]
handler500 = "entries.views.server_error"
