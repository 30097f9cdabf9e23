"""
Retry decisions: how long to wait, and when to stop.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotion_licensing_integrations.api.retry import (
    MAX_BACKOFF,
    MAX_RETRY_AFTER,
    backoff,
    client_delay,
    parse_retry_after,
)
from remotion_licensing_integrations.errors import (
    CertificateError,
    NoAnswerError,
    NotSentError,
    RefusedError,
    TransportError,
    UnavailableError,
)

NOW = datetime(2030, 11, 6, 8, 49, 37, tzinfo=UTC)

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
    ("Sunday, 06-Nov-80 08:49:37 GMT", 3600.0),
    ("Sunday, 06-Nov-81 08:49:37 GMT", 0.0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
    ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
    ("Mon, 31 Feb 2031 08:00:00 GMT", None),
    ("Mon, 01 Foo 2031 08:00:00 GMT", None),
    ("Mon, 01 Jan 0000 00:00:00 GMT", None),
    ("Mon, 01 Jan 2031 25:00:00 GMT", None),
    ("Mon, 01 Jan 2031 08:00:00 +9999", None),
    ("Mon, 01 Jan 2031 08:00:00 CEST", None),
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


@pytest.mark.parametrize(
    ("attempts", "bound"), [(0, 2), (1, 4), (5, 64), (8, 512), (9, 900), (10, 900), (10**9, 900), (10**400, 900)]
)
def test_backoff_bound(attempts: int, bound: float) -> None:
    """
    The bound doubles from 2 s to 15 min and no number of attempts overflows it.
    """
    assert bound == backoff(attempts, uniform=lambda _, high: high)


def test_backoff_is_full_jitter() -> None:
    """
    The lower bound is 0.
    """
    assert backoff(5, uniform=lambda low, _: low) == 0


@given(st.integers(0, 10_000))
def test_backoff_range(attempts: int) -> None:
    """
    Real draws stay within the bounds.
    """
    assert 0 <= backoff(attempts) <= MAX_BACKOFF


@pytest.mark.parametrize("kind", [TransportError, NotSentError, NoAnswerError])
def test_client_delay_doubles(kind: type[TransportError]) -> None:
    """
    A missing answer is repeated after 1, 2 and 4 s, then given up.
    """
    delays = [client_delay(kind("x"), attempt, max_attempts=4) for attempt in (1, 2, 3, 4, 5)]

    assert delays == [1, 2, 4, None, None]


def test_client_delay_is_capped() -> None:
    """
    The hundred thousandth attempt waits 15 minutes.
    """
    assert client_delay(NotSentError("x"), 100_000, max_attempts=math.inf) == MAX_BACKOFF


@pytest.mark.parametrize(
    "error", [CertificateError("x"), RefusedError("x", status=400), UnavailableError("x", status=500)]
)
def test_client_delay_gives_up(error: TransportError) -> None:
    """
    A bad certificate and any answer of the API are not repeated within a call.
    """
    assert client_delay(error, 1, max_attempts=4) is None
