import os

import django
from django.conf import settings
from django.http import JsonResponse
from django.urls import path

import timetable


def facts(request):
    return JsonResponse(
        {
            "django": django.get_version(),
            "settings": os.environ["DJANGO_SETTINGS_MODULE"],
            "apps": settings.INSTALLED_APPS,
            "module": timetable.__file__,
            "engine": settings.DATABASES["default"]["ENGINE"],
        }
    )


urlpatterns = [path("", facts)]
