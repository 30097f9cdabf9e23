"""
Finds the host of a usage point in the headers of its request.

The host is what `window.location.origin` was on the page. Browsers send origins already serialised, so values are
validated and never normalised: a value that no browser writes counts as absent. So does a name with a label such as
`xn--` or `xn--zz--zz`, which is no punycode: the URL standard refuses it, and no such name can be registered, although
Chromium, which does not decode names in ASCII, keeps it.
Facts: https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin and recordings of
Chromium in `tests/golden/origins.json` and `tests/golden/browser_headers.json`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from .._support.masking import mask
from ..errors import ConfigurationError
from .point import MAX_HOST_LENGTH

#: How a host was chosen; `refused` means a header named an origin that `allowed_hosts` does not list.
HostSource = Literal["configured", "origin", "referer", "own", "unknown", "refused"]

_MAX_NAME: Final = 253  # characters, RFC 1035
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?:(?P<name>[a-z0-9_.-]+)|\[(?P<ipv6>[0-9a-f:]{2,39})\])(?::(?P<port>0|[1-9][0-9]{0,4}))?"
)
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
_ACE: Final = "xn--"  # what the label of an internationalised name begins with; punycode follows
_IPV4: Final = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}")
# A last label that the URL standard reads as a number makes the whole name an IPv4 address, canonical or invalid.
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_SUFFIXES: Final = (".localhost", ".local", ".test", ".internal")
_REFERER: Final = re.compile(r"(https?://[^/?#\\@\s]+)/[\x21-\x7e]*")


def is_origin(value: str) -> bool:
    """
    Whether *value* is an http(s) origin exactly as a browser serialises it.
    """
    if len(value) > MAX_HOST_LENGTH:
        return False
    match = _ORIGIN.fullmatch(value)
    if match is None:
        return False
    scheme, name, ipv6, port = match["scheme"], match["name"], match["ipv6"], match["port"]
    if port is not None and (int(port) > 65_535 or port == _DEFAULT_PORTS[scheme]):  # noqa: PLR2004 - highest port
        return False
    return _is_name(name) if ipv6 is None else _is_compressed_ipv6(ipv6)


def _is_name(name: str) -> bool:
    labels = name.removesuffix(".").split(".")
    if len(name) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        return False
    if _ACE in name and not all(_is_punycode(label[len(_ACE) :]) for label in labels if label.startswith(_ACE)):
        return False
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        return _IPV4.fullmatch(name) is not None
    return True


def _is_punycode(text: str) -> bool:
    try:
        # Encoded again, because a name has no surrogates.
        return text.encode().decode("punycode").encode() != b""
    except UnicodeError:
        return False


def _is_compressed_ipv6(text: str) -> bool:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    if address.ipv4_mapped is not None:
        # Python 3.13 prints these with dots, browsers do not.
        high, low = divmod(int(address.ipv4_mapped), 0x10000)
        return text == f"::ffff:{high:x}:{low:x}"
    return text == str(address)


def origin_of_referer(referer: str) -> str | None:
    """
    Return the origin of a `Referer` header, never its path or query; `None` when it has no http(s) origin.
    """
    match = _REFERER.fullmatch(referer)
    if match is None or not is_origin(match[1]):
        return None
    return match[1]


def check_origin(field: str, value: object) -> str:
    """
    Return *value* when it is a serialised http(s) origin.

    Raises:
        ConfigurationError: It is not; the message names *field* and shows what a right value looks like.
    """
    if isinstance(value, str) and is_origin(value):
        return value
    guess = str(value).strip().lower().rstrip("/")
    guess = guess if "://" in guess else f"https://{guess}"
    # A licence key in the place of a host has the form of a name.
    hint = f"; did you mean {guess!r}?" if is_origin(guess) and mask(guess) == guess else ""
    msg = f'{field}: {mask(repr(value)):.120} is not an origin like "https://myapp.com"{hint}'
    raise ConfigurationError(msg)


class AllowedOrigins:
    """
    Exact origins and `https://*.myapp.com` patterns, where `*` stands for one or more whole labels.

    Raises:
        ConfigurationError: A pattern is neither.
    """

    def __init__(self, patterns: Iterable[object], *, field: str = "allowed_hosts") -> None:
        self._exact: set[str] = set()
        self._suffixes: list[tuple[str, str]] = []
        for pattern in patterns:
            scheme, star, suffix = str(pattern).partition("://*")
            if star and suffix.startswith(".") and is_origin(f"{scheme}://{suffix[1:]}"):
                self._suffixes.append((f"{scheme}://", suffix))
            else:
                self._exact.add(check_origin(field, pattern))

    def __call__(self, origin: str) -> bool:
        """
        Whether *origin*, a serialised origin, is listed.
        """
        return origin in self._exact or any(
            origin.startswith(scheme) and origin.endswith(suffix) for scheme, suffix in self._suffixes
        )


@dataclass(frozen=True, slots=True)
class OriginHeaders:
    """
    The request headers that tell where a page came from.

    Attributes:
        origin: The `Origin` header; `None` when absent or sent more than once.
        referer: The `Referer` header.
        host: The `Host` header; `None` when absent or sent more than once.
        fetch_site: The `Sec-Fetch-Site` header.
        fetch_mode: The `Sec-Fetch-Mode` header.
    """

    origin: str | None = None
    referer: str | None = None
    host: str | None = None
    fetch_site: str | None = None
    fetch_mode: str | None = None

    @classmethod
    def from_asgi(cls, headers: Iterable[tuple[bytes, bytes]]) -> OriginHeaders:
        """
        Pick the headers from an ASGI scope's list.
        """
        fields: dict[str, str | None] = {}
        for name, value in headers:
            field = _FIELDS.get(name.lower())
            if field is not None:
                # Two values come from tampering or from a proxy that merges: neither can be trusted.
                fields[field] = None if field in fields else value.decode("latin-1")
        return cls(**fields)

    @classmethod
    def from_environ(cls, environ: Mapping[str, Any]) -> OriginHeaders:
        """
        Pick the headers from a WSGI environ or Django's `request.META`.
        """
        # Servers join repeated headers with commas, which no origin has.
        return cls(**{field: environ.get(name) for name, field in _VARIABLES.items()})


_FIELDS: Final = {
    b"origin": "origin",
    b"referer": "referer",
    b"host": "host",
    b"sec-fetch-site": "fetch_site",
    b"sec-fetch-mode": "fetch_mode",
}


_VARIABLES: Final = {f"HTTP_{name.decode().replace('-', '_').upper()}": field for name, field in _FIELDS.items()}


@dataclass(frozen=True, slots=True)
class ResolvedHost:
    """
    The host of a usage point and how it was chosen.
    """

    value: str | None
    source: HostSource


def is_local(host: str) -> bool:
    """
    Whether *host*, an origin or its name and port, is on this machine or in a private network, where no public page is.

    The licensing API documents that "`localhost` or similar" counts as development, without a list; this is our reading
    of it. A text that is neither is not local.
    """
    try:
        name = urlsplit(host if "://" in host else f"//{host}").hostname
    except ValueError:
        return False
    name = (name or "").removesuffix(".")
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(_LOCAL_SUFFIXES))


def own_origin(scheme: str, host: str | None) -> str | None:
    """
    Return the server's own origin, from the resolved *scheme* and the `Host` header.
    """
    origin = f"{scheme}://{host}"
    return origin if host and is_origin(origin) else None


def resolve_host(
    headers: OriginHeaders,
    *,
    own: Callable[[], str | None],
    configured: str | None = None,
    allows: Callable[[str], bool] | None = None,
) -> ResolvedHost:
    """
    Choose the host of a usage point: configured, else `Origin`, else the origin of `Referer`, else the server's own.

    The server's own origin counts only for requests that a browser marks as coming from the same origin or from the
    address bar. An origin that is not allowed ends the search: a client must not choose the source.

    Args:
        headers: Headers of the request.
        own: Returns the server's own origin as the framework resolves it behind trusted proxies.
        configured: A fixed host; wins over everything.
        allows: Whether an origin is allowed; `None` allows all.
    """
    if configured is not None:
        return ResolvedHost(configured, "configured")
    for source, value in _candidates(headers, own):
        if value is not None:
            if allows is None or allows(value):
                return ResolvedHost(value, source)
            return ResolvedHost(None, "refused")
    return ResolvedHost(None, "unknown")


def _candidates(headers: OriginHeaders, own: Callable[[], str | None]) -> Iterable[tuple[HostSource, str | None]]:
    if headers.origin is not None:
        yield "origin", headers.origin if is_origin(headers.origin) else None
    if headers.referer is not None:
        yield "referer", origin_of_referer(headers.referer)
    same_origin = headers.fetch_site == "same-origin"
    address_bar = headers.fetch_site == "none" and headers.fetch_mode == "navigate"
    if same_origin or address_bar:
        yield "own", own()
