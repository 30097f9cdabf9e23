"""
A Flask app under gunicorn: it answers a video with its first seconds as an animated GIF, picture by picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from itertools import chain, count, takewhile

import av
from flask import Flask, Response, abort, request

from remotion_licensing_integrations.flask import RemotionLicensing, usage_point

# Real containers only: given a playlist, FFmpeg would open whatever files and addresses it lists.
READ_OPTIONS = {"format_whitelist": "mov,mp4,matroska,webm"}
SECONDS, PER_SECOND, WIDTH = 2, 10, 240

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 50_000_000  # bytes
RemotionLicensing(app)  # the settings come from app.config["REMOTION_LICENSING"] and the environment


@app.post("/gif")
@usage_point("cloud-render")
def render_gif() -> Response:
    """
    Answer with the beginning of the video. Its point is a success when the client has the last picture.
    """
    pictures = read_pictures(request.get_data())
    try:
        first = next(pictures)
    except (av.FFmpegError, LookupError, StopIteration):
        abort(422, "The body is not a video that can be read.")
    return Response(encode(first, pictures), mimetype="image/gif")


def read_pictures(video: bytes) -> Iterator[av.VideoFrame]:
    """
    Yield ten small pictures of each of the first seconds of *video*.
    """
    with av.open(BytesIO(video), options=READ_OPTIONS) as container:
        frames = container.decode(container.streams.video[0])
        wanted = count(step=1 / PER_SECOND)
        at = next(wanted)
        for frame in takewhile(lambda frame: (frame.time or 0) < SECONDS, frames):
            if (frame.time or 0) >= at:
                at = next(wanted)
                yield frame.reformat(WIDTH, WIDTH * frame.height // frame.width, "rgb8")


def encode(first: av.VideoFrame, rest: Iterator[av.VideoFrame]) -> Iterator[bytes]:
    """
    Yield the GIF in parts, as its pictures become ready.
    """
    buffer = BytesIO()
    with av.open(buffer, "w", format="gif") as gif:
        stream = gif.add_stream("gif", rate=PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "rgb8"
        for number, picture in enumerate(chain([first], rest)):
            picture.pts, picture.time_base = number, Fraction(1, PER_SECOND)
            gif.mux(stream.encode(picture))
            yield take(buffer)
        gif.mux(stream.encode(None))
    yield take(buffer)


def take(buffer: BytesIO) -> bytes:
    """
    Return what has been written since the last time.
    """
    part = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return part
