"""
The sandbox as a Starlette app: which path leads where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Mount, Route

from ...errors import ConfigurationError
from .answers import Reset, error
from .api import Api
from .control import Control, OwnHostOnly
from .rules import Refusal

if TYPE_CHECKING:
    import asyncio

    from starlette.responses import Response

    from .failures import FailureSwitch
    from .state import Ledger


def create_app(ledger: Ledger, switch: FailureSwitch, *, host: str, stopping: asyncio.Event) -> Starlette:
    """
    Build the app; it needs a server that lends it the reset of a connection, see `server.py`.

    Args:
        ledger: Where points are counted.
        switch: Which failure is in force.
        host: The host name or address the server is bound to.
        stopping: Set when the server stops: ends answers that hang or are held back.
    """
    api = Api(ledger, switch, stopping)
    control = Control(ledger, switch)
    own_host_only = [Middleware(OwnHostOnly, bound_host=host)]
    return Starlette(
        routes=[
            Route("/api/track/register-usage-point", api.register_usage_point, methods=["POST"]),
            Route("/api/track/get-usage", api.get_usage, methods=["POST"]),
            Route("/", control.page, methods=["GET"], middleware=own_host_only),
            Mount(
                "/sandbox",
                routes=[
                    Route("/state", control.state, methods=["GET"]),
                    Route("/failure", control.set_failure, methods=["POST"]),
                    Route("/clear", control.clear, methods=["POST"]),
                ],
                middleware=own_host_only,
            ),
        ],
        exception_handlers={Refusal: _refused, ConfigurationError: _refused, ClientDisconnect: _left},
    )


async def _refused(_request: Request, refusal: Exception) -> Response:
    # A control call with a bad value counts as a bad request.
    return error(getattr(refusal, "status", 400), str(refusal))


async def _left(_request: Request, _error: Exception) -> Response:
    return Reset()
