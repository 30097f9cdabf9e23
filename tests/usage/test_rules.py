"""
Rules that name endpoints by method and path.
"""

# ruff: noqa: FBT001 - pytest passes parameters by name

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from remotion_licensing_integrations import ConfigurationError
from remotion_licensing_integrations.asgi import UsageMiddleware
from remotion_licensing_integrations.starlette import usage_point
from remotion_licensing_integrations.usage.rules import EndpointRules
from tests._asgi import QUIET, exchange, request
from tests._starlette import starlette_app

RULES = {
    "POST /convert": "cloud-render",
    "POST /videos/{id}/convert": "web-render",
    "GET /a.b+c": "cloud-render",
    "POST /{anything}/convert": "webcodec-conversion",
}


@pytest.mark.parametrize(
    ("method", "path", "event"),
    [
        ("POST", "/convert", "cloud-render"),
        ("GET", "/convert", None),
        ("HEAD", "/convert", None),
        ("POST", "/convert/", None),
        ("POST", "/converts", None),
        ("POST", "/v1/convert", "webcodec-conversion"),
        ("POST", "/videos/7/convert", "web-render"),
        ("POST", "/videos/ü/convert", "web-render"),
        ("POST", "/videos//convert", None),
        ("POST", "/videos/7/8/convert", None),
        ("POST", "//convert", None),
        ("GET", "/a.b+c", "cloud-render"),
        ("GET", "/aXbbc", None),
    ],
)
def test_match(method: str, path: str, event: str | None) -> None:
    """
    The first rule with this method and path wins, and a parameter is one segment that is not empty.
    """
    options = EndpointRules(RULES).match(method, path)

    assert event == (options and options.event)


@pytest.mark.parametrize(
    ("path", "matches"),
    [
        ("/a.b.c", True),
        ("/a..c", False),
        ("/...", False),
        ("/a.b", False),
        ("/a.b.", False),
        ("/.a.b.c", True),
        ("/....", False),
        ("/a.b.c.d", True),
        ("/a/b.c.d", False),
        ("/a.b.c/xx", True),
        ("/a.b.c/x", False),
        ("/a.b.c/x/y", False),
    ],
)
def test_several_parameters_in_a_segment(path: str, matches: bool) -> None:
    """
    Each of several parameters in one segment stands for at least one character.
    """
    rules = EndpointRules({"GET /{a}.{b}.{c}": "cloud-render", "GET /{a}.{b}.{c}/{d}{e}": "cloud-render"})

    assert matches is (rules.match("GET", path) is not None)


@given(st.text("a./", max_size=12), st.lists(st.sampled_from(["{x}", ".", "a", "/", ".a"]), max_size=6))
def test_rule_is_a_pattern(path: str, parts: list[str]) -> None:
    """
    A rule matches what a pattern of its parameters and literals matches.
    """
    pattern = "".join("[^/]+" if part == "{x}" else re.escape(part) for part in parts)
    rules = EndpointRules({"GET /" + "".join(parts): "cloud-render"})

    assert (rules.match("GET", f"/{path}") is not None) is (re.fullmatch(f"/{pattern}", f"/{path}") is not None)


def test_path_that_nearly_matches_in_many_ways() -> None:
    """
    A path made to be matched in very many ways is decided in one pass: this test would take years otherwise.
    """
    rules = EndpointRules({"POST /{a}.{b}.{c}.{d}.zip": "cloud-render"})

    assert rules.match("POST", "/" + "." * 65_536) is None


def test_match_any_path() -> None:
    """
    One of several forms of a path is enough.
    """
    assert EndpointRules(RULES).match("POST", "/api/convert/x", "/convert") is not None


@pytest.mark.parametrize(
    "rule", ["", "/convert", "POST", "POST convert", "post /convert", "POST  /c", "POST /c ", None]
)
def test_bad_rule(rule: Any) -> None:
    """
    A rule that is not method, space and path is refused by name.
    """
    with pytest.raises(ConfigurationError, match=f"endpoints: {rule!r} is not a rule"):
        EndpointRules({rule: "cloud-render"})


def test_bad_event() -> None:
    """
    An unknown event is refused.
    """
    with pytest.raises(ConfigurationError, match="event: 'render' is not one of"):
        EndpointRules({"POST /convert": "render"})


async def plain(_: Any) -> PlainTextResponse:
    return PlainTextResponse("done")


async def conflict(_: Any) -> PlainTextResponse:
    raise HTTPException(409)


async def missing(_: Any) -> PlainTextResponse:
    raise HTTPException(404)


async def broken(_: Any) -> PlainTextResponse:
    raise ValueError


def rule_app(endpoint: Any = plain, **options: Any) -> Starlette:
    routes = [Route("/convert", endpoint, methods=["POST"]), Route("/videos/{id}/convert", endpoint, methods=["POST"])]
    return starlette_app(*routes, endpoints=RULES, **options)


@pytest.mark.parametrize(("path", "event"), [("/convert", "cloud-render"), ("/videos/7/convert", "web-render")])
def test_request(path: str, event: str, remotion_usage) -> None:
    """
    A request that matches a rule counts without a decorator.
    """
    exchange(rule_app(), path=path)

    assert [(event, True)] == [(point.event, point.succeeded) for point in remotion_usage.points]


@pytest.mark.parametrize(("endpoint", "outcomes"), [(conflict, [False]), (broken, [False]), (missing, [])])
def test_failure(endpoint: Any, outcomes: list[bool], remotion_usage) -> None:
    """
    Errors count as failures, but for statuses that say that no endpoint ran.
    """
    exchange(rule_app(endpoint))

    assert outcomes == [point.succeeded for point in remotion_usage.points]


@pytest.mark.parametrize(("method", "path"), [("GET", "/convert"), ("OPTIONS", "/convert"), ("POST", "/convert/")])
def test_not_served(method: str, path: str, remotion_usage) -> None:
    """
    405 and the redirect to the path without slash give no point.
    """
    response = request(rule_app(), method, path)

    assert response.status_code in {405, 307}
    assert remotion_usage.points == []


def test_rule_without_route(remotion_usage) -> None:
    """
    A rule for a path that the app does not know gives no point.
    """
    exchange(starlette_app(endpoints=RULES))

    assert remotion_usage.points == []


@pytest.mark.parametrize("path", ["/api/convert", "/convert"])
def test_root_path(path: str, remotion_usage) -> None:
    """
    A rule is the path below `root_path`, whether or not the server leaves that in the path.
    """
    exchange(rule_app(), path=path, root_path="/api")

    assert len(remotion_usage.points) == 1


@pytest.mark.parametrize("rule", ["POST /convert", "POST /api/convert"])
def test_middleware_of_a_mount(rule: str, remotion_usage) -> None:
    """
    A rule of a mounted app's own middleware may name the path with or without the mount's.
    """
    mounted = Starlette(
        routes=[Route("/convert", plain, methods=["POST"])],
        middleware=[Middleware(UsageMiddleware, **QUIET, endpoints={rule: "cloud-render"})],
    )
    exchange(Starlette(routes=[Mount("/api", mounted)]), path="/api/convert")

    assert len(remotion_usage.points) == 1


def test_middleware_inside_another(remotion_usage) -> None:
    """
    The rules of a mounted app's middleware hold although the outer app has one too.
    """
    mounted = Starlette(
        routes=[Route("/convert", plain, methods=["POST"])],
        middleware=[Middleware(UsageMiddleware, **QUIET, endpoints={"POST /convert": "cloud-render"})],
    )
    exchange(starlette_app(Mount("/api", mounted)), path="/api/convert")

    assert len(remotion_usage.points) == 1


def test_decorator_wins(remotion_usage) -> None:
    """
    Where a rule and a decorator meet, the request counts once, with the decorator's event.
    """
    exchange(rule_app(usage_point("web-render")(plain)))

    assert [point.event for point in remotion_usage.points] == ["web-render"]


def test_decorator_404(remotion_usage) -> None:
    """
    A decorated endpoint that answers 404 by itself has run, and counts as failed.
    """
    exchange(rule_app(usage_point("web-render")(missing)))

    assert [point.succeeded for point in remotion_usage.points] == [False]
