"""
The host of a request's usage point, and what never leaves a request: bad origins and licence keys.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from remotion_licensing_integrations import ConfigurationError, Settings, UsageRecorder
from remotion_licensing_integrations.starlette import UsageMiddleware, usage_point

from ._asgi import KEY, ORIGIN, QUIET, exchange
from ._starlette import starlette_app

OTHER = "https://other.com"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin", "Host": "app.test"}


@usage_point("cloud-render")
async def convert(_: Any) -> PlainTextResponse:
    return PlainTextResponse("done")


@usage_point("cloud-render", host=OTHER)
async def convert_for_other(_: Any) -> PlainTextResponse:
    return PlainTextResponse("done")


@usage_point("cloud-render")
async def crash(_: Any) -> PlainTextResponse:
    raise ValueError


def hosts(recorded: Any) -> list[str | None]:
    return [point.host for point in recorded.points]


def app_of(endpoint: Any = convert, **options: Any) -> Starlette:
    return starlette_app(Route("/convert", endpoint, methods=["POST"]), **options)


REQUESTS: list[tuple[dict[str, str], str | None]] = [
    ({}, None),
    ({"Origin": ORIGIN}, ORIGIN),
    ({"Origin": ORIGIN, "Referer": f"{OTHER}/page"}, ORIGIN),
    ({"Origin": "http://localhost:3000"}, "http://localhost:3000"),
    ({"Origin": "null"}, None),
    ({"Origin": "null", "Referer": f"{OTHER}/page?a=b#c"}, OTHER),
    ({"Origin": f"{ORIGIN}/path"}, None),
    ({"Origin": "HTTPS://MYAPP.COM"}, None),
    ({"Origin": f"{ORIGIN}:443"}, None),
    ({"Origin": f"{ORIGIN}, {OTHER}"}, None),
    ({"Origin": "chrome-extension://abc"}, None),
    ({"Referer": f"{OTHER}/a/b?secret=1"}, OTHER),
    ({"Referer": "https://user:word@other.com/"}, None),
    ({"Referer": "/convert"}, None),
    (SAME_ORIGIN, "http://app.test"),
    ({**SAME_ORIGIN, "Sec-Fetch-Site": "cross-site"}, None),
    ({**SAME_ORIGIN, "Sec-Fetch-Site": "none"}, None),
    ({**SAME_ORIGIN, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, "http://app.test"),
    ({**SAME_ORIGIN, "X-Forwarded-Host": "evil.com", "X-Forwarded-Proto": "https"}, "http://app.test"),
    ({"Host": "app.test"}, None),
]


@pytest.mark.parametrize(("headers", "host"), REQUESTS)
def test_host(headers: dict[str, str], host: str | None, remotion_usage) -> None:
    """
    The host is the page's origin exactly as a browser writes it, from the first header that tells, or unknown.
    """
    exchange(app_of(), headers=headers)

    assert [host] == hosts(remotion_usage)


@pytest.mark.parametrize("second", [ORIGIN, OTHER])
def test_two_origins(second: str, remotion_usage) -> None:
    """
    Two `Origin` headers are as good as none.
    """
    app = app_of()
    raw = [(b"origin", ORIGIN.encode()), (b"origin", second.encode())]

    async def with_both(given: Any, receive: Any, send: Any) -> None:
        await app({**given, "headers": raw}, receive, send)

    exchange(with_both)

    assert hosts(remotion_usage) == [None]


def test_scheme_of_the_server(remotion_usage) -> None:
    """
    The own origin has the scheme that the server has found out behind its trusted proxy.
    """
    exchange(app_of(), scheme="https", headers=SAME_ORIGIN)

    assert hosts(remotion_usage) == ["https://app.test"]


@pytest.mark.parametrize("name", [None, "", "a b", "evil.com/@app.test", "a,b"])
def test_bad_own_host(name: str | None, remotion_usage) -> None:
    """
    Without a usable `Host` header the server's address is not taken instead.
    """
    headers = {"Sec-Fetch-Site": "same-origin"} | ({} if name is None else {"Host": name})
    exchange(app_of(), server=("10.0.0.5", 8000), headers=headers)

    assert hosts(remotion_usage) == [None]


@pytest.mark.parametrize(("endpoint", "host"), [(convert, ORIGIN), (convert_for_other, OTHER)])
def test_configured(endpoint: Any, host: str, remotion_usage) -> None:
    """
    A configured host overrules the request, and the decorator's overrules the setting's.
    """
    exchange(app_of(endpoint, host=ORIGIN), headers={"Origin": "https://third.com"})

    assert [host] == hosts(remotion_usage)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (ORIGIN, ORIGIN),
        ("https://eu.other.com", "https://eu.other.com"),
        (OTHER, None),
        ("http://myapp.com", None),
        ("https://myapp.com.evil.com", None),
        ("https://evilother.com", None),
    ],
)
def test_allowed_hosts(origin: str, host: str | None, remotion_usage) -> None:
    """
    An origin that is not allowed is no host, and nothing else of the request is asked then.
    """
    app = app_of(allowed_hosts=[ORIGIN, "https://*.other.com"])
    exchange(app, headers={"Origin": origin, "Referer": f"{ORIGIN}/"})

    assert [host] == hosts(remotion_usage)


def refusing(times: int) -> UsageRecorder:
    recorder = UsageRecorder(Settings(**QUIET, allowed_hosts=(ORIGIN,)))
    for number in range(times):
        exchange(app_of(recorder=recorder), headers={"Origin": f"https://attacker-{number}.com"})
    return recorder


def test_refused_is_counted(remotion_usage) -> None:
    """
    Each refused origin is counted.
    """
    assert refusing(3).counts().hosts == {"refused": 3}


def test_refused_is_logged(remotion_usage, caplog) -> None:
    """
    Refused origins are logged once, without what the request said.
    """
    refusing(3)

    (record,) = caplog.records
    assert (record.action, record.levelno) == ("host_refused", logging.WARNING)
    assert "attacker" not in caplog.text


def own_host(name: str, **options: Any) -> UsageRecorder:
    """
    Return the recorder of three requests that a page of the server itself has sent to *name*.
    """
    recorder = UsageRecorder(Settings(**{**QUIET, **options}))
    for _ in range(3):
        exchange(app_of(recorder=recorder), headers={"Host": name, "Sec-Fetch-Site": "same-origin"})
    return recorder


def test_local_own_host_is_logged(remotion_usage, caplog) -> None:
    """
    A server that is asked under a local address, as behind a proxy that rewrites Host, says so once, and what to set.
    """
    own_host("127.0.0.1:8000")

    (record,) = caplog.records
    assert (record.action, record.levelno) == ("host_local", logging.WARNING)
    assert "http://127.0.0.1:8000" in record.message
    assert "set host" in record.message
    assert hosts(remotion_usage) == ["http://127.0.0.1:8000"] * 3


@pytest.mark.parametrize(
    ("name", "options"),
    [("myapp.com", {}), ("127.0.0.1:8000", {"is_production": False}), ("localhost", {"host": OTHER})],
)
def test_own_host_that_is_right(name: str, options: dict[str, Any], remotion_usage, caplog) -> None:
    """
    A public name, points of development, and a configured host are no reason for a warning.
    """
    own_host(name, **options)

    assert caplog.records == []


def test_local_page_is_no_surprise(remotion_usage, caplog) -> None:
    """
    A page that says itself that it is local is one of development.
    """
    exchange(app_of(), headers={"Origin": "http://localhost:3000"})

    assert caplog.records == []


def start_up(**options: Any) -> None:
    with TestClient(Starlette(middleware=[Middleware(UsageMiddleware, **options)])):
        pass


def test_unknown_keyword() -> None:
    """
    A keyword that is no setting ends the app's start-up, by name.
    """
    with pytest.raises(TypeError, match="licence_key"):
        start_up(licence_key=KEY)


def test_bad_value() -> None:
    """
    A setting that is unusable ends the app's start-up, with name and value.
    """
    with pytest.raises(ConfigurationError, match=r"allowed_hosts: 'myapp\.com'"):
        start_up(allowed_hosts=["myapp.com"])


@pytest.mark.parametrize(
    "options", [{"settings": Settings()}, {"recorder": UsageRecorder(Settings(outbox="memory://"))}]
)
def test_settings_twice(options: dict[str, Any]) -> None:
    """
    Settings given in two ways are refused.
    """
    with pytest.raises(TypeError, match="takes one of"):
        start_up(license_key=KEY, **options)


def test_mistake_without_lifespan(caplog) -> None:
    """
    Where the server asks for no lifespan, requests are served all the same, and the log says once why none counts.
    """
    app = UsageMiddleware(app_of(), licence_key=KEY)
    for _ in range(2):
        assert exchange(app).status == 200

    assert [record.action for record in caplog.records] == ["bad_settings"]
    assert "licence_key" in caplog.text


def test_environment(remotion_usage, monkeypatch) -> None:
    """
    Without arguments the environment has the settings.
    """
    monkeypatch.setenv("REMOTION_LICENSING_HOST", OTHER)
    exchange(Starlette(routes=[Route("/convert", convert, methods=["POST"])], middleware=[Middleware(UsageMiddleware)]))

    assert hosts(remotion_usage) == [OTHER]


def test_no_key(caplog) -> None:
    """
    Without a licence key requests are served, nothing is recorded, and one warning says so.
    """
    recorder = UsageRecorder(Settings(outbox="memory://"))
    for _ in range(2):
        assert exchange(app_of(recorder=recorder)).status == 200

    assert [record.action for record in caplog.records] == ["no_license_key"]
    assert recorder.counts().stored.pending == 0


@pytest.mark.parametrize("endpoint", [convert, crash])
def test_key_is_not_logged(endpoint: Any, caplog) -> None:
    """
    No log line of a request shows the licence key, however the request ends.
    """

    class Refusing(UsageRecorder):
        async def arecord(self, point: Any, *, wait: float | None = None) -> bool:
            raise RuntimeError

    with caplog.at_level(logging.DEBUG):
        exchange(app_of(endpoint, recorder=Refusing(Settings(**QUIET))))

    assert caplog.records
    assert KEY not in caplog.text


def test_key_is_not_shown() -> None:
    """
    Neither middleware nor recorder, settings or scope shows the licence key.
    """
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(repr(scope))

    middleware = UsageMiddleware(app, **QUIET)
    exchange(middleware)
    shown = [*seen, repr(middleware), repr(middleware.recorder), repr(middleware.recorder.settings)]

    assert [text for text in shown if KEY in text] == []
