"""
The Celery example: uvicorn, workers that are killed, a broker, a sandbox, and a real browser.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx2
import pytest
import redis
from playwright.sync_api import Browser, Locator, Page, expect

from example_projects._serving import DEADLINE, make_environment, running_app
from remotion_licensing_integrations.testing import Sandbox
from tests.processes.servers import eventually

pytest_plugins = ["tests._browser", "tests._redis"]

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "fastapi_app" / "sample.mp4"
ORIGIN = "https://myapp.com"
WORKER = ("celery", "--app=tasks", "worker", "--concurrency=1", "--loglevel=WARNING", "--without-mingle")

expect.set_options(timeout=DEADLINE * 1000)


@dataclass
class Project:
    """
    The app over a broker, with what its workers need.
    """

    url: str
    client: httpx2.Client
    sandbox: Sandbox
    environment: dict[str, str]

    @contextmanager
    def worker(self) -> Iterator[int]:
        """
        Run a worker, whose process id it is; kill it at the end.
        """
        command = [sys.executable, "-m", *WORKER]
        worker = subprocess.Popen(command, cwd=HERE, env=self.environment, start_new_session=True)
        try:
            yield worker.pid
        finally:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()

    def post(self, video: bytes) -> str:
        """
        Hand in a video, and return its job.
        """
        answer = self.client.post("/convert", params={"name": "holiday.mp4"}, content=video)
        assert answer.status_code == httpx2.codes.ACCEPTED, answer.text
        return str(answer.json()["job"])

    def job(self, name: str) -> dict[str, Any]:
        """
        Return how far a job is.
        """
        return next(job for job in self.client.get("/jobs").raise_for_status().json() if job["id"] == name)

    def end_of(self, name: str) -> dict[str, Any]:
        """
        Return what a job has become once its usage point is registered.
        """
        eventually(lambda: (self.job(name)["usage_point"] or {}).get("state") == "registered", within=60)
        return self.job(name)

    def outcomes(self, name: str) -> list[bool]:
        """
        Return for each point that was counted for a job whether it succeeded.
        """
        return [point.succeeded for point in self.sandbox.points() if point.idempotency_key == name]


@contextmanager
def running_project(broker: str, place: Path) -> Iterator[Project]:
    """
    Run the app with a sandbox, and no worker yet.
    """
    with Sandbox() as sandbox:
        environment = make_environment(sandbox.url, place) | {
            "PLACE": str(place / "data"),
            "PYTHONPATH": str(HERE.parent / "fastapi_app"),
            "CELERY_BROKER_URL": broker,
        }
        app = running_app(HERE, "main:app", licensing_url=sandbox.url, place=place, environment=environment)
        with (
            app as running,
            httpx2.Client(base_url=running.url, headers={"Origin": ORIGIN}, timeout=DEADLINE) as client,
        ):
            yield Project(running.url, client, sandbox, environment)


@pytest.fixture
def broker(redis_socket: Path) -> str:
    """
    The URL of an empty Redis.
    """
    with redis.Redis(unix_socket_path=str(redis_socket)) as connection:
        connection.flushall()
    return f"redis+socket://{redis_socket}"


@pytest.fixture
def project(broker: str, tmp_path: Path) -> Iterator[Project]:
    """
    The app over Redis.
    """
    with running_project(broker, tmp_path) as project:
        yield project


@pytest.fixture
def long_video(tmp_path: Path) -> bytes:
    """
    The sample, ten times: some seconds of work, time enough to kill who does it.
    """
    path = tmp_path / "long.mp4"
    with av.open(SAMPLE) as original, av.open(path, "w") as result:
        stream = original.streams.video[0]
        copy = result.add_stream_from_template(stream)
        for turn in range(10):
            original.seek(0)
            for packet in original.demux(stream):
                if packet.dts is not None:
                    packet.dts, packet.pts = (time + turn * stream.duration for time in (packet.dts, packet.pts))
                    packet.stream = copy
                    result.mux(packet)
    return path.read_bytes()


def child(worker: int) -> int:
    """
    Return the process in which a worker converts.
    """
    [child] = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    return int(child)


def test_a_job_is_done_by_a_worker(project: Project) -> None:
    """
    Its result has as many pictures as the original.
    """
    with project.worker():
        job = project.post(SAMPLE.read_bytes())
        project.end_of(job)
    result = project.client.get(f"/jobs/{job}.webm").raise_for_status().content

    with av.open(BytesIO(result)) as video:
        assert len([*video.decode(video=0)]) == 4 * 30


def test_a_job_without_a_worker_is_deferred(project: Project) -> None:
    """
    The answer does not wait, and the outbox has the point without an outcome.
    """
    job = project.job(project.post(SAMPLE.read_bytes()))

    assert (job["state"], job["usage_point"]["state"], project.sandbox.requests) == ("queued", "deferred", 0)


def test_a_job_registers_its_requests_point(project: Project) -> None:
    """
    The token has carried the host of the page and the name of the point.
    """
    with project.worker():
        job = project.post(SAMPLE.read_bytes())
        end = project.end_of(job)

    assert (end["usage_point"]["host"], end["usage_point"]["classification"]) == (ORIGIN, "billable")
    assert project.outcomes(job) == [True]


def test_a_job_over_files(tmp_path: Path) -> None:
    """
    Without Redis a folder is the queue, and the job is done as well.
    """
    with running_project("filesystem://localhost", tmp_path) as project, project.worker():
        job = project.post(SAMPLE.read_bytes())
        end = project.end_of(job)

    assert (end["state"], end["tries"], project.outcomes(job)) == ("done", 1, [True])


def test_a_file_that_is_no_video_registers_a_failed_point(project: Project) -> None:
    """
    The 202 was a success, the job is not.
    """
    with project.worker():
        job = project.post(b"not a video")
        end = project.end_of(job)

    assert (end["state"], "is not a video" in end["error"]) == ("failed", True)
    assert (end["usage_point"]["classification"], project.outcomes(job)) == ("failed", [False])


def test_a_killed_process_does_not_lose_its_job(project: Project, long_video: bytes) -> None:
    """
    Its worker hands the job to the next process: two tries, one point.
    """
    with project.worker() as worker:
        job = project.post(long_video)
        eventually(lambda: project.job(job)["state"] == "running")
        os.kill(child(worker), signal.SIGKILL)
        end = project.end_of(job)

    assert (end["state"], end["tries"], project.outcomes(job)) == ("done", 2, [True])


def test_a_killed_worker_does_not_lose_its_job(project: Project, long_video: bytes, redis_socket: Path) -> None:
    """
    Once its time is over, Redis hands the job to another worker: two tries, one point.
    """
    with project.worker():
        job = project.post(long_video)
        eventually(lambda: project.job(job)["state"] == "running")
    with redis.Redis(unix_socket_path=str(redis_socket)) as connection:
        [left] = connection.zrange("unacked_index", 0, -1)
        connection.zadd("unacked_index", {left: 0})  # it was taken long ago
    with project.worker():
        end = project.end_of(job)

    assert (end["state"], end["tries"], project.outcomes(job)) == ("done", 2, [True])


def test_a_job_that_kills_its_workers_comes_to_an_end(project: Project) -> None:
    """
    After three tries it has failed, and so has its point.
    """
    job = project.post(SAMPLE.read_bytes())
    with closing(sqlite3.connect(Path(project.environment["PLACE"], "jobs.sqlite3"))) as jobs, jobs:
        jobs.execute("UPDATE jobs SET tries = 3")
    with project.worker():
        end = project.end_of(job)

    assert (end["error"], project.outcomes(job)) == ("The conversion broke off too often.", [False])


def test_a_job_that_cannot_be_queued_has_no_point(tmp_path: Path) -> None:
    """
    Without a broker the request fails, and nothing is left deferred.
    """
    with running_project(f"redis+socket://{tmp_path}/nobody", tmp_path) as project:
        answer = project.client.post("/convert", content=SAMPLE.read_bytes())
        [job] = project.client.get("/jobs").json()

    assert (answer.status_code, job["state"], job["usage_point"]) == (503, "failed", None)


def test_an_unknown_result_is_not_found(project: Project) -> None:
    """
    Neither is one that is not there yet.
    """
    job = project.post(SAMPLE.read_bytes())

    assert project.client.get(f"/jobs/{job}.webm").status_code == httpx2.codes.NOT_FOUND


@pytest.fixture
def page(chromium: Browser, project: Project) -> Iterator[Page]:
    """
    The page with a worker behind, open in a browser; errors in its script fail the test.
    """
    with project.worker(), chromium.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(DEADLINE * 1000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(project.url)
        yield page
        assert not errors


def shown(page: Page) -> Callable[[str], Locator]:
    """
    Give what finds a value of the only job on the page by its name.
    """
    return lambda name: page.locator(f"[data-field={name}]")


def test_the_page_follows_a_job_and_its_point(page: Page, project: Project) -> None:
    """
    Until the result plays and the point is registered, as development: the page is at a local address.
    """
    page.get_by_role("button", name="Use the sample").click()

    expect(shown(page)("job")).to_have_text("done")
    expect(shown(page)("classification")).to_have_text("development")
    page.wait_for_function("document.querySelector('video').duration > 3.9")
    assert [point.idempotency_key for point in project.sandbox.points()] == [shown(page)("key").text_content()]


def test_the_page_shows_a_failed_job(page: Page) -> None:
    """
    With the reason, under the name of the file, and with the failed point.
    """
    page.get_by_label("Video").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"notes"})
    page.get_by_role("button", name="Convert to WebM").click()

    expect(page.get_by_role("heading", name="notes.txt")).to_be_visible()
    expect(shown(page)("text")).to_contain_text("This file is not a video that can be read")
    expect(shown(page)("classification")).to_have_text("failed")


def test_the_page_explains_a_refused_upload(page: Page, tmp_path: Path) -> None:
    """
    In an alert; no job comes of it.
    """
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(50_000_001)
    page.get_by_label("Video").set_input_files(large)
    page.get_by_role("button", name="Convert to WebM").click()

    expect(page.get_by_role("alert")).to_contain_text("larger than 50 MB")
    expect(page.get_by_text("No job yet")).to_be_visible()


def test_a_narrow_page_does_not_scroll_sideways(page: Page) -> None:
    """
    Not even with the longest value, the key, on it.
    """
    page.set_viewport_size({"width": 320, "height": 640})
    page.get_by_role("button", name="Use the sample").click()
    expect(shown(page)("classification")).to_have_text("development")

    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("window.innerWidth")
