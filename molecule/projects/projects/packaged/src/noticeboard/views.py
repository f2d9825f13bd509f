import asyncio
import importlib.util

from django.http import JsonResponse
from django.shortcuts import render

from . import __file__, __version__


def index(request):
    return render(request, "noticeboard/index.html")


async def facts(request):
    return JsonResponse(
        {
            "version": __version__,
            "module": __file__,
            "request": type(request).__name__,
            "loop": asyncio.get_running_loop().is_running(),
            "wsgi": importlib.util.find_spec("noticeboard.wsgi") is not None,
        }
    )
