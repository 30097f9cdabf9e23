"""
A page that takes videos, answers at once, and shows what has become of the jobs and their usage points.

`serve.py` starts it with `uvicorn main:app`, and has the variables that it needs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import jobs
from celery.exceptions import OperationalError
from conversion import MAX_SECONDS
from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import FileResponse, HTMLResponse
from tasks import render
from uploads import MAX_MEGABYTES, Upload

from remotion_licensing_integrations import current_usage, default_recorder
from remotion_licensing_integrations.fastapi import UsageMiddleware, usage_point

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "fastapi_app" / "sample.mp4"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Path]]:
    """
    Tell where uploads go.
    """
    yield {"folder": jobs.PLACE}


app = FastAPI(title="Convert in the background", lifespan=lifespan)
app.add_middleware(UsageMiddleware)  # the settings come from the environment, for the workers as well


@app.post("/convert", status_code=202)
@usage_point("cloud-render")
def convert(upload: Upload, name: Annotated[str, Query(max_length=200)] = "video") -> dict[str, str]:
    """
    Hand the body's video to the workers; the usage point is deferred, and its token goes along.
    """
    usage = current_usage()
    job = usage.idempotency_key  # one name for the job and its usage point
    upload.rename(jobs.original(job))
    jobs.add(job, name)
    try:
        render.delay(job, usage_token=usage.defer())
    except OperationalError as error:
        # No work, no usage point: an answer from 400 on takes the deferral back.
        jobs.end(job, "The queue could not be reached.")
        raise HTTPException(503, "The queue cannot be reached.") from error
    return {"job": job}


@app.get("/jobs")
def list_jobs() -> list[dict[str, Any]]:
    """
    Tell how far the latest jobs are, everybody's: an app with users would show theirs.
    """
    return [job | {"usage_point": read_usage(job["id"])} for job in jobs.latest()]


def read_usage(key: str) -> dict[str, Any] | None:
    """
    Return what has become of a usage point, as the page shows it.
    """
    stored = default_recorder().outbox.get(key)
    if stored is None:
        return None
    point = stored.to_json()
    return {name: point[name] for name in ("state", "event", "host", "classification")}


@app.get("/jobs/{job}.webm")
def read_result(job: UUID) -> FileResponse:
    """
    Answer with a finished job's video.
    """
    if not jobs.result(str(job)).is_file():
        raise HTTPException(404, "There is no such result, or not yet.")
    return FileResponse(jobs.result(str(job)), media_type="video/webm")


@app.get("/sample.mp4")
def read_sample() -> FileResponse:
    """
    The page's sample video.
    """
    return FileResponse(SAMPLE, media_type="video/mp4")


@app.get("/", response_class=HTMLResponse)
def read_page() -> str:
    """
    The page, with the limits filled in.
    """
    page = (HERE / "page.html").read_text(encoding="utf-8")
    return page.replace("{max_megabytes}", str(MAX_MEGABYTES)).replace("{max_seconds}", str(MAX_SECONDS))
