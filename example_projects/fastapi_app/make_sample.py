"""
Draw `sample.mp4`, the page's sample: four seconds of a dot on a ring, with a little tune.

Run `python make_sample.py`; it takes half a minute and needs nothing but PyAV.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
from av.filter import Graph
from av.video.frame import PictureType

SECONDS = 4
WIDTH, HEIGHT = 640, 360
FRAME_RATE, SAMPLE_RATE = 30, 48_000
SAMPLE = Path(__file__).with_name("sample.mp4")

# The dot circles the ring once, at a radius of 100 pixels; its tail fades over the whole turn.
_TURN = f"mod(atan2(Y-{HEIGHT}/2, X-{WIDTH}/2)/2/PI-T/{SECONDS}+2, 1)"
_TAIL = f"clip(9-abs(hypot(X-{WIDTH}/2, Y-{HEIGHT}/2)-100), 0, 1)*(0.18+0.82*pow({_TURN}, 3))"
_DOT_X = f"({WIDTH}/2+100*cos(2*PI*T/{SECONDS}))"
_DOT_Y = f"({HEIGHT}/2+100*sin(2*PI*T/{SECONDS}))"
_DOT = f"clip(20-hypot(X-{_DOT_X}, Y-{_DOT_Y}), 0, 1)"
_INK = f"max({_TAIL}, {_DOT})"
_BACKGROUND = (
    f"size={WIDTH}x{HEIGHT}:rate={FRAME_RATE}:duration={SECONDS}:x0=40:y0=20:x1=600:y1=340"
    ":c0=0x101a3d:c1=0x1f4fd8:c2=0x12a594:nb_colors=3:seed=7:speed=0.002"
)
PICTURE = (
    ("gradients", _BACKGROUND),
    ("format", "gbrp"),
    ("geq", ":".join(f"{plane}='{plane}(X, Y)+(255-{plane}(X, Y))*{_INK}'" for plane in "rgb")),
    ("format", "yuv420p"),
)

# Eight plucked notes of an A major arpeggio, half a second each.
_NOTES = (220.00, 277.18, 329.63, 440.00, 554.37, 440.00, 329.63, 277.18)  # hertz
_TUNE = "+".join(
    f"0.2*between(t, {i / 2}, {i / 2 + 0.5})*exp(-5*(t-{i / 2}))*sin(2*PI*{note}*t)" for i, note in enumerate(_NOTES)
)
SOUND = (
    ("aevalsrc", f"exprs='{_TUNE}':sample_rate={SAMPLE_RATE}:duration={SECONDS}"),
    ("aformat", "sample_fmts=fltp:channel_layouts=mono"),
)


def frames(filters: tuple[tuple[str, str], ...], sink: str) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """
    Yield what a chain of *filters*, each a name and its arguments, produces.
    """
    graph = Graph()
    chain = [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(*chain, graph.add(sink)).configure()
    while True:
        try:
            yield graph.pull()
        except (av.EOFError, av.BlockingIOError):
            return


def make_sample() -> None:
    """
    Write `sample.mp4`: H.264 video and AAC sound.
    """
    with av.open(SAMPLE, "w", options={"movflags": "+faststart"}) as output:
        video = output.add_stream("libx264", rate=FRAME_RATE, options={"crf": "22", "preset": "veryslow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 64_000
        for stream, filters, sink in ((video, PICTURE, "buffersink"), (audio, SOUND, "abuffersink")):
            for frame in frames(filters, sink):
                if isinstance(frame, av.VideoFrame):
                    frame.pict_type = PictureType.NONE  # the filters mark every frame as a key frame
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))


if __name__ == "__main__":
    make_sample()
    print(f"{SAMPLE}: {SAMPLE.stat().st_size / 1024:.0f} KiB")
