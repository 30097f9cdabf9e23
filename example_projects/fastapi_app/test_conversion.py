"""
What becomes of videos of all kinds; without a server.
"""

import importlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import pytest

HERE = Path(__file__).parent
SAMPLE = HERE / "sample.mp4"

# The matrix that an MP4's track header applies to the picture: none, and a quarter turn.
UPRIGHT = bytes.fromhex("00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000")
TURNED = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000 00000000 00000000 00000000 40000000")

Convert = Callable[[Path], Any]


@pytest.fixture
def conversion(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """
    The module, imported as the app imports it.
    """
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("conversion")


@pytest.fixture
def convert(conversion: ModuleType, tmp_path: Path) -> Convert:
    """
    Convert a file and open the result.
    """

    def convert(source: Path) -> Any:
        target = tmp_path / "result.webm"
        conversion.convert(source, target)
        return av.open(target)

    return convert


def make_video(path: Path, *, frames: int = 30, rate: int = 30, first: int = 0) -> Path:
    """
    Write a small silent video of 320 × 240 pixels.
    """
    with av.open(path, "w") as output:
        stream = output.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame(320, 240, "yuv420p")
            frame.pts, frame.time_base = first + number, Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def test_the_result_is_vp9_and_opus(convert: Convert) -> None:
    """
    Picture and sound become what every browser plays.
    """
    with convert(SAMPLE) as result:
        assert [stream.codec_context.name for stream in result.streams] == ["vp9", "opus"]


def test_every_picture_is_kept(convert: Convert) -> None:
    """
    Four seconds at 30 pictures per second are 120 pictures.
    """
    with convert(SAMPLE) as result:
        assert len([*result.decode(video=0)]) == 4 * 30


def test_a_silent_video_stays_silent(convert: Convert, tmp_path: Path) -> None:
    """
    No sound track is made up.
    """
    with convert(make_video(tmp_path / "silent.mp4")) as result:
        assert [stream.type for stream in result.streams] == ["video"]


def test_a_turned_video_stands_upright(convert: Convert, tmp_path: Path) -> None:
    """
    Phones record lying down and note the turn; the result has no note, so its pictures are turned.
    """
    video = make_video(tmp_path / "turned.mp4")
    before, _, after = video.read_bytes().rpartition(UPRIGHT)
    video.write_bytes(before + TURNED + after)

    with convert(video) as result:
        assert (result.streams.video[0].width, result.streams.video[0].height) == (240, 320)


def test_a_fast_video_is_slowed_to_thirty_pictures_per_second(convert: Convert, tmp_path: Path) -> None:
    """
    One second at 60 pictures per second becomes 30 pictures.
    """
    with convert(make_video(tmp_path / "fast.mp4", frames=2 * 30, rate=2 * 30)) as result:
        assert len([*result.decode(video=0)]) == 1 * 30


def test_the_result_begins_at_zero(convert: Convert, tmp_path: Path) -> None:
    """
    A cut from a long recording does not keep the recording's clock.
    """
    with convert(make_video(tmp_path / "cut.mkv", first=3000)) as result:
        assert next(result.decode(video=0)).time == 0


def test_the_progress_rises_to_the_end(conversion: ModuleType, tmp_path: Path) -> None:
    """
    It goes from nothing to nearly everything, never back.
    """
    seen: list[float] = []

    conversion.convert(SAMPLE, tmp_path / "result.webm", progress=seen.append)

    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, pytest.approx(1, abs=0.05))


REFUSED = {
    "empty": (b"", "not a video"),
    "text": (b"There is no video in here.\n" * 40, "not a video"),
    "cut off": (SAMPLE.read_bytes()[:50_000], "damaged"),
    "a playlist of local files": (f"#EXTM3U\n#EXTINF:4,\nfile://{SAMPLE}\n#EXT-X-ENDLIST\n".encode(), "not a video"),
    "an unknown codec": (SAMPLE.read_bytes().replace(b"avc1", b"zzz1"), "no picture"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_video_is_refused(conversion: ModuleType, convert: Convert, tmp_path: Path, name: str) -> None:
    """
    The error says so in words for the person who chose the file.
    """
    content, words = REFUSED[name]
    source = tmp_path / "original"
    source.write_bytes(content)

    with pytest.raises(conversion.ConversionError, match=words):
        convert(source)


def test_a_long_video_is_refused(conversion: ModuleType, convert: Convert, tmp_path: Path) -> None:
    """
    What counts is the pictures' time, whatever the file's header says.
    """
    video = make_video(tmp_path / "long.mp4", frames=62, rate=1)

    with pytest.raises(conversion.ConversionError, match="longer than 60 seconds"):
        convert(video)


def test_a_large_picture_is_refused(conversion: ModuleType, convert: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Before anything is decoded: the size of a picture is what a decoder allocates.
    """
    monkeypatch.setattr(conversion, "MAX_PIXELS", 640 * 360 - 1)

    with pytest.raises(conversion.ConversionError, match="too large: 640 × 360"):
        convert(SAMPLE)


def test_a_conversion_that_takes_too_long_is_given_up(
    conversion: ModuleType, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A file can be small and short, and still endless work.
    """
    monkeypatch.setattr(conversion, "MAX_WORK_SECONDS", -1)

    with pytest.raises(conversion.ConversionError, match="took longer"):
        convert(SAMPLE)


def test_the_sample_is_small() -> None:
    """
    It is part of the repository.
    """
    assert SAMPLE.stat().st_size < 150 * 1000


@pytest.mark.parametrize("part", ["PICTURE", "SOUND"])
def test_the_sample_can_be_drawn_again(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """
    FFmpeg still takes the filters of `make_sample.py`.
    """
    monkeypatch.syspath_prepend(HERE)
    make_sample = importlib.import_module("make_sample")
    sink = {"PICTURE": "buffersink", "SOUND": "abuffersink"}[part]

    assert next(make_sample.frames(getattr(make_sample, part), sink)).time == 0
