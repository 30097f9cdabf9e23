"""
The sandbox's page, and the calls its switches make.

They answer only to a browser or tool on a name the sandbox is known by, so that no web site can reach them through
DNS rebinding, and take JSON only, which a foreign page cannot send without the CORS permission that is never given.
"""

from __future__ import annotations

import ipaddress
import secrets
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from .answers import Json
from .api import read_call
from .failures import Failure, FailureSwitch

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from .state import Ledger

LATEST: Final = 100  # points on the page
CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
PRIVATE: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


class Control:
    """
    Shows the ledger and the failure in force, and changes them.
    """

    def __init__(self, ledger: Ledger, switch: FailureSwitch) -> None:
        self.ledger = ledger
        self.switch = switch
        self.template = files(__package__ or "").joinpath("page.html").read_text(encoding="utf-8")

    async def page(self, _request: Request) -> Response:
        """
        Show the page.
        """
        nonce = secrets.token_urlsafe()
        policy = CONTENT_POLICY.format(nonce=nonce)
        return HTMLResponse(
            self.template.replace("{{nonce}}", nonce), headers={"content-security-policy": policy, **PRIVATE}
        )

    async def state(self, _request: Request) -> Response:
        """
        Tell all the page shows.
        """
        points = self.ledger.points()
        failure = self.switch.current
        state = {
            "counts": self.ledger.counts(),
            "total": len(points),
            "requests": self.ledger.requests,
            "points": [point.to_json() for point in reversed(points[-LATEST:])],
            "failure": failure.to_json(),
            "answers": str(failure),
        }
        return Json(state, headers=PRIVATE)

    async def set_failure(self, request: Request) -> Response:
        """
        Put another failure in force; takes the keywords of `Sandbox.set_failure`.
        """
        self.switch.set(Failure.from_json((await read_call(request)).json()))
        return await self.state(request)

    async def clear(self, request: Request) -> Response:
        """
        Forget all points.
        """
        (await read_call(request)).json()
        self.ledger.clear()
        return await self.state(request)


class OwnHostOnly:
    """
    Middleware that refuses requests made under a foreign name.
    """

    def __init__(self, app: ASGIApp, *, bound_host: str) -> None:
        self.app = app
        self.bound_host = bound_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Forward the request or refuse it.
        """
        if is_own_host(Request(scope).headers.get("host", ""), self.bound_host):
            await self.app(scope, receive, send)
        else:
            refusal = PlainTextResponse("Refused: open this page by the address that the sandbox printed.\n", 403)
            await refusal(scope, receive, send)


def is_own_host(header: str, bound_host: str) -> bool:
    """
    Whether the `Host` *header* names this machine: by the bound host, by localhost, or by an IP address.

    DNS rebinding needs a name that its attacker controls, so an address in the header is proof against it.
    """
    try:
        name = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    if name in {"localhost", bound_host.lower()} or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
