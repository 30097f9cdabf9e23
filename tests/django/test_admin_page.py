"""
The admin in a real browser, served by gunicorn from a process of its own.
"""

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from playwright.sync_api import expect

from tests.django.processes.servers import Server, environment

pytest_plugins = ["tests._browser"]

LIST = "/admin/remotion_licensing/usagepointrecord/"
ROW = "#result_list tbody tr"
ABORTED = "net::ERR_ABORTED"
RUN = "button[name=index]"  # "Go" or "Run", as the version of Django has it


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """
    A database with a month of usage points.
    """
    file = tmp_path_factory.mktemp("month") / "db.sqlite3"
    subprocess.run([sys.executable, "-m", "tests.django.admin_project.seed"], env=environment(file), check=True)
    return file


@pytest.fixture
def database(month, tmp_path):
    """
    A copy of the month's database that a test may change.
    """
    return shutil.copy(month, tmp_path / "db.sqlite3")


@pytest.fixture
def server(database):
    with Server("gunicorn-sync", database) as server:
        yield server


@pytest.fixture
def open_list(chromium, server):
    """
    Sign somebody in and open the list; what the browser complains of fails the test.
    """
    contexts, problems = [], []

    def open_list(name="operator", query="", **options):
        context = chromium.new_context(base_url=server.url, viewport={"width": 1360, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        # Whoever leaves a page ends what it is still fetching; a download ends the navigation that it began as.
        page.on("requestfailed", lambda request: request.failure == ABORTED or problems.append(request.url))
        page.goto(f"/admin/login/?next={LIST}{query}")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(name)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector(".remotion-summary")
        return page

    yield open_list
    for context in contexts:
        context.close()
    assert problems == []


def counts(page):
    """
    Return the counts above the list.
    """
    return re.findall(r"(\d+)\s+(\w+)", " ".join(page.locator(".remotion-counts ul").all_inner_texts()))


def colour(page, selector, name):
    return page.locator(selector).first.evaluate(f"element => getComputedStyle(element).{name}")


def test_counts_stand_above_the_list(open_list):
    """
    By state and by classification, of all points.
    """
    found = counts(open_list())

    assert [name for _, name in found] == [
        "deferred",
        "pending",
        "registered",
        "rejected",
        "held",
        "billable",
        "development",
        "failed",
    ]


def test_a_count_leads_to_its_points(open_list):
    """
    Two are rejected, and two are shown.
    """
    page = open_list()

    page.get_by_role("link", name="2 rejected").click()

    expect(page.locator(ROW)).to_have_count(2)


def test_the_filter_keeps_the_counts(open_list):
    """
    They are of all points, so that one can go from each to the next.
    """
    page = open_list()
    before = counts(page)

    page.locator("#changelist-filter").get_by_role("link", name="held").click()

    expect(page.locator(ROW)).to_have_count(1)
    assert counts(page) == before


def test_a_search_finds_a_point_by_its_key(open_list):
    """
    The whole key or its beginning.
    """
    page = open_list()

    page.locator("#searchbar").fill("0007-")
    page.get_by_role("button", name="Search").click()

    expect(page.locator(ROW)).to_have_count(1)


def test_the_bars_are_as_high_as_their_days(open_list):
    """
    A day's bar reaches its share of the chart's height.
    """
    page = open_list()
    plot, top = page.locator(".remotion-plot > svg"), int(page.locator(".remotion-top").inner_text())
    day = page.locator(".remotion-day").last
    number = sum(map(int, re.findall(r"(\d+) [a-z]", day.locator("title").text_content().partition(": ")[2])))

    boxes = [bar.bounding_box() for bar in day.locator("rect:not(.remotion-hover)").all()]

    height = max(box["y"] + box["height"] for box in boxes) - min(box["y"] for box in boxes)
    assert height == pytest.approx(plot.bounding_box()["height"] * number / top, abs=2)


def test_the_chart_has_the_same_numbers_as_a_table(open_list):
    """
    For who cannot see it, and for who wants them exactly.
    """
    page = open_list()

    page.get_by_text("Show the numbers").click()

    name = page.locator(".remotion-plot > svg").get_attribute("aria-label")
    assert f"{sum(map(int, page.locator('.remotion-chart td').all_inner_texts()))} usage points" in name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_chart_follows_the_system(scheme, open_list):
    """
    Bars are lighter on a dark page.
    """
    page = open_list(color_scheme=scheme)

    assert (
        colour(page, "rect.remotion-billable", "fill")
        == {"light": "rgb(29, 111, 184)", "dark": "rgb(100, 172, 238)"}[scheme]
    )


@pytest.mark.parametrize(("scheme", "theme"), [("light", "dark"), ("dark", "light")])
def test_the_chart_follows_the_theme_that_a_person_chose(scheme, theme, open_list):
    """
    Django's switch overrules the system.
    """
    page = open_list(color_scheme=scheme)

    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")

    assert (
        colour(page, "rect.remotion-billable", "fill")
        == {"light": "rgb(29, 111, 184)", "dark": "rgb(100, 172, 238)"}[theme]
    )


def test_a_rejected_point_is_retried(open_list, database):
    """
    Two clicks and a choice make it pending again.
    """
    page = open_list(query="?state__exact=rejected")
    page.locator(f"{ROW} input.action-select").first.check()
    page.get_by_label("Action:").select_option("retry_selected")

    page.locator(RUN).click()

    expect(page.locator(".messagelist")).to_have_text("1 usage point is due again.")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute(
            "SELECT count(*) FROM remotion_licensing_usagepointrecord WHERE state = 'pending'"
        ).fetchone() == (2,)


def test_points_are_downloaded_as_csv(open_list, tmp_path):
    """
    The ticked ones.
    """
    page = open_list(query="?state__exact=held")
    page.locator(f"{ROW} input.action-select").check()
    page.get_by_label("Action:").select_option("export_as_csv")

    with page.expect_download() as download:
        page.locator(RUN).click()

    download.value.save_as(tmp_path / "points.csv")
    assert "Sent 24 hours ago without an answer." in (tmp_path / "points.csv").read_text()


def test_a_viewer_is_not_offered_a_retry(open_list):
    """
    They see list and chart, and may export.
    """
    page = open_list("viewer")

    choices = page.get_by_label("Action:").locator("option:not([value=''])")
    expect(choices).to_have_text(["Export selected usage points as CSV"])


def test_a_narrow_page_does_not_scroll_sideways(open_list):
    """
    Not because of the summary, its table included.
    """
    page = open_list()
    page.set_viewport_size({"width": 320, "height": 800})
    page.get_by_text("Show the numbers").click()

    assert page.locator(".remotion-summary").evaluate("element => element.getBoundingClientRect().right") <= 320
