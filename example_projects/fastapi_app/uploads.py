"""
The video that a request brings: streamed to disk, bounded, and gone when the request is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import anyio
from fastapi import Depends, HTTPException, Request
from starlette.requests import ClientDisconnect

MAX_MEGABYTES = 50


async def store_upload(request: Request) -> AsyncIterator[Path]:
    """
    Keep the request's body in a file, until the response and its background tasks are through.

    What is refused here never reaches the endpoint: it is no conversion, and no usage point.
    """
    with TemporaryDirectory(dir=request.state.folder) as folder:
        path = Path(folder, "original")
        try:
            await _receive(request, path)
        except ClientDisconnect as error:
            raise HTTPException(400, "The upload broke off.") from error
        yield path


async def _receive(request: Request, path: Path) -> None:
    size = 0
    async with await anyio.open_file(path, "wb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_MEGABYTES * 1_000_000:
                raise HTTPException(413, f"The file is larger than {MAX_MEGABYTES} MB.")
            await file.write(chunk)


Upload = Annotated[Path, Depends(store_upload)]
