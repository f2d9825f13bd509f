"""Files that the web server sends only where Django says so."""

from pathlib import PurePosixPath

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import FileResponse, HttpResponse
from django.utils.http import content_disposition_header


def private_file(name: str) -> HttpResponse:
    """Answer with a file of MEDIA_ROOT, whose directory the web server keeps private.

    :param name: as a FileField has it, such as `invoices/7.pdf`. Whoever calls has asked whether the visitor may.
    """
    if settings.DEBUG:  # runserver has no web server in front
        return FileResponse(default_storage.open(name), as_attachment=True)
    response = HttpResponse()
    response["X-Accel-Redirect"] = default_storage.url(name)  # in percent-encoding
    response["Content-Disposition"] = content_disposition_header(True, PurePosixPath(name).name)
    del response["Content-Type"]  # the web server knows it by the name
    return response
