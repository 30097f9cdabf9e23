"""
What the API has counted, for pages.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from remotion_licensing_integrations import Settings
from remotion_licensing_integrations.api import Counted, usage_reader
from remotion_licensing_integrations.api import counted as module
from remotion_licensing_integrations.api.counted import UsageReader
from remotion_licensing_integrations.testing import Sandbox
from tests._http import httpx

PATIENCE = 10
KEY, PRIVATE_KEY = "rm_pub_4bZ0kQ", "rm_sec_9yT2wL"


@pytest.fixture(scope="module")
def running():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running):
    running.clear()
    running.set_failure()
    return running


@pytest.fixture
def make_reader(sandbox):
    def make(**changes):
        settings = {"license_key": KEY, "private_license_key": PRIVATE_KEY, "base_url": sandbox.url} | changes
        return UsageReader(Settings(**settings), clock=lambda: 0)

    return make


def register(sandbox):
    body = {"event": "web-render", "apiKey": KEY, "host": "https://myapp.com", "succeeded": True}
    httpx.post(f"{sandbox.url}/api/track/register-usage-point", json=body).raise_for_status()


def test_it_has_the_numbers(make_reader, sandbox):
    """
    By event and classification.
    """
    register(sandbox)

    [counted] = make_reader().read(None, patience=PATIENCE)

    assert [counted.count("web-render", "billable"), counted.count("cloud-render", "billable")] == [1, 0]
    assert (counted.billable(), counted.reason) == (1, None)


def test_key_of_a_file(make_reader, sandbox, tmp_path):
    """
    The private key may be in a file.
    """
    (tmp_path / "key").write_text(PRIVATE_KEY)
    register(sandbox)

    [counted] = make_reader(private_license_key=None, private_license_key_file=str(tmp_path / "key")).read(
        None, patience=PATIENCE
    )

    assert counted.billable() == 1


def test_each_moment_has_its_numbers(make_reader, sandbox):
    """
    Nothing was counted since now.
    """
    register(sandbox)

    month, later = make_reader().read(None, datetime(2100, 1, 1, tzinfo=UTC), patience=PATIENCE)

    assert (month.billable(), later.billable()) == (1, 0)


def test_it_is_asked_once_a_minute(make_reader, sandbox):
    """
    The clock has not moved, so the new point is not seen.
    """
    reader = make_reader()
    reader.read(None, patience=PATIENCE)
    register(sandbox)

    assert reader.read(None, patience=PATIENCE)[0].billable() == 0


def test_pages_do_not_forget_each_others_answers(make_reader, sandbox):
    """
    A page that asks for another moment does not let the API be asked again for the first one.
    """
    reader = make_reader()
    reader.read(None, patience=PATIENCE)
    reader.read(datetime.now(UTC), patience=PATIENCE)
    register(sandbox)

    assert reader.read(None, patience=PATIENCE)[0].billable() == 0


@pytest.mark.parametrize(
    ("failure", "changes", "reason"),
    [
        ("500", {}, "HTTP 500"),
        ("key", {}, "Invalid API key"),
        (None, {"private_license_key": None}, "Public API key passed"),
        (None, {"private_license_key": None, "license_key": None}, "REMOTION_PRIVATE_LICENSE_KEY"),
        (None, {"private_license_key": None, "license_key": "free-license"}, "REMOTION_PRIVATE_LICENSE_KEY"),
    ],
)
def test_what_is_not_known_has_a_reason(make_reader, sandbox, failure, changes, reason):
    """
    And no numbers.
    """
    sandbox.set_failure(failure)

    [counted] = make_reader(**changes).read(None, patience=PATIENCE)

    assert reason in counted.reason
    assert (counted.count("web-render", "billable"), counted.billable()) == (None, None)


def test_an_unknown_classification_has_no_number(make_reader):
    """
    The API does not tell it.
    """
    [counted] = make_reader().read(None, patience=PATIENCE)

    assert counted.count("web-render", "other") is None


def test_a_mistake_of_ours_is_a_reason(make_reader, monkeypatch):
    """
    A page without these figures is better than none.
    """
    monkeypatch.setattr(module, "get_usage", lambda **_: 1 / 0)

    assert "ZeroDivisionError" in make_reader().read(None, patience=PATIENCE)[0].reason


def test_an_api_that_hangs_is_not_waited_for(make_reader, monkeypatch):
    """
    The reader has an answer at once, and the API's later.
    """
    gate = threading.Event()
    monkeypatch.setattr(module, "get_usage", lambda **_: gate.wait(PATIENCE) and None)
    reader = make_reader()

    first = reader.read(None, patience=0)
    gate.set()
    second = reader.read(None, patience=PATIENCE)

    assert ("has not answered yet" in first[0].reason, second) == (True, [Counted(None)])


def test_a_process_has_one_reader_for_its_settings():
    """
    Several pages ask once.
    """
    assert usage_reader(Settings(license_key=KEY)) is usage_reader(Settings(license_key=KEY))
