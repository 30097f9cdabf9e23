"""
What a URL of an HTTP service looks like.
"""

from __future__ import annotations

from urllib.parse import urlsplit


def is_base_url(value: object) -> bool:
    """
    Whether *value* is an http(s) URL without user, query or fragment, below which paths can be asked for.
    """
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or set(" @?#") & set(value):
        return False
    try:
        parts = urlsplit(value)
        # Labels that are empty or too long fail here, not when the first point is sent.
        (parts.hostname or "").encode("idna")
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
