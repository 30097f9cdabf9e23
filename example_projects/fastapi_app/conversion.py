"""
Convert a video to WebM: VP9 and Opus, in this process, with PyAV.

Nothing here knows of HTTP or of licensing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.stream import Stream
from av.video.frame import PictureType

MAX_SECONDS = 60  # of video
MAX_WORK_SECONDS = 120  # on the clock
MAX_PIXELS = 4096 * 2304  # in a picture of the original
MAX_SIDE = 1280  # pixels, the longer side of the result
MAX_RATE = 30  # pictures per second of the result

# Real containers only: given a playlist, FFmpeg would open whatever files and addresses it lists.
READ_OPTIONS = {"format_whitelist": "mov,mp4,matroska,webm,avi", "protocol_whitelist": "file"}
VP9_OPTIONS = {"crf": "34", "deadline": "realtime", "cpu-used": "7", "row-mt": "1"}

# The filters that put a picture upright, by the degrees its file asks to turn it (counter-clockwise).
TURNS = {0: (), 90: ("cclock",), 180: ("clock", "clock"), 270: ("clock",)}


class ConversionError(Exception):
    """
    The file cannot be converted; the message is for the person who chose it.
    """


def convert(source: Path, target: Path, *, progress: Callable[[float], None] = lambda _: None) -> None:
    """
    Write the video in *source* to *target*, as WebM.

    Meanwhile *progress* is called with the finished part, from 0 to 1.

    Raises:
        ConversionError: *source* is not a video, is damaged, or goes beyond a limit.
    """
    with _open(source) as original, av.open(target, "w", format="webm") as result:
        picture = PictureTrack(original, result)
        sound = result.add_stream("libopus", rate=48_000) if _stream(original, "audio") else None
        duration = (original.duration or MAX_SECONDS * av.time_base) / av.time_base  # seconds
        for frame in _frames(original):
            if isinstance(frame, av.VideoFrame):
                picture.add(frame)
                progress(min(1.0, frame.time / duration))
            else:
                result.mux(sound.encode(frame))
        picture.add(None)
        if sound:
            result.mux(sound.encode(None))


class PictureTrack:
    """
    The pictures of *result*: upright, no longer than `MAX_SIDE`, no faster than `MAX_RATE`.
    """

    def __init__(self, original: InputContainer, result: OutputContainer) -> None:
        first = _first_picture(original)
        turns = TURNS.get(first.rotation % 360, ())
        scale = min(1, MAX_SIDE / max(first.width, first.height))
        width, height = (max(2, round(side * scale / 2) * 2) for side in (first.width, first.height))
        rate = min(_stream(original, "video").average_rate or MAX_RATE, MAX_RATE)

        self._graph = Graph()
        chain = [
            self._graph.add_buffer(template=first),
            self._graph.add("fps", str(rate)),
            self._graph.add("scale", f"{width}:{height}"),
            *(self._graph.add("transpose", turn) for turn in turns),
            self._graph.add("buffersink"),
        ]
        self._graph.link_nodes(*chain).configure()

        self._result = result
        # PyAV's default bit rate would override the quality that `crf` asks for.
        self._stream = result.add_stream("libvpx-vp9", rate=Fraction(rate), options=VP9_OPTIONS, bit_rate=0)
        self._stream.width, self._stream.height = (height, width) if len(turns) == 1 else (width, height)
        self._stream.pix_fmt = "yuv420p"

    def add(self, frame: av.VideoFrame | None) -> None:
        """
        Filter, encode and write *frame*; `None` ends the track.
        """
        self._graph.push(frame)
        for picture in _pulled(self._graph):
            picture.pict_type = PictureType.NONE  # or the encoder would repeat the original's key frames
            self._result.mux(self._stream.encode(picture))
        if frame is None:
            self._result.mux(self._stream.encode(None))


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):  # the graph wants more, or has ended
            return


@contextmanager
def _reading() -> Iterator[None]:
    """
    Blame the file for what FFmpeg cannot read; errors in writing the result are ours and pass unchanged.
    """
    try:
        yield
    except av.FFmpegError as error:
        msg = "This file is not a video that can be read, or it is damaged."
        raise ConversionError(msg) from error


def _open(source: Path) -> InputContainer:
    with _reading():
        return av.open(source, options=READ_OPTIONS)


def _stream(original: InputContainer, kind: Literal["video", "audio"]) -> Stream | None:
    """
    Return the stream to convert, `None` when there is none or FFmpeg has no decoder for it.
    """
    stream = original.streams.best(kind)
    return stream if stream is not None and stream.codec_context is not None else None


def _first_picture(original: InputContainer) -> av.VideoFrame:
    stream = _stream(original, "video")
    if stream is not None and stream.width * stream.height > MAX_PIXELS:
        msg = f"The picture is too large: {stream.width} × {stream.height} pixels."
        raise ConversionError(msg)
    with _reading():
        picture = next(original.decode(stream), None) if stream else None
        original.seek(0)
    if picture is None:
        msg = "There is no picture in this file, or none that can be read."
        raise ConversionError(msg)
    return picture


def _frames(original: InputContainer) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """
    Decode the file from its start, within the limits; the frames' time begins at zero.
    """
    deadline = time.monotonic() + MAX_WORK_SECONDS
    start = Fraction(original.start_time or 0, av.time_base)  # seconds
    streams = [stream for kind in ("video", "audio") if (stream := _stream(original, kind))]
    with _reading():
        for packet in original.demux(streams):
            for frame in packet.decode():
                frame.pts = (frame.pts or 0) - int(start / frame.time_base)
                if frame.time > MAX_SECONDS:
                    msg = f"The video is longer than {MAX_SECONDS} seconds."
                    raise ConversionError(msg)
                if time.monotonic() > deadline:
                    msg = f"The conversion took longer than {MAX_WORK_SECONDS} seconds."
                    raise ConversionError(msg)
                yield frame
