"""
The documented API, over real HTTP.
"""

import socket
from datetime import UTC, datetime, timedelta

import pytest

from tests._http import httpx

REGISTER = "/api/track/register-usage-point"
USAGE = "/api/track/get-usage"
BODY = {
    "event": "cloud-render",
    "apiKey": "rm_pub_0000",
    "host": "https://example.com",
    "succeeded": True,
    "isStill": False,
    "isProduction": True,
}


def register(client, *, headers=None, **changes):
    return client.post(REGISTER, json={**BODY, **changes}, headers=headers)


def test_register_answers_as_documented(client):
    """
    A registered point answers with exactly the documented fields.
    """
    answer = register(client)

    assert (
        answer.status_code,
        answer.json(),
    ) == (200, {"success": True, "billable": True, "classification": "billable"})


def test_the_six_fields_are_stored(client, sandbox):
    """
    What was sent is what `points()` shows.
    """
    register(client, event="web-render", isStill=True, isProduction=False, idempotencyKey="k")

    point = sandbox.points()[0]

    assert (
        point.event,
        point.host,
        point.succeeded,
        point.is_still,
        point.is_production,
        point.idempotency_key,
    ) == ("web-render", "https://example.com", True, True, False, "k")


@pytest.mark.parametrize(
    ("changes", "classification"),
    [
        ({"host": None}, "billable"),
        ({"host": "https://remotion.dev"}, "billable"),
        ({"host": "https://localhost.example.com"}, "billable"),
        ({"host": "https://8.8.8.8"}, "billable"),
        ({"host": "http://[::1"}, "billable"),
        ({"host": ""}, "billable"),
        ({"succeeded": False}, "failed"),
        ({"succeeded": False, "host": "http://localhost"}, "failed"),
        ({"isProduction": False}, "development"),
        ({"host": "http://localhost:50955"}, "development"),
        ({"host": "http://LOCALHOST."}, "development"),
        ({"host": "http://app.localhost:3000"}, "development"),
        ({"host": "localhost:3000"}, "development"),
        ({"host": "http://127.8.9.1:1"}, "development"),
        ({"host": "http://[::1]:3000"}, "development"),
        ({"host": "http://[::ffff:7f00:1]"}, "development"),
        ({"host": "http://0.0.0.0:8000"}, "development"),
        ({"host": "http://mac.local"}, "development"),
        ({"host": "https://app.test"}, "development"),
        ({"host": "http://192.168.1.20"}, "development"),
        ({"host": "http://10.0.0.1"}, "development"),
        ({"host": "http://169.254.1.1"}, "development"),
        ({"host": "http://myhost"}, "development"),
        ({"host": "http://ip-10-0-0-5.ec2.internal"}, "development"),
    ],
)
def test_classification(client, changes, classification):
    """
    Failed before development before billable; local hosts and `isProduction: false` are development.
    """
    answer = register(client, **changes).json()

    assert (classification, classification == "billable") == (answer["classification"], answer["billable"])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event": "render"}, "event"),
        ({"event": None}, "event"),
        ({"event": ["cloud-render"]}, "event"),
        ({"host": 1}, "host"),
        ({"succeeded": None}, "succeeded"),
        ({"succeeded": 1}, "succeeded"),
        ({"isStill": "no"}, "isStill"),
        ({"isProduction": None}, "isProduction"),
        ({"apiKey": 7}, "apiKey"),
        ({"idempotencyKey": ""}, "idempotencyKey"),
        ({"idempotencyKey": "x" * 256}, "idempotencyKey"),
        ({"idempotencyKey": None}, "idempotencyKey"),
    ],
)
def test_a_bad_field_is_named(client, sandbox, changes, field):
    """
    A wrong field is a 400 whose text begins with the field's name, and no point.
    """
    answer = register(client, **changes)

    assert (400, False, field, []) == (
        answer.status_code,
        answer.json()["success"],
        answer.json()["error"].partition(":")[0],
        sandbox.points(),
    )


@pytest.mark.parametrize("field", ["event", "host", "succeeded"])
def test_a_missing_field_is_named(client, field):
    """
    The documented required fields are required.
    """
    answer = client.post(REGISTER, json={name: value for name, value in BODY.items() if name != field})

    assert (400, field) == (answer.status_code, answer.json()["error"].partition(":")[0])


def test_optional_fields_have_defaults(client, sandbox):
    """
    Without `isStill` and `isProduction` a point is a video in production.
    """
    client.post(REGISTER, json={"event": "cloud-render", "host": None, "succeeded": True})

    assert [(point.is_still, point.is_production) for point in sandbox.points()] == [(False, True)]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"a": NaN}', b"\xff", b"[" * 60_000, b"9" * 9_000])
def test_bad_json_is_refused(client, content):
    """
    A body that is not a JSON object is a 400 that says so.
    """
    answer = client.post(REGISTER, content=content, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (400, "body")


def test_a_huge_body_is_refused(client):
    """
    A body over the limit is a 413.
    """
    assert register(client, host="x" * 70_000).status_code == 413


def test_only_json_is_taken(client):
    """
    A web page's simple cross-site POST, which cannot be `application/json`, counts nothing.
    """
    answer = client.post(REGISTER, content="{}", headers={"content-type": "text/plain"})

    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (415, "content-type")


def test_a_lone_surrogate_in_the_host_is_kept(client, sandbox):
    """
    Text that JSON can carry and UTF-8 cannot breaks neither the call nor the state.
    """
    client.post(
        REGISTER, content=rb'{"event":"cloud-render","apiKey":null,"host":"http://\ud800","succeeded":true}',
        headers={"content-type": "application/json"},
    )  # fmt: skip

    assert b"http://\\ud800" in client.get("/sandbox/state").content


@pytest.mark.parametrize("key", ["rm_pub_0000", "rm_pub_" + "a" * 48, None, "free-license"])
def test_public_keys_are_accepted(client, key):
    """
    Any public key registers, and so do "free-license" and none.
    """
    assert register(client, apiKey=key).status_code == 200


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("rm_sec_0000", "Secret API key passed - use public key instead"),
        ("rm_pub_", "Invalid API key"),
        ("wrong", "Invalid API key"),
        ("", "Invalid API key"),
    ],
)
def test_other_keys_are_refused(client, key, text):
    """
    A secret or unknown key is a 401 with the API's own text.
    """
    answer = register(client, apiKey=key)

    assert (401, {"success": False, "error": text}) == (answer.status_code, answer.json())


def test_keys_are_never_shown(client, sandbox):
    """
    A licence key is stored and shown as a fingerprint only.
    """
    register(client, apiKey="rm_pub_topsecret")

    assert ("topsecret" in repr(sandbox.points()), "topsecret" in client.get("/sandbox/state").text) == (False, False)


@pytest.mark.parametrize(
    ("changes", "headers"),
    [({"idempotencyKey": "k"}, None), ({}, {"idempotency-key": "k"})],
    ids=["body", "header"],
)
def test_a_repeated_key_returns_the_first_result(client, sandbox, changes, headers):
    """
    A repeat, by body field or header, answers like the first request and counts nothing.
    """
    register(client, headers=headers, **changes)
    again = register(client, headers=headers, **{**changes, "succeeded": False}).json()

    assert (again["classification"], len(sandbox.points())) == ("billable", 1)


def test_a_bad_header_key_is_refused(client):
    """
    A header key of 256 characters is a 400.
    """
    assert register(client, headers={"idempotency-key": "x" * 256}).status_code == 400


def test_the_same_key_in_another_project_is_another_point(client, sandbox):
    """
    Idempotency keys are scoped to the licence key's project.
    """
    register(client, idempotencyKey="k")
    register(client, idempotencyKey="k", apiKey="rm_pub_1111")

    assert len(sandbox.points()) == 2


def test_requests_and_keys_are_seen(client, sandbox):
    """
    Every request is seen with its key, repeats and refusals included.
    """
    register(client, idempotencyKey="k")
    register(client, idempotencyKey="k")
    register(client, apiKey="wrong")

    assert (sandbox.requests, sandbox.idempotency_keys()) == (3, ["k", "k", None])


def test_usage_answers_as_documented(client):
    """
    `webcodecConversions` is an alias of `webRenders`: both count both events.
    """
    for event in ("cloud-render", "web-render", "webcodec-conversion"):
        register(client, event=event)
    register(client, succeeded=False)
    register(client, isProduction=False)

    web = {"billable": 2, "development": 0, "failed": 0}

    assert {
        "success": True,
        "cloudRenders": {"billable": 1, "development": 1, "failed": 1},
        "webcodecConversions": web,
        "webRenders": web,
    } == client.post(USAGE, json={"apiKey": "rm_sec_0000", "since": None}).json()


@pytest.mark.parametrize(
    ("key", "text"),
    [("rm_pub_0000", "Public API key"), ("wrong", "Invalid API key"), (None, "Invalid API key")],
)
def test_usage_wants_a_secret_key(client, key, text):
    """
    Reading usage with a public or unknown key is a 401.
    """
    answer = client.post(USAGE, json={"apiKey": key, "since": None})

    assert (answer.status_code, text in answer.json()["error"]) == (401, True)


def test_usage_since_a_moment(client):
    """
    `since` leaves out points that came earlier.
    """
    register(client)
    since = (datetime.now(UTC) + timedelta(seconds=1)).timestamp() * 1000

    answer = client.post(USAGE, json={"apiKey": "rm_sec_0000", "since": since}).json()

    assert answer["cloudRenders"]["billable"] == 0


@pytest.mark.parametrize(
    ("days", "status"), [(89.99, 200), (90.01, 400)], ids=["younger than 90 days", "older than 90 days"]
)
def test_usage_reaches_back_90_days(client, days, status):
    """
    The lowest `since` is 90 days ago.
    """
    since = (datetime.now(UTC) - timedelta(days=days)).timestamp() * 1000

    assert status == client.post(USAGE, json={"apiKey": "rm_sec_0000", "since": since}).status_code


def test_usage_older_than_90_days_says_so(client):
    """
    The refusal has the API's own text.
    """
    answer = client.post(USAGE, json={"apiKey": "rm_sec_0000", "since": 0})

    assert answer.json()["error"] == "Cannot query usage older than 90 days"


@pytest.mark.parametrize("since", ["2026-01-01", True, [], {}])
def test_usage_since_is_a_number(client, since):
    """
    A `since` that is no number is a 400 naming it.
    """
    answer = client.post(USAGE, json={"apiKey": "rm_sec_0000", "since": since})

    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (400, "since")


@pytest.mark.parametrize("since", ["1e400", "9" * 400], ids=["infinity", "whole"])
def test_usage_since_the_far_future_is_nothing(client, since):
    """
    An absurdly large `since` counts nothing and breaks nothing.
    """
    register(client)
    raw = f'{{"apiKey":"rm_sec_0000","since":{since}}}'.encode()

    answer = client.post(USAGE, content=raw, headers={"content-type": "application/json"}).json()

    assert answer["cloudRenders"]["billable"] == 0


@pytest.mark.parametrize("path", [REGISTER, USAGE])
def test_get_is_not_allowed(client, path):
    """
    Both calls are POST only.
    """
    assert client.get(path).status_code == 405


def test_other_paths_are_not_found(client):
    """
    A path that the API does not have is a 404 in the API's form.
    """
    answer = client.post("/api/track/register", json={})

    assert (answer.status_code, answer.json()["success"]) == (404, False)


@pytest.mark.parametrize("header", ["Transfer-Encoding: chunked", "Content-Length: 999999999", "Content-Length: x"])
def test_a_body_of_unknown_or_absurd_length_is_refused(sandbox, header):
    """
    A body that is not read is a 411, and ends the connection.
    """
    with socket.create_connection(("127.0.0.1", httpx.URL(sandbox.url).port), timeout=5) as connection:
        connection.sendall(f"POST {REGISTER} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 411 ")


@pytest.mark.parametrize("path", ["/", "/sandbox/state"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "[::1"])
def test_a_foreign_host_is_refused(client, path, host):
    """
    DNS rebinding reaches neither the page nor the control API.
    """
    assert client.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "sandbox.localhost", "127.0.0.1:9", "[::1]:9"])
def test_own_hosts_are_welcome(client, host):
    """
    Loopback names and addresses open the page.
    """
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/sandbox/failure", "/sandbox/clear"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_control_takes_json_only(client, sandbox, path, kind):
    """
    A foreign page's simple POST changes nothing.
    """
    register(client)

    answer = client.post(path, content='{"mode": "500"}', headers={"content-type": kind})

    assert (answer.status_code, len(sandbox.points()), sandbox.failure.mode) == (415, 1, None)


def test_no_cors_permission_is_given(client):
    """
    A foreign page's preflight is not answered with permission.
    """
    answer = client.options(
        "/sandbox/clear", headers={"origin": "https://evil.example", "access-control-request-method": "POST"}
    )

    assert (answer.status_code, [name for name in answer.headers if "access-control" in name]) == (405, [])


def test_control_sets_the_failure(client, sandbox):
    """
    The control API takes the keywords of `set_failure`.
    """
    client.post("/sandbox/failure", json={"mode": "429", "retry_after": 7, "first": 2})

    assert str(sandbox.failure) == "Failing: HTTP 429, Retry-After 7 s, for the next 2 requests"


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        ({}, "Answering normally"),
        ({"latency_ms": 5}, "Slow: 5 ms late"),
        ({"mode": "reset", "count_first": True}, "Failing: connection reset, after counting the point"),
    ],
)
def test_the_state_says_how_the_sandbox_answers(client, sandbox, failure, text):
    """
    The failure in force is told in words.
    """
    sandbox.set_failure(**failure)

    assert client.get("/sandbox/state").json()["answers"] == text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"mode": "nonsense"}, "mode"),
        ({"mode": ["500"]}, "mode"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"latency_ms": True}, "latency_ms"),
        ({"mode": "429", "retry_after": "soon"}, "retry_after"),
        ({"first": 0}, "first"),
        ({"mode": "500", "count_first": 1}, "count_first"),
        ({"mode": "key", "count_first": True}, "count_first"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_control_refuses_a_bad_failure(client, body, field):
    """
    A bad switch is a 400 that names it.
    """
    answer = client.post("/sandbox/failure", json=body)

    assert (400, field) == (answer.status_code, answer.json()["error"].partition(":")[0])


def test_control_clears(client, sandbox):
    """
    The control API forgets all points.
    """
    register(client)

    client.post("/sandbox/clear", json={})

    assert sandbox.points() == []


def test_the_page_says_how_a_point_without_a_host_counts(client):
    """
    The page says that no host means billable.
    """
    assert "counts as billable, also without a host" in client.get("/").text


def test_the_page_forbids_foreign_content(client):
    """
    The page's policy allows its own script and style by a nonce, and nothing else.
    """
    answer = client.get("/")
    nonce = answer.text.partition('nonce="')[2].partition('"')[0]

    assert f"default-src 'none'; script-src 'nonce-{nonce}'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("key", "is_valid"), [("rm_pub_0000", True), ("rm_sec_0000", False), ("abc", False), ("", False), (None, False)]
)
def test_question_about_a_key(key, is_valid, client, sandbox):
    """
    The sandbox says whether a key is one that registers points, and counts nothing.
    """
    answer = client.post("/api/validate-license-key", json={"licenseKey": key})

    assert answer.json().keys() == {"isValid", "hasActiveSubscription", "projectName", "projectSlug"}
    assert answer.json()["isValid"] is is_valid
    assert sandbox.requests == 0
