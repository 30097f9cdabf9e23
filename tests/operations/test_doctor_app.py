"""
What the doctor says of the app that `--app` names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from remotion_licensing_integrations import set_default_recorder
from remotion_licensing_integrations.usage import endpoint
from tests._selection import needs
from tests.operations.conftest import Run

pytestmark = needs("fastapi")

Examine = Callable[..., list[str]]

APP = """
    from fastapi import FastAPI
    from starlette.middleware.gzip import GZipMiddleware
    from remotion_licensing_integrations import current_usage
    from remotion_licensing_integrations.fastapi import UsageMiddleware, usage_point

    app = FastAPI()
    SETTINGS = {"license_key": "rm_pub_app", "outbox": "memory://", "allowed_hosts": ["https://myapp.com"]}
"""
USED = "app.add_middleware(UsageMiddleware, **SETTINGS)"
CONVERT = """
    @app.post("/convert")
    @usage_point("cloud-render")
    def convert():
        return {}
"""
MISPLACED = """
    @usage_point("web-render")
    @app.post("/convert")
    def convert():
        return {}
"""
ACCEPTED = """
    @app.post("/convert", status_code=202)
    @usage_point("cloud-render")
    def convert():
        return {}
"""
ACCEPTED_BY_RESPONSE = """
    @app.post("/convert")
    @usage_point("cloud-render")
    def convert():
        return Response(status_code=HTTP_202_ACCEPTED)
"""
DEFERRED = """
    @app.post("/convert", status_code=202)
    @usage_point("cloud-render")
    def convert():
        return {"token": current_usage().defer()}
"""
MADE = """
    made = {"usage_point": usage_point}
    exec("@usage_point('cloud-render')\\ndef convert(): ...", made)
    app.post("/convert", status_code=202)(made["convert"])
"""
PARTIAL = """
    from functools import partial

    def answer(word: str): ...

    app.post("/convert", status_code=202)(usage_point("cloud-render")(partial(answer, word="a")))
"""


@pytest.fixture
def report(tmp_path, monkeypatch, run: Run, api) -> Iterator[Examine]:
    """
    Write the app from its parts and return the findings, a line each, but those of the environment's recorder.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(endpoint, "_decorated", 0)  # by other tests

    def report(*parts: str) -> list[str]:
        Path("main.py").write_text("".join(dedent(part) + "\n" for part in (APP, *parts)))
        return run("--app", "main:app", "doctor").out.splitlines()

    yield report
    sys.modules.pop("main", None)
    set_default_recorder(None)


def named(lines: list[str], name: str) -> list[str]:
    return [line.partition(" [")[0] for line in lines if line.endswith(f"[{name}]")]


def test_settings_of_the_app(report) -> None:
    """
    What the app sets by keyword is known, and each endpoint is named with its event.
    """
    lines = report(USED, CONVERT)

    assert named(lines, "any_host") == []
    assert named(lines, "endpoint") == ["ok      POST /convert (main.convert) counts as cloud-render."]


@pytest.mark.parametrize(
    ("parts", "name", "level"),
    [
        (["", CONVERT], "middleware_missing", "error"),
        (["app.add_middleware(UsageMiddleware, licence_key='k')", CONVERT], "middleware_mistaken", "error"),
        ([USED, USED, CONVERT], "middleware_twice", "warning"),
        (["app.add_middleware(GZipMiddleware)", USED, CONVERT], "middleware_not_innermost", "warning"),
        ([USED], "no_endpoints", "warning"),
        ([USED, MISPLACED], "decorator_misplaced", "warning"),
        ([USED, ACCEPTED], "accepted_without_defer", "warning"),
        ([USED, ACCEPTED_BY_RESPONSE], "accepted_without_defer", "warning"),
    ],
)
def test_mistakes(parts, name, level, report) -> None:
    """
    Each mistake in the app has its finding.
    """
    [line] = named(report(*parts), name)

    assert line.startswith(f"{level} ")


@pytest.mark.parametrize("convert", [CONVERT, DEFERRED, MADE, PARTIAL])
def test_no_mistakes(convert, report) -> None:
    """
    An app without a mistake has none, also with an endpoint that defers, or whose code cannot be read.
    """
    lines = report("app.add_middleware(UsageMiddleware, **SETTINGS)\napp.add_middleware(GZipMiddleware)", convert)

    assert len(named(lines, "endpoint")) == 1
    assert not any(
        named(lines, name)
        for name in (
            *("middleware_missing", "middleware_mistaken", "middleware_twice", "middleware_not_innermost"),
            *("no_endpoints", "decorator_misplaced", "accepted_without_defer"),
        )
    )


def test_rule(report) -> None:
    """
    An endpoint that a rule counts is named with its event.
    """
    lines = report("app.add_middleware(UsageMiddleware, endpoints={'POST /old': 'web-render'}, **SETTINGS)")

    assert named(lines, "endpoint") == ["ok      POST /old counts as web-render."]
