"""
Where everything is.
"""

import views
from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import path

urlpatterns = [
    path("", views.page, name="page"),
    path("convert", views.convert_form, name="convert"),
    path("body/convert", views.convert_body),
    path("api/convert", views.ConvertAPI.as_view()),
    path("results/<uuid:key>", views.result_page, name="result"),
    path("results/<uuid:key>.webm", views.result_file, name="file"),
    path("sample.mp4", views.sample, name="sample"),
    path("admin/", admin.site.urls),
    # The style sheets of the admin, while DEBUG is on; else the web server has them.
    *staticfiles_urlpatterns(),
]
