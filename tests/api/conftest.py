"""
The HTTP module as users have it, over each library that it may stand on.
"""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from tests._servers import HTTP_MODULE, LIBRARIES, load_http


@pytest.fixture(params=LIBRARIES)
def http(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """
    The HTTP module over each library.
    """
    module = load_http(request.param)
    monkeypatch.setitem(sys.modules, HTTP_MODULE, module)
    return module
