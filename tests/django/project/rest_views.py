"""
Views of Django REST framework.
"""

from django.urls import path
from rest_framework.decorators import action, api_view
from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from remotion_licensing_integrations.django import usage_point


class Nobody(BasePermission):
    def has_permission(self, request, view):
        return False


@api_view(["POST"])
@usage_point("cloud-render")
def convert(request):
    return Response("video")


class Convert(APIView):
    @usage_point("cloud-render")
    def post(self, request):
        return Response("video")


class Forbidden(Convert):
    permission_classes = [Nobody]


class Videos(ViewSet):
    @action(detail=False, methods=["post"])
    @usage_point("cloud-render")
    def convert(self, request):
        return Response("video")


router = SimpleRouter()
router.register("videos", Videos, basename="video")
urlpatterns = [
    path("function", convert),
    path("class", Convert.as_view()),
    path("forbidden", Forbidden.as_view()),
    *router.urls,
]
