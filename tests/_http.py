"""
The HTTP library of the tests' own requests: the one that the package takes.
"""

try:
    import httpx2 as httpx
except ModuleNotFoundError:
    import httpx

__all__ = ["httpx"]
