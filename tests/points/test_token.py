"""
The token of a deferred point.
"""

# ruff: noqa: FBT001 - pytest passes parameters by name

from __future__ import annotations

import base64
import re
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotion_licensing_integrations import InvalidTokenError, UsagePoint
from remotion_licensing_integrations.points.point import EVENTS
from remotion_licensing_integrations.points.token import decode_token, encode_token
from tests._asgi import ORIGIN

POINT = UsagePoint(
    event="web-render", host=ORIGIN, succeeded=False, is_still=True, is_production=False, idempotency_key="render-1"
)
TOKEN = encode_token(POINT)
CARRIED = ("event", "host", "is_still", "is_production", "idempotency_key", "label", "key_fingerprint")

printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)
points = st.builds(
    UsagePoint,
    event=st.sampled_from(EVENTS),
    host=st.none() | printable,
    succeeded=st.booleans(),
    is_still=st.booleans(),
    is_production=st.booleans(),
    idempotency_key=printable,
    label=st.sampled_from([None, "Müller"]),
    key_fingerprint=st.sampled_from([None, "0123456789abcdef"]),
)


def carried(point: UsagePoint) -> list[Any]:
    return [getattr(point, name) for name in CARRIED]


@given(points)
def test_round_trip(point: UsagePoint) -> None:
    """
    A token carries event, host, flags, key, label and fingerprint of any point.
    """
    assert carried(point) == carried(decode_token(encode_token(point), succeeded=True))


@given(points)
def test_url_safe(point: UsagePoint) -> None:
    """
    A token can stand in a URL as it is.
    """
    assert re.fullmatch(r"ru1\.[A-Za-z0-9_-]+", encode_token(point))


@pytest.mark.parametrize("succeeded", [True, False])
def test_outcome(succeeded: bool) -> None:
    """
    The outcome is the completion's, not the request's.
    """
    assert succeeded is decode_token(TOKEN, succeeded=succeeded).succeeded


def test_time() -> None:
    """
    The point occurred when it was completed.
    """
    assert decode_token(TOKEN, succeeded=True).occurred_at > POINT.occurred_at


def test_stays_readable() -> None:
    """
    Tokens that earlier releases gave out can be read.
    """
    token = "ru1.CxFWsFsid2ViLXJlbmRlciIsImh0dHBzOi8vbXlhcHAuY29tIix0cnVlLGZhbHNlLCJyZW5kZXItMSJd"

    assert carried(POINT) == carried(decode_token(token, succeeded=True))


@pytest.mark.parametrize("end", range(len(TOKEN)))
def test_cut(end: int) -> None:
    """
    A token that was cut anywhere is refused.
    """
    with pytest.raises(InvalidTokenError):
        decode_token(TOKEN[:end], succeeded=True)


@pytest.mark.parametrize("place", range(4, len(TOKEN) - 1))
def test_damaged(place: int) -> None:
    """
    A token with one other character is refused.
    """
    other = "A" if TOKEN[place] != "A" else "B"

    with pytest.raises(InvalidTokenError):
        decode_token(TOKEN[:place] + other + TOKEN[place + 1 :], succeeded=True)


@pytest.mark.parametrize(
    "token", ["", "ru1.", "ru2." + TOKEN[4:], TOKEN + "\n", TOKEN + "!", "ru1.é", None, 3, b"ru1."]
)
def test_foreign(token: Any) -> None:
    """
    What is no token is refused with the error for it.
    """
    with pytest.raises(InvalidTokenError, match="is not a deferral token"):
        decode_token(token, succeeded=True)


def test_nested_without_end() -> None:
    """
    A token that nobody here has made, too deep to be read, is refused as others are.
    """
    body = b"[" * 100_000
    token = "ru1." + base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).decode().rstrip("=")

    with pytest.raises(InvalidTokenError):
        decode_token(token, succeeded=True)


def test_licence_key_instead_of_a_token() -> None:
    """
    A licence key in the place of a token is not repeated by the error.
    """
    with pytest.raises(InvalidTokenError) as caught:
        decode_token("rm_pub_0123456789abcdef0123456789abcdef")

    assert "0123456789abcdef" not in str(caught.value)


@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    """
    No text makes reading fail in another way.
    """
    with pytest.raises(InvalidTokenError):
        decode_token("ru1." + text, succeeded=True)
