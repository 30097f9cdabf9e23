"""
What every test gets: an environment without settings of ours, and a directory of its own.
"""

import os

import pytest

from remotion_licensing_integrations import UsageRecorder, set_default_recorder
from remotion_licensing_integrations.recording import default

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
