"""
The FastAPI example, run as its README says: over HTTP, and by hand in a real browser.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from example_projects._serving import DEADLINE, App, running_app
from remotion_licensing_integrations.testing import Sandbox

pytest_plugins = ["tests._browser"]

HERE = Path(__file__).parent
SAMPLE = HERE / "sample.mp4"
ORIGIN = "https://myapp.com"
BROKEN = SAMPLE.read_bytes()[:50_000]

expect.set_options(timeout=DEADLINE * 1000)


@pytest.fixture
def app(sandbox: Sandbox, tmp_path: Path) -> Iterator[App]:
    """
    The app, with an outbox of its own.
    """
    with running_app(HERE, "main:app", licensing_url=sandbox.url, place=tmp_path) as app:
        yield app


@pytest.fixture
def client(app: App) -> Iterator[httpx2.Client]:
    """
    What talks to the app as the scripts of a page at `ORIGIN` would.
    """
    with httpx2.Client(base_url=app.url, headers={"Origin": ORIGIN}, timeout=DEADLINE) as client:
        yield client


def end_of_job(client: httpx2.Client, video: bytes) -> dict[str, Any]:
    """
    Convert *video* in the background and return what the job has become.
    """
    job = client.post("/jobs", content=video).raise_for_status().json()
    give_up = time.monotonic() + DEADLINE
    while job["state"] == "running":
        assert time.monotonic() < give_up, job
        time.sleep(0.05)  # between two looks at another process
        job = client.get(f"/jobs/{job['id']}").raise_for_status().json()
    return job


def test_an_answer_is_the_converted_video(client: httpx2.Client, tmp_path: Path) -> None:
    """
    It decodes to as many pictures as the original has.
    """
    result = tmp_path / "result.webm"

    result.write_bytes(client.post("/convert", content=SAMPLE.read_bytes()).raise_for_status().content)

    with av.open(result) as video:
        assert len([*video.decode(video=0)]) == 4 * 30


def test_a_conversion_registers_the_point_that_its_answer_names(client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    The header is the idempotency key, so the page can ask for the point.
    """
    response = client.post("/convert", content=SAMPLE.read_bytes())

    [point] = sandbox.wait_for(points=1)
    assert point.idempotency_key == response.headers["X-Usage-Point"]


def test_the_usage_point_can_be_read_with_its_key(client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    It is in the outbox before the answer has ended, so there is no gap in which it is unknown.
    """
    sandbox.set_failure("500")
    key = client.post("/convert", content=SAMPLE.read_bytes()).headers["X-Usage-Point"]

    point = client.get(f"/usage/{key}").raise_for_status().json()

    assert (point["state"], point["host"], point["succeeded"]) == ("pending", ORIGIN, True)


def test_an_unknown_usage_point_is_not_found(client: httpx2.Client) -> None:
    """
    Keys cannot be guessed, and guessing gives nothing.
    """
    response = client.get("/usage/no-such-key")

    assert (response.status_code, response.json()["detail"]) == (404, "There is no usage point with this key.")


def test_a_broken_video_registers_one_failed_point(app: App, client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    One, also when the app has delivered all it had at its end.
    """
    response = client.post("/convert", content=BROKEN)
    app.stop()

    assert (response.status_code, [point.succeeded for point in sandbox.points()]) == (422, [False])


def test_a_file_beyond_the_limit_is_no_conversion(app: App, client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    It is refused while it arrives, before the endpoint: no usage point.
    """
    response = client.post("/convert", content=bytes(50_000_001))
    app.stop()

    assert (response.status_code, sandbox.requests) == (413, 0)


def test_a_job_is_accepted_before_it_is_done(client: httpx2.Client) -> None:
    """
    202 means that the work goes on.
    """
    response = client.post("/jobs", content=SAMPLE.read_bytes())

    assert (response.status_code, response.json()["state"]) == (202, "running")


def test_a_jobs_result_can_be_fetched(client: httpx2.Client, tmp_path: Path) -> None:
    """
    Once the job is done, its video is there, whole.
    """
    job = end_of_job(client, SAMPLE.read_bytes())
    result = tmp_path / "result.webm"

    result.write_bytes(client.get(f"/jobs/{job['id']}/result").raise_for_status().content)

    with av.open(result) as video:
        assert len([*video.decode(video=0)]) == 4 * 30


def test_a_job_registers_exactly_one_point(app: App, client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    None for the 202, one for the end of the work, none for fetching status and result.
    """
    job = end_of_job(client, SAMPLE.read_bytes())
    client.get(f"/jobs/{job['id']}/result")
    app.stop()

    assert [(point.idempotency_key, point.succeeded) for point in sandbox.points()] == [(job["usage_point"], True)]


def test_the_point_of_a_job_has_the_host_of_its_request(client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    The token carries it to where the work ends.
    """
    end_of_job(client, SAMPLE.read_bytes())

    [point] = sandbox.wait_for(points=1)
    assert point.host == ORIGIN


def test_a_finished_job_has_its_usage_point_already(client: httpx2.Client) -> None:
    """
    The point is recorded before the job's state changes.
    """
    job = end_of_job(client, SAMPLE.read_bytes())

    assert client.get(f"/usage/{job['usage_point']}").is_success


def test_a_job_with_a_broken_video_registers_a_failed_point(client: httpx2.Client, sandbox: Sandbox) -> None:
    """
    The 202 was a success, the job is not.
    """
    job = end_of_job(client, BROKEN)

    [point] = sandbox.wait_for(points=1)
    assert (job["state"], "damaged" in job["error"], point.succeeded) == ("failed", True, False)


def test_an_upload_does_not_outlive_its_conversion(client: httpx2.Client, app: App) -> None:
    """
    Soon after the answers are out, nothing but the job's result is left.
    """
    client.post("/convert", content=SAMPLE.read_bytes())
    client.post("/convert", content=BROKEN)
    job = end_of_job(client, SAMPLE.read_bytes())

    give_up = time.monotonic() + DEADLINE
    while (left := {path.name for path in app.files.rglob("*") if path.is_file()}) != {f"{job['id']}.webm"}:
        assert time.monotonic() < give_up, left
        time.sleep(0.05)  # between two looks at another process


def test_the_app_leaves_no_files_behind(client: httpx2.Client, app: App) -> None:
    """
    The results of jobs go when the app ends.
    """
    end_of_job(client, SAMPLE.read_bytes())
    app.stop()

    assert [*app.files.iterdir()] == []


@pytest.fixture
def page(chromium: Browser, app: App) -> Iterator[Page]:
    """
    The app's page, open in a browser; errors in its script fail the test.
    """
    with chromium.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(DEADLINE * 1000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(app.url)
        yield page
        assert not errors


def shown(page: Page) -> Callable[[str], Any]:
    """
    Give what finds a value of the usage point on the page by its name.
    """
    return lambda name: page.locator(f"[data-field={name}]")


def choose(page: Page, name: str, content: bytes) -> None:
    """
    Choose a file of one's own.
    """
    page.get_by_label("Choose a video").set_input_files({"name": name, "mimeType": "video/mp4", "buffer": content})


def convert_sample(page: Page) -> None:
    """
    Click through a conversion of the sample until its result is there.
    """
    page.get_by_role("button", name="Use the sample").click()
    page.get_by_role("button", name="Convert to WebM").click()
    expect(page.get_by_role("link", name="Download WebM")).to_be_visible()


def test_the_result_plays_on_the_page(page: Page) -> None:
    """
    All four seconds of it, and by itself.
    """
    convert_sample(page)

    page.wait_for_function("player.readyState === HTMLMediaElement.HAVE_ENOUGH_DATA && player.currentTime > 0")
    assert page.evaluate("player.duration") == pytest.approx(4, abs=0.1)


def test_a_chosen_file_comes_back_as_a_download(page: Page, tmp_path: Path) -> None:
    """
    Under its own name, as a video that decodes.
    """
    choose(page, "holiday.mp4", SAMPLE.read_bytes())
    page.get_by_role("button", name="Convert to WebM").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download WebM").click()
    download.value.save_as(tmp_path / "holiday.webm")

    assert download.value.suggested_filename == "holiday.webm"
    with av.open(tmp_path / "holiday.webm") as video:
        assert len([*video.decode(video=0)]) == 4 * 30


def test_the_host_is_the_origin_of_the_page(page: Page, sandbox: Sandbox) -> None:
    """
    `window.location.origin`, as the licensing API wants it.
    """
    convert_sample(page)

    [point] = sandbox.wait_for(points=1, timeout=DEADLINE)
    assert point.host == page.evaluate("window.location.origin")


def test_the_page_shows_the_registered_point(page: Page) -> None:
    """
    With what the licensing API said of it: a local host counts as development.
    """
    convert_sample(page)

    expect(shown(page)("state")).to_have_text("registered")
    assert [shown(page)(name).text_content() for name in ("event", "succeeded", "billable", "classification")] == [
        "cloud-render",
        "true",
        "false",
        "development",
    ]


def test_the_page_shows_a_pending_point_until_it_is_registered(page: Page, sandbox: Sandbox) -> None:
    """
    The result does not wait for the licensing API.
    """
    sandbox.set_failure("500")
    convert_sample(page)
    expect(shown(page)("state")).to_have_text("pending")

    sandbox.set_failure()

    expect(shown(page)("state")).to_have_text("registered", timeout=4 * DEADLINE * 1000)


def test_a_job_ends_on_the_page_like_a_direct_answer(page: Page, sandbox: Sandbox) -> None:
    """
    The result plays, and its one point is there.
    """
    page.get_by_label("At once").check()
    convert_sample(page)

    expect(shown(page)("state")).to_have_text("registered")
    page.wait_for_function("player.currentTime > 0")
    assert [point.idempotency_key for point in sandbox.points()] == [shown(page)("key").text_content()]


def test_a_broken_video_is_explained_on_the_page(page: Page) -> None:
    """
    In words, in an alert, with a way on.
    """
    choose(page, "broken.mp4", BROKEN)
    page.get_by_role("button", name="Convert to WebM").click()

    expect(page.get_by_role("alert")).to_contain_text("This file is not a video that can be read, or it is damaged.")
    expect(page.get_by_role("button", name="Choose another video")).to_be_visible()


def test_a_broken_video_shows_its_failed_point(page: Page, sandbox: Sandbox) -> None:
    """
    The page follows the failed point as it does any other.
    """
    choose(page, "broken.mp4", BROKEN)
    page.get_by_role("button", name="Convert to WebM").click()

    expect(shown(page)("classification")).to_have_text("failed")
    assert [point.succeeded for point in sandbox.points()] == [False]


def test_a_file_beyond_the_limit_is_not_even_sent(page: Page, tmp_path: Path) -> None:
    """
    The page knows the limit.
    """
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(51_000_000)

    page.get_by_label("Choose a video").set_input_files(large)

    expect(page.get_by_role("alert")).to_contain_text("The file has 51.0 MB; the limit is 50 MB.")


def test_the_page_works_with_the_keyboard_alone(page: Page) -> None:
    """
    Tab and Enter lead from the sample to its result, and the focus waits where the next step is.
    """
    page.get_by_role("button", name="Use the sample").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Convert to WebM")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_role("link", name="Download WebM")).to_be_focused()


def test_a_narrow_page_does_not_scroll_sideways(page: Page) -> None:
    """
    Not even with the longest value, the key, on it.
    """
    page.set_viewport_size({"width": 320, "height": 640})
    convert_sample(page)
    expect(shown(page)("key")).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("window.innerWidth")
