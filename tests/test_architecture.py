"""
Which module may import which, and what importing the package does: nothing.
"""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import remotion_licensing_integrations as root

PACKAGE = root.__name__
FOLDER = Path(root.__path__[0])

#: Lowest first; a module imports from levels below its own, or from further left in its own.
LEVELS = [
    ["errors", "_forks", "_testrun", "masking"],
    ["models", "retry", "origin", "settings", "protocol", "deferral", "pointlog"],
    ["_http", "_calls", "client"],
    [
        *("outbox._schemes", "outbox.base", "outbox._rows", "outbox.memory", "outbox._database", "outbox.sqlite"),
        *("outbox._tables", "outbox._dialect", "outbox._bounded", "outbox._postgresql", "outbox._mysql"),
        *("outbox._server", "outbox.sqlalchemy", "outbox"),
    ],
    ["senders", "pace", "delivery", "worker", "writer", "threads", "waiting", "recorder", "default"],
    ["usage.pending", "usage.endpoint", "usage.queues", "usage.block", "usage.job", "usage", "endpoints", "webhooks"],
    ["asgi"],
    ["_starlette_webhook", "starlette", "fastapi"],
    ["testing.sandbox", "testing.plugin", "testing"],
    ["doctor", "commands", "arguments", "cli", "__main__"],
    ["django"],
]
ORDER = [module for level in LEVELS for module in level]

#: Adapters, and what each may know of other packages' frameworks.
FRAMEWORKS = {"starlette", "fastapi", "django", "flask", "litestar", "quart"}
ALLOWED_FRAMEWORK = {
    "_starlette_webhook": {"starlette"},
    "starlette": {"starlette"},
    "fastapi": {"starlette", "fastapi"},
    "testing.sandbox": {"starlette"},
    "django": {"django"},
}
ADAPTERS = ["asgi", "starlette", "fastapi"]


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(FOLDER.rglob("*.py")):
        name = ".".join(path.relative_to(FOLDER).with_suffix("").parts).removesuffix("__init__").removesuffix(".")
        if name:
            found[name] = path
    return found


MODULES = modules()


def unit(name: str) -> str:
    """
    Return the name under which a module stands in `LEVELS`: the sandbox and the Django app are one unit each.
    """
    return next((whole for whole in ("testing.sandbox", "django") if f"{name}.".startswith(f"{whole}.")), name)


def imports(name: str) -> set[str]:
    """
    Return what a module imports at run time, as absolute names, wherever in it; names for type checkers left out.
    """
    path, found = MODULES[name], set()
    package = [PACKAGE, *name.split(".")][: None if path.name == "__init__.py" else -1]
    tree = ast.parse(path.read_text())
    unseen = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            target = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found |= {f"{target}.{alias.name}" for alias in node.names}
    return found


def own_imports(name: str) -> set[str]:
    """
    Return the modules of the package that a module imports, as units.
    """
    found = set()
    for target in imports(name):
        inside = target.removeprefix(f"{PACKAGE}.")
        if inside != target:
            parent = inside.rpartition(".")[0]
            found.add(unit(inside if inside in MODULES else parent))
    return found - {unit(name)}


@pytest.mark.parametrize("name", MODULES)
def test_module_has_a_level(name: str) -> None:
    """
    Each module has its place in the picture.
    """
    assert unit(name) in ORDER


@pytest.mark.parametrize("name", ORDER)
def test_level_has_its_module(name: str) -> None:
    """
    Nothing in the picture has gone.
    """
    assert name in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_arrows_point_down(name: str) -> None:
    """
    A module imports from lower levels only; of the root it takes the version at most.
    """
    known = [unit(name), "", *ORDER[: ORDER.index(unit(name))]]

    assert set() == own_imports(name) - set(known)


@pytest.mark.parametrize("name", MODULES)
def test_root_is_not_imported(name: str) -> None:
    """
    No module takes anything but the version from the root.
    """
    from_root = {target for target in imports(name) if target.rpartition(".")[0] == PACKAGE}
    values = {target for target in from_root if target.removeprefix(f"{PACKAGE}.") not in MODULES}

    assert values <= {f"{PACKAGE}.__version__"}


@pytest.mark.parametrize("name", MODULES)
def test_frameworks(name: str) -> None:
    """
    No module imports a framework that is not its own.
    """
    used = {target.partition(".")[0] for target in imports(name)} & FRAMEWORKS

    assert used <= ALLOWED_FRAMEWORK.get(unit(name), set())


def test_root_imports_no_adapter() -> None:
    """
    The root's imports contain no adapter.
    """
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    taken = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert set() == taken & {*ADAPTERS, "testing", "cli"}


@pytest.mark.parametrize("name", root.__all__)
def test_all_is_importable(name: str) -> None:
    """
    Each name of `__all__` is there.
    """
    assert getattr(root, name) is not None


def test_all_is_sorted() -> None:
    """
    `__all__` is sorted, and without repeats.
    """
    assert sorted(set(root.__all__)) == root.__all__


def test_all_is_everything() -> None:
    """
    The root imports nothing that it does not export.
    """
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]

    assert sorted(imported) == root.__all__


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapter_exports(name: str) -> None:
    """
    An adapter's `__all__` is sorted, and all of it is there.
    """
    adapter = importlib.import_module(f"{PACKAGE}.{name}")

    assert sorted(adapter.__all__) == adapter.__all__
    assert all(hasattr(adapter, exported) for exported in adapter.__all__)


def test_same_names() -> None:
    """
    Every adapter offers the same objects under the same names.
    """
    starlette, fastapi = (importlib.import_module(f"{PACKAGE}.{name}") for name in ADAPTERS[1:])

    assert {name: getattr(starlette, name) for name in starlette.__all__} == {
        name: getattr(fastapi, name) for name in fastapi.__all__
    }


PROBE = """
import json, sys, threading

events = []
quiet = (".py", ".pyc", ".pth", ".so")


def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and not arguments[0].endswith(quiet) and armed:
        events.append(f"open {arguments[0]}")
    elif armed and event in {"sqlite3.connect", "socket.__new__", "socket.connect", "subprocess.Popen", "os.mkdir"}:
        events.append(event)


armed = False
sys.addaudithook(watch)
# What the import system itself reads first.
import importlib.metadata, logging, dataclasses, asyncio, queue, sqlite3, urllib.parse, email.utils
armed = True
__import__(sys.argv[1])
armed = False
print(json.dumps({
    "events": [event for event in events if ".pyc." not in event],
    "threads": threading.active_count(),
    "modules": sorted(sys.modules),
}))
"""


@pytest.fixture(scope="module")
def probe() -> dict[str, dict]:
    """
    What importing the root and each adapter does in a fresh interpreter.
    """
    found = {}
    for name in [PACKAGE, *(f"{PACKAGE}.{adapter}" for adapter in ADAPTERS)]:
        command = [sys.executable, "-c", PROBE, name]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


IMPORTED = [PACKAGE, *(f"{PACKAGE}.{name}" for name in ADAPTERS)]


@pytest.mark.parametrize("name", IMPORTED)
def test_import_loads_no_http_library(name: str, probe) -> None:
    """
    Importing the root or an adapter loads no HTTP library, no framework and no database driver.
    """
    heavy = {"httpx", "httpx2", "httpcore", "httpcore2", "starlette", "fastapi", "anyio", "uvicorn", "django"}
    heavy |= {"sqlalchemy", "psycopg", "pymysql"}

    assert set() == heavy & set(probe[name]["modules"])


@pytest.mark.parametrize("name", IMPORTED)
def test_import_starts_no_thread(name: str, probe) -> None:
    """
    Importing the root or an adapter starts no thread.
    """
    assert probe[name]["threads"] == 1


@pytest.mark.parametrize("name", IMPORTED)
def test_import_opens_nothing(name: str, probe) -> None:
    """
    Importing the root or an adapter opens no file, database, socket or process.
    """
    assert probe[name]["events"] == []


def test_middleware_starts_nothing(tmp_path: Path) -> None:
    """
    Making a middleware opens nothing and starts no thread either.
    """
    code = (
        f"import threading; from {PACKAGE}.asgi import UsageMiddleware; "
        "UsageMiddleware(None, license_key='k'); print(threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)

    assert done.stdout == "1\n"
    assert list(tmp_path.iterdir()) == []
