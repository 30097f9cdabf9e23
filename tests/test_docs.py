"""
What README and documentation say, held against the code: examples run, tables are complete, links lead somewhere.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import hmac
import inspect
import json
import logging
import re
import sys
from collections.abc import Iterable
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, get_args

import pytest
from fastapi import FastAPI, Request, UploadFile
from remotion_lambda import RemotionClient, RenderMediaResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import remotion_licensing_integrations as package
from remotion_licensing_integrations import errors, settings
from remotion_licensing_integrations.api.client import register_usage_event
from remotion_licensing_integrations.api.protocol import register_body
from remotion_licensing_integrations.operations.cli import _parser
from remotion_licensing_integrations.operations.metrics import METRICS
from remotion_licensing_integrations.points.point import UsagePoint
from remotion_licensing_integrations.settings import Settings
from remotion_licensing_integrations.testing import Sandbox
from remotion_licensing_integrations.testing.sandbox.failures import MODES
from remotion_licensing_integrations.webhooks import SECRET_VARIABLE
from tests._http import httpx

ROOT = Path(__file__).parent.parent
README, GUIDES = ROOT / "README.md", ROOT / "docs" / "guides"
COMMANDS, DOCTOR, LOG = (ROOT / "docs" / "reference" / f"{name}.md" for name in ("command-line", "doctor", "log"))
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*PAGES, *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]
TEXTS += sorted((ROOT / "example_projects").glob("*/README.md"))
ORIGIN = "https://myapp.com"


def named(paths: Iterable[Path]) -> Any:
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(path: Path, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def table(path: Path, first: str) -> list[list[str]]:
    """
    Return the rows of the table whose head begins with *first*, cell by cell.
    """
    lines = path.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def execute(source: str, **names: Any) -> dict[str, Any]:
    """
    Run a block with the licence key filled in; what it does not define itself is in *names*.
    """
    exec(compile(source.replace("rm_pub_…", "rm_pub_docs").replace("rm_sec_…", "rm_sec_docs"), "<docs>", "exec"), names)
    return names


def imported_modules(source: str) -> set[str]:
    """
    Return the modules of this package from which *source* takes names.
    """
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and not node.level]
    taken = {(node.module or "", alias.name) for node in nodes for alias in node.names}
    modules = {f"{module}.{name}" if find_module(f"{module}.{name}") else module for module, name in taken}
    return {module for module in modules if module.partition(".")[0] == package.__name__}


def find_module(name: str) -> bool:
    path = Path(package.__path__[0], *name.split(".")[1:])
    return name.startswith(f"{package.__name__}.") and (path.with_suffix(".py").is_file() or path.is_dir())


def test_public_paths() -> None:
    """
    Pages, example projects and users' code in tests import from public paths only, and each of these is there.
    """
    sources = [block for path in PAGES for block in blocks(path)]
    sources += [path.read_text() for path in (ROOT / "tests" / "typing").glob("*.py")]
    sources += [path.read_text() for path in (ROOT / "example_projects").glob("*/**/*.py")]
    paths = {path for row in table(ROOT / "docs" / "reference" / "import-paths.md", "Path") for path in code(row[0])}

    assert {path for path in paths if path != package.__name__ and not find_module(path)} == set()
    assert set().union(*map(imported_modules, sources)) <= paths


def test_first_example(remotion_usage) -> None:
    """
    The first example of the README answers, and counts the conversion.
    """
    app = execute(blocks(README)[0], render=lambda _: "/done.mp4")["app"]
    with TestClient(app) as client:
        response = client.post("/convert", files={"file": b"a video"}, headers={"Origin": ORIGIN})

    assert response.json() == {"url": "/done.mp4"}
    assert [(point.event, point.host, point.succeeded) for point in remotion_usage.points] == [
        ("cloud-render", ORIGIN, True)
    ]


def example(words: str) -> str:
    """
    Return the README's example that has these *words*.
    """
    [source] = [block for block in blocks(README) if words in block]
    return source


def starlette_app() -> Any:
    async def render(_: Any) -> str:
        return "/done.mp4"

    return execute(example("Starlette("), render=render)["app"]


def test_starlette_example(remotion_usage) -> None:
    """
    The Starlette example of the README answers, and counts the conversion.
    """
    with TestClient(starlette_app()) as client:
        response = client.post("/convert", headers={"Origin": ORIGIN})

    assert response.json() == {"url": "/done.mp4"}
    assert [point.event for point in remotion_usage.points] == ["cloud-render"]


def test_endpoint_example(remotion_usage) -> None:
    """
    The example for the inside of an endpoint runs: what it calls is there.
    """

    class Named:
        id = "render-1"

    with package.conversion("cloud-render") as usage:
        execute(example("usage.skip()"), render=Named)

    assert (usage.succeeded, usage.idempotency_key, remotion_usage.points) == (False, "render-1", [])


def test_example_by_hand() -> None:
    """
    The hand-written call sends what this library sends but for the idempotency key, so that the comparison is fair.
    """
    sent: list[Any] = []

    class Client:
        async def post(self, _: str, *, json: Any, **__: Any) -> None:
            sent.append(json)

    async def render(_: UploadFile) -> str:
        return "/done.mp4"

    app = FastAPI()
    names = {"UploadFile": UploadFile, "Request": Request, "httpx": httpx, "log": logging}
    execute(example("client.post("), app=app, client=Client(), render=render, KEY="rm_pub_docs", REGISTER="", **names)
    with TestClient(app) as client:
        client.post("/convert", files={"file": b"a video"}, headers={"Origin": ORIGIN})

    body = register_body(license_key="rm_pub_docs", event="cloud-render", host=ORIGIN, succeeded=True)
    assert sent == [json.loads(body)]


def test_example_with_this_library(remotion_usage) -> None:
    """
    The endpoint beside it counts the same conversion.
    """

    async def render(_: UploadFile) -> str:
        return "/done.mp4"

    names = execute(example("add_middleware"), render=lambda _: "/first.mp4")
    names["app"].router.routes.clear()
    execute(example('{"url": await render(file)}'), **{**names, "render": render})
    with TestClient(names["app"]) as client:
        response = client.post("/convert", files={"file": b"a video"}, headers={"Origin": ORIGIN})

    assert (response.json(), len(remotion_usage.points)) == ({"url": "/done.mp4"}, 1)


def test_flask_example(remotion_usage) -> None:
    """
    The Flask example of the README answers, and counts the conversion.
    """
    app = execute(example("Flask("), render=lambda: "/done.mp4", __name__="docs")["app"]
    response = app.test_client().post("/convert", headers={"Origin": ORIGIN})

    assert response.json == {"url": "/done.mp4"}
    assert [point.host for point in remotion_usage.points] == [ORIGIN]


def test_asgi_example(remotion_usage) -> None:
    """
    Any ASGI app, wrapped and with a rule, counts; and the middleware for WSGI takes the same arguments.
    """
    source = example('endpoints={"POST /convert"')
    inner = Starlette(routes=[Route("/convert", lambda _: PlainTextResponse("done"), methods=["POST"])])
    with TestClient(execute(source, app=inner)["app"]) as client:
        client.post("/convert", headers={"Origin": ORIGIN})
    execute(source.replace(".asgi", ".wsgi"), app=lambda *_: [])

    assert [point.host for point in remotion_usage.points] == [ORIGIN]


def test_test_example(remotion_usage) -> None:
    """
    The test that the page on testing shows passes.
    """
    test = execute(blocks(GUIDES / "testing.md")[0])["test_convert_is_counted"]
    with TestClient(starlette_app()) as client:
        test(client, remotion_usage)


@pytest.fixture(scope="module")
def server():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def api(server) -> Sandbox:
    server.clear()
    return server


def test_client_example(api, capsys) -> None:
    """
    The example for direct calls registers a point and reads the counts back.
    """
    [source] = blocks(GUIDES / "client.md")
    execute(source.replace('license_key="', f'base_url="{api.url}", license_key="'))

    assert capsys.readouterr().out == "True billable\n1\n"


def test_documented_name() -> None:
    """
    `register_usage_point` is the same function, and so is its asynchronous form.
    """
    assert package.register_usage_point is register_usage_event
    assert package.aregister_usage_point is package.aregister_usage_event
    assert asyncio.iscoroutinefunction(package.aget_usage)


def test_testing_example() -> None:
    """
    The recorder with an outbox in memory keeps a point that it is given.
    """
    recorder = execute(blocks(GUIDES / "testing.md")[1])["recorder"]
    try:
        recorder.record(UsagePoint(event="cloud-render", host=None, succeeded=True))
        assert recorder.outbox.counts().pending == 1
    finally:
        recorder.stop()


def test_sandbox_example() -> None:
    """
    The sandbox example holds when its dots are an app that records and delivers one point.
    """
    _, first, second = blocks(GUIDES / "testing.md")
    app = """
        recorder = UsageRecorder(settings, outbox=MemoryOutbox())
        recorder.outbox.add([UsagePoint(event="cloud-render", host=None, succeeded=True)])
        recorder.deliver()
        recorder.stop()
    """
    assert second.count("    ...\n") == 1
    execute(first + second.replace("    ...\n", indent(dedent(app), "    ")), UsagePoint=UsagePoint)


def test_webhook_examples(remotion_usage, monkeypatch) -> None:
    """
    The request of the example defers its point, and the webhook that it asks for records it.
    """
    started: list[Any] = []

    def start(_: RemotionClient, params: Any) -> Any:
        started.append(params.webhook)
        return RenderMediaResponse(bucket_name="bucket", render_id="render-1")

    monkeypatch.setattr(RemotionClient, "render_media_on_lambda", start)
    [source] = [block for block in blocks(GUIDES / "webhooks.md") if "render_media_on_lambda" in block]
    app = execute(source)["app"]
    with TestClient(app) as client:
        client.post("/render?title=a", headers={"Origin": ORIGIN})
        body = json.dumps({"type": "success", "renderId": "render-1", "customData": started[0].customData}).encode()
        signature = hmac.new(started[0].secret.encode(), body, "sha512").hexdigest()
        url = httpx.URL(started[0].url).path
        response = client.post(url, content=body, headers={"X-Remotion-Signature": f"sha512={signature}"})

    assert response.json() == {"success": True}
    assert [(point.host, point.succeeded) for point in remotion_usage.points] == [(ORIGIN, True)]


def test_limit_example(api) -> None:
    """
    The example of a usage limit refuses what goes beyond it.
    """
    source = blocks(GUIDES / "limits.md")[0].replace("max_billable=1000", "max_billable=1")
    source = source.replace("private_license_key=", f'base_url="{api.url}", delivery="off", private_license_key=')
    with TestClient(execute(source, render=lambda: "/done.mp4")["app"]) as client:
        assert [client.post("/convert").status_code for _ in range(2)] == [200, 429]


def test_metrics_table() -> None:
    """
    The table of metrics has every metric, by both of its names.
    """
    assert [code(row[0]) + code(row[1]) for row in table(GUIDES / "monitoring.md", "Prometheus")] == [
        [metric.prometheus_name, f"remotion.usage.{metric.name}"] for metric in METRICS
    ]


@pytest.mark.parametrize(
    ("name", "values"), [("delivery", settings.DeliveryMode), ("idempotency", settings.Idempotency)]
)
def test_setting_with_a_choice(name: str, values: Any) -> None:
    """
    Where a setting takes one of some words, its meaning has each of them.
    """
    [meaning] = [field.metadata["means"] for field in fields(Settings) if field.name == name]

    assert set(get_args(values)) <= set(code(meaning))


def test_error_table() -> None:
    """
    The table of errors has the classes that a call can raise, one for each reaction.
    """
    calls = {
        name
        for name, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, (errors.TransportError, errors.APIError))
    }

    assert {code(row[0])[0] for row in table(GUIDES / "client.md", "Exception")} == (
        calls - {"TransportError", "APIError"}
    )


def actions() -> dict[str, set[str]]:
    """
    Return the value of each `action` in the package, with the levels at which it is logged.

    It stands in a logging call's `extra`, or is the first argument of a method that logs once.
    """
    levels = {"warn_once": "warning", "_report": "error", "exception": "error"}
    found: dict[str, set[str]] = {}
    for path in sorted(Path(package.__path__[0]).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", "")
            extra = [keyword.value for keyword in call.keywords if keyword.arg == "extra"]
            value: Any = call.args[0] if name in {"warn_once", "_report"} else None
            if extra and isinstance(extra[0], ast.Dict):
                value = extra[0].values[0]
            value = value.values[0] if isinstance(value, ast.JoinedStr) else value
            if isinstance(value, ast.Constant):
                found.setdefault(value.value.split()[0], set()).add(levels.get(name, name))
    return found


def test_action_table() -> None:
    """
    The table of the log has every action of the code at its level, and no other.
    """
    listed = {action: {row[1]} for row in table(LOG, "`action`") for action in code(row[0])}

    assert listed == actions()


def findings() -> dict[str, set[str]]:
    """
    Return the name of each finding in the package, with its levels.
    """
    found: dict[str, set[str]] = {}
    for path in sorted(Path(package.__path__[0]).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if ast.unparse(call.func) == "Finding":
                name = ast.literal_eval(call.args[1])
                levels = {word for word in ("ok", "warning", "error") if f"'{word}'" in ast.unparse(call.args[0])}
                found[name] = found.get(name, set()) | levels
    return found


def test_table_of_findings() -> None:
    """
    The table of the doctor's findings has every finding of the code at its levels, and no other.
    """
    rows = table(DOCTOR, "Finding")

    assert {name: set(row[1].split(", ")) for row in rows for name in code(row[0])} == findings()
    assert all(len(row) == 4 and all(row) for row in rows)


def test_findings_are_tested() -> None:
    """
    Each finding that something is wrong with has a test that brings it about.
    """
    texts = [path.read_text() for path in (ROOT / "tests" / "operations").glob("test_doctor*.py")]
    names = {name for name, levels in findings().items() if levels != {"ok"}}

    assert {name for name in names if not any(f'"{name}"' in text for text in texts)} == set()


def test_every_logging_call_has_an_action() -> None:
    """
    No record leaves the package without an `action`.
    """
    for path in sorted(Path(package.__path__[0]).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if re.fullmatch(r"_?log(ger)?\.(debug|info|warning|error|exception|critical)", ast.unparse(call.func)):
                assert "extra" in {keyword.arg for keyword in call.keywords}, f"{path}:{call.lineno}"


def parsers() -> dict[str, argparse.ArgumentParser]:
    [choices] = [action.choices for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(choices)


@named(TEXTS)
def test_command_lines(path: Path) -> None:
    """
    Each command line in the text is one that the parser knows, with its options.
    """
    pattern = (
        r"(?:remotion-licensing|manage\.py remotion_licensing)(?: --(?:app|outbox) \S+)* ([a-z]+)((?: [^`#|&;\n]*)?)"
    )
    lines = re.findall(pattern, path.read_text())

    for command, words in lines:
        assert set(re.findall(r"--[a-z-]+", words)) <= set(parsers()[command]._option_string_actions)


def test_json_table() -> None:
    """
    The table of JSON has each command that prints it.
    """
    listed = {name for row in table(COMMANDS, "Object of") for name in code(row[0])}

    assert listed == {name for name, parser in parsers().items() if "--json" in parser._option_string_actions}


def test_sandbox_options() -> None:
    """
    The sandbox's options and ways to fail in the text are those of the parser.
    """
    text = (GUIDES / "testing.md").read_text()

    assert set(re.findall(r"--[a-z-]+", text)) <= set(parsers()["sandbox"]._option_string_actions)
    assert set(re.findall(r"--fail (\w+)", text)) == set(MODES)


@named(TEXTS)
def test_variables(path: Path) -> None:
    """
    Each environment variable in the text is one that is read; the other such name is Django's dict.
    """
    known = {*settings.ENVIRONMENT.values(), settings.APP_VARIABLE, SECRET_VARIABLE, "REMOTION_LICENSING"}

    assert set(re.findall(r"\bREMOTION_[A-Z_]+\b", path.read_text())) <= known


@named(TEXTS)
def test_links(path: Path) -> None:
    """
    Each link inside the repository leads to a file; `scripts/docs` follows those to a part of a page.
    """
    links = [link for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", path.read_text()) if "://" not in link]

    assert [link for link in links if not (path.parent / link).is_file()] == []


@named(TEXTS)
def test_named_files(path: Path) -> None:
    """
    Each script and module that the text names by its path is there.
    """
    text = path.read_text()
    names = re.findall(r"(?<![/\w])(?:scripts|tests|docs|example_projects)/[\w./-]*\w", text)

    assert [name for name in names if not (ROOT / name).exists()] == []


def test_logger() -> None:
    """
    The one logger has the documented name, and neither handlers nor level of its own.
    """
    logger = logging.getLogger("remotion_licensing_integrations")

    assert f"One logger, `{logger.name}`." in LOG.read_text()
    assert (logger.level, logger.propagate) == (logging.NOTSET, True)


def test_python_version() -> None:
    """
    The README names the oldest Python that the package takes.
    """
    project = (ROOT / "pyproject.toml").read_text()
    [oldest] = re.findall(r'^requires-python = ">=([\d.]+)"$', project, re.MULTILINE)

    assert f"Python {oldest} or newer" in README.read_text()
    assert sys.version_info >= tuple(map(int, oldest.split(".")))


@pytest.mark.parametrize("name", ["starlette", "fastapi"])
def test_framework_version(name: str) -> None:
    """
    The README names the oldest version of each framework that the extra takes.
    """
    project = (ROOT / "pyproject.toml").read_text()
    [oldest] = re.findall(rf'^{name} = \["{name}>=([\d.]+)"\]$', project, re.MULTILINE)

    assert re.search(rf"\b{name} {re.escape(oldest)}(?![\d.]*\d)", README.read_text(), re.IGNORECASE)
