"""
The values that travel through the package.
"""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.points.point import (
    EVENTS,
    Registration,
    UsagePoint,
    check_event,
    check_idempotency_key,
    new_idempotency_key,
    utc_now,
)

POINT: dict[str, Any] = {"event": "cloud-render", "host": "https://myapp.com", "succeeded": True}


def test_new_key_is_a_version_7_uuid() -> None:
    """
    A new key is a UUID of version 7 and of the RFC's variant.
    """
    key = uuid.UUID(new_idempotency_key())

    assert (key.version, key.variant) == (7, uuid.RFC_4122)


def test_new_keys_sort_by_time() -> None:
    """
    The first 48 bits are the milliseconds of the moment.
    """
    before = time.time_ns() // 1_000_000
    milliseconds = uuid.UUID(new_idempotency_key()).int >> 80

    assert before <= milliseconds <= time.time_ns() // 1_000_000


def test_new_keys_differ() -> None:
    """
    No two keys are equal.
    """
    assert len({new_idempotency_key() for _ in range(1000)}) == 1000


def test_new_key_is_valid() -> None:
    """
    A new key passes the check.
    """
    key = new_idempotency_key()

    assert key == check_idempotency_key(key)


@pytest.mark.parametrize("key", ["a", "~" * 255, "with space", '"'])
def test_good_keys(key: str) -> None:
    """
    1 to 255 printable ASCII characters are a key.
    """
    assert key == check_idempotency_key(key)


@pytest.mark.parametrize("key", ["", "a" * 256, "é", "a\n", "\x7f", None, 7, b"a"])
def test_bad_keys(key: object) -> None:
    """
    Anything else is not, and the message names the field.
    """
    with pytest.raises(ConfigurationError, match=r"^idempotency_key: "):
        check_idempotency_key(key)


@pytest.mark.parametrize("event", EVENTS)
def test_known_events(event: str) -> None:
    """
    The events of the API pass.
    """
    assert event == check_event(event)


@pytest.mark.parametrize("event", ["", "Cloud-Render", None, 1])
def test_unknown_events(event: object) -> None:
    """
    Others do not, and the message lists those that do.
    """
    with pytest.raises(ConfigurationError, match="'cloud-render'"):
        check_event(event)


def test_now_is_aware() -> None:
    """
    The present is in UTC.
    """
    assert utc_now().tzinfo is UTC


def test_point_defaults() -> None:
    """
    A point is a production video unless told otherwise.
    """
    point = UsagePoint(**POINT)

    assert (point.is_still, point.is_production) == (False, True)


def test_points_have_keys_of_their_own() -> None:
    """
    Every point gets a new key.
    """
    assert UsagePoint(**POINT).idempotency_key != UsagePoint(**POINT).idempotency_key


def test_point_is_frozen() -> None:
    """
    A point cannot change after its capture.
    """
    with pytest.raises(dataclasses.FrozenInstanceError):
        UsagePoint(**POINT).host = None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event", "render"),
        ("host", ""),
        ("host", "a" * 301),
        ("host", "a\nb"),
        ("host", 7),
        ("succeeded", 1),
        ("is_still", None),
        ("is_production", "yes"),
        ("idempotency_key", ""),
        ("occurred_at", datetime(2030, 1, 1)),  # noqa: DTZ001 - naive on purpose
        ("occurred_at", "2030-01-01"),
    ],
)
def test_bad_field(field: str, value: object) -> None:
    """
    A value that the API could not take is refused by the name of its field.
    """
    with pytest.raises(ConfigurationError, match=f"^{field}: "):
        UsagePoint(**{**POINT, field: value})


def test_host_may_be_unknown() -> None:
    """
    A point without a host is a point.
    """
    assert UsagePoint(**{**POINT, "host": None}).host is None


points = st.builds(
    UsagePoint,
    event=st.sampled_from(EVENTS),
    host=st.none() | st.just("https://bücher.example"),
    succeeded=st.booleans(),
    is_still=st.booleans(),
    is_production=st.booleans(),
    label=st.sampled_from([None, "customer-42"]),
    key_fingerprint=st.sampled_from([None, "0123456789abcdef"]),
    occurred_at=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])),
)


@given(points)
def test_json_round_trip(point: UsagePoint) -> None:
    """
    A point comes back from JSON text as it was.
    """
    assert point == UsagePoint.from_json(json.loads(json.dumps(point.to_json())))


@pytest.mark.parametrize(
    "change", [{"event": None}, {"occurred_at": "soon"}, {"occurred_at": None}, {"unknown": 1}, {"host": 7}]
)
def test_damaged_json(change: dict[str, Any]) -> None:
    """
    Damaged values are a ConfigurationError, whatever is wrong with them.
    """
    with pytest.raises(ConfigurationError):
        UsagePoint.from_json({**UsagePoint(**POINT).to_json(), **change})


def test_missing_json_field() -> None:
    """
    So is a missing one.
    """
    values = UsagePoint(**POINT).to_json()
    del values["idempotency_key"]

    with pytest.raises(ConfigurationError, match="usage point: idempotency_key is missing"):
        UsagePoint.from_json(values)


def test_json_of_an_earlier_release() -> None:
    """
    Values without label and fingerprint, as earlier releases logged them, can be read.
    """
    point = UsagePoint(**POINT)
    values = point.to_json()
    del values["label"], values["key_fingerprint"]

    assert point == UsagePoint.from_json(values)


def test_label_and_fingerprint_are_not_sent() -> None:
    """
    What only the outbox keeps changes no call of the licensing API.
    """
    plain = UsagePoint(**POINT)

    assert dataclasses.replace(plain, label="customer-42", key_fingerprint="0" * 16).to_event() == plain.to_event()


@pytest.mark.parametrize("name", ["label", "key_fingerprint"])
@pytest.mark.parametrize("value", ["", "x" * 101, "a\0b", "\ud800", 42])
def test_bad_text_of_our_own(name: str, value: object) -> None:
    """
    A label or fingerprint that a store could not keep is refused by name.
    """
    with pytest.raises(ConfigurationError, match=f"^{name}: expected None or 1 to"):
        UsagePoint(**POINT, **{name: value})


def test_registration_holds_what_the_api_left_out() -> None:
    """
    An answer without details is still a registration.
    """
    assert Registration(None, None).billable is None


def test_key_with_a_space_at_its_end() -> None:
    """
    A header would lose the space, so such a key is refused.
    """
    with pytest.raises(ConfigurationError, match="idempotency_key"):
        UsagePoint(**{**POINT, "idempotency_key": "render 1 "})


@pytest.mark.parametrize("field", ["event", "host", "succeeded", "is_still", "is_production", "idempotency_key"])
@pytest.mark.parametrize("before", ["", "\n"])
def test_licence_key_in_the_wrong_place_is_masked(field: str, before: str) -> None:
    """
    A licence key given as another field is not shown in the error.
    """
    bad = f"{before}rm_pub_4bZ0kQ" + ("" if field != "host" else "\n") + (" " if field == "idempotency_key" else "")
    with pytest.raises(ConfigurationError) as caught:
        UsagePoint(**{**POINT, field: bad})

    assert "4bZ0kQ" not in str(caught.value)


def test_long_event_in_an_error() -> None:
    """
    A token from outside may name any event; the error that goes to the log shows its beginning only.
    """
    with pytest.raises(ConfigurationError) as caught:
        UsagePoint(**{**POINT, "event": "x" * 100_000})

    assert len(str(caught.value)) < 200
