"""
Pure WSGI middleware: commits the usage point of a response before its last byte goes to the server.

It imports no framework, never reads the request's body, and passes on every byte when the app yields it.

Faults, all in `tests/test_wsgi.py`: a wrapped file cannot be sent by the server itself, and a wrapped list has no
length for it, so what exists already is passed on as it is; an app may write, or start its response while it is
iterated; the end is known by `Content-Length` before the iterable ends, or else by its end.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack
from weakref import ref

from .points import Event, OriginHeaders, ResolvedHost, own_origin
from .recording import UsageRecorder, make_recorder, offer_default_recorder
from .settings import Settings, SettingsFields
from .usage import CURRENT, Ending, EndpointRules, Settlement, body_length

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

__all__ = ["UsageMiddleware"]

# A second middleware of ours, on a mounted app for instance, leaves the request to the first.
_KEY: Final = "remotion_licensing_integrations.usage"

#: What the end of a body yields, because an exception for it would cost more.
_END: Final[Any] = object()


class UsageMiddleware:
    """
    Records a usage point for each finished request to a decorated endpoint.

    Place it innermost, directly around the app. Without further arguments the settings come from the environment.

    Args:
        app: The WSGI application.
        settings: All settings as one object, instead of single ones.
        recorder: A recorder that the app has created, for instance to complete deferred points.
        endpoints: Rules like `{"POST /convert": "cloud-render"}` for endpoints that cannot be decorated.
        **fields: Single settings, see `Settings`.

    Attributes:
        app: The WSGI application.
        recorder: The recorder.
        rules: The rules of *endpoints*.
        mistake: `None`: unlike in ASGI, a mistake is raised, and keeps the server from starting.

    Raises:
        ConfigurationError: A setting or a rule is unusable.
        TypeError: A keyword is not a setting, or there is more than one of settings, recorder and single settings.
    """

    mistake: Exception | None = None

    def __init__(
        self,
        app: WSGIApplication,
        *,
        settings: Settings | None = None,
        recorder: UsageRecorder | None = None,
        endpoints: Mapping[str, Event] | None = None,
        **fields: Unpack[SettingsFields],
    ) -> None:
        self.app = app
        self.rules: EndpointRules = EndpointRules(endpoints or {})
        self.recorder: UsageRecorder = make_recorder(settings, recorder, fields)
        self._pid = 0
        offer_default_recorder(self.recorder)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """
        Serve one request.
        """
        outer: ref[_Exchange] | None = environ.get(_KEY)
        exchange = outer() if outer is not None else None
        if exchange is not None:
            self._match_rules(exchange, environ)
            return self.app(environ, start_response)
        if self._pid != os.getpid():
            self._attend()
        exchange = _Exchange(self.recorder, environ, start_response)
        environ[_KEY] = ref(exchange)  # which would wait for the garbage collector if it were held here
        self._match_rules(exchange, environ)
        try:
            body = exchange.run(self.app, environ, exchange.start_response)
        except BaseException:
            exchange.deliver_inline()  # there is no body whose end could do it
            raise
        return exchange.follow(body)

    def _attend(self) -> None:
        # Delivers what other processes have left. Not in the constructor, which a server may run before it forks; and
        # in a thread, because opening the outbox may take a while.
        self._pid = os.getpid()
        with suppress(RuntimeError):  # the system allows no more threads; the first point starts the recorder, too
            threading.Thread(target=self.recorder.start, name="remotion-usage-start", daemon=True).start()

    def _match_rules(self, exchange: Settlement, environ: dict[str, Any]) -> None:
        if not self.rules.events:
            return
        # PEP 3333: bytes, as characters of latin-1.
        path = _decode(environ.get("PATH_INFO", ""))
        options = self.rules.match(environ["REQUEST_METHOD"], _decode(environ.get("SCRIPT_NAME", "")) + path, path)
        if options is not None:
            exchange.apply(options)


class _Exchange(Settlement):
    """
    One response on its way out; the decorator, which finds it by `CURRENT`, gives it its event.
    """

    _status: int | None = None  # 0 for an unreadable one
    _left = math.inf  # bytes of the body that the client still waits for

    def __init__(self, recorder: UsageRecorder, environ: dict[str, Any], start_response: StartResponse) -> None:
        self.recorder = recorder
        self.method = environ["REQUEST_METHOD"]
        self._environ = environ
        self._start_response = start_response

    def find_host(self) -> ResolvedHost:
        """
        Return the page's origin from the request's headers.
        """
        # The server has put the trusted proxy's scheme here; any client can send X-Forwarded headers.
        scheme = self._environ.get("wsgi.url_scheme", "http")
        headers = OriginHeaders.from_environ(self._environ)
        return self.choose_host(headers, lambda: own_origin(scheme, headers.host))

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        """
        Return what *work*, which is the app's, returns; an error of it makes the response a failed one.
        """
        token = CURRENT.set(self)
        try:
            return work(*args)
        except BaseException:
            self.end("failed")
            raise
        finally:
            CURRENT.reset(token)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], *more: Any, **named: Any
    ) -> Callable[[bytes], object]:
        """
        Pass on the beginning of the response, and note its status and length.

        Apps may name `exc_info`: PEP 3333 forbids it, but all servers take it.
        """
        write = self._start_response(status, headers, *more, **named)
        self._status = _read_status(status)
        if self.event is not None:
            self._left = body_length(self._status, headers, "content-length")
        return partial(self._write, write)

    def follow(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """
        Return *body*, watched where the outcome is not known yet.
        """
        if self._exists(body):
            self.end("whole")
            if not self._delivers_inline:
                return body
            body = [body] if isinstance(body, bytes) else body  # they are iterated as numbers
        return _SizedBody(self, body) if hasattr(body, "__len__") else _Body(self, body)

    def note(self, part: bytes) -> None:
        """
        Commit the usage point when *part*, which goes out next, is the last one.
        """
        if self._left < math.inf and isinstance(part, bytes):  # waitress and uWSGI pass over parts like `None`
            self._left -= len(part)
            if self._left <= 0:
                self.end("whole")

    def end(self, ending: Ending) -> None:
        """
        Settle the response, if nothing has yet.
        """
        if self.may_count:
            # A server answers 500 when the app has returned without a start.
            self.record("failed" if ending == "whole" and self._status is None else ending, self._status or 0)

    def deliver_inline(self) -> None:
        """
        Deliver after the last byte, where nothing else does.
        """
        if self._delivers_inline:
            self.recorder.deliver_inline()

    @property
    def _delivers_inline(self) -> bool:
        return (self.recorded or self.recorded_within) and self.recorder.settings.delivery == "inline"

    def _write(self, write: Callable[[bytes], object], data: bytes) -> None:
        self.note(data)
        write(data)

    def _exists(self, body: object) -> bool:
        # Its outcome is known, as that of a file in Django's responses.
        wrapper = self._environ.get("wsgi.file_wrapper", ())
        # That of uWSGI is a function, which returns the file itself; and bytes it sends whole.
        is_file = isinstance(body, wrapper) if isinstance(wrapper, (type, tuple)) else hasattr(body, "read")
        return is_file or isinstance(body, (list, tuple, bytes))


class _Body:
    """
    The body of a response, whose outcome is its end.
    """

    def __init__(self, exchange: _Exchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        # Also here the app's own code runs: a generator does so only now.
        exchange = self._exchange
        parts = exchange.run(iter, self._body)
        while (part := exchange.run(next, parts, _END)) is not _END:
            exchange.note(part)
            yield part
        exchange.end("whole")

    def close(self) -> None:
        """
        Close the app's body; after its last part, or because the client has gone.
        """
        self._exchange.end("aborted")
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                self._exchange.run(close)
        finally:
            self._exchange.deliver_inline()


class _SizedBody(_Body):
    """
    A body that servers can ask for its number of parts.
    """

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type] # only sized bodies become one


def _read_status(line: str) -> int:
    try:
        return int(line[:3])
    except ValueError:
        return 0


def _decode(text: str) -> str:
    try:
        return text.encode("latin-1").decode(errors="replace")
    except UnicodeEncodeError:
        return text  # a server that decodes by itself
