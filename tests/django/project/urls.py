"""
Every kind of view.
"""

from django.contrib import admin
from django.urls import include, path

from . import ninja_views, rest_views, views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("sync/<str:outcome>", views.convert),
    path("async/<str:outcome>", views.aconvert),
    path("class", views.Convert.as_view()),
    path("dispatch", views.Dispatched.as_view()),
    path("aclass", views.AsyncConvert.as_view()),
    path("stream/<str:outcome>", views.stream),
    path("astream/<str:outcome>", views.astream),
    path("file", views.file),
    path("plain", views.plain),
    path("other", views.other),
    path("accepted", views.accepted),
    path("deferred", views.deferred),
    path("thread", views.thread),
    path("athread", views.athread),
    path("slow", views.slow),
    path("slow-stream", views.slow_stream),
    path("slow-file", views.slow_file),
    path("aslow", views.aslow),
    path("stored", views.stored),
    path("orphan", views.orphan),
    path("rest/", include(rest_views.urlpatterns)),
    path("ninja/", ninja_views.api.urls),
]
