"""
Where tests run: the environment of processes that must know nothing of the test run, and what is not installed.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from tests._systems import IS_LINUX

#: What the test runner and the set-up of Django leave in it, and what a developer may have there.
_FOREIGN = ("PYTEST_", "COVERAGE_", "DJANGO_", "REMOTION_", "CELERY_")


def clean_environment(**changes: str) -> dict[str, str]:
    """
    Return this process's environment without what would change another's behaviour, but with *changes*.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)} | changes


def skip_missing(reason: str) -> NoReturn:
    """
    Skip a test that needs a program which is not installed; under CI on Linux, where all are, it fails.
    """
    if os.environ.get("CI") and IS_LINUX:
        pytest.fail(reason)
    pytest.skip(reason)
