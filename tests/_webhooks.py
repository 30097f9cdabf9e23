"""
Webhooks as Remotion Lambda sends them: recorded ones, and signed ones with any payload.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from remotion_licensing_integrations.points.point import UsagePoint
from remotion_licensing_integrations.points.token import encode_token

#: What Remotion's own sender put on the wire.
GOLDEN: dict[str, dict[str, Any]] = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "golden" / "webhooks.json").read_text(encoding="utf-8"))["cases"]
}
SIGNED = [case for case in GOLDEN.values() if case["secret"]]

SECRET = "a secret"
PATH = "/webhooks/remotion"
DEFERRED = UsagePoint(event="web-render", host="https://myapp.com", succeeded=None, idempotency_key="deferred-1")
TOKEN = encode_token(DEFERRED)


def golden(case: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """
    Return body and headers of a recorded webhook; what servers need of their own is left to the client.
    """
    headers = {name: value for name, value in case["headers"] if name.startswith(("X-Remotion-", "Content-Type"))}
    return case["body"].encode(), headers


def payload(kind: Any = "success", **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "renderId": "abcdefghij",
        "expectedBucketOwner": "123456789012",
        "bucketName": "remotionlambda-eucentral1-5essis84y1",
        "customData": None,
        **more,
    }


def with_token(kind: str = "success", token: Any = TOKEN) -> dict[str, Any]:
    return payload(kind, customData={"usage_token": token})


def sign(body: bytes, secret: str = SECRET) -> str:
    return "sha512=" + hmac.new(secret.encode(), body, hashlib.sha512).hexdigest()


def signed(content: Any, *, mode: str = "production") -> tuple[bytes, dict[str, str]]:
    """
    Return body and headers of a webhook about *content*, or of these very bytes.
    """
    body = content if isinstance(content, bytes) else json.dumps(content, separators=(",", ":")).encode()
    return body, {
        "Content-Type": "application/json",
        "X-Remotion-Mode": mode,
        "X-Remotion-Signature": sign(body),
    }
