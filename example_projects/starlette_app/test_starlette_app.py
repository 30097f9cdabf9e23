"""
The Starlette example, run as its README says.
"""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import av
import httpx2
import pytest

from example_projects._serving import running_app
from remotion_licensing_integrations.testing import Sandbox

HERE = Path(__file__).parent
VIDEO = (HERE.parent / "fastapi_app" / "sample.mp4").read_bytes()
ORIGIN = "https://myapp.com"

Render = Callable[[bytes], httpx2.Response]


@pytest.fixture
def render(sandbox: Sandbox, tmp_path: Path) -> Iterator[Render]:
    """
    Post a body to the running app.
    """
    with (
        running_app(HERE, "app:app", licensing_url=sandbox.url, place=tmp_path) as app,
        httpx2.Client(base_url=app.url, headers={"Origin": ORIGIN}, timeout=20) as client,
    ):
        yield lambda body: client.post("/still", content=body)


def test_a_video_is_answered_with_its_first_picture(render: Render) -> None:
    """
    The answer is a PNG as large as the video.
    """
    response = render(VIDEO)

    with av.open(BytesIO(response.content), format="png_pipe") as picture:
        assert (response.headers["content-type"], picture.streams.video[0].width) == ("image/png", 640)


def test_a_still_registers_one_point(render: Render, sandbox: Sandbox) -> None:
    """
    The point is a successful still of the page that asked for it.
    """
    render(VIDEO)

    [point] = sandbox.wait_for(points=1)
    assert (point.event, point.host, point.succeeded, point.is_still) == ("cloud-render", ORIGIN, True, True)


def test_a_body_that_is_no_video_is_refused(render: Render) -> None:
    """
    The answer has the status 422 and says why.
    """
    response = render(b"not a video")

    assert (response.status_code, response.text) == (422, "The body is not a video that can be read.")


def test_a_refused_body_registers_a_failed_point(render: Render, sandbox: Sandbox) -> None:
    """
    The endpoint was entered, so its failure is counted.
    """
    render(b"not a video")

    [point] = sandbox.wait_for(points=1)
    assert not point.succeeded
