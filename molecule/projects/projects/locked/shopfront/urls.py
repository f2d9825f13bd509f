import os
from importlib.metadata import distributions

from django.contrib.auth.models import User
from django.http import JsonResponse
from django.urls import path


def facts(request):
    return JsonResponse(
        {
            "installed": {entry.name.lower(): entry.version for entry in distributions()},
            "threads": request.META["wsgi.multithread"],
            "processes": request.META["wsgi.multiprocess"],
            "settings": os.environ["DJANGO_SETTINGS_MODULE"],
            "users": User.objects.count(),
        }
    )


urlpatterns = [path("", facts)]
