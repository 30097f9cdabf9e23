"""
Whether this process is a test run, in which nothing may reach the production API.
"""

from __future__ import annotations

import os
import sys
from pathlib import PurePath


def is_test_run() -> bool:
    """
    Whether this process belongs to pytest, unittest or Django's test command.
    """
    if "PYTEST_VERSION" in os.environ or "PYTEST_CURRENT_TEST" in os.environ:
        return True
    program, verb = ([*sys.argv, "", ""])[:2]
    path = PurePath(program)
    if "unittest" in path.parts or program.endswith(" -m unittest"):
        return True
    return verb == "test" and path.name in {"manage.py", "django-admin", "__main__.py"}
