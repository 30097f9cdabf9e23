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
from tests._selection import needs

PACKAGE = root.__name__
FOLDER = Path(root.__path__[0])

#: The floors of the house, lowest first. A package, or a module at the root, imports from floors below its own only.
FLOORS = [
    *("_support", "errors", "points", "settings", "api", "outbox", "delivery", "recording", "usage"),
    *(
        "webhooks",
        "asgi",
        "starlette",
        "fastapi",
        "wsgi",
        "flask",
        "testing",
        "operations",
        "dashboard",
        "django",
        "__main__",
    ),
]
#: A cellar has no face; what is in it is named one by one.
WITHOUT_FACE = {"_support"}

#: Adapters, and what each may know of other packages' frameworks.
FRAMEWORKS = {"starlette", "fastapi", "django", "flask", "litestar", "quart"}
ALLOWED_FRAMEWORK = {
    "starlette": {"starlette"},
    "fastapi": {"starlette", "fastapi"},
    "flask": {"flask"},
    "dashboard": {"starlette"},
    "django": {"django"},
}
ADAPTERS = ["asgi", "starlette", "fastapi", "wsgi", "flask"]


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
    Return the floor that a module stands on.
    """
    return name.partition(".")[0]


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
    Return the modules of the package that a module imports.
    """
    found = set()
    for target in imports(name):
        inside = target.removeprefix(f"{PACKAGE}.")
        if inside != target:
            found.add(inside if inside in MODULES else inside.rpartition(".")[0])
    return found - {name}


def test_every_module_has_a_floor() -> None:
    """
    What stands in the package stands on a floor, and each floor is there.
    """
    assert {unit(name) for name in MODULES} == set(FLOORS)


@pytest.mark.parametrize("name", MODULES)
def test_arrows_point_down(name: str) -> None:
    """
    A module imports from its own package and from lower floors only.
    """
    below = FLOORS[: FLOORS.index(unit(name)) + 1]

    assert {target for target in own_imports(name) if unit(target) not in below} == set()


@pytest.mark.parametrize("name", MODULES)
def test_packages_are_entered_by_their_face(name: str) -> None:
    """
    No module reaches into the insides of another package; a package inside it has a face, too.
    """
    others = {target for target in own_imports(name) if unit(target) not in {unit(name), *WITHOUT_FACE}}

    assert {target for target in others if "." in target and MODULES[target].name != "__init__.py"} == set()


def test_no_circles() -> None:
    """
    No module imports itself in the end, not even from within functions.
    """
    below = {name: own_imports(name) & set(MODULES) for name in MODULES}
    # A package's face imports its modules, which do not import the face.
    while leaves := {name for name, targets in below.items() if not targets}:
        below = {name: targets - leaves for name, targets in below.items() if name not in leaves}

    assert below == {}


@pytest.mark.parametrize("name", MODULES)
def test_root_is_not_imported(name: str) -> None:
    """
    No module takes anything from the root.
    """
    from_root = {target for target in imports(name) if target.rpartition(".")[0] == PACKAGE}

    assert {target for target in from_root if target.removeprefix(f"{PACKAGE}.") not in MODULES} == set()


@pytest.mark.parametrize("name", MODULES)
def test_frameworks(name: str) -> None:
    """
    No module imports a framework that is not its own.
    """
    used = {target.partition(".")[0] for target in imports(name)} & FRAMEWORKS

    allowed = (names for place, names in ALLOWED_FRAMEWORK.items() if f"{name}.".startswith(f"{place}."))

    assert used <= set().union(*allowed)


def test_root_imports_no_adapter() -> None:
    """
    The root's imports contain no adapter.
    """
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    taken = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert set() == taken & {*ADAPTERS, "testing", "operations"}


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
    The root imports nothing that it does not export, but the version.
    """
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]

    assert sorted(imported) == sorted([*root.__all__, "VERSION"])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs(*ALLOWED_FRAMEWORK.get(name, ()))) for name in ADAPTERS]
)
def test_adapter_exports(name: str) -> None:
    """
    An adapter's `__all__` is sorted, and all of it is there.
    """
    adapter = importlib.import_module(f"{PACKAGE}.{name}")

    assert sorted(adapter.__all__) == adapter.__all__
    assert all(hasattr(adapter, exported) for exported in adapter.__all__)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs(*ALLOWED_FRAMEWORK.get(name, ())))
        for name in (*ADAPTERS, "django", "outbox", "usage", "api")
    ],
)
def test_names_that_load_later_are_listed(name: str) -> None:
    """
    An interpreter completes all of a module's names, also those that it has not loaded yet.
    """
    code = f"import {PACKAGE}.{name} as module; print(*{{*module.__all__}} - {{*dir(module)}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.split() == []


@needs("starlette", "fastapi", "flask")
def test_same_names() -> None:
    """
    Every adapter offers the same objects under the same names; only a limit is a dependency in FastAPI.
    """
    starlette, fastapi, flask = (
        importlib.import_module(f"{PACKAGE}.{name}") for name in ("starlette", "fastapi", "flask")
    )
    differing = {name for name in starlette.__all__ if getattr(starlette, name) is not getattr(fastapi, name)}

    assert starlette.__all__ == fastapi.__all__
    assert differing == {"usage_limit"}
    assert set(starlette.__all__) ^ set(flask.__all__) == {"UsageMiddleware", "RemotionLicensing"}


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


IMPORTED = [PACKAGE, f"{PACKAGE}.asgi", f"{PACKAGE}.wsgi", f"{PACKAGE}.webhooks"]


@pytest.fixture(scope="module")
def probe() -> dict[str, dict]:
    """
    What importing the root and what needs no framework does in a fresh interpreter.
    """
    found = {}
    for name in IMPORTED:
        command = [sys.executable, "-c", PROBE, name]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


@pytest.mark.parametrize("name", IMPORTED)
def test_import_loads_no_http_library(name: str, probe) -> None:
    """
    Importing the root or a pure adapter loads no HTTP library, no framework and no database driver.
    """
    heavy = {"httpx", "httpx2", "httpcore", "httpcore2", "starlette", "fastapi", "anyio", "uvicorn", "django"}
    heavy |= {"flask", "werkzeug", "psycopg", "pymysql"}

    assert set() == heavy & set(probe[name]["modules"])


DJANGO = f"""
from django.conf import settings
settings.configure(INSTALLED_APPS=["{PACKAGE}.django"])
import django
django.setup()
import {PACKAGE}.django.middleware
"""
FIRST_POINT = f"""
from {PACKAGE} import Settings, UsagePoint, UsageRecorder
recorder = UsageRecorder(Settings(license_key="rm_pub_0", delivery="off"))
recorder.start()
assert recorder.record(UsagePoint(event="cloud-render", host=None, succeeded=True), wait=60)
recorder.stop()
"""


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(f"import {PACKAGE}.starlette", id="starlette", marks=needs("starlette")),
        pytest.param(f"import {PACKAGE}.fastapi", id="fastapi", marks=needs("fastapi")),
        pytest.param(DJANGO, id="django", marks=needs("django")),
        pytest.param(FIRST_POINT, id="first point"),
    ],
)
def test_no_http_library_before_the_first_delivery(code: str, tmp_path) -> None:
    """
    Neither the adapters of frameworks nor a point that is recorded, but not delivered, load an HTTP library.
    """
    code += "\nimport sys; print(*{'httpx', 'httpx2', 'httpcore', 'httpcore2'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)

    assert done.stdout.split() == []


@pytest.mark.parametrize("name", IMPORTED)
def test_import_starts_no_thread(name: str, probe) -> None:
    """
    Importing the root or a pure adapter starts no thread.
    """
    assert probe[name]["threads"] == 1


@pytest.mark.parametrize("name", IMPORTED)
def test_import_opens_nothing(name: str, probe) -> None:
    """
    Importing the root or a pure adapter opens no file, database, socket or process.
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
