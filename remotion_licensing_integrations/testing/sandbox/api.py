"""
The two documented calls of the licensing API.

They are open to every client that can connect, as the real ones are: a container may call the sandbox by any name.
Only JSON is taken, which a foreign web page cannot send without the CORS permission that is never given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import rules
from .answers import Json, answer_instead, error, hold_back

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from .failures import FailureSwitch
    from .state import Ledger

MAX_BODY: Final = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Call:
    """
    A request that was read: its body, and the idempotency key of its header.
    """

    raw: bytes
    header_key: str | None
    is_json: bool

    def json(self) -> dict[str, Any]:
        """
        Return the body.

        Raises:
            Refusal: It is not a JSON object.
        """
        if not self.is_json:
            raise rules.Refusal(415, "content-type: expected application/json")
        return rules.read_json(self.raw)

    def idempotency_key(self) -> str | None:
        """
        Return the idempotency key, or `None` when there is no good one.
        """
        try:
            return rules.read_idempotency_key(self.json(), self.header_key)
        except rules.Refusal:
            return None


async def read_call(request: Request) -> Call:
    """
    Read a request to its end.

    Raises:
        Refusal: It is too large.
        ClientDisconnect: The client left.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            raise rules.Refusal(413, f"body: expected at most {MAX_BODY:,} bytes")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Call(bytes(raw), request.headers.get("idempotency-key"), media_type == "application/json")


class Api:
    """
    Answers the calls from a ledger, or as the failure in force says.
    """

    def __init__(self, ledger: Ledger, switch: FailureSwitch, stopping: asyncio.Event) -> None:
        self.ledger = ledger
        self.switch = switch
        self.stopping = stopping

    async def register_usage_point(self, request: Request) -> Response:
        """
        Count one usage point.
        """
        call = await read_call(request)
        self.ledger.note_request(call.idempotency_key())
        return await self._answer(call, self._register)

    async def get_usage(self, request: Request) -> Response:
        """
        Tell how many usage points were counted; every secret key sees all projects.
        """
        return await self._answer(await read_call(request), self._summarise)

    async def _answer(self, call: Call, work: Callable[[Call], dict[str, Any]]) -> Response:
        failure = self.switch.take()
        normal = _answer_normally(call, work) if failure.counts else None
        await hold_back(failure, self.stopping)
        if normal is None or failure.mode is not None:
            return answer_instead(failure, self.stopping)
        return normal

    def _register(self, call: Call) -> dict[str, Any]:
        point = self.ledger.register(rules.read_point(call.json(), header_key=call.header_key))
        return {"billable": point.billable, "classification": point.classification}

    def _summarise(self, call: Call) -> dict[str, Any]:
        body = call.json()
        rules.check_secret_key(body)
        counts = self.ledger.counts(since=rules.read_since(body, now=self.ledger.now()))
        web, old = counts["web-render"], counts["webcodec-conversion"]
        renders = {word: web[word] + old[word] for word in rules.CLASSIFICATIONS}
        return {"cloudRenders": counts["cloud-render"], "webcodecConversions": renders, "webRenders": renders}


def _answer_normally(call: Call, work: Callable[[Call], dict[str, Any]]) -> Json:
    try:
        return Json({"success": True, **work(call)})
    except rules.Refusal as refusal:
        return error(refusal.status, refusal.text)
