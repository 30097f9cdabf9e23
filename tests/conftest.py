"""
What every test gets: an environment without settings of ours, a directory of its own, and no thread of another test.
"""

import os
import threading
from functools import wraps

import pytest

from remotion_licensing_integrations import UsageRecorder, set_default_recorder
from remotion_licensing_integrations.recording import default

from ._outboxes import PATIENCE

pytest_plugins = ["pytester", "tests._django", "tests._recorders", "tests._sandbox", "tests._selection"]


@pytest.fixture(autouse=True)
def _clean_place(monkeypatch, tmp_path):
    for name in os.environ:
        if name.startswith("REMOTION_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    # Once Django is set up in this process, it would be asked by all tests.
    monkeypatch.setattr(default, "_provide", default.SharedRecorder(UsageRecorder))
    yield
    set_default_recorder(None)


@pytest.fixture(autouse=True)
def _no_threads_left(monkeypatch):
    """
    Stop the recorders of a test: a thread that outlives it would write to the next one's log.
    """
    before, recorders, make, stop = {*threading.enumerate()}, [], UsageRecorder.__init__, UsageRecorder.stop

    @wraps(make)
    def note(self, *args, **options):
        make(self, *args, **options)
        recorders.append(self)

    monkeypatch.setattr(UsageRecorder, "__init__", note)
    yield
    for recorder in recorders:
        stop(recorder, PATIENCE)
    ours = [thread for thread in {*threading.enumerate()} - before if thread.name.startswith("remotion-usage-")]
    for thread in ours:
        thread.join(PATIENCE if "sender" not in thread.name else 0)  # a sender that waits for work says nothing
    assert [thread.name for thread in ours if thread.is_alive() and "sender" not in thread.name] == []
