"""
Hides licence keys and passwords in errors, logs and representations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"

# No boundary before the known kinds: a key may follow an escape, such as the `\n` of a representation.
_ANY_KEY: Final = re.compile(r"(rm_(?:pub|sec)_|\brm_[a-z]+_)[A-Za-z0-9]+")


def mask(text: str, secrets: Iterable[str | None] = ()) -> str:
    """
    Return *text* with *secrets* and everything else that looks like a licence key masked.
    """
    spellings = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, MASK)
    return _ANY_KEY.sub(rf"\1{MASK}", text)


def _spellings(secret: str) -> tuple[str, ...]:
    return secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]


def mask_url(url: str) -> str:
    """
    Return *url* with everything masked that may be a password, before an @ or in the query.
    """
    # A path has no user; text without a scheme may begin with one.
    return _QUERY_SECRET.sub(rf"\1{MASK}", _USERINFO.sub(_mask_userinfo, url))


def _mask_userinfo(match: re.Match[str]) -> str:
    start, user, colon = match["start"], match["user"], match["colon"]
    return f"{start}{user}:{MASK}@" if colon else f"{start}{MASK}@"


_SECRET_NAME: Final = re.compile(r"passwd|password|secret|token", re.IGNORECASE)
_USERINFO: Final = re.compile(r"\A(?P<start>(?:[^:/@]*://)?+)(?!/)(?P<user>[^:@]*+)(?P<colon>:?).*@", re.DOTALL)
_QUERY_SECRET: Final = re.compile(rf"([?&](?>[^?=&]*?(?:{_SECRET_NAME.pattern}))[^=&]*+=)[^&]*", re.IGNORECASE)
