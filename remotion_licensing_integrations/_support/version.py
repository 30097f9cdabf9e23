"""
The version, in its own file: a module that needs it must not import the root.
"""

from typing import Final

VERSION: Final = "1.0.0rc1"
