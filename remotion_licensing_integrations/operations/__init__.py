"""
The operator's commands, and the command line that runs them.

In come arguments and a recorder; out go text and an exit status. A new command is a `@command` function in one of
these modules, listed in `cli.COMMANDS`. For the app itself there are metrics and health.
"""

from .app import FoundApp, Oddity
from .cli import DESCRIPTION, add_commands, main, run
from .endpoints import FoundEndpoint, describe_endpoint
from .health import Health, healthy
from .metrics import CONTENT_TYPE, instrument, metrics_app, prometheus_text

__all__ = [
    "CONTENT_TYPE",
    "DESCRIPTION",
    "FoundApp",
    "FoundEndpoint",
    "Health",
    "Oddity",
    "add_commands",
    "describe_endpoint",
    "healthy",
    "instrument",
    "main",
    "metrics_app",
    "prometheus_text",
    "run",
]
