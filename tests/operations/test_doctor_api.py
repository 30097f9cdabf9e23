"""
What the doctor asks the licensing API, and what it makes of the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from remotion_licensing_integrations import Settings, UsageRecorder
from remotion_licensing_integrations.api import http
from remotion_licensing_integrations.errors import CertificateError
from remotion_licensing_integrations.operations.doctor import api as doctor_api
from remotion_licensing_integrations.operations.doctor.api import examine_api
from remotion_licensing_integrations.outbox import Finding
from tests.operations._keys import KEY

Ask = Callable[..., list[Finding]]


@pytest.fixture
def ask(server, monkeypatch) -> Ask:
    """
    Look at an API, by default the sandbox.
    """
    server.clear()
    server.set_failure()

    def ask(*, check_key: bool = False, **settings: Any) -> list[Finding]:
        values: Any = {"license_key": KEY, "base_url": server.url, "outbox": "memory://"} | settings
        return [*examine_api(UsageRecorder(Settings(**values)), check_key=check_key)]

    return ask


@pytest.fixture
def served() -> Iterator[Callable[..., tuple[str, list[tuple[str, bytes]]]]]:
    """
    Serve one answer at a URL, and note the path and the body of each request.
    """
    servers = []

    def serve(status: int = 200, body: bytes = b"{}", **headers: str) -> tuple[str, list[tuple[str, bytes]]]:
        requests: list[tuple[str, bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                requests.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response_only(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """
                Print nothing.
                """

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", requests

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def names(findings: list[Finding]) -> list[str]:
    return [finding.name for finding in findings]


def test_probe(ask, server) -> None:
    """
    The probe needs an answer, and registers nothing.
    """
    assert ask() == [Finding("ok", "api_answers", f"The licensing API at {server.url} answers.")]
    assert (server.requests, server.points()) == (0, [])


def test_probe_sends_no_key(ask, served) -> None:
    """
    The licence key goes out only when it is asked for.
    """
    url, requests = served()
    ask(base_url=url)

    assert requests == [("/api/validate-license-key", b'{"licenseKey": ""}')]


def test_probe_goes_through_the_proxy(ask, served, monkeypatch) -> None:
    """
    The probe takes the way of delivery: the proxy that the environment names.
    """
    proxy, requests = served()
    monkeypatch.setenv("http_proxy", proxy)

    assert names(ask(base_url="http://api.test")) == ["api_answers"]
    assert [path for path, _ in requests] == ["http://api.test/api/validate-license-key"]


def test_api_out_of_reach(ask, refused) -> None:
    """
    A refused connection is an error that says the points are kept.
    """
    [found] = ask(base_url=refused)

    assert (found.level, found.name) == ("error", "api_unreachable")
    assert found.text.startswith(f"The licensing API at {refused} cannot be reached: ")
    assert found.text.endswith("Points are kept until it answers.")


def test_api_that_hangs(ask, server) -> None:
    """
    A server that gives no answer in time is out of reach, too.
    """
    server.set_failure("hang")

    assert names(ask(timeout=0.05)) == ["api_unreachable"]


def test_api_without_tls(ask, server) -> None:
    """
    A server that does not speak TLS is out of reach for an https URL.
    """
    assert names(ask(base_url=server.url.replace("http:", "https:"))) == ["api_unreachable"]


def test_certificate(ask, monkeypatch) -> None:
    """
    A certificate that is refused has a finding of its own, which says what a proxy needs.
    """

    def refuse(*_: object, **__: object) -> None:
        raise CertificateError("self-signed certificate")

    monkeypatch.setattr(doctor_api, "validate_license_key", refuse)

    assert [(finding.level, finding.name) for finding in ask()] == [("error", "api_certificate")]


@pytest.mark.parametrize(
    ("answer", "name", "level"),
    [
        ({"status": 301, "Location": "https://www.api.test/"}, "api_redirects", "error"),
        ({"status": 307}, "api_redirects", "error"),
        ({"status": 503}, "api_unavailable", "warning"),
        ({"status": 429}, "api_unavailable", "warning"),
        ({"body": b"<html>Welcome to the WLAN</html>"}, "api_odd_answer", "warning"),
        ({"body": b"[]"}, "api_odd_answer", "warning"),
        ({"status": 404, "body": b"Not found"}, "api_odd_answer", "warning"),
        ({"status": 400}, "api_answers", "ok"),
    ],
)
def test_odd_answers(answer, name, level, ask, served) -> None:
    """
    What is no answer of the licensing API is told apart.
    """
    [found] = ask(base_url=served(**answer)[0])

    assert (found.name, found.level) == (name, level)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (lambda now: format_datetime(now - timedelta(minutes=2), usegmt=True), ["clock_differs"]),
        (lambda now: f"{now + timedelta(minutes=2):%a, %d %b %Y %H:%M:%S}", ["clock_differs"]),
        (lambda now: format_datetime(now, usegmt=True), []),
        (lambda _: "soon", []),
    ],
)
def test_clock(date, expected, ask, served) -> None:
    """
    A clock that is more than a minute off the API's is named; a date that cannot be read says nothing.
    """
    url, _ = served(Date=date(datetime.now(UTC)))

    assert names(ask(base_url=url)) == ["api_answers", *expected]


@pytest.mark.parametrize(
    ("base_url", "warnings"), [("http://api.example", 1), ("https://api.example", 0), ("http://proxy:8000", 0)]
)
def test_licence_key_in_clear_text(base_url, warnings, ask, monkeypatch) -> None:
    """
    A public address without TLS is a warning, because the licence key is sent to it.
    """
    monkeypatch.setattr(http, "_proxy", lambda _: "http://127.0.0.1:9")

    assert names(ask(base_url=base_url)).count("base_url_in_clear_text") == warnings


@pytest.mark.parametrize(
    ("key", "name", "level"),
    [
        (KEY, "key_known", "ok"),
        ("rm_sec_0000", "key_unknown", "error"),
        ("free-license", "key_not_checked", "ok"),
        (None, "key_not_checked", "ok"),
    ],
)
def test_check_of_the_key(key, name, level, ask, server) -> None:
    """
    With `--check-key` the API says whether it knows the key, and nothing is registered.
    """
    _, found = ask(license_key=key, check_key=True)

    assert (found.name, found.level, server.requests) == (name, level, 0)


@pytest.mark.parametrize(
    ("body", "name", "text"),
    [
        (
            b'{"isValid": true, "hasActiveSubscription": true, "projectName": "Films", "projectSlug": "films"}',
            "key_known",
            "The API knows the licence key; it is of the project 'Films'.",
        ),
        (b'{"isValid": true}', "key_known", "a project without a name"),
        (b'{"isValid": true, "hasActiveSubscription": false}', "key_without_subscription", "no active subscription"),
        (b'{"isValid": "yes", "projectName": 5}', "key_not_checked", "did not say whether it knows the key (HTTP 200)"),
        (b'{"isValid": false}', "key_unknown", "does not know the licence key"),
    ],
)
def test_answers_about_the_key(body, name, text, ask, served) -> None:
    """
    The project of a key is named; an answer in an unknown form says nothing about it.
    """
    url, requests = served(body=body)
    _, found = ask(base_url=url, check_key=True)

    assert found.name == name
    assert text in found.text
    assert KEY.encode() in requests[0][1]


def test_option(run, api) -> None:
    """
    The command asks about the key only with its option.
    """
    assert "[key_" not in run("doctor").out
    assert "it is of the project 'rm_pub_…(" in run("doctor", "--check-key").out
