"""
*Retry* and *complete*, and who else would like to.
"""

from __future__ import annotations

import logging

import pytest

from remotion_licensing_integrations.outbox import State
from tests.dashboard._points import REFUSED, add, new_point
from tests.dashboard._reading import text_of, token_of

OWN = {"origin": "http://app.test"}


@pytest.fixture
def stuck(outbox):
    """
    A rejected, a held and a deferred point.
    """
    add(outbox, "rejected", lambda claimed: claimed.reject(REFUSED))
    add(outbox, "held", lambda claimed: claimed.hold("unanswered"))
    outbox.add([new_point("deferred", succeeded=None)])


@pytest.fixture
def post(client, stuck):
    """
    Post a form of the page, which has been opened before.
    """
    token = token_of(client.get("/usage/").text)

    def post(path, headers=OWN, **fields):
        return client.post(f"/usage{path}", data={"token": token, **fields}, headers=headers)

    return post


def states(outbox):
    return {stored.point.idempotency_key: stored.state.value for stored in outbox.list()}


def test_one_point_is_retried(post, outbox):
    """
    It is due again, and only it.
    """
    post("/retry", key="rejected")

    assert states(outbox) == {"deferred": "deferred", "held": "held", "rejected": "pending"}


def test_all_points_are_retried(post, outbox):
    """
    Rejected and held ones.
    """
    post("/retry")

    assert states(outbox) == {"deferred": "deferred", "held": "pending", "rejected": "pending"}


@pytest.mark.parametrize(("outcome", "succeeded"), [("succeeded", True), ("failed", False)])
def test_a_deferred_point_is_completed(post, outbox, outcome, succeeded):
    """
    It has its outcome, and is due.
    """
    post("/complete", key="deferred", outcome=outcome)

    stored = outbox.get("deferred")
    assert (stored.state, stored.point.succeeded) == (State.PENDING, succeeded)


def test_a_deferred_point_is_forgotten(post, outbox):
    """
    Work that never started leaves nothing.
    """
    post("/complete", key="deferred", outcome="forget")

    assert outbox.get("deferred") is None


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/retry", {"key": "deferred"}),
        ("/retry", {"key": "unknown"}),
        ("/complete", {"key": "rejected", "outcome": "forget"}),
        ("/complete", {"key": "unknown", "outcome": "failed"}),
        ("/complete", {"key": "deferred", "outcome": "nonsense"}),
        ("/complete", {"key": "deferred"}),
    ],
)
def test_what_cannot_be_changed_stays(post, client, outbox, path, fields):
    """
    A point in another state stays as it is, and the page says so.
    """
    before = states(outbox)
    answer = post(path, **fields)

    assert states(outbox) == before
    assert "Nothing was changed" in client.get(f"/usage/{answer.headers['location'].removeprefix('./')}").text


def test_the_change_is_told(post, client):
    """
    A reload tells it again, but changes nothing.
    """
    answer = post("/retry", back="?state=rejected")

    assert (answer.status_code, answer.headers["location"]) == (303, "./?state=rejected&done=retried&number=2")
    assert "2 usage points due again." in text_of(client.get("/usage/?done=retried&number=2").text)


def test_an_ended_deferral_is_told(post, client):
    """
    One is no longer deferred.
    """
    location = post("/complete", key="deferred", outcome="failed").headers["location"]

    assert "1 usage point no longer deferred." in text_of(client.get(f"/usage/{location[2:]}").text)


def test_the_change_is_logged(post, caplog):
    """
    With its number, for who asks later.
    """
    with caplog.at_level(logging.INFO):
        post("/retry")

    assert [(record.action, record.args) for record in caplog.records if hasattr(record, "action")] == [
        ("changed_by_hand", (2,))
    ]


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "?q=x%0d%0aSet-Cookie:%20a=b"])
def test_the_way_back_leads_to_the_page(post, back):
    """
    It cannot lead elsewhere, nor add a header.
    """
    answer = post("/retry", back=back)

    assert answer.headers["location"].startswith("./?")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://evil.example"},
        {"origin": "http://app.test.evil.example"},
        {"origin": "http://app.test:8000"},
        {"sec-fetch-site": "cross-site", **OWN},
        {"sec-fetch-site": "same-site", **OWN},
        {"sec-fetch-site": "none", **OWN},
    ],
)
def test_other_sites_change_nothing(post, outbox, headers):
    """
    A form that is not from the page itself is refused.
    """
    before = states(outbox)

    assert post("/retry", headers=headers).status_code == 403
    assert states(outbox) == before


@pytest.mark.parametrize("headers", [OWN, {"origin": "https://app.test"}, {"sec-fetch-site": "same-origin"}])
def test_the_page_itself_is_known(post, headers):
    """
    Also behind a proxy that ends TLS, and by what browsers say about a request's site.
    """
    assert post("/retry", headers=headers).status_code == 303


@pytest.mark.parametrize("token", ["", "x", "y" * 43, "ü" * 43])
def test_a_form_without_the_token_changes_nothing(post, outbox, token):
    """
    Nor one with another.
    """
    assert post("/retry", token=token).status_code == 403
    assert states(outbox)["rejected"] == "rejected"


@pytest.mark.parametrize("cookie", [None, "short", "z" * 43])
def test_a_browser_without_the_cookie_changes_nothing(client, post, outbox, cookie):
    """
    Nor one with another.
    """
    client.cookies.clear()
    if cookie is not None:
        client.cookies.set("remotion_usage_token", cookie)

    assert post("/retry").status_code == 403
    assert states(outbox)["rejected"] == "rejected"


def test_a_short_cookie_is_replaced(client):
    """
    A browser gets a token that cannot be guessed.
    """
    client.cookies.set("remotion_usage_token", "short")

    assert len(token_of_cookie(client.get("/usage/"))) == 43


def token_of_cookie(answer):
    return answer.headers["set-cookie"].partition("remotion_usage_token=")[2].partition(";")[0]


def test_the_cookie_is_out_of_reach(client):
    """
    Of scripts, and of requests from other sites.
    """
    cookie = client.get("/usage/").headers["set-cookie"]

    assert [word for word in ("HttpOnly", "SameSite=lax") if word not in cookie] == []
    assert "Secure" not in cookie


def test_the_cookie_is_for_tls_where_there_is_tls(open_client):
    """
    Then it never goes out in clear.
    """
    client = open_client()

    assert "Secure" in client.get("https://app.test/usage/").headers["set-cookie"]


@pytest.mark.parametrize("path", ["/retry", "/complete"])
def test_a_link_changes_nothing(client, path):
    """
    Only a form does.
    """
    assert client.get(f"/usage{path}").status_code == 404


def test_a_huge_form_is_refused(post):
    """
    It is not read to its end.
    """
    assert post("/retry", key="x" * 70_000).status_code == 413
