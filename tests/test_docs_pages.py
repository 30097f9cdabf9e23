"""
What the explanations and guides say, held against the code: their examples run, and what they name is there.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder
from remotion_licensing_integrations.outbox import State
from remotion_licensing_integrations.testing import MemoryOutbox, Sandbox
from tests._http import httpx
from tests.test_docs import GUIDES, ORIGIN, PAGES, ROOT, actions, blocks, code, execute, table

DOCS = ROOT / "docs"


@pytest.fixture
def sandbox(monkeypatch, tmp_path):
    """
    A licensing server and an outbox of their own, for whatever reads the environment.
    """
    with Sandbox() as server:
        monkeypatch.setenv("REMOTION_LICENSE_KEY", "rm_pub_docs")
        monkeypatch.setenv("REMOTION_LICENSING_BASE_URL", server.url)
        monkeypatch.setenv("REMOTION_LICENSING_OUTBOX", f"sqlite:///{tmp_path}/usage.sqlite3")
        monkeypatch.setenv("REMOTION_LICENSING_SPILL", f"sqlite:///{tmp_path}/spill.sqlite3")
        yield server


def test_events(remotion_usage) -> None:
    """
    Each endpoint on the page of events counts as the event that the page says.
    """
    first, second = blocks(DOCS / "events.md")
    app = """
from fastapi import FastAPI
from remotion_licensing_integrations.fastapi import UsageMiddleware

app = FastAPI()
app.add_middleware(UsageMiddleware, license_key="rm_pub_…")
"""
    names = execute(app + first + second, render=lambda _: "/done.mp4")
    with TestClient(names["app"]) as client:
        for path in ("/render?title=a", "/exported", "/poster"):
            assert client.post(path, headers={"Origin": ORIGIN}).status_code == 200

    assert [(point.event, point.is_still) for point in remotion_usage.points] == [
        ("cloud-render", False),
        ("web-render", False),
        ("cloud-render", True),
    ]


def test_sent_body(tmp_path) -> None:
    """
    The body on the page about privacy is the one that delivery sends, byte for byte.
    """
    [block] = blocks(DOCS / "explanation" / "privacy.md", "json")
    wanted = json.loads(block)
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"success": True, "billable": True, "classification": "billable"})

    settings = Settings(license_key=wanted["apiKey"], delivery="external", spill="off", base_url="https://example.com")
    outbox = MemoryOutbox()
    recorder = UsageRecorder(settings, outbox=outbox, transport=httpx.MockTransport(answer))
    try:
        point = UsagePoint(
            event=wanted["event"],
            host=wanted["host"],
            succeeded=wanted["succeeded"],
            idempotency_key=wanted["idempotencyKey"],
            label="customer-42",
        )
        outbox.add([point])
        recorder.deliver()
    finally:
        recorder.stop()

    assert [request.content.decode() for request in sent] == [block.strip()]
    text = (DOCS / "explanation" / "privacy.md").read_text()
    assert {name.lower() for name in sent[0].headers} <= {name.lower() for name in re.findall(r"`([A-Z][\w-]+)", text)}


def test_function_that_delivers_inline(sandbox) -> None:
    """
    Under Mangum the point is registered before the handler returns its response.
    """
    inline = blocks(GUIDES / "serverless.md")[0]
    http = {"method": "POST", "path": "/convert", "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"}
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/convert",
        "rawQueryString": "",
        "headers": {"origin": ORIGIN, "host": "function.example"},
        "requestContext": {"http": http, "domainName": "function.example"},
        "isBase64Encoded": False,
    }

    with closing(asyncio.new_event_loop()) as loop:
        asyncio.set_event_loop(loop)  # Mangum would leave its own one open
        answer = execute(inline, render=lambda: "/done.mp4")["handler"](event, object())
        asyncio.set_event_loop(None)

    assert answer["statusCode"] == 200
    assert [point.host for point in sandbox.points()] == [ORIGIN]


def test_function_that_delivers_for_others(sandbox, monkeypatch) -> None:
    """
    The scheduled function registers what other instances have left in the outbox.
    """
    monkeypatch.setenv("REMOTION_LICENSING_DELIVERY", "external")
    names = execute(blocks(GUIDES / "serverless.md")[1])
    try:
        names["recorder"].outbox.add([UsagePoint(event="cloud-render", host=ORIGIN, succeeded=True)])
        assert names["handler"]({}, None) == {"registered": 1}
    finally:
        names["recorder"].stop()


def test_discard_of_a_rejected_point(sandbox) -> None:
    """
    The example that deletes a rejected point deletes it, and no other.
    """
    [source] = blocks(GUIDES / "rejected-points.md")
    [key] = re.findall(r'discard\(\["([\w-]+)"\]', source)
    with_key = UsagePoint(event="cloud-render", host=ORIGIN, succeeded=True, idempotency_key=key)
    outbox = UsageRecorder().outbox
    outbox.add([with_key, UsagePoint(event="cloud-render", host=ORIGIN, succeeded=True)])
    outbox.update([claimed.reject("400") for claimed in outbox.claim(2, lease=60)])
    outbox.close()
    execute(source)

    [left] = UsageRecorder().outbox.list()
    assert (left.state, left.point.idempotency_key != key) == (State.REJECTED, True)


def test_points_of_a_backup_can_be_held(sandbox) -> None:
    """
    The statement for a restored outbox holds what was pending, and a held point can be retried.
    """
    text = (GUIDES / "backups.md").read_text()
    [statement] = re.findall(r'"(UPDATE remotion_usage_point [^"]+)"', text)
    recorder = UsageRecorder()
    recorder.outbox.add([UsagePoint(event="cloud-render", host=ORIGIN, succeeded=True)])
    path = recorder.settings.outbox.removeprefix("sqlite:///")
    program = f"import sqlite3; c = sqlite3.connect({path!r}, isolation_level=None); c.execute({statement!r})"
    subprocess.run([sys.executable, "-c", program], check=True)

    counts = recorder.outbox.counts()
    assert (counts.pending, counts.held, recorder.outbox.retry()) == (0, 1, 1)


def test_table_of_the_django_project() -> None:
    """
    The page on backups names the table of a Django project as it is.
    """
    migrations = ROOT / "remotion_licensing_integrations" / "django"
    [model] = re.findall(
        r"^class (UsagePoint\w*)\(models\.Model\)", (migrations / "models.py").read_text(), re.MULTILINE
    )

    assert f"`remotion_licensing_{model.lower()}`" in (GUIDES / "backups.md").read_text()


def test_actions_by_subject() -> None:
    """
    The page on troubleshooting has each action of the log under one subject.
    """
    listed = Counter(name for row in table(DOCS / "troubleshooting.md", "Subject") for name in code(row[1]))

    assert listed == Counter([*actions()])


def test_log_format() -> None:
    """
    The log format of the page shows the action of our records, and a dash for others.
    """
    [source] = blocks(DOCS / "troubleshooting.md")
    log = 'logging.getLogger("a").warning("one", extra={"action": "act"}); logging.getLogger("b").warning("two")'
    shown = subprocess.run([sys.executable, "-c", f"{source}\n{log}"], check=True, capture_output=True, text=True)

    assert shown.stderr.split("\n") == ["WARNING act one", "WARNING - two", ""]


def named_tests(path: Path) -> list[str]:
    return re.findall(r"`(test_\w+)`", path.read_text())


@pytest.mark.parametrize("path", [path for path in PAGES if named_tests(path)], ids=lambda path: path.name)
def test_named_tests(path: Path) -> None:
    """
    Each test that a page names by its function is there.
    """
    there = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }

    assert [name for name in named_tests(path) if name not in there] == []


def test_glossary() -> None:
    """
    The glossary has the ten words.
    """
    rows: list[Any] = table(DOCS / "glossary.md", "Word")

    assert len({row[0] for row in rows}) == 10
