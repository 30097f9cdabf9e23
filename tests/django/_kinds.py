"""
Requests to the test project, and what came of them.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from remotion_licensing_integrations.django.models import UsagePointRecord

CLIENTS = ("sync", "async")


def request(kind: str, method: str, path: str, **headers: str) -> Any:
    """
    Send a request by the synchronous or the asynchronous chain of middleware, and read the answer whole.
    """
    if kind == "sync":
        response = getattr(Client(raise_request_exception=False), method)(path, headers=headers)
        if response.streaming:
            b"".join(response)
        return response
    return async_to_sync(_arequest)(method, path, headers)


async def _arequest(method: str, path: str, headers: dict[str, str]) -> Any:
    response = await getattr(AsyncClient(raise_request_exception=False), method)(path, headers=headers)
    if response.streaming:
        async for _ in response:
            pass
    return response


def outcomes() -> list[bool]:
    """
    Return whether each recorded conversion succeeded, oldest first.
    """
    return list(UsagePointRecord.objects.order_by("pk").values_list("succeeded", flat=True))
