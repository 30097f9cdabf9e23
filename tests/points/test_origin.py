"""
The host of a usage point, against what Chromium was recorded sending and against whatever anybody may send.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.points.origin import (
    AllowedOrigins,
    HostSource,
    OriginHeaders,
    ResolvedHost,
    check_origin,
    is_local,
    is_origin,
    origin_of_referer,
    own_origin,
    resolve_host,
)

GOLDEN = Path(__file__).parent.parent / "golden"
#: Numbers for the ports that the recordings leave open.
PORTS = {"{A}": "8001", "{A2}": "8002", "{L}": "8003", "{S}": "8004", "{PROXY}": "8443", "{V6}": "8006"}
#: The recordings' servers that spoke TLS.
TLS = {"S", "E443"}
APP = "https://myapp.com"
OTHER = "https://other.example"


def load(name: str) -> list[dict[str, Any]]:
    text = (GOLDEN / name).read_text()
    for placeholder, port in PORTS.items():
        text = text.replace(placeholder, port)
    return json.loads(text)["cases"]


INPUTS = load("origins.json")
EXCHANGES = [(case, request) for case in load("browser_headers.json") for request in case["requests"]]
SENT_ORIGINS = sorted({headers["origin"] for _, request in EXCHANGES if "origin" in (headers := request["headers"])})


def resolve(
    origin: str | None = None,
    referer: str | None = None,
    *,
    site: str | None = None,
    mode: str | None = None,
    own: str | None = None,
    **options: Any,
) -> ResolvedHost:
    headers = OriginHeaders(origin, referer, fetch_site=site, fetch_mode=mode)
    return resolve_host(headers, own=lambda: own, **options)


def is_serialised(value: str) -> bool:
    """
    An oracle of its own: take *value* apart as a URL, put it together as the URL standard does, and compare.
    """
    try:
        parts = urlsplit(value)
        port, host = parts.port, parts.hostname or ""
        host = f"[{serialise_ipv6(host)}]" if ":" in host else serialise_name(host)
    except ValueError:
        return False
    tail = "" if port in (None, {"http": 80, "https": 443}.get(parts.scheme)) else f":{port}"
    return parts.scheme in {"http", "https"} and f"{parts.scheme}://{host}{tail}" == value


def serialise_name(host: str) -> str:
    labels = host.lower().removesuffix(".").split(".")
    if labels[-1].isdecimal() or re.match("0x[0-9a-f]*$", labels[-1]):
        return str(ipaddress.IPv4Address(host))
    if not all(0 < len(label) < 64 and re.sub("[-_]", "", label + "a").isalnum() for label in labels):
        raise ValueError(host)
    return host.encode("ascii").decode().lower()


def serialise_ipv6(host: str) -> str:
    pieces = [f"{int(piece, 16):x}" for piece in ipaddress.IPv6Address(host).exploded.split(":")]
    text = ":".join(pieces)
    runs = sorted(re.findall(r"(?:\b0\b:?){2,}", text), key=len)
    if runs:
        text = text.replace(runs[-1], "::", 1).replace(":::", "::")
    return text


@pytest.mark.parametrize(("text", "serialised"), [("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("::1", "::1"), ("1::", "1::")])
def test_oracle_compresses_ipv6(text: str, serialised: str) -> None:
    """
    The oracle shortens the longest run of zeros, as the URL standard says.
    """
    assert serialise_ipv6(text) == serialised


@pytest.mark.parametrize("case", INPUTS, ids=lambda case: f"{case['group']}: {case['input'][:40]!r}")
def test_recorded_input(case: dict[str, Any]) -> None:
    """
    Nothing is an origin but what Chromium, given it, serialises to the same string.
    """
    if is_origin(case["input"]):
        assert case["chromiumOrigin"] == case["input"]


def test_recorded_inputs_are_not_all_refused() -> None:
    """
    The plain origins among the recorded inputs are accepted.
    """
    assert sum(is_origin(case["input"]) for case in INPUTS) == 17


@pytest.mark.parametrize("origin", SENT_ORIGINS)
def test_sent_origin(origin: str) -> None:
    """
    Every http(s) `Origin` that Chromium sent is accepted, and no other.
    """
    assert is_origin(origin) is origin.startswith("http")


def replay(request: dict[str, Any]) -> ResolvedHost:
    headers = request["headers"]
    scheme = headers.get("x-forwarded-proto", "https" if request["server"] in TLS else "http")
    host = headers.get("x-forwarded-host", headers["host"])
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return resolve_host(OriginHeaders.from_asgi(raw), own=lambda: own_origin(scheme, host))


@pytest.mark.parametrize(("case", "request_"), EXCHANGES, ids=lambda part: part.get("name", part.get("method")))
def test_recorded_request_is_never_wrong(case: dict[str, Any], request_: dict[str, Any]) -> None:
    """
    Behind a trusted proxy, the host is the page's origin or unknown.
    """
    page = case["derived"]
    found = replay(request_).value

    assert found in (None, page["frontendLocationOrigin"], page["frontendSelfOrigin"])


def test_recorded_requests_score() -> None:
    """
    Of the 114 recorded requests only those from opaque, foreign or referrer-less pages stay unknown.
    """
    sources = Counter(replay(request).source for _, request in EXCHANGES)

    assert sources == {"origin": 72, "referer": 26, "own": 3, "unknown": 13}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"origin": APP, "referer": f"{OTHER}/x"}, (APP, "origin")),
        ({"origin": "null", "referer": f"{APP}/x?secret=1"}, (APP, "referer")),
        ({"origin": f"{APP}/path", "referer": f"{APP}/"}, (APP, "referer")),
        ({"referer": f"{APP}/x", "own": OTHER, "site": "same-origin"}, (APP, "referer")),
        ({"own": APP, "site": "same-origin"}, (APP, "own")),
        ({"own": APP, "site": "same-origin", "origin": "null"}, (APP, "own")),
        ({"own": APP, "site": "none", "mode": "navigate"}, (APP, "own")),
        ({"own": APP, "site": "none", "mode": "cors"}, (None, "unknown")),
        ({"own": APP, "site": "same-site"}, (None, "unknown")),
        ({"own": APP, "site": "cross-site", "mode": "navigate"}, (None, "unknown")),
        ({"own": APP}, (None, "unknown")),
        ({"own": None, "site": "same-origin"}, (None, "unknown")),
        ({"origin": "null"}, (None, "unknown")),
        ({"origin": "chrome-extension://abc"}, (None, "unknown")),
        ({"origin": "capacitor://localhost", "referer": "file:///x"}, (None, "unknown")),
        ({"origin": OTHER, "configured": APP}, (APP, "configured")),
        ({"configured": APP, "allows": AllowedOrigins([])}, (APP, "configured")),
        ({"origin": APP, "allows": AllowedOrigins([APP])}, (APP, "origin")),
        ({"origin": OTHER, "allows": AllowedOrigins([APP])}, (None, "refused")),
        ({"origin": OTHER, "referer": f"{APP}/", "allows": AllowedOrigins([APP])}, (None, "refused")),
        ({"referer": f"{OTHER}/x", "allows": AllowedOrigins([APP])}, (None, "refused")),
        ({"own": OTHER, "site": "same-origin", "allows": AllowedOrigins([APP])}, (None, "refused")),
    ],
)
def test_order(asked: dict[str, Any], expected: tuple[str | None, str]) -> None:
    """
    Configured host, `Origin`, `Referer`, own origin, in this order; an origin not allowed ends the search.
    """
    found = resolve(**asked)

    assert (found.value, found.source) == expected


def test_own_is_not_asked_for_nothing() -> None:
    """
    The server's own origin is worked out only when it can count.
    """

    def own() -> str:
        pytest.fail("asked")

    assert resolve_host(OriginHeaders(APP), own=own).value == APP


TRICKS = [
    "null",
    "",
    "*",
    "http://localhost:3000@evil.example",
    "http://localhost\\@evil.example",
    "http://localhost\\.evil.example",
    "http://127.1",
    "http://2130706433",
    "http://0x7f000001",
    "http://0x",
    "http://0177.0.0.1",
    "http://1.2.3.4.",
    "http://1.2.3",
    "http://256.0.0.1",
    "http://[::ffff:127.0.0.1]",
    "http://[::FFFF:7f00:1]",
    "http://[0:0:0:0:0:0:0:1]",
    "http://[::1%25lo]",
    "http://[::1",
    "http://[1::2::3]",
    "https://exam\tple.com",
    "https://exam\nple.com",
    "https://example.com\n",
    " https://example.com",
    "https://example.com\0",
    "https://a.example,https://b.example",
    "https://a.example https://b.example",
    "https://example.com/",
    "https://example.com?x",
    "https://example.com#x",
    "https://example.com:443",
    "http://example.com:80",
    "https://example.com:0443",
    "https://example.com:65536",
    "https://example.com:",
    "https://example.com:\u0661",
    "https://Example.com",
    "HTTPS://example.com",
    "https://b\u00fccher.example",
    "https://\uff45xample.com",
    "https://a..b",
    "https://.",
    "https://-.example:99999",
    "https://",
    "https:example.com",
    "//example.com",
    "file://",
    "ws://example.com",
    "blob:https://example.com",
    f"https://{'a' * 64}.com",
    "https://" + ".".join(["a" * 63] * 4),
    f"https://{'a.' * 4000}com",
    "https://xn--",
    "https://xn---",
    "https://xn--zz--zz",
    "https://xn--99999999",
    "https://a.xn--.example",
    "https://xn--bcher-kva.xn--",
    "https://xn--ib9b",  # a surrogate
]


@pytest.mark.parametrize("value", TRICKS, ids=lambda value: repr(value)[:40])
def test_trick(value: str) -> None:
    """
    What a browser would not have serialised like this is no origin.
    """
    assert resolve(value) == ResolvedHost(None, "unknown")


@pytest.mark.parametrize(
    "value", [trick for trick in TRICKS if not trick.endswith("/")], ids=lambda value: repr(value)[:40]
)
def test_trick_in_referer(value: str) -> None:
    """
    Nor does it become one by standing at the beginning of a referrer.
    """
    assert origin_of_referer(f"{value}/") is None


@pytest.mark.parametrize(
    "value",
    [
        "http://localhost",
        "http://localhost.:3000",
        "http://sub.localhost:0",
        "https://xn--bcher-kva.example",
        "https://xn--fa-hia.xn--zckzah.",
        "https://www.xn--ls8h:8443",
        "https://axn--.example",
        "https://a_b.example:65535",
        "http://127.0.0.1",
        "https://1.2.3.4.example",
        "http://[::1]:8000",
        "http://[::ffff:7f00:1]",
        "https://" + ".".join(["a" * 63] * 3) + ".example:8443",
    ],
)
def test_unusual_origin(value: str) -> None:
    """
    Unusual but serialised origins are accepted.
    """
    assert is_origin(value)


@pytest.mark.parametrize(
    "referer", [APP, f"{APP}\\x/", f"{APP}@evil.example/", f"{APP}/a b", f"{APP}/\u00fc", f"x{APP}/", f"{APP}?/"]
)
def test_bad_referer(referer: str) -> None:
    """
    A referrer that no browser writes has no origin.
    """
    assert origin_of_referer(referer) is None


@pytest.mark.parametrize("name", [b"origin", b"referer", b"host", b"Sec-Fetch-Site", b"sec-fetch-mode"])
@pytest.mark.parametrize("times", [2, 3])
def test_repeated_header_counts_as_absent(name: bytes, times: int) -> None:
    """
    A header that comes more than once says nothing, even when the values agree.
    """
    assert OriginHeaders.from_asgi([(name, b"same-origin")] * times) == OriginHeaders()


@pytest.mark.parametrize(
    ("origin", "local"),
    [
        ("http://localhost", True),
        ("http://localhost.:8000", True),
        ("http://app.localhost:3000", True),
        ("http://127.0.0.1:8000", True),
        ("http://0.0.0.0", True),
        ("https://10.1.2.3", True),
        ("https://172.16.0.1", True),
        ("https://192.168.1.10:8443", True),
        ("https://169.254.1.1", True),
        ("http://[::1]:3000", True),
        ("http://[fd00::1]", True),
        ("http://[fe80::1]", True),
        ("http://[::ffff:7f00:1]", True),
        ("http://backend", True),
        ("http://backend:8000", True),
        ("http://app.default.svc.cluster.local", True),
        ("http://ip-10-0-0-5.ec2.internal", True),
        ("http://app.test", True),
        ("https://myapp.com", False),
        ("https://localhost.com", False),
        ("https://mylocal", True),
        ("https://my.locals", False),
        ("https://8.8.8.8", False),
        ("https://172.32.0.1", False),
        ("https://[2606:4700::1111]", False),
    ],
)
def test_local(origin: str, *, local: bool) -> None:
    """
    Names and addresses that no public page has are local.
    """
    assert is_origin(origin)
    assert is_local(origin) is local


#: The recorded origins of pages that are not public.
LOCAL = {
    *("http://0.0.0.0", "http://127.0.0.1", "http://[::1]", "https://[::1]", "http://[::]"),
    "http://[2001:db8::1:0:0:1]",  # for documentation, RFC 3849
    *("http://localhost", "http://foo.localhost:3000", "https://tauri.localhost"),
    *("http://myhost", "http://1e3", "https://c"),
}


def test_recorded_local_origins() -> None:
    """
    Of the recorded origins those without a public page are local.
    """
    origins = {case["origin"] for case in INPUTS if case["origin"] and is_origin(case["origin"])}

    assert {origin for origin in origins if is_local(origin)} == LOCAL


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost:3000", True), ("myapp.com:3000", False), ("", False), ("http://[::1", False), ("file://", False)],
)
def test_local_text(host: str, *, local: bool) -> None:
    """
    A host may come without its scheme; what is no host is not local.
    """
    assert is_local(host) is local


@pytest.mark.parametrize("host", [None, "", "Example.com", "example.com/", "a@b", "example.com:80", "a,b"])
def test_bad_own_host(host: str | None) -> None:
    """
    A `Host` header that makes no serialised origin gives none.
    """
    assert own_origin("http", host) is None


@pytest.mark.parametrize(
    ("origin", "listed"),
    [
        (APP, True),
        ("https://a.myapp.com", False),
        ("http://myapp.com", False),
        ("https://myapp.com:8443", False),
        ("https://x.tenants.example", True),
        ("https://x.y.tenants.example", True),
        ("https://tenants.example", False),
        ("https://eviltenants.example", False),
        ("http://x.tenants.example", False),
        ("https://x.tenants.example:8443", False),
        ("https://x.tenants.example.evil.example", False),
    ],
)
def test_allowed(origin: str, *, listed: bool) -> None:
    """
    An entry allows itself; a star stands for one or more whole labels, of that scheme and port.
    """
    assert AllowedOrigins([APP, "https://*.tenants.example"])(origin) is listed


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "https://*",
        "https://*.",
        "https://a*.b.example",
        "https://*.*.example",
        "*.myapp.com",
        "https://*.MyApp.com",
    ],
)
def test_bad_pattern(pattern: str) -> None:
    """
    A pattern that could match in a surprising way is refused; the message shows it as it was written.
    """
    with pytest.raises(ConfigurationError, match=f"^trusted: {re.escape(repr(pattern))} is not an origin"):
        AllowedOrigins([pattern], field="trusted")


@pytest.mark.parametrize(
    ("value", "hint"),
    [("myapp.com", APP), ("https://MyApp.com/", APP), (" http://localhost:3000/ ", "http://localhost:3000")],
)
def test_near_miss_is_named(value: str, hint: str) -> None:
    """
    A configured host that is nearly an origin is refused with the right spelling.
    """
    with pytest.raises(ConfigurationError, match=re.escape(f"did you mean {hint!r}?")):
        check_origin("host", value)


def test_hopeless_value_has_no_hint() -> None:
    """
    Without a right spelling at hand the message gives an example only.
    """
    with pytest.raises(ConfigurationError, match="is not an origin like") as caught:
        check_origin("host", "not a host")

    assert "did you mean" not in str(caught.value)


KEY: Final = "rm_pub_4b0a1c2d3e4f"


@pytest.mark.parametrize("key", [KEY, f"\n{KEY}", f"%20{KEY}"])
def test_licence_key_instead_of_a_host(key: str) -> None:
    """
    A licence key in the place of a host is shown neither as the value nor in a hint.
    """
    with pytest.raises(ConfigurationError) as caught:
        check_origin("host", key)

    assert KEY.removeprefix("rm_pub_") not in str(caught.value)


WORDS = (
    "http https :// : / @ \\ . localhost evil.example MyApp [::1] [1:0:0:2::3] 127.0.0.1 0x7f 1 443 80 8080 xn--a null"
)
MARKS = [*"%#? \t\n\0*_-\u00fc", "::ffff:7f00:1", "01", "a" * 63]
pieces = st.sampled_from([*WORDS.split(), *MARKS])
values = st.none() | st.text(max_size=30) | st.lists(pieces, max_size=9).map("".join)
origins = st.builds("{}://{}".format, st.sampled_from(["http", "https"]), st.lists(pieces, max_size=6).map("".join))


@given(values | origins)
@example("http://[1:0:0:2:0:0:0:3]")
@example("https://[1:0:0:2::3]:8443")
def test_accepted_is_serialised(value: str | None) -> None:
    """
    Whatever is accepted is what an independent parser serialises to the same string.
    """
    if value is not None and is_origin(value):
        assert is_serialised(value)


@given(st.text("abcxyz0189-_", max_size=59))
def test_any_punycode(text: str) -> None:
    """
    Whatever follows `xn--` is judged without an error, and only what stands for a name is accepted.
    """
    if is_origin(f"https://xn--{text}.example"):
        assert text.encode().decode("punycode") != ""


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: not text.isascii()))
def test_any_international_name(name: str) -> None:
    """
    A name in any script, encoded as browsers do, is accepted.
    """
    encoded = name.lower().encode("punycode").decode()
    origin = f"https://xn--{encoded}.example"

    assert is_origin(origin) or not re.fullmatch("[a-z0-9_-]{1,59}", encoded)


@given(
    st.builds(
        OriginHeaders,
        origin=values | origins,
        referer=values | origins | origins.map("{}/secret?x".format),
        host=values | st.lists(pieces, max_size=4).map("".join),
        fetch_site=st.sampled_from([None, "same-origin", "same-site", "none", "cross-site"]),
        fetch_mode=st.sampled_from([None, "navigate", "cors"]),
    ),
    st.sampled_from([None, AllowedOrigins([]), AllowedOrigins([APP, "https://*.example", "http://localhost"])]),
)
@example(OriginHeaders(APP), AllowedOrigins([APP]))
@example(OriginHeaders(host="localhost", fetch_site="same-origin"), AllowedOrigins(["http://localhost"]))
def test_any_headers(headers: OriginHeaders, allows: AllowedOrigins | None) -> None:
    """
    No headers make a host that is not an allowed, serialised origin.
    """
    found = resolve_host(headers, own=lambda: own_origin("http", headers.host), allows=allows)

    assert found.source in get_args(HostSource)
    assert found.value is None or (is_serialised(found.value) and (allows is None or allows(found.value)))


@given(st.lists(st.tuples(st.sampled_from([b"origin", b"Referer", b"host", b"x"]), st.binary(max_size=20))))
def test_any_asgi_headers(headers: list[tuple[bytes, bytes]]) -> None:
    """
    No bytes make reading the headers fail.
    """
    assert isinstance(OriginHeaders.from_asgi(headers), OriginHeaders)
