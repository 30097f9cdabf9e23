"""
Environment variables that look like settings and are none.
"""

from __future__ import annotations

import os
from typing import Final

from .table import APP_VARIABLE, ENVIRONMENT, PREFIX

_KNOWN: Final = frozenset({*ENVIRONMENT.values(), APP_VARIABLE})


def find_unknown_variables() -> dict[str, str]:
    """
    Return the variables of the process that look like settings, each with what to do.

    Fault: the app ignores a setting whose variable is misspelt
    (tests/recording/test_recorder.py::test_variable_that_is_no_setting).
    """
    return {name: _advise(name) for name in sorted(os.environ) if name.startswith(PREFIX) and name not in _KNOWN}


def _advise(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - few apps have a variable to compare

    # Without what begins all of them, as that makes any two names near.
    known = {_own_part(variable): variable for variable in _KNOWN}
    near = get_close_matches(_own_part(name), known, n=1)
    return (
        f"The environment variable {name} is no setting; {f'did you mean {known[near[0]]}?' if near else 'remove it.'}"
    )


def _own_part(variable: str) -> str:
    return variable.removeprefix(PREFIX).removeprefix("REMOTION_")
