"""
Looks for what reports renders to Remotion by itself, so that the app must not count them a second time.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from ...outbox import Finding

#: The search is for an app's own code; these bounds keep it short where there is more.
_MAX_FILES: Final = 20_000  # of any kind
_MAX_SIZE: Final = 500_000  # bytes
_MAX_DEPTH: Final = 12
_MAX_NAMED: Final = 20  # places

#: Folders with the code of others, or with what was made of one's own. Those whose names begin with a dot, too.
_LEFT_OUT: Final = frozenset(
    {"node_modules", "venv", "env", "site-packages", "__pycache__", "dist", "build", "out", "target", "vendor"}
)
_SCRIPTS: Final = frozenset({".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts"})
_OTHERS: Final = frozenset({".py", ".sh", ".bash", ".json", ".yml", ".yaml", ".toml"})
_WITHOUT_SUFFIX: Final = frozenset({"Dockerfile", "Makefile", "Procfile", "justfile"})
_NOT_CODE: Final = frozenset({"package-lock.json", "tsconfig.json"})

_MAY_HAVE_KEY: Final = re.compile(r"license[_-]?key|api_key", re.IGNORECASE)
_OPTION: Final = re.compile(r"(?<![\w-])--(?:public-)?license-key(?![\w-])")
_IN_SCRIPT: Final = re.compile(r"\blicenseKey\b|\bsetPublicLicenseKey\b")
#: Of the package `remotion_lambda`: the parameters of a render, and those of them that take a key.
_PARAMETERS: Final = frozenset({"RenderMediaParams", "RenderStillParams"})
_KEYS: Final = frozenset({"license_key", "api_key"})
_COMMENT: Final = re.compile(r"\s*(?:#|//|/?\*)")


def examine_code(folder: Path) -> Iterable[Finding]:
    """
    Look at the installed packages, and at the code in *folder* and below.
    """
    if importlib.util.find_spec("remotion_lambda") is not None:
        yield Finding(
            "warning",
            "lambda_installed",
            "remotion_lambda is installed: it reports renders by itself when given a licence key. "
            "Do not also count the endpoints that call it.",
        )
    for place, words in islice(_find(folder), _MAX_NAMED):
        yield Finding(
            "warning",
            "reports_itself",
            f"{place}: with {words} a renderer of Remotion gets a licence key and reports its renders by itself. "
            "Remove the key there, or do not count the endpoints that start it.",
        )


def _find(folder: Path) -> Iterator[tuple[str, str]]:
    for path in filter(_is_code, islice(_walk(folder), _MAX_FILES)):
        try:
            text = path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size <= _MAX_SIZE else ""
        except OSError:
            continue
        if _MAY_HAVE_KEY.search(text):
            find = (
                _find_in_python if path.suffix == ".py" else partial(_find_in_lines, is_script=path.suffix in _SCRIPTS)
            )
            for line, words in sorted({*find(text)}):
                yield f"{path.relative_to(folder).as_posix()}:{line}", words


def _find_in_python(text: str) -> Iterator[tuple[int, str]]:
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    nodes = [*ast.walk(tree)]
    prose = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            if option := _OPTION.search(node.value):
                yield node.lineno, option[0]
            elif node.value == "licenseKey":
                yield node.lineno, node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _PARAMETERS:
            yield from ((word.lineno, word.arg) for word in node.keywords if word.arg in _KEYS)


def _find_in_lines(text: str, *, is_script: bool) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        found = _OPTION.search(line) or (_IN_SCRIPT.search(line) if is_script else None)
        if found and not _COMMENT.match(line):
            yield number, found[0]


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        deep = len(here.relative_to(folder).parts) >= _MAX_DEPTH
        folders[:] = [] if deep else sorted(name for name in folders if _is_own(here / name))
        yield from (here / name for name in sorted(files))


def _is_code(path: Path) -> bool:
    return (path.suffix in _SCRIPTS | _OTHERS or path.name in _WITHOUT_SUFFIX) and path.name not in _NOT_CODE


def _is_own(folder: Path) -> bool:
    name = folder.name
    return not (name.startswith(".") or name in _LEFT_OUT or (folder / "pyvenv.cfg").exists())
