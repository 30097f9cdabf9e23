"""
The wire format: requests byte for byte, and the meaning of every answer.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotion_licensing_integrations._support.masking import mask
from remotion_licensing_integrations.api.protocol import (
    MAX_RETRY_AFTER,
    REGISTER_PATH,
    USAGE_PATH,
    Answer,
    parse_retry_after,
    read_registration,
    read_usage,
    register_body,
    usage_body,
)
from remotion_licensing_integrations.errors import (
    APIError,
    ConfigurationError,
    EndpointError,
    KeyRefusedError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from remotion_licensing_integrations.points.point import EventCount, Registration

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "wire_requests.json").read_text())["cases"]
NOW = datetime(2030, 11, 6, 8, 49, 37, tzinfo=UTC)
KEY = "rm_pub_4bZ0kQ"

# What JavaScript can leave out or pass and a typed, keyword-only Python signature cannot.
JAVASCRIPT_ONLY = {
    "event missing": "`event` is a required keyword",
    "host undefined": "`host` is a required keyword, and None is JavaScript's null",
    "host missing": "`host` is a required keyword",
    "succeeded missing": "`succeeded` is a required keyword",
    "getUsage since Date object": "a datetime goes out as epoch milliseconds, which is what the API documents",
    "getUsage since string": "`since` is a number or a datetime; a string is a ConfigurationError",
    "getUsage apiKey undefined (field dropped)": "no key at all is None and goes out as null",
}
KEYS = {"licenseKey": "license_key", "apiKey": "api_key"}
OPTIONS = {
    "registerUsageEvent": {
        **KEYS,
        "event": "event",
        "host": "host",
        "succeeded": "succeeded",
        "isStill": "is_still",
        "isProduction": "is_production",
    },
    "getUsage": {**KEYS, "since": "since"},
}
NUMBERS = {"NaN": float("nan"), "Infinity": float("inf")}


def python_options(case: dict[str, Any]) -> dict[str, Any]:
    """
    Return the Python keywords for the npm package's options: unknown, undefined and null ones are left out.
    """
    names = OPTIONS[case["fn"]]
    keywords: dict[str, Any] = {"license_key": None, "api_key": None}
    for name, value in case["options"].items():
        script = value.get("$js") if isinstance(value, dict) else None
        if name in names and script != "undefined" and (value is not None or name == "host"):
            keywords[names[name]] = NUMBERS.get(script, value)
    return keywords


def golden_body(case: dict[str, Any], idempotency_key: str | None = None) -> bytes:
    keywords = python_options(case)
    license_key, api_key = keywords.pop("license_key"), keywords.pop("api_key")
    key = api_key if license_key is None else license_key
    if case["fn"] == "getUsage":
        return usage_body(key, keywords.get("since"))
    defaults = {"is_still": False, "is_production": True}
    return register_body(license_key=key, idempotency_key=idempotency_key, **{**defaults, **keywords})


def cases(function: str | None = None) -> list[Any]:
    return [
        pytest.param(case, id=case["name"])
        for case in GOLDEN
        if case["name"] not in JAVASCRIPT_ONLY and function in {None, case["fn"]}
    ]


def test_all_golden_requests_are_accounted_for() -> None:
    """
    Of the 64 recorded requests, 57 can be made from Python; the exceptions are recorded ones.
    """
    assert (len(GOLDEN), len(cases())) == (64, 57)
    assert JAVASCRIPT_ONLY.keys() <= {case["name"] for case in GOLDEN}


@pytest.mark.parametrize("case", cases())
def test_golden_request(case: dict[str, Any]) -> None:
    """
    The body is the npm package's, byte for byte.
    """
    assert golden_body(case) == bytes.fromhex(case["bodyHex"])


@pytest.mark.parametrize("case", cases("registerUsageEvent"))
def test_golden_request_with_idempotency_key(case: dict[str, Any]) -> None:
    """
    The idempotency key is added at the end and changes nothing else.
    """
    expected = bytes.fromhex(case["bodyHex"])[:-1] + b',"idempotencyKey":"k-1"}'

    assert golden_body(case, "k-1") == expected


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden_path(case: dict[str, Any]) -> None:
    """
    The path is the npm package's.
    """
    assert case["path"] == (USAGE_PATH if case["fn"] == "getUsage" else REGISTER_PATH)


@pytest.mark.parametrize(
    ("since", "text"),
    [
        (datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC), b"1760000000000"),
        (datetime(2025, 10, 9, 10, 53, 20, 999_999, tzinfo=timezone(timedelta(hours=2))), b"1760000000999"),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), b"-1000"),
        (1760000000000.0, b"1760000000000"),
        (-0.0, b"0"),
        (float("-inf"), b"null"),
    ],
)
def test_since(since: Any, text: bytes) -> None:
    """
    A moment goes out as whole epoch milliseconds, as JavaScript writes numbers.
    """
    assert usage_body(None, since) == b'{"apiKey":null,"since":' + text + b"}"


@pytest.mark.parametrize("since", [datetime(2030, 1, 1), "1760000000000", True])  # noqa: DTZ001 - naive on purpose
def test_bad_since(since: Any) -> None:
    """
    A naive datetime or anything else is refused by name.
    """
    with pytest.raises(ConfigurationError, match=r"^since: "):
        usage_body(None, since)


@pytest.mark.parametrize(
    ("fields", "registration"),
    [
        ({}, Registration(None, None)),
        ({"billable": None, "classification": None}, Registration(None, None)),
        ({"billable": True, "classification": "billable"}, Registration(True, "billable")),  # noqa: FBT003 - the value, positional
        ({"billable": 0, "classification": "new"}, Registration(False, "new")),  # noqa: FBT003 - the value, positional
        ({"billable": 1, "classification": 7}, Registration(True, None)),  # noqa: FBT003 - the value, positional
    ],
)
def test_registration(fields: dict[str, Any], registration: Registration) -> None:
    """
    Fields that are missing or of another type are None.
    """
    assert registration == read_registration(Answer(200, {}, json.dumps({"success": True, **fields}).encode()))


@pytest.mark.parametrize("status", [200, 201, 299, 400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("success", ["true", "1", '"yes"', "[]", "{}"])
def test_truthy_success_wins(status: int, success: str) -> None:
    """
    What JavaScript takes for true is a success under every status but a redirect's.
    """
    assert read_registration(Answer(status, {}, f'{{"success":{success}}}'.encode())) == Registration(None, None)


def test_success_despite_status_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """
    A success with an error status is worth one warning; a plain one says nothing.
    """
    for status in (200, 500):
        read_registration(Answer(status, {}, b'{"success":true}'))

    assert [(r.action, r.levelno) for r in caplog.records] == [("success_despite_status", logging.WARNING)]


NO = b'{"success":false,"error":"no"}'
CLASSES = [
    *((status, NO, EndpointError) for status in (300, 301, 302, 303, 304, 307, 308, 399)),
    (308, b'{"success":true}', EndpointError),
    (307, b'{"success":false,"error":"Invalid API key"}', EndpointError),
    *((status, NO, KeyRefusedError) for status in (401, 402, 403)),
    *((status, b"<html>", KeyRefusedError) for status in (401, 403)),
    *((status, NO, EndpointError) for status in (404, 405, 410)),
    *((status, NO, RefusedError) for status in (200, 201, 400, 413, 415, 422)),
    *((status, NO, UnavailableError) for status in (406, 407, 408, 409, 418, 425, 500, 501, 502, 503, 504, 520, 599)),
    (429, NO, ThrottledError),
    (429, b"", ThrottledError),
    *((200, b'{"success":%s}' % word, RefusedError) for word in (b"false", b"null", b"0", b'""', b"0.0")),
    *(
        (200, body, UnavailableError)
        for body in (b"", b" ", b"{}", b"null", b"[]", b'"ok"', b"1", b"true", b"<html>", b'{"success":true,', b"NaN")
    ),
    (200, b'{"success":NaN}', UnavailableError),
    (200, b"[" * 60_000, UnavailableError),
    (200, b'{"a":' + b"9" * 60_000 + b"}", UnavailableError),
    (204, b"", UnavailableError),
    *(
        (status, b'{"success":false,"error":"%s"}' % text, KeyRefusedError)
        for status in (200, 400, 404, 429, 500)
        for text in (
            b"Invalid API key",
            b"Secret API key passed - use public key instead",
            b"Public API key passed - use secret key instead",
        )
    ),
]


@pytest.mark.parametrize("read", [read_registration, read_usage])
@pytest.mark.parametrize(("status", "body", "kind"), CLASSES, ids=lambda value: repr(value)[:60])
def test_error_class(read: Any, status: int, body: bytes, kind: type[APIError]) -> None:
    """
    Each answer that is no success has the class of the reaction it calls for.
    """
    with pytest.raises(APIError) as caught:
        read(Answer(status, {}, body))

    assert (type(caught.value), caught.value.status) == (kind, status)


@pytest.mark.parametrize(
    ("status", "retry_after", "kind", "seconds"),
    [
        (429, "5", ThrottledError, 5.0),
        (429, "soon", ThrottledError, None),
        (503, "5", ThrottledError, 5.0),
        (503, "Wed, 06 Nov 2030 08:50:37 GMT", ThrottledError, 60.0),
        (503, "soon", UnavailableError, None),
        (500, "5", UnavailableError, 5.0),
    ],
)
def test_throttling(status: int, retry_after: str, kind: type[APIError], seconds: float | None) -> None:
    """
    Only a `Retry-After` that can be read makes a 503 throttling.
    """
    with pytest.raises(kind) as caught:
        read_registration(Answer(status, {"Retry-After": retry_after}, NO), now=NOW)

    assert caught.value.retry_after == seconds


def test_retry_after_date_is_compared_with_the_present() -> None:
    """
    Without a moment given, a date long past means no wait.
    """
    with pytest.raises(ThrottledError) as caught:
        read_registration(Answer(503, {"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, NO))

    assert caught.value.retry_after == 0


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, NO, "no"),
        (400, b'{"success":false,"error":""}', ""),
        (200, NO, 'Unexpected response from server: {"success":false,"error":"no"}'),
        (200, b"[1, 2]", "Unexpected response from server: [1,2]"),
        (200, b"", "the answer is empty"),
        (502, b"<html>", "the answer is not JSON: '<html>'"),
        (400, b'{"error":null}', "the answer has no error text: '{\"error\":null}'"),
    ],
)
def test_message(status: int, body: bytes, message: str) -> None:
    """
    The message is the API's own text, the npm package's, or a plain description.
    """
    with pytest.raises(APIError) as caught:
        read_registration(Answer(status, {}, body))

    assert caught.value.args == (message,)


def test_redirect_message_names_the_target() -> None:
    """
    A redirect's message says where it leads.
    """
    with pytest.raises(EndpointError, match=r"redirect to 'https://other\.example/' not followed"):
        read_registration(Answer(301, {"Location": "https://other.example/"}, b""))


def test_body_is_cut() -> None:
    """
    An exception carries 2,000 characters of message and body at most.
    """
    with pytest.raises(APIError) as caught:
        read_registration(Answer(400, {}, json.dumps({"success": False, "error": "x" * 5000}).encode()))

    assert (len(caught.value.body), len(caught.value.args[0])) == (2000, 2000)


def test_bytes_that_are_not_utf8() -> None:
    """
    Wrong bytes become U+FFFD and the rest is still read.
    """
    with pytest.raises(RefusedError, match="a\ufffdb"):
        read_registration(Answer(400, {}, b'{"success":false,"error":"a\xffb"}'))


SECRETS = [KEY, "sk-plain-0123", 'quo"te\\back', "schlüssel-123", "line\nend-123"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("status", [200, 400, 301])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_key_is_masked(secret: str, status: int, *, ascii_only: bool) -> None:
    """
    A key that the server repeats, however spelled in JSON, is neither in message nor body.
    """
    fields = {"success": False, "error": f"bad key {secret}!", "apiKey": secret}
    body = json.dumps(fields, ensure_ascii=ascii_only).encode()
    with pytest.raises(APIError) as caught:
        read_registration(Answer(status, {"Location": f"/?{secret}"}, body), secrets=(None, "", secret))

    shown = f"{caught.value} {caught.value!r} {caught.value.body}"
    assert not any(spelling in shown for spelling in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]))


@pytest.mark.parametrize("before", [150, 190, 1970, 1990])
def test_key_is_masked_before_the_cut(before: int) -> None:
    """
    No part of a key survives at the place where a text is cut.
    """
    with pytest.raises(APIError) as caught:
        read_registration(Answer(500, {}, b"x" * before + b"sk-plain-0123"), secrets=("sk-plain-0123",))

    assert "sk-" not in f"{caught.value} {caught.value.body}"


def test_foreign_keys_are_masked() -> None:
    """
    Text that looks like a licence key is hidden, named or not; other text stays as it is.
    """
    assert mask("use rm_sec_abc123, not rm_pub_x") == "use rm_sec_***, not rm_pub_***"
    assert mask("Invalid API key", ("",)) == "Invalid API key"


COUNTS = {"billable": 1, "development": 2, "failed": 3}


def test_usage_web_renders_is_the_old_field() -> None:
    """
    `web_renders` is read from `webcodecConversions`, as in the npm package.
    """
    body = {"success": True, "cloudRenders": COUNTS, "webRenders": {}, "webcodecConversions": {**COUNTS, "failed": 9}}
    usage = read_usage(Answer(200, {}, json.dumps(body).encode()))

    assert usage.cloud_renders == EventCount(1, 2, 3)
    assert usage.web_renders == usage.webcodec_conversions == EventCount(1, 2, 9)


@pytest.mark.parametrize("counts", [None, 1, [], {}, {**COUNTS, "failed": None}, {**COUNTS, "failed": True}])
@pytest.mark.parametrize("status", [200, 401])
def test_usage_without_counts(counts: object, status: int) -> None:
    """
    A success whose counts are missing or no numbers is an unreadable answer.
    """
    body = {"success": True, "cloudRenders": COUNTS, "webcodecConversions": counts}
    with pytest.raises(UnavailableError, match="counts"):
        read_usage(Answer(status, {}, json.dumps(body).encode()))


def test_usage_error_text() -> None:
    """
    A usage error's message is the API's text, whatever the status.
    """
    with pytest.raises(RefusedError) as caught:
        read_usage(Answer(200, {}, b'{"success":false,"error":"Cannot query usage older than 90 days"}'))

    assert caught.value.args == ("Cannot query usage older than 90 days",)


RETRY_AFTER = [
    ("120", 120.0),
    ("0", 0.0),
    ("007", 7.0),
    (" 5\t", 5.0),
    ("1.5", 1.5),
    ("1.", 1.0),
    (".5", 0.5),
    ("3600", 3600.0),
    ("3601", 3600.0),
    ("9" * 20, 3600.0),
    ("9" * 5000, 3600.0),
    ("inf", 3600.0),
    ("Wed, 06 Nov 2030 08:50:37 GMT", 60.0),
    ("Wed, 6 Nov 2030 08:50:37 GMT", 60.0),
    ("wed, 06 nov 2030 08:50:37 gmt", 60.0),
    ("Wed, 06 Nov 2030 08:50:37 UTC", 60.0),
    ("Wed, 06 Nov 2030 08:50:37 -0000", 60.0),
    ("Wed, 06 Nov 2030 09:50:37 +0100", 60.0),
    ("Wed, 06 Nov 2030 07:20:37 -0130", 60.0),
    ("Wednesday, 06-Nov-30 08:50:37 GMT", 60.0),
    ("Wed Nov  6 08:50:37 2030", 60.0),
    ("Wed, 06 Nov 2030 08:49:37 GMT", 0.0),
    ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
    ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
    ("Sunday, 06-Nov-81 08:49:37 GMT", 0.0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
    ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
    ("Mon, 31 Feb 2031 08:00:00 GMT", None),
    ("Mon, 01 Foo 2031 08:00:00 GMT", None),
    ("Mon, 01 Jan 2031 25:00:00 GMT", None),
    ("Mon, 01 Jan 2031 08:00:00 +9999", None),
    ("2031-01-01T00:00:00Z", None),
    (None, None),
    ("", None),
    ("soon", None),
    ("nan", None),
    ("-1", None),
    ("+1", None),
    ("1e3", None),
    ("0x10", None),
    ("1_0", None),
    ("1, 2", None),
    ("٣", None),
    ("３", None),
    ("²", None),
    ("ınf", None),
    ("1\n", None),
]


@pytest.mark.parametrize(("value", "seconds"), RETRY_AFTER)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """
    Every form that servers send is read, and nothing else.
    """
    assert seconds == parse_retry_after(value, now=NOW)


@given(st.text(max_size=60))
def test_retry_after_any_text(value: str) -> None:
    """
    No header makes it fail or leave its bounds.
    """
    seconds = parse_retry_after(value, now=NOW)

    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


@given(st.floats(0, 1e6).filter(lambda number: "e" not in str(number)))
def test_retry_after_any_number(number: float) -> None:
    """
    A decimal number is itself, up to the cap.
    """
    assert min(number, MAX_RETRY_AFTER) == parse_retry_after(str(number), now=NOW)


@given(st.integers(-10_000, 10_000))
def test_retry_after_any_date(seconds: int) -> None:
    """
    A date is its distance from now, between 0 and the cap.
    """
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)

    assert min(max(seconds, 0), MAX_RETRY_AFTER) == parse_retry_after(date, now=NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["success", "error"]), inner),
)


@given(st.integers(100, 599), st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_understood(status: int, body: bytes) -> None:
    """
    No status and body cause anything but a registration or an API error.
    """
    try:
        assert isinstance(read_registration(Answer(status, {}, body)), Registration)
    except APIError as error:
        assert error.status == status  # noqa: PT017 - either outcome is fine
