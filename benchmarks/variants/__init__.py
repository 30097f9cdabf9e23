"""
What the Django projects of the comparison differ in; each module is imported in a process of its own.

`add` takes the view of conversions, and returns the view to serve and what counts its recorded conversions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest

View = Callable[[HttpRequest], Any]
Count = Callable[[], int]
