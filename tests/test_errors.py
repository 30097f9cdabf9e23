"""
The exception tree.
"""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from remotion_licensing_integrations import errors
from remotion_licensing_integrations.errors import APIError, LicensingError


def _classes() -> dict[str, type[Exception]]:
    return {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}


def _drawn_tree() -> dict[str, str | None]:
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in errors.__doc__.split("```")[1].strip().splitlines():
        match = re.match(r"([│├└─ ]*)(\w+)", line)
        assert match is not None
        depth = len(match[1]) // 4
        del path[depth:]
        parents[match[2]] = path[-1] if path else None
        path.append(match[2])
    return parents


def test_tree_is_the_drawn_one() -> None:
    """
    The tree in the module's docstring has every class under its real parent.
    """
    real = {name: kind.__bases__[0].__name__ for name, kind in _classes().items()}

    assert {name: parent or "Exception" for name, parent in _drawn_tree().items()} == real


def test_value_errors_are_the_drawn_ones() -> None:
    """
    The docstring marks exactly the classes that are also a ValueError.
    """
    marked = set(re.findall(r"(\w+) .*\(also a ValueError\)", errors.__doc__ or ""))

    assert marked == {name for name, kind in _classes().items() if issubclass(kind, ValueError)}


@pytest.mark.parametrize("kind", _classes().values())
def test_every_class_is_explained(kind: type[Exception]) -> None:
    """
    Each class has a docstring of its own.
    """
    assert kind.__doc__ != kind.__bases__[0].__doc__


def test_api_error_text() -> None:
    """
    An API error shows its status and the API's words.
    """
    assert str(APIError("Invalid API key", status=401)) == "HTTP 401: Invalid API key"


def test_api_error_without_text() -> None:
    """
    An API error without words says so.
    """
    assert str(APIError("", status=500)) == "HTTP 500: no error text"


def test_api_error_defaults() -> None:
    """
    Body and waiting time are optional.
    """
    error = APIError("x", status=500)

    assert (error.body, error.retry_after) == ("", None)


def test_one_except_catches_all() -> None:
    """
    Every class is a LicensingError.
    """
    assert all(issubclass(kind, LicensingError) for kind in _classes().values())


def test_imports_nothing_of_the_package() -> None:
    """
    The module stands below all others.
    """
    imports = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(errors)))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]

    assert [node.module for node in imports if isinstance(node, ast.ImportFrom)] == ["__future__"]
    assert len(imports) == 1
