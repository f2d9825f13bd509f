import os

import django
from django.conf import settings
from django.http import JsonResponse
from django.urls import path


def facts(request):
    return JsonResponse(
        {
            "django": django.get_version(),
            "settings": os.environ["DJANGO_SETTINGS_MODULE"],
            "apps": settings.INSTALLED_APPS,
            "engine": settings.DATABASES["default"]["ENGINE"],
        }
    )


urlpatterns = [path("", facts)]
