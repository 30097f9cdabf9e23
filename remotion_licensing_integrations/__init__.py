"""
Register Remotion usage points from Python web apps: durable, off the request path, never twice.
"""

__version__ = "0.1.0"
