"""
Three ways to convert, each a usage point, and the page that shows what has become of it.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from asgiref.sync import sync_to_async
from conversion import ConversionError, convert
from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from remotion_licensing_integrations.django import current_usage, usage_point
from remotion_licensing_integrations.django.models import UsagePointRecord

SAMPLE = Path(__file__).parents[1] / "fastapi_app" / "sample.mp4"


def page(request: HttpRequest) -> HttpResponse:
    """
    The form.
    """
    return render(request, "page.html")


@require_POST
@usage_point("cloud-render")
def convert_form(request: HttpRequest) -> HttpResponse:
    """
    A form's file, or the sample; a synchronous view.
    """
    upload = request.FILES.get("video")
    try:
        key = convert_to_result(SAMPLE.read_bytes() if upload is None else upload.read())
    except ConversionError as error:
        # A status from 400 makes the usage point a failed one, which is not billed.
        return render(request, "page.html", {"error": error}, status=422)
    return redirect("result", key=key)


@csrf_exempt
@require_POST
@usage_point("cloud-render")
async def convert_body(request: HttpRequest) -> HttpResponse:
    """
    The body of a request, as scripts send it; an asynchronous view.
    """
    try:
        key = await sync_to_async(convert_to_result, thread_sensitive=False)(request.body)
    except ConversionError as error:
        return JsonResponse({"error": str(error)}, status=422)
    return HttpResponse(result_path(key).read_bytes(), content_type="video/webm", headers={"X-Usage-Point": key})


class ConvertAPI(APIView):
    """
    The same with Django REST framework.
    """

    authentication_classes = ()
    parser_classes = (MultiPartParser,)

    @usage_point("cloud-render")
    def post(self, request: Request) -> Response:
        """
        Convert the file `video`; without one nothing is converted, so nothing is counted.
        """
        upload = request.FILES.get("video")
        if upload is None:
            current_usage().skip()
            return Response({"error": "The file `video` is missing."}, status=400)
        try:
            key = convert_to_result(upload.read())
        except ConversionError as error:
            return Response({"error": str(error)}, status=422)
        return Response({"usage_point": key, "result": reverse("file", args=[key])}, status=201)


def convert_to_result(video: bytes) -> str:
    """
    Convert *video*, keep the result under the key of the request's usage point, and return the key.

    Raises:
        ConversionError: It is no video that can be converted.
    """
    key = current_usage().idempotency_key
    settings.MEDIA_ROOT.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        original = Path(folder, "original")
        original.write_bytes(video)
        convert(original, result_path(key))
    return key


def result_path(key: str | UUID) -> Path:
    """
    Return where a result is.
    """
    return settings.MEDIA_ROOT / f"{key}.webm"


def result_page(request: HttpRequest, key: UUID) -> HttpResponse:
    """
    A result and its usage point; whoever converted knows the key, and it cannot be guessed.
    """
    point = UsagePointRecord.objects.filter(idempotency_key=str(key)).first()
    if point is None:
        raise Http404
    return render(request, "result.html", {"point": point, "key": key})


def result_file(_: HttpRequest, key: UUID) -> FileResponse:
    """
    The video.
    """
    if not result_path(key).exists():
        raise Http404
    return FileResponse(result_path(key).open("rb"), content_type="video/webm")


def sample(_: HttpRequest) -> FileResponse:
    """
    The video that is there to be tried.
    """
    return FileResponse(SAMPLE.open("rb"), content_type="video/mp4")
