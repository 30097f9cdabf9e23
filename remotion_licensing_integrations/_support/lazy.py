"""
Names of a package that are loaded when they are first used (PEP 562), so that importing an adapter stays cheap.

Fault: an app pays at every start for limits, webhooks and pages that it does not use (`scripts/bench imports`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any


def load_later(
    importer: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], Iterable[str]]]:
    """
    Return `__getattr__` and `__dir__` of the module *importer*: they import and list *names*, by the module of each.
    """
    modules = {name: module for module, names in names.items() for name in names}

    def load(name: str) -> Any:
        if name not in modules:
            msg = f"module {importer!r} has no attribute {name!r}"
            raise AttributeError(msg)
        module = sys.modules[importer]
        value = getattr(import_module(modules[name], module.__package__), name)
        setattr(module, name, value)
        return value

    return load, lambda: {*vars(sys.modules[importer]), *modules}
