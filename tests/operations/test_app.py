"""
The app that `--app` names, and what is found in it.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute

from remotion_licensing_integrations import UsageRecorder, set_default_recorder, wsgi
from remotion_licensing_integrations.asgi import UsageMiddleware
from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.operations.app import FoundApp, find_app
from remotion_licensing_integrations.outbox import MemoryOutbox, SQLiteOutbox
from remotion_licensing_integrations.settings import Settings
from remotion_licensing_integrations.usage import usage_point
from tests._selection import needs
from tests.operations._keys import KEY
from tests.outbox._values import point

Find = Callable[[Any], FoundApp]

APP = """
    from fastapi import FastAPI
    from remotion_licensing_integrations.fastapi import UsageMiddleware

    app = FastAPI()
    app.add_middleware(UsageMiddleware, license_key="rm_pub_app", outbox="sqlite:///app.sqlite3")


    def create_app(name="app"):
        return app
"""
USAGE = Middleware(UsageMiddleware, license_key=KEY, outbox="memory://")
CORS, GZIP = Middleware(CORSMiddleware), Middleware(GZipMiddleware)


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch) -> Iterator[Callable[[str], None]]:
    """
    Write the module `main` into the current directory.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield lambda text: Path("main.py").write_text(dedent(text)) and None
    sys.modules.pop("main", None)
    set_default_recorder(None)


@pytest.fixture
def find(monkeypatch) -> Find:
    """
    Find what is in an object that stands as `main.app`.
    """

    def find(app: Any) -> FoundApp:
        main = types.ModuleType("main")
        main.app = app
        monkeypatch.setitem(sys.modules, "main", main)
        return find_app("main:app")

    return find


@usage_point("cloud-render")
def convert(_: Any = None) -> Response:
    return Response()


def plain(_: Any = None) -> Response:
    return Response()


@pytest.mark.parametrize("name", ["main:app", "main:create_app"])
def test_app_option(name, module, run, outbox) -> None:
    """
    `--app` names the app, or its factory, whose settings then hold.
    """
    module(APP)
    theirs = SQLiteOutbox("app.sqlite3")
    theirs.add([point("theirs")])
    theirs.close()

    assert " theirs " in run("--app", name, "list").out


def test_app_variable(module, run, outbox, monkeypatch) -> None:
    """
    The app can be named by the environment, and `--outbox` still names another outbox.
    """
    module(APP)
    outbox.add([point("ours")])
    monkeypatch.setenv("REMOTION_LICENSING_APP", "main:app")

    assert "SQLiteOutbox('app.sqlite3')" not in run("status").err
    assert " ours " in run("--outbox", f"sqlite:///{outbox.path}", "list").out


LITESTAR = """
    from litestar import Controller, Litestar, get, post
    from litestar.middleware import DefineMiddleware

    from remotion_licensing_integrations import usage_point
    from remotion_licensing_integrations.asgi import UsageMiddleware

    SETTINGS = {"license_key": "rm_pub_app", "outbox": "memory://"}


    @post("/convert", status_code=202)
    @usage_point("cloud-render")
    async def convert() -> None: ...


    class Videos(Controller):
        @post("/videos")
        @usage_point("web-render")
        async def convert(self) -> None: ...


    @get("/other")
    async def other() -> None: ...


    handlers = [convert, Videos, other]
    # By itself Litestar lets every library log all it does, in the tests that follow, too.
    wrapped = UsageMiddleware(Litestar(handlers, logging_config=None), **SETTINGS)
    declared = Litestar(handlers, logging_config=None, middleware=[DefineMiddleware(UsageMiddleware, **SETTINGS)])
    listed = Litestar(handlers, logging_config=None, middleware=[UsageMiddleware])
    bare = Litestar(handlers, logging_config=None)
"""


@needs("litestar")
@pytest.mark.parametrize("name", ["wrapped", "declared", "listed", "bare"])
def test_litestar(name: str, module) -> None:
    """
    The middleware is found around a Litestar app or within it, and so are the handlers that count.
    """
    module(LITESTAR)
    found = find_app(f"main:{name}")

    assert (len(found.middlewares), found.oddities) == ((0, ["missing"]) if name == "bare" else (1, []))
    assert [(each.path, each.methods, each.name, each.event, each.accepts) for each in found.endpoints] == [
        ("/convert", ["POST"], "main.convert", "cloud-render", True),
        ("/videos", ["POST"], "main.Videos.convert", "web-render", False),
    ]


FLASK = """
    from flask import Flask
    from flask.views import MethodView
    from werkzeug.middleware.proxy_fix import ProxyFix
    from remotion_licensing_integrations.flask import RemotionLicensing, usage_point

    app = Flask(__name__)
    RemotionLicensing(app, license_key="rm_pub_app", outbox="memory://")
    app.wsgi_app = ProxyFix(app.wsgi_app)


    @app.post("/convert/<name>")
    @usage_point("cloud-render")
    def convert(name):
        return name


    class Render(MethodView):
        @usage_point("web-render")
        def post(self):
            return ""


    app.add_url_rule("/render", view_func=Render.as_view("render"))
    app.get("/page")(lambda: "")
"""


def test_flask(module) -> None:
    """
    In a Flask app the extension is found, and the views that count.
    """
    module(FLASK)
    found = find_app("main:app")

    assert (found.settings.license_key, found.oddities) == ("rm_pub_app", [])
    assert {(*each.methods, each.path, each.event) for each in found.endpoints} == {
        ("POST", "/convert/<name>", "cloud-render"),
        ("POST", "/render", "web-render"),
    }


def test_mounted_flask(module) -> None:
    """
    A Flask app that werkzeug's dispatcher mounts is found with its path.
    """
    module(
        FLASK
        + """
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    app = DispatcherMiddleware(Flask("pages"), {"/videos": app})
"""
    )
    found = find_app("main:app")

    assert (found.settings.license_key, found.oddities) == ("rm_pub_app", [])
    assert {each.path for each in found.endpoints} == {"/videos/convert/<name>", "/videos/render"}


def test_wsgi(find) -> None:
    """
    Around a WSGI app the middleware is found, and its rules.
    """
    app = wsgi.UsageMiddleware(lambda *_: [], endpoints={"POST /a": "web-render"}, license_key=KEY, outbox="memory://")
    found = find(app)

    assert (found.recorder, found.oddities) == (app.recorder, [])
    assert [(each.name, each.by) for each in found.endpoints] == [("POST /a", "rule")]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "main", "'main' is not of the form module:attribute, such as main:app"),
        ("", ":app", "':app' is not of the form"),
        ("", "main:app.state", "'main:app.state': 'main' has no attribute 'app'"),
        ("", "nowhere:app", "'nowhere:app' cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("import nowhere", "main:app", "ModuleNotFoundError: No module named 'nowhere' ("),
        ("1 +", "main:app", "'main:app' cannot be imported: SyntaxError: "),
        (f"raise ValueError('{KEY}')", "main:app", "ValueError: rm_pub_***"),
        ("exit('no database')", "main:app", "SystemExit: no database"),
        ("def app(): return 1 / 0", "main:app", "ZeroDivisionError: division by zero ("),
        ("app = object()", "main:app", "main:app has no UsageMiddleware; see `doctor`"),
        ("async def app(scope, receive, send): ...", "main:app", "main:app has no UsageMiddleware"),
        (APP.replace("sqlite:", "redis:"), "main:app", "UsageMiddleware of main:app: outbox: 'redis:"),
    ],
)
def test_app_that_cannot_be_used(text, name, message, module, run) -> None:
    """
    An app that cannot be used is one line that says why.
    """
    module(text)
    ran = run("--app", name, "status")

    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("error: --app: ")
    assert message in ran.err
    assert KEY not in ran.err


@needs("django")
@pytest.mark.parametrize("command", ["status", "doctor"])
def test_django_project(command, module, run) -> None:
    """
    A Django project has commands of its own, which the one line names.
    """
    module("from django.core.handlers.base import BaseHandler\napp = BaseHandler()")

    assert run("--app", "main:app", command) == (
        2,
        "",
        "error: --app: 'main:app' is a Django project; use `python manage.py remotion_licensing …`\n",
    )


def test_doctor_takes_any_app(module, run, api) -> None:
    """
    An app without middleware is the doctor's to examine; the settings are then the environment's.
    """
    module("app = object()")

    assert "A licence key is set." in run("--app", "main:app", "doctor").out


@pytest.mark.parametrize(
    ("make", "oddities"),
    [
        (lambda: Starlette(middleware=[CORS, USAGE]), []),
        (lambda: Starlette(middleware=[USAGE, CORS]), ["not innermost"]),
        (lambda: Starlette(middleware=[USAGE, CORS, USAGE]), ["twice", "not innermost"]),
        (lambda: Starlette(middleware=[CORS]), ["missing"]),
        (lambda: Starlette(middleware=[Middleware(UsageMiddleware, licence_key="k")]), ["mistaken"]),
        (lambda: UsageMiddleware(plain, license_key=KEY), []),
        (lambda: GZipMiddleware(UsageMiddleware(Starlette(), license_key=KEY)), []),
        (lambda: UsageMiddleware(GZipMiddleware(Starlette()), license_key=KEY), ["not innermost"]),
        (lambda: UsageMiddleware(Starlette(middleware=[GZIP]), license_key=KEY), ["not innermost"]),
        (lambda: UsageMiddleware(Starlette(middleware=[USAGE]), license_key=KEY), ["twice"]),
        (lambda: Starlette(routes=[Mount("/api", Starlette(routes=[Route("/", convert)], middleware=[USAGE]))]), []),
        (
            lambda: Starlette(
                routes=[Mount("/api", Starlette(routes=[Route("/", convert)], middleware=[GZIP]))], middleware=[USAGE]
            ),
            ["not innermost"],
        ),
        (
            lambda: Starlette(
                routes=[Mount("/api", Starlette(routes=[Route("/", plain)], middleware=[GZIP]))], middleware=[USAGE]
            ),
            [],
        ),
        (lambda: Starlette(routes=[Mount("/api", routes=[Route("/", convert)], middleware=[USAGE])]), []),
        (lambda: Starlette(routes=[Route("/", convert, middleware=[USAGE])]), []),
    ],
)
def test_oddities(make, oddities, find) -> None:
    """
    A middleware that is missing, mistaken, there twice or around another one on the way to an endpoint is odd.
    """
    assert list(find(make()).oddities) == oddities


def test_endpoints(find) -> None:
    """
    Decorated endpoints are found wherever they are: in routes, classes, mounts and included routers; rules, too.
    """

    class Videos(HTTPEndpoint):
        @usage_point("web-render")
        def post(self, _: Any) -> Response:
            return Response()

        def get(self, _: Any) -> Response:
            return Response()

    app, inner, router = FastAPI(), APIRouter(prefix="/v1"), APIRouter()
    inner.post("/convert")(convert)
    router.include_router(inner, prefix="/inner")
    app.include_router(router, prefix="/api")
    app.get("/plain")(plain)
    usage_point("cloud-render")(app.put("/misplaced")(lambda: None))
    app.mount(
        "/more", Starlette(routes=[Route("/videos/{id}", Videos), Route("/plain", plain), WebSocketRoute("/ws", plain)])
    )
    app.add_middleware(UsageMiddleware, license_key=KEY, outbox="memory://", endpoints={"POST /old": "web-render"})

    found = find(app)
    assert {(each.path, *each.methods, each.event, each.by) for each in found.endpoints} == {
        ("/api/inner/v1/convert", "POST", "cloud-render", "decorator"),
        ("/misplaced", "PUT", "cloud-render", "misplaced decorator"),
        ("/more/videos/{id}", "POST", "web-render", "decorator"),
        ("/old", "POST", "web-render", "rule"),
    }
    assert f"{__name__}.convert" in {each.name for each in found.endpoints}
    assert [middleware.rules.events for middleware in found.middlewares] == [{"POST /old": "web-render"}]


def test_recorder_of_the_app(find) -> None:
    """
    The recorder that the app made is the one that is used, also from a stack that was built already.
    """
    recorder = UsageRecorder(Settings(license_key=KEY, host="https://myapp.com"), outbox=MemoryOutbox())
    named = Starlette(middleware=[Middleware(UsageMiddleware, recorder=recorder)])
    running = Starlette(middleware=[USAGE])
    running.middleware_stack = running.build_middleware_stack()
    built: Any = running.middleware_stack

    assert find(named).recorder is recorder
    assert find(named).settings.host == "https://myapp.com"
    assert find(running).recorder is built.app.recorder


def test_app_within_itself(find) -> None:
    """
    An app that is mounted in itself is looked into once.
    """
    app = Starlette(routes=[Route("/", convert)], middleware=[USAGE])
    app.mount("/again", app)

    assert len(find(app).endpoints) == 1


def test_no_recorder(find) -> None:
    """
    What has no middleware has no recorder, and says so.
    """
    with pytest.raises(ConfigurationError, match="main:app has no UsageMiddleware"):
        _ = find(Starlette()).settings
