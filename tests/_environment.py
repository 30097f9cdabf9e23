"""
The environment of processes that must know nothing of the test run.
"""

from __future__ import annotations

import os

#: What the test runner and the set-up of Django leave in it, and what a developer may have there.
_FOREIGN = ("PYTEST_", "COVERAGE_", "DJANGO_", "REMOTION_", "CELERY_")


def clean_environment(**changes: str) -> dict[str, str]:
    """
    Return this process's environment without what would change another's behaviour, but with *changes*.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)} | changes
