"""
The dashboard in a real browser.
"""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from starlette.applications import Starlette

from remotion_licensing_integrations.dashboard import usage_dashboard
from tests._asgi import serving
from tests.dashboard._points import REFUSED, add, add_month, new_point, register

pytest_plugins = ["tests._browser"]

# The page asks for news every five seconds: a test has no time for that.
HURRY = "const wait = setTimeout; window.setTimeout = (work, delay) => wait(work, Math.min(delay, 20));"


@pytest.fixture
def asked():
    return []


@pytest.fixture
def url(make_recorder, asked):
    """
    Serve the dashboard at /usage/, and note which paths are asked for.
    """
    app = Starlette()
    app.mount("/usage", usage_dashboard(make_recorder(), debug=True, max_billable=400))

    async def noting(scope, receive, send):
        if scope["type"] == "http":
            asked.append(scope["path"])
        await app(scope, receive, send)

    with serving(noting) as server:
        yield f"http://127.0.0.1:{server.port}/usage/"


@pytest.fixture
def open_page(chromium, url):
    """
    Open the page; the test fails when the browser complains of it.
    """
    contexts, problems = [], []

    def open_page(query="", *, hurry=False, **options):
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        if hurry:
            context.add_init_script(HURRY)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url + query)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def cells(page, window, row):
    return page.get_by_role("table", name=window).get_by_role("row", name=row).get_by_role("cell").all_inner_texts()


def test_the_figures_are_those_of_the_outbox(open_page, outbox):
    """
    What the page says of today is what the outbox says.
    """
    for key, word in (("a", "billable"), ("b", "billable"), ("c", "failed")):
        add(outbox, key, register(word))
    outbox.add([new_point("d")])

    page = open_page()

    assert [cell.split() for cell in cells(page, "Today", "cloud-render")] == [
        ["2", "API", "0"],
        ["0", "API", "0"],
        ["1", "API", "0"],
        ["1"],
    ]


@pytest.mark.parametrize("has_script", [True, False])
def test_a_point_is_retried(open_page, outbox, has_script):
    """
    One click, with JavaScript and without.
    """
    add(outbox, "stuck", lambda claimed: claimed.reject(REFUSED))
    page = open_page("?state=rejected", java_script_enabled=has_script)

    page.get_by_role("button", name="Retry stuck").click()

    expect(page.get_by_role("alert")).to_have_text("1 usage point due again.")
    assert (outbox.get("stuck").state, outbox.counts().rejected) == ("pending", 0)


def test_a_deferred_point_is_completed_by_keyboard(open_page, outbox):
    """
    The choice opens, and its buttons follow.
    """
    outbox.add([new_point("late", succeeded=None)])
    page = open_page()

    page.get_by_text("Complete…").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_have_text("1 usage point no longer deferred.")
    assert outbox.get("late").point.succeeded


def test_a_search_is_a_form(open_page, outbox):
    """
    It finds a point without JavaScript.
    """
    outbox.add([new_point("one"), new_point("two")])
    page = open_page(java_script_enabled=False)

    page.get_by_label("Key, host or label").fill("two")
    page.get_by_role("button", name="Search").click()

    expect(page.locator(".points tbody tr")).to_have_count(1)


def test_points_are_downloaded(open_page, outbox, tmp_path):
    """
    As CSV.
    """
    outbox.add([new_point("one")])
    page = open_page()

    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()

    download.value.save_as(tmp_path / "points.csv")
    assert "one,cloud-render" in (tmp_path / "points.csv").read_text()


def test_a_new_point_appears(open_page, outbox):
    """
    A page that is looked at is live.
    """
    page = open_page(hurry=True)
    outbox.add([new_point("new")])

    expect(page.locator(".points tbody tr")).to_contain_text(["new"])


def test_what_a_person_has_opened_stays_open(open_page, outbox, asked):
    """
    News do not close the table of numbers.
    """
    add(outbox, "a", register())
    page = open_page(hurry=True)
    page.get_by_text("Show the numbers").click()
    page.evaluate("document.activeElement.blur()")
    outbox.add([new_point("new")])

    expect(page.locator(".points tbody tr")).to_have_count(2)
    expect(page.locator("#numbers")).to_have_attribute("open", "")


def test_a_hidden_page_asks_for_nothing(open_page, asked):
    """
    The dashboard costs nothing while nobody looks, and is up to date again when somebody does.
    """
    page = open_page(hurry=True)
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", {configurable: true, get: () => true});
        return new Promise(resolve => setTimeout(resolve, 20));
    }""")
    page.wait_for_load_state("networkidle")
    before = asked.count("/usage/live")
    page.wait_for_load_state("networkidle")
    after = asked.count("/usage/live")
    with page.expect_response("**/live"):
        page.evaluate("""() => {
            delete document.hidden;
            document.dispatchEvent(new Event("visibilitychange"));
        }""")

    assert after == before


@pytest.mark.parametrize(("status", "text"), [(403, "You are signed out"), (503, "The page cannot be renewed now")])
def test_a_page_that_gets_no_news_says_so(chromium, url, status, text):
    """
    It does not look as if nothing had happened.
    """
    context = chromium.new_context()
    context.add_init_script(HURRY)
    page = context.new_page()
    page.route("**/live", lambda route: route.fulfill(status=status, body="no"))
    page.goto(url)

    expect(page.get_by_role("status")).to_contain_text(text)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_hinders_people(open_page, outbox, scheme, width):
    """
    Axe finds nothing serious, in light and dark, on a phone and on a desk.
    """
    add_month(outbox)
    outbox.pause("host-1:4711", "HTTP 401: Invalid API key", 300)
    page = open_page(color_scheme=scheme, bypass_csp=True)
    page.set_viewport_size({"width": width, "height": 900})
    for summary in page.locator("summary").all():
        summary.click()

    violations = Axe().run(page).response["violations"]

    assert [(each["id"], each["nodes"][0]["html"]) for each in violations if each["impact"] != "minor"] == []


@pytest.mark.parametrize("width", [320, 390, 820, 1280])
def test_the_page_fits(open_page, outbox, width):
    """
    No width makes the page scroll sideways, however long hosts, keys and errors are.
    """
    add_month(outbox)
    add(outbox, "k" * 255, lambda claimed: claimed.reject("x" * 400), host="https://" + "x" * 280 + ".example")
    page = open_page()
    page.set_viewport_size({"width": width, "height": 800})

    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_system(open_page, scheme):
    """
    It is dark where everything is.
    """
    page = open_page(color_scheme=scheme)

    colour = page.locator("body").evaluate("element => getComputedStyle(element).backgroundColor")
    assert colour == {"light": "rgb(245, 246, 248)", "dark": "rgb(15, 17, 21)"}[scheme]
