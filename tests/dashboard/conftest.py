"""
A dashboard over an outbox file, mounted in an app, beside a sandbox that counts for the API.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from remotion_licensing_integrations import Settings, UsageRecorder
from remotion_licensing_integrations.dashboard import overview, usage_dashboard
from remotion_licensing_integrations.outbox import SQLiteOutbox
from tests.dashboard._points import KEY, PRIVATE_KEY


@pytest.fixture(autouse=True)
def patient(monkeypatch) -> None:
    monkeypatch.setattr(overview, "PATIENCE", 10)


@pytest.fixture
def outbox(tmp_path) -> Iterator[SQLiteOutbox]:
    outbox = SQLiteOutbox(tmp_path / "usage.sqlite3")
    yield outbox
    outbox.close()


@pytest.fixture
def make_recorder(outbox, sandbox, tmp_path) -> Callable[..., UsageRecorder]:
    def make(**changes: Any) -> UsageRecorder:
        settings = {
            "license_key": KEY,
            "private_license_key": PRIVATE_KEY,
            "base_url": sandbox.url,
            "outbox": f"sqlite:///{outbox.path}",
            "spill": f"sqlite:///{tmp_path / 'spill.sqlite3'}",
            "delivery": "external",
        }
        return UsageRecorder(Settings(**{**settings, **changes}), outbox=outbox)

    return make


@pytest.fixture
def open_client(make_recorder) -> Callable[..., TestClient]:
    """
    Return a client of an app with the dashboard at /usage.
    """

    def open_client(recorder: UsageRecorder | None = None, **options: Any) -> TestClient:
        app = Starlette()
        options = {"debug": True} | options
        app.mount("/usage", usage_dashboard(make_recorder() if recorder is None else recorder, **options))
        return TestClient(app, base_url="http://app.test", follow_redirects=False)

    return open_client


@pytest.fixture
def client(open_client) -> TestClient:
    return open_client()


@pytest.fixture
def hold(monkeypatch) -> Iterator[Callable[..., threading.Event]]:
    """
    Make a function of a module wait for the event that is returned.
    """
    gate = threading.Event()

    def hold(module: Any, name: str) -> threading.Event:
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *arguments: gate.wait(10) and function(*arguments))
        return gate

    yield hold
    gate.set()
