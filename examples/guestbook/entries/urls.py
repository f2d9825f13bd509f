from django.urls import path

from . import api, views

urlpatterns = [
    path("", views.index, name="index"),
    path("about/", views.about, name="about"),
    path("healthz", views.healthz, name="healthz"),
    path("slow/", views.slow, name="slow"),
    path("exports/<str:name>", views.export, name="export"),
    path("favicon.ico", views.favicon, name="favicon"),
    path("api/entries/", api.entries, name="api-entries"),
]
