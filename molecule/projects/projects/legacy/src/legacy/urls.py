from archive import views
from django.urls import path

urlpatterns = [
    path("", views.index),
    path("documents/", views.documents),
    path("facts/", views.facts),
]
