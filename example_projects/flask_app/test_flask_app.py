"""
The Flask example, run as its README says.
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
GUNICORN = ("gunicorn", "--bind=127.0.0.1:0", "--worker-class=gthread", "--threads=4", "--chdir={}")

Render = Callable[[bytes], httpx2.Response]


@pytest.fixture
def render(sandbox: Sandbox, tmp_path: Path) -> Iterator[Render]:
    """
    Post a body to the running app.
    """
    with (
        running_app(HERE, "app:app", licensing_url=sandbox.url, place=tmp_path, server=GUNICORN) as app,
        httpx2.Client(base_url=app.url, headers={"Origin": ORIGIN}, timeout=20) as client,
    ):
        yield lambda body: client.post("/gif", content=body)


def test_a_video_becomes_a_gif(render: Render) -> None:
    """
    The answer is an animation of twenty pictures.
    """
    response = render(VIDEO)

    with av.open(BytesIO(response.content), format="gif") as gif:
        assert (response.headers["content-type"], sum(1 for _ in gif.decode(video=0))) == ("image/gif", 20)


def test_a_gif_registers_one_point(render: Render, sandbox: Sandbox) -> None:
    """
    The point is a success of the page that asked for it.
    """
    render(VIDEO)

    [point] = sandbox.wait_for(points=1)
    assert (point.event, point.host, point.succeeded) == ("cloud-render", ORIGIN, True)


def test_a_body_that_is_no_video_registers_a_failed_point(render: Render, sandbox: Sandbox) -> None:
    """
    The answer has the status 422, and its failure is counted.
    """
    response = render(b"not a video")

    [point] = sandbox.wait_for(points=1)
    assert (response.status_code, point.succeeded) == (422, False)
