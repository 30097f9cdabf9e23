"""
The page in a real browser.
"""

import pytest
from playwright.sync_api import expect

from remotion_licensing_integrations.testing import Sandbox
from tests._http import httpx

pytest_plugins = ["tests._browser"]

REGISTER = "/api/track/register-usage-point"
# The page asks for news each second: a test has no time for that.
HURRY = "const wait = setTimeout; window.setTimeout = (work, delay) => wait(work, Math.min(delay, 20));"
BODY = {"event": "cloud-render", "apiKey": "rm_pub_0000", "host": "https://example.com", "succeeded": True}


@pytest.fixture
def page(chromium, sandbox):
    """
    The page, open; the test fails when the page logs an error.
    """
    context = chromium.new_context()
    context.add_init_script(HURRY)
    page = context.new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(sandbox.url)
    expect(page.get_by_role("status")).to_have_text("Answering normally")
    yield page
    context.close()

    assert problems == []


@pytest.fixture
def register(sandbox):
    return lambda **changes: httpx.post(sandbox.url + REGISTER, json={**BODY, **changes})


def test_a_live_point_appears(page, register):
    """
    A point that is registered while the page is open shows up by itself.
    """
    register(idempotencyKey="0123456789abcdef", host="http://localhost:3000")

    row = page.get_by_role("table", name="Latest points").get_by_role("row").nth(1)

    for text in ("cloud-render", "rm_pub_…(", "http://localhost:3000", "development", "yes", "…89abcdef"):
        expect(row).to_contain_text(text)


def test_counts_are_live(page, register):
    """
    The counts follow, by event and classification.
    """
    register()
    register(succeeded=False)

    row = page.get_by_role("table", name="Usage points").get_by_role("row", name="cloud-render")

    expect(row.get_by_role("cell")).to_have_text(["1", "0", "1", "2"])


def test_repeats_are_shown(page, register):
    """
    A repeated idempotency key raises the point's repeats, not the counts.
    """
    register(idempotencyKey="k")
    register(idempotencyKey="k")

    expect(page.locator("#points .repeats")).to_have_text(["1"])


def test_a_switch_flips_the_answers(page, register):
    """
    Choosing a failure on the page changes what clients get, and the page says so.
    """
    page.get_by_label("HTTP 500").check()
    expect(page.get_by_role("status")).to_have_text("Failing: HTTP 500")

    assert register().status_code == 500


def test_the_normal_answer_comes_back(page, sandbox, register):
    """
    Choosing the normal answer ends the failure.
    """
    sandbox.set_failure("key")
    expect(page.get_by_label("HTTP 401")).to_be_checked()
    page.get_by_label("Normal answer").check()
    expect(page.get_by_role("status")).to_have_text("Answering normally")

    assert register().status_code == 200


def test_a_recovery_is_shown(page, register):
    """
    After the last failing request the page is back at the normal answer.
    """
    page.get_by_label("HTTP 500").check()
    page.get_by_label("Recover after").fill("1")
    page.get_by_label("Recover after").press("Enter")
    expect(page.get_by_role("status")).to_have_text("Failing: HTTP 500, for the next request")
    register()

    expect(page.get_by_label("Normal answer")).to_be_checked()


def test_fields_combine(page, sandbox):
    """
    Retry-After and latency go with a 429.
    """
    page.get_by_label("HTTP 429").check()
    page.get_by_label("Retry-After", exact=False).last.fill("30")
    page.get_by_label("Hold back for").fill("5")
    page.get_by_label("Hold back for").press("Enter")

    expect(page.get_by_role("status")).to_have_text("Failing: HTTP 429, Retry-After 30 s, 5 ms late")


def test_count_first_needs_an_ambiguous_failure(page):
    """
    Counting first can be chosen only where the client cannot know.
    """
    box = page.get_by_label("Count the point first")
    expect(box).to_be_disabled()
    page.get_by_label("Connection reset").check()
    box.check()

    expect(page.get_by_role("status")).to_have_text("Failing: connection reset, after counting the point")


def test_a_bad_number_is_explained(page, sandbox):
    """
    A number out of range changes nothing and says why.
    """
    page.get_by_label("Hold back for").fill("-5")
    page.get_by_label("Hold back for").press("Enter")

    expect(page.get_by_role("alert")).not_to_be_empty()
    assert sandbox.failure.latency_ms == 0


def test_clear_asks_first(page, sandbox, register):
    """
    Clearing can be called off.
    """
    register()
    page.get_by_role("button", name="Clear…").click()
    page.get_by_role("button", name="Keep them").click()

    assert len(sandbox.points()) == 1


def test_clear_forgets_all(page, register):
    """
    Confirmed, clearing empties the page.
    """
    register()
    page.get_by_role("button", name="Clear…").click()
    page.get_by_role("button", name="Forget all").click()

    expect(page.get_by_text("No usage points yet")).to_be_visible()


@pytest.mark.parametrize("field", ["host", "idempotencyKey"])
def test_markup_is_harmless(page, register, field):
    """
    A host or key that is markup is shown as text.
    """
    register(**{field: "<img src=x onerror=document.title='hit'>"})

    expect(page.locator("#points tr")).to_have_count(1)
    assert (page.locator("#points img").count(), page.title()) == (0, "Remotion licensing sandbox")


def test_the_page_says_how_to_point_an_app_at_it(page, sandbox):
    """
    The page shows the base URL to set.
    """
    expect(page.locator("dl")).to_contain_text(f"REMOTION_LICENSING_BASE_URL{sandbox.url}")


def test_the_page_tells_when_the_sandbox_stops(chromium):
    """
    An open page does not delay the stop, and says that nobody answers.
    """
    with Sandbox() as sandbox:
        page = chromium.new_page()
        page.goto(sandbox.url)
        expect(page.get_by_role("status")).to_have_text("Answering normally")

    expect(page.get_by_role("status")).to_have_text("The sandbox has stopped")
    page.close()


@pytest.mark.parametrize("width", [360, 820, 1280])
def test_the_page_fits(page, register, width):
    """
    No width makes the page scroll sideways, however long a host is.
    """
    page.set_viewport_size({"width": width, "height": 800})
    register(host="https://" + "x" * 280 + ".example", idempotencyKey="k" * 255)
    expect(page.locator("#points tr")).to_have_count(1)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
