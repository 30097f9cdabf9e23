"""
WSGI apps under test: one exchange at a time, as a server drives it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Settings of a middleware that neither writes files nor sends anything.
QUIET: dict[str, Any] = {"license_key": "rm_pub_4bZ0kQ", "outbox": "memory://", "delivery": "off"}

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass
class Answer:
    """
    What a server saw of one request.

    Attributes:
        events: In their order: the status of each start, each part of the body, and `"closed"`.
        body: What the app returned.
    """

    events: list[Any] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    error: BaseException | None = None
    body: Any = None

    @property
    def status(self) -> int:
        return next(event for event in reversed(self.events) if isinstance(event, int))

    @property
    def data(self) -> bytes:
        return b"".join(event for event in self.events if isinstance(event, bytes))


def environ(method: str = "POST", path: str = "/convert", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """
    Return an environ with nothing in it that PEP 3333 does not ask for.
    """
    variables = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()}
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "app.test",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **variables,
    }


def exchange(
    app: App,
    method: str = "POST",
    path: str = "/convert",
    *,
    leave_after: int | None = None,
    see: Callable[[Answer], object] = lambda _: None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Answer:
    """
    Send one request to *app*; the client leaves after *leave_after* parts of the body.

    *see* is called with each part that goes out to the client.
    """
    answer = Answer()

    def note(data: bytes) -> None:
        answer.events.append(data)
        see(answer)

    def start_response(status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        answer.events.append(int(status[:3]) if status[:3].isdigit() else 0)
        answer.headers = fields
        return note

    try:
        answer.body = app(environ(method, path, headers) | more, start_response)
        try:
            for number, part in enumerate(answer.body):
                if number == leave_after:
                    break
                note(part)
        finally:
            if hasattr(answer.body, "close"):
                answer.body.close()
                answer.events.append("closed")
    except BaseException as error:  # noqa: BLE001 - whatever leaves the app is what the test is about
        answer.error = error
    return answer
