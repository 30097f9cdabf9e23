"""
Which tests run: those whose libraries are installed, and with `-m "not slow"` those that stay within this process.
"""

from __future__ import annotations

import ast
import os
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
#: What users can do without. A test that imports a missing one is left out; under CI, where all are, it fails.
OPTIONAL = {
    *("django", "fastapi", "flask", "jinja2", "litestar", "opentelemetry", "psycopg", "pymysql", "quart", "rich"),
    *("celery", "dramatiq", "gevent", "gunicorn", "mangum", "ninja", "playwright", "redis", "remotion_lambda"),
    *("rest_framework", "rq", "starlette", "waitress", "yaml"),
}
MISSING = frozenset() if os.environ.get("CI") else frozenset(name for name in OPTIONAL if find_spec(name) is None)
#: Tests that start servers, browsers, databases or many processes, or that wait, by their names and their fixtures.
SLOW = re.compile(
    r"^example_projects/|/processes/|adapters/|_page\.py|[\[-](?:django-|server-)?(?:postgresql|mariadb|mysql)"
    r"|outbox/test_(?:upgrades|server\w*|file_faults)\.py|recording/test_recorder_life\.py"
    r"|operations/test_(?:reconcile|terminal)\.py|sandbox/test_server\.py|usage/test_queues\.py"
    r"|django/test_statements\.py|tests/test_(?:repository|start_pages|tutorial)\.py"
)
SLOW_FIXTURES = {
    "chromium",
    "mariadb",
    "mariadb_alias",
    "postgresql",
    "postgresql_alias",
    "postgresql_server",
    "redis_socket",
}


def needs(*libraries: str) -> pytest.MarkDecorator:
    """
    Skip a test where one of *libraries* is missing, which it does not import at the top of its file.
    """
    return pytest.mark.skipif(not MISSING.isdisjoint(libraries), reason=f"needs {' and '.join(libraries)}")


@cache
def needs_missing(path: Path) -> bool:
    """
    Tell whether a file of the tests imports a missing library, by itself or through the tests' own modules.
    """
    names, files = set(), set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() and MISSING else []:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            place = path.parents[node.level - 1] if node.level else TESTS.parent
            parts = (node.module or "").split(".")
            names |= {node.module or ""} if not node.level else set()
            files |= {place.joinpath(*parts).with_suffix(".py")}
            files |= {place.joinpath(*parts, alias.name).with_suffix(".py") for alias in node.names}
    own = {file for file in files if file.is_relative_to(TESTS)}
    return any(name.partition(".")[0] in MISSING for name in names) or any(map(needs_missing, own))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """
    Leave out the files, and the folders by their conftest, that need a missing library, or that nobody has asked for.
    """
    file = collection_path / "conftest.py" if collection_path.is_dir() else collection_path
    name = collection_path.relative_to(config.rootpath).as_posix() + "/" * collection_path.is_dir()
    # They would be collected by each worker, and then left out.
    is_slow = config.getoption("markexpr") == "not slow" and SLOW.search(name)
    return True if is_slow or (file.suffix == ".py" and needs_missing(file)) else None


def pytest_report_header() -> str:
    """
    Say what is left out.
    """
    return f"not installed, so without tests: {', '.join(sorted(MISSING))}" if MISSING else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Mark the slow tests.
    """
    for item in items:
        if SLOW.search(item.nodeid) or SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
