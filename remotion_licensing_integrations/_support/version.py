"""
The version, in a file of its own: what needs it must not import the root.
"""

from typing import Final

VERSION: Final = "0.1.0"
