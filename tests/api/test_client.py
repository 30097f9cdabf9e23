"""
Both clients against a real server that answers what was recorded from the npm package.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

from remotion_licensing_integrations.api import client as client_module
from remotion_licensing_integrations.api.client import (
    AsyncLicensingClient,
    LicensingClient,
    aget_usage,
    aregister_usage_event,
    aregister_usage_point,
    get_usage,
    register_usage_event,
)
from remotion_licensing_integrations.errors import (
    APIError,
    CertificateError,
    ConfigurationError,
    EndpointError,
    KeyRefusedError,
    LicensingError,
    NoAnswerError,
    NotSentError,
    TransportError,
    UnavailableError,
)
from remotion_licensing_integrations.points.point import EventCount, Registration, Usage
from tests._servers import LIBRARIES, SUCCESS, answer, load_http, raw_server, reset, send, silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

KEY = "rm_pub_4bZ0kQ"
POINT: dict[str, Any] = {"event": "cloud-render", "host": "https://example.com", "succeeded": True}
USAGE = (
    b'{"success":true,"cloudRenders":{"billable":1,"development":2,"failed":3},'
    b'"webcodecConversions":{"billable":4,"development":5,"failed":6}}'
)
TIMEOUT = 0.15  # seconds, where a test waits for it
PATIENCE = 5.0  # seconds, where none should be waited


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """
    The pauses between attempts, which take no time here.
    """
    pauses: list[float] = []

    async def asleep(seconds: float) -> None:
        pauses.append(seconds)

    for library in LIBRARIES:
        module = load_http(library)
        monkeypatch.setattr(module.Connection, "sleep", staticmethod(pauses.append))
        monkeypatch.setattr(module.AsyncConnection, "sleep", staticmethod(asleep))
    return pauses


def call_sync(url: str, function: str, keywords: dict[str, Any], **options: Any) -> Any:
    with LicensingClient(KEY, base_url=url, **options) as client:
        return getattr(client, function)(**keywords)


def call_async(url: str, function: str, keywords: dict[str, Any], **options: Any) -> Any:
    async def run() -> Any:
        async with AsyncLicensingClient(KEY, base_url=url, **options) as client:
            return await getattr(client, function)(**keywords)

    return asyncio.run(run())


CALLS = pytest.mark.parametrize("call", [call_sync, call_async], ids=["sync", "async"])


class Recorder:
    """
    A transport that records requests and answers, or fails, by a list; the last entry is repeated.
    """

    def __init__(self, http: ModuleType, *answers: Any) -> None:
        self.requests: list[Any] = []
        self._answers = answers or (SUCCESS,)
        self._http = http
        self.transport = http.httpx.MockTransport(self._handle)

    def _handle(self, request: Any) -> Any:
        self.requests.append(request)
        found = self._answers[min(len(self.requests), len(self._answers)) - 1]
        if isinstance(found, Exception):
            raise found
        status, body = found if isinstance(found, tuple) else (200, found)
        return self._http.httpx.Response(status, content=body)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """
        The bodies of all requests.
        """
        return [json.loads(request.content) for request in self.requests]


GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "wire_responses.json").read_text())["cases"]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(SUCCESS), SUCCESS)
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + SUCCESS[:20]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(SUCCESS)
LATE = silence(seconds=0.05, then=HEAD + SUCCESS)

#: Servers for the recorded cases whose server is a script; seconds are scaled to the timeout.
SCRIPTS: dict[str, list[Any]] = {
    "204 no content": [send(b"HTTP/1.1 204 No Content\r\n\r\n", keep=True)],
    "200 chunked": [send(CHUNKED, keep=True)],
    "301 without Location": [answer(b"", 301)],
    "connection closed without a response": [send(b"")],
    "RST without a response": [reset()],
    "RST mid-body": [reset(HALF)],
    "FIN mid-body (Content-Length not reached)": [send(HALF)],
    "garbage instead of HTTP": [send(b"\x00garbage\r\n\r\n")],
    "headers at once, body after 12 s (timeout covers headers only)": [silence(HEAD, then=SUCCESS)],
    "no response for 11 s on 1st attempt, then success": [silence(), answer()],
    "never answers (timeout on all attempts)": [silence()],
    "slow answer at 9 s (no timeout)": [LATE],
    "getUsage 200 success": [answer(USAGE)],
    "getUsage 500 but success:true": [answer(b'{"success":true,"cloudRenders":1,"webcodecConversions":2}', 500)],
    "getUsage no answer for 12 s (no client timeout)": [silence()],
    "getUsage RST": [reset()],
}
TIMEOUTS = {
    "headers at once, body after 12 s (timeout covers headers only)": TIMEOUT,
    "no response for 11 s on 1st attempt, then success": 2 * TIMEOUT,
    "never answers (timeout on all attempts)": TIMEOUT,
    "getUsage no answer for 12 s (no client timeout)": TIMEOUT,
}
#: Recorded cases whose failure was injected below `fetch`: the attempts that fail, then the answer.
INJECTED: dict[str, tuple[int, Any]] = {
    'injected TypeError("Failed to fetch") (Chrome wording)': (4, None),
    'injected TypeError("Load failed") (Safari wording)': (4, None),
    'injected TypeError("NetworkError when attempting to fetch resource.") (Firefox wording)': (4, None),
    'injected TypeError("fetch failed") (Node wording)': (4, None),
    "injected Bun wording": (4, None),
    "injected DOMException TimeoutError (AbortSignal.timeout)": (4, None),
    "injected DOMException AbortError": (4, None),
    "injected: 2x Failed to fetch then success": (2, SUCCESS),
    "injected: 3x Failed to fetch then success on 4th": (3, SUCCESS),
    "injected: Failed to fetch then 500 JSON (stops)": (1, (500, b'{"success":false,"error":"boom"}')),
}

REDIRECT = "redirects are never followed: they carry the key elsewhere or report a false success"
REPEAT = "every missing answer is repeated, as the npm package means to; in Node it repeats none"
#: Differences from the npm package on purpose: the outcome here, the attempts, and the reason.
DELIBERATE: dict[str, tuple[Any, int, str]] = {
    **{
        case["name"]: (EndpointError, 1, REDIRECT)
        for case in GOLDEN
        if case["name"].removeprefix("getUsage ")[:3] in {"301", "302", "303", "307", "308"}
    },
    "headers at once, body after 12 s (timeout covers headers only)": (
        NoAnswerError,
        4,
        "the timeout bounds the whole answer, not its headers only",
    ),
    "getUsage no answer for 12 s (no client timeout)": (NoAnswerError, 1, "get_usage has a timeout too"),
    "getUsage 200 success without webcodecConversions": (UnavailableError, 1, "missing counts are no usage"),
    "getUsage 500 but success:true": (UnavailableError, 1, "counts that are no counts are no usage"),
    'error text contains "Failed to fetch" (500) -> retried': ("Failed to fetch project", 1, "an answer is no failure"),
    'error text contains "Load failed" (400) -> retried': ("Load failed", 1, "an answer is no failure"),
    "connection closed without a response": (NoAnswerError, 4, REPEAT),
    "RST without a response": (NoAnswerError, 4, REPEAT),
    "RST mid-body": (NoAnswerError, 4, REPEAT),
    "FIN mid-body (Content-Length not reached)": (NoAnswerError, 4, REPEAT),
    "garbage instead of HTTP": (NoAnswerError, 4, REPEAT),
    'injected TypeError("fetch failed") (Node wording)': (NotSentError, 4, REPEAT),
    "connection refused": (NotSentError, 4, REPEAT),
    "DNS failure (ENOTFOUND)": (NotSentError, 4, REPEAT),
    "injected Bun wording": (NotSentError, 4, REPEAT),
    "injected DOMException TimeoutError (AbortSignal.timeout)": (NotSentError, 4, REPEAT),
}
#: JavaScript's words for what its `Error` or `JSON.parse` got; here the message is a plain description.
JAVASCRIPT_WORDS = {"", "null", "[object Object]"}


@contextlib.contextmanager
def golden_server(case: dict[str, Any], http: ModuleType) -> Iterator[tuple[dict[str, Any], Callable[[], int]]]:
    """
    Yield the client's options for a recorded case, and a function that counts the attempts that arrived.
    """
    name, server = case["name"], case["server"]
    if name in INJECTED:
        failures, then = INJECTED[name]
        recorder = Recorder(http, *[http.httpx.ConnectError("injected")] * failures, *([then] if then else []))
        yield {"url": "http://sandbox", "transport": recorder.transport}, lambda: len(recorder.requests)
    elif "refused" in name or "DNS" in name:
        yield {"url": "http://127.0.0.1:1" if "refused" in name else "http://nonexistent.invalid"}, lambda: 0
    else:
        with raw_server(*_scripts(name, server)) as raw:
            yield {"url": raw.url}, lambda: len(raw.requests)


def _scripts(name: str, server: dict[str, Any]) -> list[Any]:
    if "script" not in server:
        body = bytes.fromhex(server["bodyHex"]) if "bodyHex" in server else server["bodyUtf8"].encode()
        return [answer(body, server["status"], server["headers"])]
    if name in SCRIPTS:
        return SCRIPTS[name]
    status = int(name.removeprefix("getUsage ")[:3])
    return [answer(b"", status, {"Location": "/elsewhere"}), answer()]


def outcome(case: dict[str, Any], call: Callable[..., Any], options: dict[str, Any]) -> Any:
    is_usage = case["fn"] == "getUsage"
    function, keywords = ("get_usage", {}) if is_usage else ("register_usage_event", POINT)
    try:
        return call(function=function, keywords=keywords, timeout=TIMEOUTS.get(case["name"], PATIENCE), **options)
    except LicensingError as error:
        return error


def assert_like_npm(case: dict[str, Any], found: Any) -> None:
    recorded = case["outcome"]
    if recorded["kind"] == "resolved":
        assert found == _result(recorded["value"])
    elif case["outcomeClass"] in {"network", "network-mid-body", "timeout"}:
        assert isinstance(found, TransportError)
    else:
        assert isinstance(found, APIError)
        message = recorded["error"]["message"]
        if recorded["error"]["name"] == "Error" and message not in JAVASCRIPT_WORDS:
            assert found.args == (message,)


def _result(value: dict[str, Any]) -> Registration | Usage:
    if "cloudRenders" in value:
        cloud, web = (EventCount(**value[name]) for name in ("cloudRenders", "webRenders"))
        return Usage(cloud, web, EventCount(**value["webcodecConversions"]))
    billable = value.get("billable")
    return Registration(None if billable is None else bool(billable), value.get("classification"))


@CALLS
@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden_response(case: dict[str, Any], call: Callable[..., Any], http: ModuleType, slept: list[float]) -> None:
    """
    Every recorded server behaviour ends as with the npm package, or differs on purpose.
    """
    with golden_server(case, http) as (options, attempts):
        found = outcome(case, call, options)

        expected, count, _ = DELIBERATE.get(case["name"], (None, None, None))
        if expected is None:
            assert_like_npm(case, found)
        else:
            assert type(found) is expected or found.args == (expected,)
        assert len(slept) + 1 == (count or case["fetchCalls"])
        # A request that ran out of time may not have been read yet.
        assert attempts() <= len(slept) + 1


def test_golden_tables_name_recorded_cases() -> None:
    """
    All 101 recorded cases are run, and no table names a case that is not among them.
    """
    names = {case["name"] for case in GOLDEN}

    assert len(GOLDEN) == 101
    assert (SCRIPTS.keys() | INJECTED.keys() | DELIBERATE.keys()) <= names


@pytest.mark.parametrize(
    ("constructor", "keywords", "sent"),
    [
        ("C", {"license_key": "L", "api_key": "A"}, "L"),
        ("C", {"license_key": "", "api_key": "A"}, ""),
        ("C", {"license_key": None, "api_key": "A"}, "A"),
        ("C", {"api_key": ""}, ""),
        ("C", {}, "C"),
        ("", {}, ""),
        (None, {}, None),
        ("free-license", {}, "free-license"),
        (None, {"license_key": " rm_pub_0000\n"}, " rm_pub_0000\n"),
    ],
)
def test_key_choice(constructor: str | None, keywords: dict[str, Any], sent: str | None, http: ModuleType) -> None:
    """
    The licence key wins over the API key, which wins over the constructor's; only None is not given.
    """
    recorder = Recorder(http, SUCCESS, USAGE)
    with LicensingClient(constructor, base_url="http://sandbox", transport=recorder.transport) as client:
        client.register_usage_event(**POINT, **keywords)
        client.get_usage(**keywords)

    assert [body["apiKey"] for body in recorder.bodies] == [sent, sent]


@CALLS
def test_one_idempotency_key_per_call(call: Callable[..., Any], http: ModuleType) -> None:
    """
    All attempts of a call carry the same new key, as the last field.
    """
    recorder = Recorder(http, http.httpx.ReadTimeout("x"), http.httpx.ReadTimeout("x"), SUCCESS)
    call("http://sandbox", "register_usage_event", POINT, transport=recorder.transport)

    keys = [body["idempotencyKey"] for body in recorder.bodies]
    assert (len(keys), len(set(keys)), list(recorder.bodies[0])[-1]) == (3, 1, "idempotencyKey")


def test_each_call_has_its_own_key(http: ModuleType) -> None:
    """
    Two calls of a client, one after the other, never share a key.
    """
    recorder = Recorder(http)
    with LicensingClient(KEY, base_url="http://sandbox", transport=recorder.transport) as client:
        client.register_usage_event(**POINT)
        client.register_usage_event(**POINT)

    async def run() -> None:
        async with AsyncLicensingClient(KEY, base_url="http://sandbox", transport=recorder.transport) as client:
            await client.register_usage_event(**POINT)
            await client.register_usage_point(**POINT)

    asyncio.run(run())
    assert len({body["idempotencyKey"] for body in recorder.bodies}) == 4


@pytest.mark.parametrize(
    ("idempotency", "field", "header"), [("body", "k-1", None), ("header", None, "k-1"), ("off", None, None)]
)
def test_idempotency_modes(idempotency: Any, field: str | None, header: str | None, http: ModuleType) -> None:
    """
    The key goes into the body, into a header, or nowhere.
    """
    recorder = Recorder(http)
    options = {"transport": recorder.transport, "idempotency": idempotency}
    register_usage_event(**POINT, idempotency_key="k-1", base_url="http://sandbox", **options)

    assert recorder.bodies[0].get("idempotencyKey") == field
    assert recorder.requests[0].headers.get("Idempotency-Key") == header


@pytest.mark.parametrize(("mode", "key"), [("body", ""), ("off", "é"), ("header", " k"), ("body", 7)])
def test_bad_idempotency_key(mode: Any, key: Any, http: ModuleType) -> None:
    """
    A key that could not be sent is refused before anything is.
    """
    recorder = Recorder(http)
    with pytest.raises(ConfigurationError, match=r"^idempotency_key: "):
        register_usage_event(
            **POINT, idempotency_key=key, base_url="http://sandbox", transport=recorder.transport, idempotency=mode
        )

    assert not recorder.requests


def test_event_is_not_validated(http: ModuleType) -> None:
    """
    An unknown event goes out, as in the npm package.
    """
    recorder = Recorder(http)
    register_usage_event(event="nonsense", host="x", succeeded=True, base_url="http://s", transport=recorder.transport)

    assert recorder.bodies[0]["event"] == "nonsense"


@CALLS
def test_pauses(call: Callable[..., Any], http: ModuleType, slept: list[float]) -> None:
    """
    Between four attempts there are 1, 2 and 4 seconds.
    """
    recorder = Recorder(http, http.httpx.ConnectTimeout("x"))
    with pytest.raises(NotSentError):
        call("http://sandbox", "register_usage_event", POINT, transport=recorder.transport)

    assert slept == [1, 2, 4]


def test_longest_pause(http: ModuleType, slept: list[float]) -> None:
    """
    The pauses double up to 15 minutes, and no number of attempts overflows them.
    """
    recorder = Recorder(http, http.httpx.ConnectTimeout("x"))
    with pytest.raises(NotSentError):
        call_sync("http://sandbox", "register_usage_event", POINT, transport=recorder.transport, max_attempts=1100)

    assert slept[8:12] == [256, 512, 900, 900]
    assert slept[-1] == 900


@CALLS
@pytest.mark.parametrize("max_attempts", [1, 2, 6])
def test_max_attempts(max_attempts: int, call: Callable[..., Any], http: ModuleType) -> None:
    """
    No more attempts are made than allowed.
    """
    recorder = Recorder(http, http.httpx.ReadError("x"))
    with pytest.raises(NoAnswerError):
        call("http://s", "register_usage_event", POINT, transport=recorder.transport, max_attempts=max_attempts)

    assert len(recorder.requests) == max_attempts


@CALLS
def test_usage_is_asked_once(call: Callable[..., Any], http: ModuleType, slept: list[float]) -> None:
    """
    `get_usage` repeats nothing, as in the npm package.
    """
    recorder = Recorder(http, http.httpx.ConnectError("x"))
    with pytest.raises(NotSentError):
        call("http://sandbox", "get_usage", {}, transport=recorder.transport)

    assert (len(recorder.requests), slept) == (1, [])


def test_answers_are_not_repeated(http: ModuleType, slept: list[float]) -> None:
    """
    What the API answered stands, whatever it is.
    """
    recorder = Recorder(http, (503, b"busy"))
    with pytest.raises(UnavailableError):
        call_sync("http://sandbox", "register_usage_event", POINT, transport=recorder.transport)

    assert (len(recorder.requests), slept) == (1, [])


def test_bad_certificate_is_not_repeated(http: ModuleType, slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A bad certificate fails at once.
    """
    monkeypatch.setattr(http, "translate", lambda _: CertificateError)
    recorder = Recorder(http, http.httpx.ConnectError("x"))
    with pytest.raises(CertificateError):
        call_sync("http://sandbox", "register_usage_event", POINT, transport=recorder.transport)

    assert (len(recorder.requests), slept) == (1, [])


def test_repeats_are_logged(http: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """
    Each repeat is one log line.
    """
    caplog.set_level(logging.INFO, "remotion_licensing_integrations")
    recorder = Recorder(http, http.httpx.ReadError("x"), http.httpx.ReadError("x"), SUCCESS)
    call_sync("http://sandbox", "register_usage_event", POINT, transport=recorder.transport)

    assert [getattr(record, "action", None) for record in caplog.records].count("repeat_call") == 2


@pytest.mark.parametrize("owner", [client_module, LicensingClient, AsyncLicensingClient])
def test_register_usage_point_is_the_same_function(owner: Any) -> None:
    """
    The documented page's name and the npm function's name are one function, asynchronous ones too.
    """
    assert owner.register_usage_point is owner.register_usage_event
    assert aregister_usage_point is aregister_usage_event


def test_module_functions(http: ModuleType) -> None:
    """
    The four functions make one call each.
    """
    options = {"base_url": "http://sandbox", "timeout": 1.0, "max_attempts": 1, "license_key": KEY}
    usage = Recorder(http, USAGE).transport
    point = Recorder(http).transport

    registration = Registration(billable=True, classification="billable")
    assert register_usage_event(**POINT, **options, transport=point) == registration
    assert asyncio.run(aregister_usage_event(**POINT, **options, transport=point)) == registration
    assert get_usage(**options, transport=usage) == asyncio.run(aget_usage(**options, transport=usage))


@pytest.mark.parametrize(
    ("function", "method", "more"),
    [
        (AsyncLicensingClient.register_usage_event, "register_usage_event", None),
        (AsyncLicensingClient.get_usage, "get_usage", None),
        (register_usage_event, "register_usage_event", LicensingClient),
        (get_usage, "get_usage", LicensingClient),
        (aregister_usage_event, "register_usage_event", AsyncLicensingClient),
        (aget_usage, "get_usage", AsyncLicensingClient),
    ],
)
def test_keywords_are_those_of_the_client(function: Any, method: str, more: type | None) -> None:
    """
    Type checkers know every form of a call by the keywords of the client's method; functions take its options too.
    """
    [unpacked] = get_type_hints(function)["call"].__args__
    parameters = {**inspect.signature(getattr(LicensingClient, method)).parameters}
    options = {**inspect.signature(more).parameters} if more else {}
    expected = {**options, **parameters}
    del expected["self"]

    assert expected.keys() == get_type_hints(unpacked).keys()
    assert {name for name, each in expected.items() if each.default is each.empty} == unpacked.__required_keys__


@pytest.mark.parametrize("function", [register_usage_event, aregister_usage_event])
@pytest.mark.parametrize(("keyword", "value"), [("base_uri", "http://sandbox"), ("evnt", "web-render")])
def test_unknown_keyword(function: Any, keyword: str, value: str) -> None:
    """
    A misspelt keyword is a TypeError that names it.
    """
    with pytest.raises(TypeError, match=keyword):
        asyncio.run(function(**POINT, **{keyword: value}))


@pytest.mark.parametrize("function", [register_usage_event, aregister_usage_event])
def test_missing_keyword(function: Any) -> None:
    """
    So is a missing one.
    """
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'host'"):
        asyncio.run(function(event="web-render", succeeded=True))


@pytest.mark.parametrize("function", [get_usage, aget_usage])
def test_unknown_keyword_of_get_usage(function: Any) -> None:
    """
    The call for usage takes its own keywords only.
    """
    with pytest.raises(TypeError, match="event"):
        asyncio.run(function(event="web-render"))


@pytest.mark.parametrize("cls", [LicensingClient, AsyncLicensingClient])
@pytest.mark.parametrize(("key", "shown"), [(KEY, "'***'"), (None, "None")])
def test_repr_hides_the_key(cls: type, key: str | None, shown: str) -> None:
    """
    The key is masked; no key shows as None.
    """
    assert repr(cls(key)) == f"{cls.__name__}({shown}, base_url='https://www.remotion.pro', timeout=10.0)"


@pytest.mark.parametrize("kind", [LicensingClient, AsyncLicensingClient])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("timeout", value) for value in (0, -1, float("nan"), float("inf"), "10", None, True)),
        *(("max_attempts", value) for value in (0, -1, 1.5, "4", None, True)),
        *(("idempotency", value) for value in ("BODY", "", None, [])),
        *(("base_url", value) for value in ("", None, 7, "www.remotion.pro", "https://a..b")),
    ],
)
def test_bad_option(kind: type, field: str, value: object) -> None:
    """
    An unusable option is refused at construction, by name and value.
    """
    with pytest.raises(ConfigurationError, match=f"^{field}: .*{re.escape(repr(value))}"):
        kind(**{field: value})


@pytest.mark.parametrize("base_url", ["http://sandbox/prefix", "http://sandbox/prefix/"])
def test_base_url_may_have_a_path(base_url: str, http: ModuleType) -> None:
    """
    A path and a closing slash in the base URL are fine.
    """
    recorder = Recorder(http)
    register_usage_event(**POINT, base_url=base_url, transport=recorder.transport)

    assert str(recorder.requests[0].url) == "http://sandbox/prefix/api/track/register-usage-point"


def test_closed_client() -> None:
    """
    A closed client says so.
    """
    client = LicensingClient(KEY)
    client.close()

    with pytest.raises(RuntimeError, match="LicensingClient is closed"):
        client.register_usage_event(**POINT)
    with pytest.raises(RuntimeError, match="is closed"):
        client.__enter__()


def test_closed_async_client() -> None:
    """
    So does a closed asynchronous one.
    """

    async def run() -> None:
        client = AsyncLicensingClient(KEY)
        await client.aclose()
        await client.get_usage()

    with pytest.raises(RuntimeError, match="AsyncLicensingClient is closed"):
        asyncio.run(run())


def test_key_refusal_names_no_key(http: ModuleType) -> None:
    """
    A server that repeats the key of the constructor or of the call does not get it into the error.
    """
    body = json.dumps({"success": False, "error": "Invalid API key sk-1 sk-2"}).encode()
    transport = Recorder(http, (401, body)).transport
    with LicensingClient("sk-1", base_url="http://sandbox", transport=transport) as client:
        for keywords, secret in (({}, "sk-1"), ({"license_key": "sk-2"}, "sk-2")):
            with pytest.raises(KeyRefusedError) as caught:
                client.register_usage_event(**POINT, **keywords)

            assert secret not in f"{caught.value} {caught.value.body}"


def test_import_loads_no_http_library() -> None:
    """
    The HTTP library is imported by the first call, not by the import of the clients.
    """
    code = (
        "import sys, remotion_licensing_integrations.api.client as c; c.LicensingClient();"
        "print(*{'httpx', 'httpx2', 'httpcore', 'httpcore2'} & sys.modules.keys())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert not output.split()


def test_transport_of_the_other_library(http: ModuleType) -> None:
    """
    A transport of the library that is not in use is refused by name, not by a failed assertion inside.
    """
    other = load_http(next(name for name in LIBRARIES if name != http.httpx.__name__))
    transport = other.httpx.MockTransport(lambda request: None)
    with pytest.raises(ConfigurationError, match=r"^transport: expected an httpx"):
        register_usage_event(**POINT, transport=transport)


def test_no_repeat_without_a_key(http) -> None:
    """
    Without an idempotency key, a request that may have been counted is not sent again.
    """
    recorder = Recorder(http, http.httpx.ReadTimeout("x"), SUCCESS)
    client = LicensingClient(KEY, transport=recorder.transport, idempotency="off")

    with client, pytest.raises(NoAnswerError):
        client.register_usage_event(event="cloud-render", host=None, succeeded=True)
    assert len(recorder.requests) == 1
