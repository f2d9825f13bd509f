from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path

admin.site.site_title = "Guestbook"
admin.site.site_header = "Guestbook administration"
admin.site.index_title = "What visitors wrote"

urlpatterns = [
    path("", include("entries.urls")),
    path("admin/", admin.site.urls),
    # Only with DEBUG: in production the web server hands out uploads, and Django never sees the request.
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]

handler500 = "entries.views.server_error"
