"""
Convert the pictures of a video to WebM, in this process, with PyAV; knows nothing of HTTP or licensing.

The FastAPI example has a conversion with sound, scaling and rotation.
"""

from pathlib import Path

import av
from av.video.frame import PictureType

MAX_SECONDS = 60  # of video
MAX_PIXELS = 1920 * 1080  # in a picture

# Real containers only: given a playlist, FFmpeg would open whatever files and addresses it lists.
READ_OPTIONS = {"format_whitelist": "mov,mp4,matroska,webm,avi", "protocol_whitelist": "file"}
VP9_OPTIONS = {"crf": "34", "deadline": "realtime", "cpu-used": "7", "row-mt": "1"}


class ConversionError(Exception):
    """
    The file cannot be converted; the message is for the person who chose it.
    """


def convert(source: Path, target: Path) -> None:
    """
    Write the pictures of *source* to *target* as WebM.

    Raises:
        ConversionError: *source* is not a video, is damaged, or goes beyond a limit.
    """
    try:
        _convert(source, target)
    except av.FFmpegError as error:
        msg = "This file is not a video that can be read, or it is damaged."
        raise ConversionError(msg) from error


def _convert(source: Path, target: Path) -> None:
    with av.open(source, options=READ_OPTIONS) as original, av.open(target, "w", format="webm") as result:
        pictures = original.streams.best("video")
        if pictures is None or pictures.width * pictures.height > MAX_PIXELS:
            msg = f"There is no picture in this file, or it has more than {MAX_PIXELS:,} pixels."
            raise ConversionError(msg)
        # PyAV's default bit rate would override the quality that `crf` asks for.
        stream = result.add_stream("libvpx-vp9", rate=pictures.average_rate or 30, options=VP9_OPTIONS, bit_rate=0)
        stream.width, stream.height, stream.pix_fmt = pictures.width, pictures.height, "yuv420p"
        for picture in original.decode(pictures):
            if picture.time is not None and picture.time > MAX_SECONDS:
                msg = f"The video is longer than {MAX_SECONDS} seconds."
                raise ConversionError(msg)
            picture.pict_type = PictureType.NONE  # or the encoder would repeat the original's key frames
            result.mux(stream.encode(picture))
        result.mux(stream.encode(None))
