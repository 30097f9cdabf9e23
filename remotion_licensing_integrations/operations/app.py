"""
The app that `--app module:attribute` names, and what is found in it: the middleware, its recorder, the endpoints.

The app is imported as a server would import it, and not started.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final, Literal, TypeVar

from .. import asgi, wsgi
from ..errors import ConfigurationError
from ..recording import UsageRecorder
from ..settings import Settings
from .endpoints import FoundEndpoint, describe_endpoint

T = TypeVar("T")

#: Where a middleware keeps the app that it wraps; the second is Quart's, the third Flask's.
_INNER: Final = ("app", "asgi_app", "wsgi_app")
_OURS: Final = (asgi.UsageMiddleware, wsgi.UsageMiddleware)
UsageMiddleware = asgi.UsageMiddleware | wsgi.UsageMiddleware
Oddity = Literal["missing", "mistaken", "twice", "not innermost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundApp:
    """
    What is found in an app.

    Attributes:
        name: As it was asked for, such as `main:app`.
        middlewares: From the outermost to the innermost.
        endpoints: The endpoints that count, in the order of their routes, then those of rules.
        oddities: What is wrong with the middleware: it is missing, its arguments are mistaken, it is there twice, or
            another middleware is between it and the endpoints.
    """

    name: str
    middlewares: Sequence[UsageMiddleware]
    endpoints: Sequence[FoundEndpoint]
    oddities: Sequence[Oddity]

    @property
    def recorder(self) -> UsageRecorder:
        """
        The recorder of the outermost middleware, which serves the requests.

        Raises:
            ConfigurationError: The app has no middleware, or a mistake keeps it from recording.
        """
        if not self.middlewares:
            msg = f"--app: {self.name} has no UsageMiddleware; see `doctor`"
            raise ConfigurationError(msg)
        mistake = self.middlewares[0].mistake
        if mistake is not None:
            msg = f"--app: UsageMiddleware of {self.name}: {mistake}"
            raise ConfigurationError(msg)
        return self.middlewares[0].recorder

    @property
    def settings(self) -> Settings:
        """
        The settings of the recorder; raises as `recorder` does.
        """
        return self.recorder.settings


def find_app(name: str) -> FoundApp:
    """
    Import the app *name*, `module:attribute` or `module:factory`, and look into it.

    Raises:
        ConfigurationError: There is no such app, importing it fails, or it is a Django project.
    """
    app = _load(name)
    django = sys.modules.get("django.core.handlers.base")
    if django is not None and isinstance(app, django.BaseHandler):  # its middleware is in the settings, not around it
        msg = f"--app: {name!r} is a Django project; use `python manage.py remotion_licensing …`"
        raise ConfigurationError(msg)
    walk = _Walk()
    walk.enter(app)
    rules = (rule for middleware in walk.middlewares for rule in middleware.rules.events.items())
    return FoundApp(
        name=name,
        middlewares=walk.middlewares,
        endpoints=[*walk.endpoints, *(_ruled(*rule) for rule in rules)],
        oddities=[*walk.oddities()],
    )


def _ruled(rule: str, event: str) -> FoundEndpoint:
    method, _, path = rule.partition(" ")
    return FoundEndpoint(path=path, methods=[method], name=rule, event=event, by="rule")


def _load(name: str) -> Any:
    module, _, attributes = name.partition(":")
    if not module or not attributes:
        msg = f"--app: {name!r} is not of the form module:attribute, such as main:app"
        raise ConfigurationError(msg)
    # Servers do so, too: the app is next to where they are started.
    if "" not in sys.path:
        sys.path.insert(0, "")
    app: Any = _call(name, partial(importlib.import_module, module))
    for attribute in attributes.split("."):
        if not hasattr(app, attribute):
            msg = f"--app: {name!r}: {module!r} has no attribute {attribute!r}"
            raise ConfigurationError(msg)
        app = getattr(app, attribute)
    return _call(name, app) if _is_factory(app) else app


def _is_factory(app: object) -> bool:
    if not inspect.isroutine(app):
        return False
    parameters = inspect.signature(app).parameters.values()
    named = [
        parameter for parameter in parameters if parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    ]
    return all(parameter.default is not parameter.empty for parameter in named)


def _call(name: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except (Exception, SystemExit) as error:
        *_, place = traceback.extract_tb(error.__traceback__)
        where = "" if "importlib" in place.filename else f" ({place.filename}:{place.lineno})"
        msg = f"--app: {name!r} cannot be imported: {type(error).__name__}: {error}{where}"
        raise ConfigurationError(msg) from error


class _Walk:
    """
    A way through an app, from the outside to the endpoints.
    """

    def __init__(self) -> None:
        self.middlewares: list[UsageMiddleware] = []
        self.endpoints: list[FoundEndpoint] = []
        self._ways: list[Sequence[object]] = []
        self._seen: list[object] = []

    def enter(self, app: Any, path: str = "", above: Sequence[object] | None = None) -> None:
        """
        Look into *app*, which is mounted at *path* below the middlewares *above*.
        """
        layers = [*(above or ())]
        for layer in _chain(app):
            if any(layer is seen for seen in self._seen):
                return
            self._seen.append(layer)
            if hasattr(layer, "routes"):
                layers += self._declared(layer)
                self._find_endpoints(layer.routes or (), path, layers)
            elif isinstance(layer, _OURS):
                self.middlewares.append(layer)
                layers.append(layer)
            elif hasattr(layer, "view_functions"):
                self._find_views(layer, path)
            elif any(hasattr(layer, name) for name in _INNER):
                layers.append(layer)
            mounts: Mapping[str, Any] = getattr(layer, "mounts", {})  # of werkzeug's dispatcher
            for mount, mounted in mounts.items():
                self.enter(mounted, path + mount, layers)
        if above is None:
            self._ways.append(layers)

    def oddities(self) -> Iterable[Oddity]:
        """
        Say what is wrong with the middlewares.
        """
        if not self.middlewares:
            yield "missing"
        if any(middleware.mistake for middleware in self.middlewares):
            yield "mistaken"
        ways = [[isinstance(layer, _OURS) for layer in layers] for layers in self._ways]
        if any(sum(layers) > 1 for layers in ways):
            yield "twice"
        if any(ours and not next_is_ours for layers in ways for ours, next_is_ours in pairwise(layers)):
            yield "not innermost"

    def _declared(self, app: Any) -> Iterable[object]:
        # Frameworks make them when the server asks for the lifespan. Only ours is made here: others may need a server.
        running = (
            layer for layer in _chain(getattr(app, "middleware_stack", None)) if isinstance(layer, asgi.UsageMiddleware)
        )
        # Litestar's second is a list, FastAPI's a method.
        declared: Iterable[Any] = getattr(app, "user_middleware", ()) or getattr(app, "middleware", ())
        for middleware in () if callable(declared) else declared:
            layer = getattr(middleware, "cls", None) or getattr(middleware, "middleware", middleware)
            if inspect.isclass(layer) and issubclass(layer, asgi.UsageMiddleware):
                args, keywords = getattr(middleware, "args", ()), getattr(middleware, "kwargs", {})
                layer = next(running, None) or layer(_no_app, *args, **keywords)
                self.middlewares.append(layer)
            yield layer

    def _find_endpoints(self, routes: Iterable[Any], prefix: str, layers: Sequence[object]) -> None:
        for route in routes:
            path = prefix + getattr(route, "path", "")
            for handler in getattr(route, "route_handlers", ()):  # Litestar's, one for each method
                self.endpoints += describe_endpoint(handler.fn, path, handler.http_methods, status=handler.status_code)
            if hasattr(route, "original_router"):  # newer FastAPI keeps included routers whole
                self._find_endpoints(route.original_router.routes, path + route.include_context.prefix, layers)
            elif (endpoint := getattr(route, "endpoint", None)) is None:
                self.enter(getattr(route, "app", None), path, layers)
            else:
                methods, status = getattr(route, "methods", None) or (), getattr(route, "status_code", None)
                counting = [*describe_endpoint(endpoint, path, methods, status=status)]
                self.endpoints += counting
                own = [layer for layer in _chain(getattr(route, "app", None)) if isinstance(layer, _OURS)]
                self.middlewares += own
                if counting:
                    self._ways.append([*layers, *own])

    def _find_views(self, app: Any, prefix: str) -> None:
        # Of Flask and Quart, whose rules name their views.
        for rule in app.url_map.iter_rules():
            view = app.view_functions.get(rule.endpoint)
            methods: set[str] = rule.methods or set()
            self.endpoints += describe_endpoint(
                getattr(view, "view_class", view), prefix + rule.rule, methods - {"HEAD", "OPTIONS"}
            )


def _chain(app: Any) -> Iterator[Any]:
    while app is not None:
        yield app
        if hasattr(app, "routes"):
            return
        app = next((inner for name in _INNER if (inner := getattr(app, name, None)) is not None), None)


async def _no_app(*_: Any) -> None:
    """
    Stand for the app within a middleware that serves nothing.
    """
