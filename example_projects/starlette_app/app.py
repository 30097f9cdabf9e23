"""
The smallest complete app: it answers a video with its first picture, and registers that as one still.
"""

from __future__ import annotations

from io import BytesIO

import av
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from remotion_licensing_integrations.starlette import UsageMiddleware, usage_point

# Real containers only: given a playlist, FFmpeg would open whatever files and addresses it lists.
READ_OPTIONS = {"format_whitelist": "mov,mp4,matroska,webm"}


@usage_point("cloud-render", is_still=True)
async def render_still(request: Request) -> Response:
    """
    Answer with the video's first picture, as PNG.
    """
    try:
        png = await run_in_threadpool(first_picture, await request.body())
    except (av.FFmpegError, LookupError) as error:
        raise HTTPException(422, "The body is not a video that can be read.") from error
    return Response(png, media_type="image/png")


def first_picture(video: bytes) -> bytes:
    """
    Return the first picture of *video*, as PNG.
    """
    with av.open(BytesIO(video), options=READ_OPTIONS) as container:
        picture = next(container.decode(container.streams.video[0])).reformat(format="rgb24")
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "rgb24"
    encoder.time_base = picture.time_base
    return b"".join(map(bytes, encoder.encode(picture)))


app = Starlette(
    routes=[Route("/still", render_still, methods=["POST"])],
    middleware=[Middleware(UsageMiddleware)],  # the settings come from the environment
)
