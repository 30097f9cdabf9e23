"""
The Django example, as its README runs it: gunicorn or uvicorn, a migrated file, a sandbox.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import av
import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from remotion_licensing_integrations.testing import Sandbox
from tests._environment import clean_environment

pytest_plugins = ["tests._browser"]

pytest.importorskip("rest_framework")

HERE = Path(__file__).parent
VIDEO = (HERE.parent / "fastapi_app" / "sample.mp4").read_bytes()
ORIGIN = "https://myapp.com"
DEADLINE = 20.0  # seconds
LISTENING = re.compile(r"(?:Listening at:|running on) (http://\S+)")
GUNICORN = ("gunicorn", "wsgi", "--workers=2", "--threads=4", "--bind=127.0.0.1:0")
UVICORN = ("uvicorn", "asgi:application", "--port=0")


def make_environment(place: Path, licensing_url: str) -> dict[str, str]:
    """
    Return what the project's processes are given; under a test run the recorder would start no threads.
    """
    return clean_environment() | {
        "REMOTION_LICENSE_KEY": "rm_pub_example",
        "REMOTION_LICENSING_BASE_URL": licensing_url,
        "PLACE": str(place),
        "HOME": str(place),
        "PYTHONPATH": str(HERE),
        "PYTHONUNBUFFERED": "1",
        # Django says so itself of each FileResponse under ASGI.
        "PYTHONWARNINGS": "error,ignore:StreamingHttpResponse must consume",
    }


@contextmanager
def running_project(server: tuple[str, ...], environment: dict[str, str], place: Path) -> Iterator[str]:
    """
    Serve the project; yield its address.
    """
    log = place / "server.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", *server], cwd=HERE, env=environment, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield _wait_for_url(process, log)
            process.terminate()
            process.wait(DEADLINE)
        finally:
            process.kill()
    assert "Traceback" not in log.read_text(), log.read_text()


def _wait_for_url(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        if announced := LISTENING.search(log.read_text()):
            return announced[1]
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The database file after the project's migrations.
    """
    place = tmp_path_factory.mktemp("migrated")
    command = [sys.executable, HERE / "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(command, env=make_environment(place, "http://127.0.0.1:9"), check=True)
    return place / "db.sqlite3"


@pytest.fixture
def place(tmp_path: Path, migrated: Path) -> Path:
    """
    The project's place, with a migrated database.
    """
    shutil.copy(migrated, tmp_path)
    return tmp_path


@pytest.fixture(params=[GUNICORN, UVICORN], ids=["gunicorn", "uvicorn"])
def client(request: pytest.FixtureRequest, sandbox: Sandbox, place: Path) -> Iterator[httpx2.Client]:
    """
    What talks to the project as the scripts of a page at `ORIGIN` would.
    """
    with (
        running_project(request.param, make_environment(place, sandbox.url), place) as url,
        httpx2.Client(base_url=url, headers={"Origin": ORIGIN}, timeout=DEADLINE) as client,
    ):
        yield client


def pictures(video: bytes) -> int:
    """
    Count the pictures of a video.
    """
    with av.open(BytesIO(video)) as file:
        return len([*file.decode(video=0)])


def test_the_body_of_a_request_is_converted(client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    By the asynchronous view; the header names the one point that is registered.
    """
    response = client.post("/body/convert", content=VIDEO).raise_for_status()

    [point] = sandbox.wait_for(points=1, timeout=DEADLINE)
    assert (pictures(response.content), point.idempotency_key, point.host, point.succeeded) == (
        120,
        response.headers["X-Usage-Point"],
        ORIGIN,
        True,
    )


def test_the_rest_framework_converts(client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    Its answer says where the video is, and which point is registered.
    """
    answer = client.post("/api/convert", files={"video": VIDEO}).raise_for_status().json()

    [point] = sandbox.wait_for(points=1, timeout=DEADLINE)
    assert (pictures(client.get(answer["result"]).content), answer["usage_point"]) == (120, point.idempotency_key)


def test_a_broken_video_registers_a_failed_point(client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    It is refused with the reason.
    """
    response = client.post("/body/convert", content=b"no video")

    [point] = sandbox.wait_for(points=1, timeout=DEADLINE)
    assert (response.status_code, point.succeeded) == (422, False)


def test_a_call_without_a_file_is_no_conversion(client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    The next conversion's point is the only one.
    """
    assert client.post("/api/convert", files={"other": b""}).is_client_error
    key = client.post("/api/convert", files={"video": VIDEO}).json()["usage_point"]

    assert [point.idempotency_key for point in sandbox.wait_for(points=1, timeout=DEADLINE)] == [key]


@pytest.fixture
def convert(chromium: Browser, sandbox: Sandbox, place: Path) -> Iterator[Callable[..., Page]]:
    """
    Fill in the form in a browser and send it.
    """
    with (
        running_project(GUNICORN, make_environment(place, sandbox.url), place) as url,
        chromium.new_context() as context,
    ):
        page = context.new_page()
        page.set_default_timeout(DEADLINE * 1000)

        def convert(**upload: object) -> Page:
            page.goto(url)
            if upload:
                page.get_by_label("Video").set_input_files(upload)
            page.get_by_role("button", name="Convert to WebM").click()
            return page

        yield convert


def test_the_result_plays_on_its_page(convert: Callable[..., Page]) -> None:
    """
    All four seconds of it.
    """
    page = convert()

    page.wait_for_function("document.querySelector('video')?.readyState >= HTMLMediaElement.HAVE_METADATA")
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(4, abs=0.1)


def test_the_page_follows_its_usage_point(convert: Callable[..., Page], sandbox: Sandbox) -> None:
    """
    Until it is registered, as development: the page is at a local address.
    """
    page = convert()

    expect(page.locator("[data-field=state]")).to_have_text("registered", timeout=DEADLINE * 1000)
    expect(page.locator("[data-field=classification]")).to_have_text("development")
    assert [point.idempotency_key for point in sandbox.points()] == [page.locator("[data-field=key]").inner_text()]


def test_a_broken_file_is_explained(convert: Callable[..., Page]) -> None:
    """
    In an alert, with a way on.
    """
    page = convert(name="broken.mp4", mimeType="video/mp4", buffer=b"no video")

    expect(page.get_by_role("alert")).to_contain_text("This file is not a video that can be read, or it is damaged.")
