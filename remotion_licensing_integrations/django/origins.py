"""
The host of a usage point by Django's own rules: what the project trusts, and how it is reached behind its proxies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host

from ..points import own_origin

# What Django itself allows while DEBUG is on and ALLOWED_HOSTS is empty.
_LOCAL = (".localhost", "127.0.0.1", "[::1]")


def is_trusted(origin: str) -> bool:
    """
    Whether the project's settings name *origin*: its hosts, its trusted origins, or those of django-cors-headers.
    """
    domain, _ = split_domain_port(urlsplit(origin).netloc)
    hosts = settings.ALLOWED_HOSTS or (_LOCAL if settings.DEBUG else ())
    if validate_host(domain, hosts) or _is_listed(origin, settings.CSRF_TRUSTED_ORIGINS):
        return True
    patterns: Iterable[str] = getattr(settings, "CORS_ALLOWED_ORIGIN_REGEXES", ())
    return origin in getattr(settings, "CORS_ALLOWED_ORIGINS", ()) or any(re.match(regex, origin) for regex in patterns)


def _is_listed(origin: str, trusted: Iterable[str]) -> bool:
    scheme, _, netloc = origin.partition("://")
    for entry in trusted:
        wanted, _, pattern = entry.partition("://")
        if origin == entry or (wanted == scheme and pattern.startswith("*.") and netloc.endswith(pattern[1:])):
            return True
    return False


def find_own_origin(request: HttpRequest) -> str | None:
    """
    Return the server's own origin as Django finds it behind the proxies that the project trusts.
    """
    try:
        return own_origin(request.scheme or "", request.get_host())
    except DisallowedHost:
        return None
