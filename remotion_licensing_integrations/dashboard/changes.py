"""
The changes that a person can make on the page, and proof that it is that person who makes them.

The attack: another site has the browser of a signed-in person post here. Its request names its own site in
`Sec-Fetch-Site` or `Origin`, and it knows neither cookie nor token (`tests/dashboard/test_changes.py`).
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from .._support.log import logger
from ..outbox import Outbox, State
from ..points import utc_now

COOKIE: Final = "remotion_usage_token"
FIELD: Final = "token"

_TOKEN: Final = re.compile(r"[\w-]{43}", re.ASCII)
#: What *complete* offers, and the outcome that each means; `None` forgets the point.
OUTCOMES: Final[Mapping[str, bool | None]] = {"succeeded": True, "failed": False, "forget": None}


def token_of(request: Request) -> str:
    """
    Return the token of the browser, a new one when it has none.
    """
    token = request.cookies.get(COOKIE, "")
    return token if _TOKEN.fullmatch(token) else secrets.token_urlsafe(32)


def give_token(request: Request, response: Response, token: str) -> None:
    """
    Have the browser keep *token*, out of the reach of scripts and of posts from other sites.
    """
    if request.cookies.get(COOKIE) != token:
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, token, path="/", secure=secure, httponly=True, samesite="lax")


def is_own(request: Request, form: Mapping[str, str]) -> bool:
    """
    Whether this page's own form has sent *request*.
    """
    return _has_own_origin(request) and _has_token(request, form)


def _has_own_origin(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        # Without the scheme, which only the proxy knows.
        origin = urlsplit(request.headers.get("origin", "")).netloc
    except ValueError:
        return False
    return bool(origin) and origin == request.headers.get("host")


def _has_token(request: Request, form: Mapping[str, str]) -> bool:
    token = request.cookies.get(COOKIE, "")
    return bool(_TOKEN.fullmatch(token)) and hmac.compare_digest(token.encode(), form.get(FIELD, "").encode())


def retry(outbox: Outbox, keys: Sequence[str] | None) -> int:
    """
    Make the rejected and held points with these *keys* due again, or all of them; return how many.
    """
    count = outbox.retry(keys)
    _note("%s usage points were made due again on the dashboard.", count)
    return count


def complete(outbox: Outbox, key: str, outcome: str) -> int:
    """
    Give the deferred point with this *key* its outcome, one of `OUTCOMES`; return how many there were.
    """
    stored = outbox.get(key)
    if stored is None or stored.state is not State.DEFERRED:
        return 0
    succeeded = OUTCOMES[outcome]
    if succeeded is None:
        outbox.discard([key], {State.DEFERRED})
    else:
        outbox.add([replace(stored.point, succeeded=succeeded, occurred_at=utc_now())])
    _note("%s deferred usage points were ended on the dashboard.", 1)
    return 1


def _note(message: str, count: int) -> None:
    logger.info(message, count, extra={"action": "changed_by_hand"})
