"""
The timings still run: what they measure is asked once, and not timed.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests._environment import clean_environment
from tests._selection import needs


def ask(module, *arguments, question):
    """
    Return the answers of a worker of the timings to one question and to the end.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(
        command, input=f"{question}\n", stdout=subprocess.PIPE, text=True, check=True, env=clean_environment()
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["other", "counted", "together"])
def test_requests_are_served(tmp_path, kind):
    """
    To an endpoint that is not decorated, to a decorated one, and to that all at once.
    """
    [answer] = ask("requests_worker", tmp_path / "usage.sqlite3", question=f"{kind} 3")

    assert answer["points"] == 3


def test_points_are_delivered(tmp_path, sandbox):
    """
    Each point of the question is registered.
    """
    [answer] = ask("delivery_worker", "ours", tmp_path / "usage.sqlite3", question=f"{sandbox.url} 2 5")

    assert answer["points"] == len(sandbox.points()) == 5


@needs("django")
@pytest.mark.parametrize("handler", ["WSGI", "ASGI"])
@pytest.mark.parametrize("name", ["ours", "create()"])
def test_conversions_of_django_are_recorded(tmp_path, handler, name):
    """
    By ours, and by a row that has what a usage point has.
    """
    *_, counts = ask("django_project", handler, name, tmp_path, question="convert 1")

    assert counts["recorded"] == counts["answered"] > 0
