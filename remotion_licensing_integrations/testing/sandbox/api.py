"""
The answers of the sandbox: to the two documented calls, for the page, and to its switches. No I/O but the ledger's.

The documented calls are open to every client that can connect, as the real ones are: a container may call the sandbox
by any name. The page and its switches answer only under a name that the sandbox is known by, so that no web site
reaches them through DNS rebinding. All calls take JSON only, which a foreign web page cannot send without the CORS
permission that is never given. `tests/testing/sandbox/test_api.py` has these attacks.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from email.message import Message
from importlib.resources import files
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from ..._support.pages import page_style
from ...errors import ConfigurationError
from . import rules
from .failures import Failure, FailureSwitch
from .ledger import Ledger
from .rules import Refusal

MAX_BODY: Final = 65_536  # bytes
LATEST: Final = 100  # points on the page
PROXY_PAGE: Final = b"<!doctype html><title>Proxy</title><h1>Please sign in to this network</h1>\n"
_REFUSED_POINT: Final = "host: this project does not allow it"
#: Status and text of the failures that are an error in JSON.
ERRORS: Final = {
    "500": (500, "Internal server error"),
    "400": (400, _REFUSED_POINT),
    "422": (422, _REFUSED_POINT),
    "refused": (200, _REFUSED_POINT),
    "key": (401, "Invalid API key"),
}
CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True, slots=True)
class Request:
    """
    A request that was read to its end; a body with more than `MAX_BODY` bytes may be cut.
    """

    method: str
    path: str
    headers: Message
    body: bytes

    def json(self) -> dict[str, Any]:
        """
        Return the body as a JSON object.

        Raises:
            Refusal: It is not a JSON object.
        """
        if self.headers.get_content_type() != "application/json":
            raise Refusal(415, "content-type: expected application/json")
        return rules.read_json(self.body)

    def point(self) -> rules.PointRequest:
        """
        Return the request to register a usage point.

        Raises:
            Refusal: The request is not valid.
        """
        return rules.read_point(self.json(), header_key=self.headers.get("idempotency-key"))

    def idempotency_key(self) -> str | None:
        """
        Return the idempotency key, or `None` when there is no valid one.
        """
        try:
            return rules.read_idempotency_key(self.json(), self.headers.get("idempotency-key"))
        except Refusal:
            return None


@dataclass(frozen=True, slots=True)
class Answer:
    """
    The answer to a request.

    Attributes:
        delay: Seconds that the answer is held back.
        instead: What happens instead of an answer: a reset of the connection, or nothing until the client leaves.
    """

    body: bytes = b""
    status: int = 200
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delay: float = 0.0
    instead: Literal["reset", "hang"] | None = None


class Api:
    """
    Answers from a ledger, or as the failure in force says.

    Args:
        ledger: Where points are counted.
        switch: Which failure is in force.
        host: The host name or address that the server is bound to.
    """

    def __init__(self, ledger: Ledger, switch: FailureSwitch, host: str) -> None:
        self._ledger = ledger
        self._switch = switch
        self._host = host
        page = files(__package__ or "").joinpath("page.html").read_text(encoding="utf-8")
        self._template = page.replace("{{style}}", page_style())
        self._routes: Final[Mapping[str, tuple[str, Callable[[Request], Answer]]]] = {
            "/api/track/register-usage-point": ("POST", self._register),
            "/api/track/get-usage": ("POST", self._get_usage),
            "/api/validate-license-key": ("POST", self._validate_key),
            "/": ("GET", self._show_page),
            "/sandbox/state": ("GET", self._tell_state),
            "/sandbox/failure": ("POST", self._set_failure),
            "/sandbox/clear": ("POST", self._clear),
        }

    def answer(self, request: Request) -> Answer:
        """
        Return the answer to *request*.
        """
        return _answer_or_refuse(self._route, request)

    def _route(self, request: Request) -> Answer:
        if not request.path.startswith("/api/") and not is_own_host(request.headers.get("host", ""), self._host):
            raise Refusal(403, "open this page by the address that the sandbox printed")
        if request.path not in self._routes:
            raise Refusal(404, "Not found")
        method, work = self._routes[request.path]
        if request.method != method:
            raise Refusal(405, f"expected {method}")
        if len(request.body) > MAX_BODY:
            raise Refusal(413, f"body: expected at most {MAX_BODY:,} bytes")
        return work(request)

    def _register(self, request: Request) -> Answer:
        self._ledger.note_request(request.idempotency_key())
        return self._answer_call(self._count, request)

    def _count(self, request: Request) -> Answer:
        point = self._ledger.register(request.point())
        return _json({"success": True, "billable": point.billable, "classification": point.classification})

    def _get_usage(self, request: Request) -> Answer:
        return self._answer_call(self._summarise, request)

    def _validate_key(self, request: Request) -> Answer:
        return self._answer_call(lambda request: _json(rules.validate_key(request.json())), request)

    def _summarise(self, request: Request) -> Answer:
        # Every secret key sees all projects.
        body = request.json()
        rules.check_secret_key(body)
        counts = self._ledger.counts(since=rules.read_since(body, now=self._ledger.now()))
        web, old = counts["web-render"], counts["webcodec-conversion"]
        renders = {word: web[word] + old[word] for word in rules.CLASSIFICATIONS}
        answer = {"cloudRenders": counts["cloud-render"], "webcodecConversions": renders, "webRenders": renders}
        return _json({"success": True, **answer})

    def _answer_call(self, work: Callable[[Request], Answer], request: Request) -> Answer:
        failure = self._switch.take()
        answer = _answer_or_refuse(work, request) if failure.counts else None
        if answer is None or failure.mode is not None:
            answer = _fail(failure)
        return replace(answer, delay=failure.latency_ms / 1000)

    def _show_page(self, _: Request) -> Answer:
        nonce = secrets.token_urlsafe()
        policy = {"Content-Security-Policy": CONTENT_POLICY.format(nonce=nonce)}
        page = self._template.replace("{{nonce}}", nonce).encode()
        return Answer(page, media_type="text/html; charset=utf-8", headers={**policy, **PRIVATE})

    def _tell_state(self, _: Request) -> Answer:
        points = self._ledger.points()
        failure = self._switch.current
        state = {
            "counts": self._ledger.counts(),
            "total": len(points),
            "requests": self._ledger.requests,
            "points": [point.to_json() for point in reversed(points[-LATEST:])],
            "failure": asdict(failure),
            "answers": str(failure),
        }
        return replace(_json(state), headers=PRIVATE)

    def _set_failure(self, request: Request) -> Answer:
        self._switch.set(Failure.from_json(request.json()))
        return self._tell_state(request)

    def _clear(self, request: Request) -> Answer:
        request.json()
        self._ledger.clear()
        return self._tell_state(request)


def is_own_host(header: str, bound_host: str) -> bool:
    """
    Whether the `Host` *header* names this machine: by the bound host, by localhost, or by an IP address.

    DNS rebinding needs a name that its attacker controls, so an address in the header is proof against it.
    """
    try:
        name = urlsplit(f"//{header}").hostname or ""
        if name in {"localhost", bound_host.lower()} or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _json(content: dict[str, Any], status: int = 200) -> Answer:
    # In ASCII, so that a lone surrogate in a host cannot break the answer.
    return Answer(json.dumps(content).encode(), status)


def _error(status: int, text: str) -> Answer:
    return _json({"success": False, "error": text}, status)


def _answer_or_refuse(work: Callable[[Request], Answer], request: Request) -> Answer:
    try:
        return work(request)
    except Refusal as refusal:
        return _error(refusal.status, refusal.text)
    except ConfigurationError as error:
        return _error(400, str(error))


def _fail(failure: Failure) -> Answer:
    match failure.mode:
        case "429":
            wait = failure.retry_after
            return replace(_error(429, "Too many requests"), headers={} if wait is None else {"Retry-After": str(wait)})
        case "html":
            return Answer(PROXY_PAGE, media_type="text/html")
        case "hang":
            return Answer(instead="hang")
        case "reset":
            return Answer(instead="reset")
        case _:
            return _error(*ERRORS[failure.mode or ""])
