"""
Who sees the dashboard, and what it shows.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.websockets import WebSocketDisconnect

from remotion_licensing_integrations import UsageRecorder, set_default_recorder
from remotion_licensing_integrations.dashboard import overview, search, usage_dashboard
from remotion_licensing_integrations.errors import ConfigurationError, OutboxError
from remotion_licensing_integrations.outbox import MemoryOutbox, State
from remotion_licensing_integrations.points import make_fingerprint
from tests._http import httpx
from tests.dashboard._points import KEY, PRIVATE_KEY, REFUSED, add, add_month, new_point, register
from tests.dashboard._reading import keys_of, table_of, text_of

NOW = datetime.now(UTC)
PATHS = ["/", "/live", "/points.csv", "/dashboard.css", "/dashboard.js"]


def yes(_: Request) -> bool:
    return True


def no(_: Request) -> bool:
    return False


async def ayes(_: Request) -> bool:
    return True


def later(request: Request) -> Awaitable[bool]:
    return ayes(request)


class Gate:
    """
    An instance that must be awaited, as dependencies of frameworks may be.
    """

    async def __call__(self, request: Request) -> bool:
        """
        Let one person in.
        """
        return request.headers.get("x-user") == "ada"


def count_with(sandbox, *, succeeded: bool = True, event: str = "cloud-render") -> None:
    body = {"event": event, "apiKey": KEY, "host": "https://myapp.com", "succeeded": succeeded}
    httpx.post(f"{sandbox.url}/api/track/register-usage-point", json=body).raise_for_status()


def test_it_asks_for_authorize():
    """
    Without it, and outside debug, there is no dashboard.
    """
    with pytest.raises(ConfigurationError, match="authorize is missing"):
        usage_dashboard()


@pytest.mark.parametrize("limit", [0, -1, True, 4.5, "4"])
def test_a_bad_limit_is_refused(limit):
    """
    A limit is a whole number from 1.
    """
    with pytest.raises(ConfigurationError, match="max_billable"):
        usage_dashboard(debug=True, max_billable=limit)


@pytest.mark.parametrize(
    ("authorize", "status"),
    [
        (yes, 200),
        (ayes, 200),
        (partial(ayes), 200),
        (later, 200),
        (Gate(), 403),
        (no, 403),
        (lambda _: None, 403),
        (lambda _: "yes", 403),
        (lambda _: 1, 403),
        (lambda _: RedirectResponse("/login"), 307),
    ],
)
def test_authorize_decides(open_client, authorize, status):
    """
    `True` opens the page, a response is sent as it is, and whatever else there is refuses.
    """
    assert open_client(authorize=authorize, debug=False).get("/usage/").status_code == status


def test_authorize_sees_the_request(open_client):
    """
    It gets the request of the app, with its headers.
    """
    assert open_client(authorize=Gate(), debug=False).get("/usage/", headers={"x-user": "ada"}).status_code == 200


def test_authorize_wins_over_debug(open_client):
    """
    Debug opens only what nobody guards.
    """
    assert open_client(authorize=no, debug=True).get("/usage/").status_code == 403


def test_an_error_in_authorize_refuses(open_client):
    """
    A function that fails lets nobody in.
    """

    def fail(_: Request) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        open_client(authorize=fail, debug=False).get("/usage/")


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_seen_without_authorize(open_client, path):
    """
    No page and no file.
    """
    assert open_client(authorize=no, debug=False).get(f"/usage{path}").status_code == 403


@pytest.mark.parametrize("path", ["/retry", "/complete"])
def test_nothing_is_changed_without_authorize(open_client, path):
    """
    No form is read.
    """
    assert open_client(authorize=no, debug=False).post(f"/usage{path}").status_code == 403


@pytest.mark.parametrize("path", PATHS)
def test_browsers_are_told_what_pages_may_do(client, path):
    """
    Nothing inline, nothing from elsewhere, in no frame, and nothing is stored.
    """
    headers = client.get(f"/usage{path}").headers

    assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["content-security-policy"]
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_the_page_has_nothing_inline_and_nothing_foreign(client, outbox):
    """
    What the policy forbids is not there.
    """
    add_month(outbox)
    page = client.get("/usage/").text.replace("http://www.w3.org/2000/svg", "")

    assert not any(bad in page for bad in (" style=", " onclick=", "<style", "src='http", 'src="http', 'href="http'))


def test_other_files_are_not_there(client):
    """
    Templates and code are not served.
    """
    assert [client.get(f"/usage/{name}").status_code for name in ("page.html", "app.py", "..%2fapp.py")] == [404] * 3


def test_a_mount_without_its_slash_leads_to_the_page(client):
    """
    Links of the page are relative to its slash.
    """
    assert client.get("/usage").headers["location"].endswith("/usage/")


def test_a_websocket_is_closed(client):
    """
    There is none, whoever asks.
    """
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/usage/"):
        pass


def test_the_default_recorder_is_found(outbox, make_recorder, open_client):
    """
    Without a recorder it is the one that the middleware has offered, which may come later.
    """
    add(outbox, "a", register())
    client = open_client(recorder=None)
    recorder = make_recorder()
    set_default_recorder(recorder)
    try:
        assert keys_of(client.get("/usage/").text) == ["a"]
    finally:
        set_default_recorder(None)


def test_the_figures_are_those_of_the_outbox(client, outbox):
    """
    Those of the month and of today, by event and classification.
    """
    now = datetime.now(UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    add(outbox, "a", register(), occurred_at=now)
    add(outbox, "b", register(), event="webcodec-conversion", occurred_at=now)
    add(outbox, "c", register("development"), occurred_at=now)
    add(outbox, "d", lambda claimed: claimed.reject(REFUSED), event="web-render", occurred_at=now)
    add(outbox, "e", occurred_at=first - timedelta(seconds=1))

    page = client.get("/usage/").text

    assert table_of(page, "today") == {
        "cloud-render": ["1 API 0", "1 API 0", "0 API 0", "0"],
        "web-render": ["1 API 0", "0 API 0", "0 API 0", "1"],
        "All events": ["2 API 0", "1 API 0", "0 API 0", "1"],
    }
    assert table_of(page, "month")["All events"] == ["2 API 0", "1 API 0", "0 API 0", "1"]


def test_a_new_classification_has_a_column(client, outbox):
    """
    What the API may say one day is not lost.
    """
    add(outbox, "a", register("another"))

    page = client.get("/usage/").text

    assert table_of(page, "today")["cloud-render"] == ["0 API 0", "0 API 0", "0 API 0", "1", "0"]


def test_the_counts_of_the_api_stand_beside_ours(client, outbox, sandbox):
    """
    A difference is marked.
    """
    add(outbox, "a", register())
    count_with(sandbox)
    count_with(sandbox, succeeded=False)

    page = client.get("/usage/").text

    assert table_of(page, "today")["cloud-render"] == ["1 API 1", "0 API 0", "0 API 1", "0"]
    assert page.count("<small data-differs>API 1</small>") == 4  # in two rows of two windows


def test_points_for_other_keys_are_not_compared(client, outbox):
    """
    The API counts them elsewhere; the list and the chart have them.
    """
    add(outbox, "a", register(), key_fingerprint="another")
    add(outbox, "b", key_fingerprint="another")
    add(outbox, "c", register(), key_fingerprint=make_fingerprint(KEY))

    page = client.get("/usage/").text

    assert table_of(page, "today")["cloud-render"] == ["1 API 0", "0 API 0", "0 API 0", "0"]
    assert "3 usage points: 2 billable, 1 not registered" in page


def test_an_api_that_is_away_is_explained(client, outbox, sandbox):
    """
    Our own figures are there all the same.
    """
    add(outbox, "a", register())
    sandbox.set_failure("500")

    page = client.get("/usage/").text

    assert table_of(page, "today")["cloud-render"] == ["1", "0", "0", "0"]
    assert "Remotion’s own counts are not here. HTTP 500" in text_of(page)


def test_no_key_is_explained(open_client, make_recorder):
    """
    Without a key that can read usage, the page says which one it would need.
    """
    recorder = make_recorder(license_key="free-license", private_license_key=None)

    assert "REMOTION_PRIVATE_LICENSE_KEY" in open_client(recorder).get("/usage/").text


def test_no_key_is_on_any_page(client, outbox, sandbox):
    """
    Not even when the API has repeated it in an error.
    """
    sandbox.set_failure("key")
    add(outbox, "a", lambda claimed: claimed.reject(f"HTTP 400: {KEY} and {PRIVATE_KEY}"))
    outbox.pause("host-1", f"Invalid API key {KEY}", 300)

    pages = [client.get(f"/usage{path}").text for path in PATHS]

    assert all(key not in page for page in pages for key in (KEY, PRIVATE_KEY))
    assert all("rm_pub_***" in page for page in pages[:3])


def test_the_limit_is_shown(open_client, outbox, sandbox):
    """
    By the API's count, with what is not registered yet.
    """
    outbox.add([new_point("a")])
    for _ in range(3):
        count_with(sandbox)

    text = text_of(open_client(max_billable=4).get("/usage/").text)

    assert "3 of 4 billable points this month , by Remotion’s count; 1 not registered yet" in text.replace(
        "month,", "month ,"
    )


def test_the_limit_is_shown_without_the_api(open_client, outbox, sandbox):
    """
    Our own count takes its place, and no word says that it is Remotion's.
    """
    add(outbox, "a", register())
    sandbox.set_failure("500")

    assert "1 of 4 billable points this month <" in open_client(max_billable=4).get("/usage/").text.replace(
        "month</p>", "month <"
    )


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda outbox: outbox.pause("host-1", "HTTP 401: Invalid API key", 300), "Delivery is paused"),
        (lambda outbox: add(outbox, "a", lambda claimed: claimed.reject(REFUSED)), "Some usage points need a person"),
        (lambda outbox: add(outbox, "a", succeeded=None, occurred_at=NOW - timedelta(days=2)), "has its work ended?"),
        (lambda outbox: add(outbox, "a", lambda claimed: claimed.reject(REFUSED)), f"1 × {REFUSED}"),
        (
            lambda outbox: add(outbox, "a", lambda claimed: claimed.reschedule(9, "HTTP 503: away")),
            "1 × HTTP 503: away",
        ),
        (lambda outbox: outbox.pause("host-1", "HTTP 401: Invalid API key", 300), "by host-1, tries again at"),
        (lambda outbox: add(outbox, "a", occurred_at=NOW - timedelta(hours=3)), "the oldest since 3 hours"),
        (lambda outbox: add(outbox, "a") or outbox.claim(1, lease=60), "1 being sent"),
        (lambda outbox: add(outbox, "a", is_still=True, is_production=False), "succeeded, still, not in production"),
        (lambda outbox: add(outbox, "a", label="customer-42"), "succeeded customer-42"),
        (lambda outbox: None, "Every usage point is on its way"),
        (lambda outbox: None, "They appear here as soon as the app records one."),
    ],
)
def test_what_waits_is_explained(client, outbox, fill, said):
    """
    What is paused, rejected, waiting or overdue, since when and why.
    """
    fill(outbox)

    assert said in text_of(client.get("/usage/").text)


def test_spilled_points_are_counted(open_client, make_recorder):
    """
    They wait on this machine, and a person should know.
    """
    recorder = make_recorder()
    recorder.spill.add([new_point("a")])
    recorder.spill.close()

    text = text_of(open_client(recorder).get("/usage/").text)
    recorder.stop()

    assert "1 spilled" in text


def test_delivery_that_is_off_is_told(open_client, make_recorder):
    """
    Nothing is on its way then.
    """
    assert "Delivery is off" in open_client(make_recorder(delivery="off")).get("/usage/").text


def test_an_outbox_that_refuses_is_told(open_client, make_recorder, monkeypatch):
    """
    The page says why it is not there; the app goes on.
    """
    recorder = make_recorder()

    def refuse() -> None:
        msg = "the disk is full"
        raise OutboxError(msg)

    monkeypatch.setattr(recorder.outbox, "counts", refuse)

    answer = open_client(recorder).get("/usage/")

    assert (answer.status_code, "the disk is full" in answer.text) == (503, True)


def test_figures_that_take_long_come_later(open_client, make_recorder, monkeypatch, hold):
    """
    The page of a large outbox is there before all of its points are counted.
    """
    recorder = make_recorder()
    monkeypatch.setattr(overview, "PATIENCE", 0)
    gate = hold(overview, "read_figures")
    client = open_client(recorder)

    first = client.get("/usage/").text
    gate.set()
    monkeypatch.setattr(overview, "PATIENCE", 10)
    second = client.get("/usage/").text

    assert ("are being counted" in first, "are being counted" in second) == (True, False)


def test_it_reads_nothing_until_somebody_looks():
    """
    A dashboard costs nothing by itself.
    """
    calls = []

    class Outbox(MemoryOutbox):
        def __getattribute__(self, name):
            calls.append(name)
            return super().__getattribute__(name)

    recorder = UsageRecorder(outbox=Outbox())
    calls.clear()

    usage_dashboard(recorder, debug=True)

    assert calls == []


def test_the_live_parts_are_those_of_the_page(client, outbox):
    """
    The script puts in the very same.
    """
    add_month(outbox)
    page = client.get("/usage/").text

    parts = client.get("/usage/live").json()

    assert [name for name in ("status", "figures", "points") if parts[name] not in page] == []
    assert sorted(parts) == ["activity", "figures", "points", "status"]


@pytest.mark.parametrize("field", ["host", "key", "error", "query"])
def test_markup_is_text(client, outbox, field):
    """
    Hosts, keys, errors and searches are foreign.
    """
    bad = "<img src=x onerror=alert(1)>"
    add(
        outbox,
        bad if field == "key" else "k",
        lambda claimed: claimed.reject(bad if field == "error" else "no"),
        host=bad if field == "host" else None,
    )

    page = client.get("/usage/", params={"q": bad} if field == "query" else {}).text

    assert ("<img" in page, "&lt;img" in page) == (False, True)


@pytest.fixture
def searched(outbox):
    """
    Three points.
    """
    add(outbox, "a-1", register(), host="https://one.example")
    add(outbox, "a-2", lambda claimed: claimed.reject(REFUSED), event="web-render", host="https://Two.example")
    outbox.add([new_point("b-1", host=None, label="customer-42")])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["b-1", "a-2", "a-1"]),
        ({"q": "a-2"}, ["a-2"]),
        ({"q": " a-2 "}, ["a-2"]),
        ({"q": "a-"}, ["a-2", "a-1"]),
        ({"q": "two.EXAMPLE"}, ["a-2"]),
        ({"q": "Customer"}, ["b-1"]),
        ({"q": "nothing"}, []),
        ({"event": "web-render"}, ["a-2"]),
        ({"event": "nonsense"}, ["b-1", "a-2", "a-1"]),
        ({"state": "pending"}, ["b-1"]),
        ({"state": "nonsense"}, ["b-1", "a-2", "a-1"]),
        ({"state": "pending", "q": "a-2"}, []),
        ({"state": "rejected", "event": "web-render", "q": "example"}, ["a-2"]),
    ],
)
@pytest.mark.parametrize("path", ["/", "/points.csv"])
def test_points_are_found(client, searched, query, found, path):
    """
    By key or its beginning, a part of the host, event and state; on the page and in the file.
    """
    text = client.get(f"/usage{path}", params=query).text
    keys = keys_of(text) if path == "/" else [row["idempotency_key"] for row in csv.DictReader(io.StringIO(text))]

    assert keys == found


def test_many_points_have_pages(client, outbox):
    """
    Fifty on each, none twice and none left out.
    """
    outbox.add([new_point(f"k-{number}") for number in range(120)])
    found, query = [], "?"
    while query:
        page = client.get(f"/usage/{query}").text
        found.append(keys_of(page))
        query = "".join(re.findall(r'href="([^"]*)">Older</a>', page))

    assert [len(keys) for keys in found] == [50, 50, 20]
    assert len({key for keys in found for key in keys}) == 120
    assert ">Latest</a>" in page


def test_a_search_goes_on_where_it_has_ended(client, outbox, monkeypatch):
    """
    It looks at a bounded number of points, and says when there are more.
    """
    monkeypatch.setattr(search, "_PAGE", 10)
    monkeypatch.setattr(search, "_MAX_PAGES", 2)
    outbox.add([new_point("old", host="https://old.example"), *(new_point(f"k-{number}") for number in range(29))])
    first = client.get("/usage/?q=old.example").text
    second = client.get("/usage/" + html.unescape(re.findall(r'href="([^"]*)">Search older points', first)[0])).text

    assert (keys_of(first), keys_of(second)) == ([], ["old"])


def test_a_bad_page_is_the_latest(client, searched):
    """
    Whatever stands in the address.
    """
    assert [len(keys_of(client.get(f"/usage/?below={below}").text)) for below in ("x", "-1", "9" * 30, "²")] == [3] * 4


def test_a_count_leads_to_its_points(client, searched):
    """
    The number of rejected points is a link to them.
    """
    assert 'href="?state=rejected"' in client.get("/usage/").text


def test_a_cell_is_no_formula(client, outbox):
    """
    A spreadsheet runs none of the values.
    """
    add(outbox, "=1+1", lambda claimed: claimed.reject("@SUM(A1)"))

    [row] = csv.DictReader(io.StringIO(client.get("/usage/points.csv").text))

    assert (row["idempotency_key"], row["last_error"]) == ("'=1+1", "'@SUM(A1)")


def test_the_file_has_a_name(client):
    """
    A browser saves it under the day.
    """
    headers = client.get("/usage/points.csv").headers

    assert headers["content-disposition"] == f'attachment; filename="usage-points-{datetime.now(UTC):%Y-%m-%d}.csv"'


def test_the_chart_has_a_text_alternative(client, outbox):
    """
    Its name says what it shows, and a table has the numbers.
    """
    add(outbox, "a", register())
    add(outbox, "b", lambda claimed: claimed.reject(REFUSED))

    page = client.get("/usage/").text

    assert 'aria-label="2 usage points: 1 billable, 1 not registered. The numbers are in the table below."' in page
    assert f"{datetime.now(UTC):%Y-%m-%d} 1 0 0 0 1" in text_of(page)


def test_states_are_all_there(client):
    """
    Also those without points.
    """
    text = text_of(client.get("/usage/").text)

    assert [state for state in State if f"0 {state}" not in text] == []
