"""
A page that converts a video and shows the usage point which that registers.

Start it with `uvicorn main:app`; README.md says what to set before.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from conversion import MAX_SECONDS, ConversionError, convert
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse
from jobs import Job, Jobs
from uploads import MAX_MEGABYTES, Upload

from remotion_licensing_integrations import Settings, UsageRecorder, current_usage
from remotion_licensing_integrations.fastapi import UsageMiddleware, usage_point

HERE = Path(__file__).parent

recorder = UsageRecorder(Settings.from_env())
jobs = Jobs()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Path]]:
    """
    Give the app a folder for videos, and remove it with all that is left in it.
    """
    with TemporaryDirectory(prefix="conversions-") as folder:
        yield {"folder": Path(folder)}


app = FastAPI(title="Convert to WebM", lifespan=lifespan)
app.add_middleware(UsageMiddleware, recorder=recorder)


@app.post("/convert")
@usage_point("cloud-render")
def convert_now(original: Upload) -> FileResponse:
    """
    Answer with the converted video; the usage point is recorded when the last byte goes out.
    """
    headers = {"X-Usage-Point": current_usage().idempotency_key}
    result = original.with_name("result.webm")
    try:
        convert(original, result)
    except ConversionError as error:
        raise HTTPException(422, str(error), headers) from error
    return FileResponse(result, headers=headers, media_type="video/webm")


@app.post("/jobs", status_code=202)
@usage_point("cloud-render")
def start_job(original: Upload, request: Request, background: BackgroundTasks) -> dict[str, Any]:
    """
    Answer at once; the usage point is recorded when the job ends, with the outcome of the job.
    """
    usage = current_usage()
    job = Job(request.state.folder, usage.idempotency_key)
    jobs.add(job)
    background.add_task(job.run, original, usage.defer(), recorder)
    return job.to_json()


def find_job(job_id: str) -> Job:
    """
    Return the job of the path.
    """
    if job_id not in jobs:
        raise HTTPException(404, "This job is not known, or no longer.")
    return jobs[job_id]


@app.get("/jobs/{job_id}")
def read_job(job: Annotated[Job, Depends(find_job)]) -> dict[str, Any]:
    """
    Tell how far a job is.
    """
    return job.to_json()


@app.get("/jobs/{job_id}/result")
def read_result(job: Annotated[Job, Depends(find_job)]) -> FileResponse:
    """
    Answer with a finished job's video.
    """
    if job.state != "done":
        raise HTTPException(409, "This job has no result.")
    return FileResponse(job.result, media_type="video/webm")


@app.get("/usage/{key}")
def read_usage(key: str) -> dict[str, Any]:
    """
    Tell what has become of a usage point; whoever converted knows its key.
    """
    stored = recorder.outbox.get(key)
    if stored is None:
        raise HTTPException(404, "There is no usage point with this key.")
    return stored.to_json()


@app.get("/", response_class=HTMLResponse)
def read_page() -> str:
    """
    The page, with the limits filled in.
    """
    page = (HERE / "page.html").read_text(encoding="utf-8")
    return page.replace("{max_megabytes}", str(MAX_MEGABYTES)).replace("{max_seconds}", str(MAX_SECONDS))


@app.get("/sample.mp4")
def read_sample() -> FileResponse:
    """
    The page's sample video.
    """
    return FileResponse(HERE / "sample.mp4", media_type="video/mp4")
