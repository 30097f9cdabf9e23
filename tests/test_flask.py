"""
The extension in real Flask apps.
"""

# ruff: noqa: D102 - what tests define explains itself

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from remotion_licensing_integrations import ConfigurationError, Settings, UsageRecorder
from remotion_licensing_integrations.flask import (
    RemotionLicensing,
    current_usage,
    remotion_webhook,
    usage_limit,
    usage_point,
)
from remotion_licensing_integrations.outbox import MemoryOutbox, State

from ._webhooks import PATH, SECRET, payload, sign, signed
from ._wsgi import QUIET


def make(view: Any = lambda: "video", path: str = "/convert", **options: Any) -> Flask:
    app = Flask(__name__)
    RemotionLicensing(app, **({} if options.get("recorder") else QUIET), **options)
    app.add_url_rule(path, view_func=view, methods=["POST"], endpoint="convert")
    return app


@usage_point("cloud-render")
def convert() -> str:
    return "video"


@usage_point("cloud-render")
async def aconvert() -> str:
    await asyncio.sleep(0)
    return "video"


@usage_point("cloud-render")
def generate() -> Any:
    yield "vi"
    yield "deo"


class Convert(MethodView):
    @usage_point("cloud-render")
    def post(self) -> str:
        return "video"


def post(app: Any, path: str = "/convert", **options: Any) -> Any:
    return Client(app, Response).post(path, **options)


def outcomes(recorded: Any) -> list[bool]:
    return [point.succeeded for point in recorded.points]


@pytest.mark.parametrize("view", [convert, aconvert, generate, Convert.as_view("convert")])
def test_every_kind_of_view(view, remotion_usage):
    """
    A conversion counts, whatever kind its view is of.
    """
    assert post(make(view)).get_data(as_text=True) == "video"
    assert outcomes(remotion_usage) == [True]


def test_blueprint(remotion_usage):
    """
    Views of a blueprint count as any others.
    """
    app, blueprint = make(), Blueprint("videos", __name__, url_prefix="/videos")
    blueprint.post("/convert")(convert)
    app.register_blueprint(blueprint)

    post(app, "/videos/convert")

    assert outcomes(remotion_usage) == [True]


def test_abort_in_the_view(remotion_usage):
    """
    An error response of the view itself is a failed conversion.
    """

    @usage_point("cloud-render")
    def view() -> None:
        abort(409)

    assert post(make(view)).status_code == 409
    assert outcomes(remotion_usage) == [False]


@pytest.mark.parametrize("propagates", [False, True])
def test_error_in_the_view(propagates, remotion_usage):
    """
    An error that nobody handles is a failed conversion, whether Flask answers it or the server.
    """

    @usage_point("cloud-render")
    def view() -> None:
        raise ValueError

    app = make(view)
    app.config["PROPAGATE_EXCEPTIONS"] = propagates
    if propagates:
        with pytest.raises(ValueError):
            post(app)
    else:
        assert post(app).status_code == 500
    assert outcomes(remotion_usage) == [False]


def test_refused_before_the_view(remotion_usage):
    """
    A request that a hook of the app refuses never came to its view.
    """
    app = make(convert)
    app.before_request(lambda: abort(401))

    assert post(app).status_code == 401
    assert outcomes(remotion_usage) == []


def test_misplaced_decorator(remotion_usage, caplog):
    """
    With the decorator above the route's, the status counts, and the log says so once.
    """
    app = make()
    usage_point("web-render")(app.post("/misplaced")(lambda: "video"))
    for _ in range(2):
        post(app, "/misplaced")

    assert [point.event for point in remotion_usage.points] == ["web-render"] * 2
    assert [record.action for record in caplog.records if hasattr(record, "action")] == ["decorator_misplaced"]


@pytest.mark.parametrize("mounted", [False, True])
def test_rule(mounted, remotion_usage):
    """
    A view that cannot be decorated counts by a rule, also where the app is mounted.
    """
    app: Any = make(endpoints={"POST /videos/{name}": "web-render"}, path="/videos/<name>", view=lambda name: name)
    app = DispatcherMiddleware(Flask("other"), {"/api": app}) if mounted else app
    post(app, "/api/videos/a" if mounted else "/videos/a")

    assert [point.event for point in remotion_usage.points] == ["web-render"]


def test_own_origin_behind_a_proxy(remotion_usage):
    """
    The server's own origin is the one that werkzeug's trusted proxy says.
    """
    app: Any = ProxyFix(make(convert), x_proto=1, x_host=1)
    headers = {"Sec-Fetch-Site": "same-origin", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "myapp.com"}
    post(app, headers=headers)

    assert [point.host for point in remotion_usage.points] == ["https://myapp.com"]


def test_current_usage(remotion_usage):
    """
    A view says of its point what only it knows.
    """

    @usage_point("cloud-render")
    def view() -> str:
        current_usage().succeeded = False
        return ""

    post(make(view))

    assert outcomes(remotion_usage) == [False]


def test_settings_of_the_app():
    """
    Keywords win over the app's dict, which wins over the environment.
    """
    app = Flask(__name__)
    app.config["REMOTION_LICENSING"] = {"LICENSE_KEY": "rm_pub_a", "HOST": "https://a.app", "OUTBOX": "memory://"}
    extension = RemotionLicensing(host="https://b.app")
    extension.init_app(app)

    with app.app_context():
        settings = extension.recorder.settings
    assert (settings.license_key, settings.host) == ("rm_pub_a", "https://b.app")


def test_one_extension_for_two_apps():
    """
    Each app has a recorder of its own.
    """
    extension, apps = RemotionLicensing(**QUIET), [Flask("a"), Flask("b")]
    recorders = set()
    for app in apps:
        extension.init_app(app)
        with app.app_context():
            recorders.add(extension.recorder)

    assert len(recorders) == 2


def test_own_settings_or_recorder(remotion_usage):
    """
    Settings or a recorder of the app's own take the place of the dict.
    """
    recorder = UsageRecorder(Settings(**QUIET), outbox=MemoryOutbox())
    for options in ({"settings": Settings(**QUIET)}, {"recorder": recorder}):
        app = Flask(__name__)
        app.config["REMOTION_LICENSING"] = {"TIMEOUT": -1}
        RemotionLicensing(app, **options)


@pytest.mark.parametrize(
    ("config", "options", "error", "message"),
    [
        ({"LICENCE_KEY": "rm_pub_x"}, {}, ConfigurationError, "REMOTION_LICENSING: unknown key LICENCE_KEY"),
        (["LICENSE_KEY"], {}, ConfigurationError, "REMOTION_LICENSING: expected a dict, got list"),
        ({"TIMEOUT": -1}, {}, ConfigurationError, "timeout"),
        ({}, {"licence_key": "rm_pub_x"}, TypeError, "licence_key"),
    ],
)
def test_mistakes_are_raised(config, options, error, message):
    """
    A mistake keeps the app from starting, and names what is wrong.
    """
    app = Flask(__name__)
    app.config["REMOTION_LICENSING"] = config

    with pytest.raises(error, match=message):
        RemotionLicensing(app, **options)


def test_twice():
    """
    An app has the extension once.
    """
    app = make()

    with pytest.raises(ConfigurationError, match="has it already"):
        RemotionLicensing(app, **QUIET)


@pytest.mark.parametrize("view", [convert, aconvert])
def test_usage_limit(view, sandbox):
    """
    Beyond a limit the view does not run: the answer says when to come back, and no point is recorded.
    """
    keys = {"license_key": "rm_pub_limits", "private_license_key": "rm_sec_limits", "delivery": "external"}
    clock = datetime(2026, 11, 26, 12, tzinfo=UTC)
    recorder = UsageRecorder(Settings(**keys, base_url=sandbox.url), outbox=MemoryOutbox())
    app = make(usage_limit(1, clock=lambda: clock)(view), recorder=recorder)
    responses = [post(app) for _ in range(3)]
    recorder.stop()

    assert [response.status_code for response in responses] == [200, 429, 429]
    assert responses[1].headers["Retry-After"] == str(4 * 86_400 + 43_200)
    assert responses[1].headers["Content-Type"] == "application/problem+json"
    assert recorder.outbox.counts().pending == 1


def webhook_app(**options: Any) -> tuple[Flask, MemoryOutbox]:
    outbox = MemoryOutbox()
    recorder = UsageRecorder(Settings(**QUIET), outbox=outbox)
    app = make()
    app.post(PATH)(remotion_webhook(SECRET, **{"recorder": recorder, **options}))
    return app, outbox


def send(app: Flask, content: Any) -> Any:
    body, headers = signed(content)
    return post(app, PATH, data=body, headers=headers)


def test_webhook():
    """
    A signed webhook of Remotion Lambda records its render's point.
    """
    app, outbox = webhook_app()

    assert send(app, payload()).json == {"success": True}
    assert [stored.point.succeeded for stored in outbox.list(State.PENDING)] == [True]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_on_webhook(kind):
    """
    The app's own function sees each payload, whether it is a coroutine function or not.
    """
    seen: list[Any] = []

    async def on_webhook(content: Any) -> None:
        seen.append(content)

    app, _ = webhook_app(on_webhook=seen.append if kind == "sync" else on_webhook)
    send(app, payload())

    assert seen == [payload()]


@pytest.mark.parametrize(("options", "secret", "status"), [({}, "wrong", 401), ({"max_body": 10}, SECRET, 413)])
def test_refused_webhook(options, secret, status):
    """
    A webhook that is unsigned or too long is refused.
    """
    app, outbox = webhook_app(**options)
    body, headers = signed(payload())
    response = post(app, PATH, data=body, headers=headers | {"X-Remotion-Signature": sign(body, secret)})

    assert response.status_code == status
    assert outbox.list() == []


def test_webhook_delivers_inline(monkeypatch):
    """
    With `delivery="inline"` the render's point is delivered after the answer.
    """
    recorder = UsageRecorder(Settings(**{**QUIET, "delivery": "inline"}), outbox=MemoryOutbox())
    delivered: list[bool] = []
    monkeypatch.setattr(recorder, "deliver_inline", lambda: delivered.append(True))
    app, _ = webhook_app(recorder=recorder)
    with send(app, payload()):
        pass
    recorder.stop()

    assert delivered == [True]
