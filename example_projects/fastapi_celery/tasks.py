"""
What the workers do: convert, each conversion a usage point that is recorded where the work ends.

`serve.py` starts one with `celery --app=tasks worker`, and has the variables that it needs.
"""

import jobs
from celery import Celery
from conversion import MAX_WORK_SECONDS, ConversionError, convert

from remotion_licensing_integrations import conversion_job

MAX_TRIES = 3  # of a job whose worker dies; a video that kills workers would come back forever

QUEUE = jobs.PLACE / "queue"  # of the broker that consists of files; others ignore it
(QUEUE / "control").mkdir(parents=True, exist_ok=True)

app = Celery("conversions", broker="filesystem://localhost")  # CELERY_BROKER_URL names another one
app.conf.update(
    # A job leaves the queue when it has ended, not when it begins; so it comes back when its worker is killed.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        # Redis: seconds after which it hands out again what nobody has ended; longer than any conversion takes.
        "visibility_timeout": MAX_WORK_SECONDS + 30,
        "data_folder_in": str(QUEUE),
        "data_folder_out": str(QUEUE),
        "control_folder": str(QUEUE / "control"),
    },
)


@app.task(throws=ConversionError)
@conversion_job("cloud-render")
def render(job: str) -> None:
    """
    Do a job; when it raises, the usage point is a failed one, which is not billed.
    """
    try:
        convert_video(job)
    except ConversionError as error:
        jobs.end(job, str(error))
        raise
    except Exception:
        jobs.end(job, "The conversion stopped unexpectedly.")
        raise
    jobs.end(job)


def convert_video(job: str) -> None:
    """
    Convert a job's video; its result appears when it is whole.

    Raises:
        ConversionError: The video cannot be converted, or nobody survives it.
    """
    if jobs.begin(job) > MAX_TRIES:
        msg = "The conversion broke off too often."
        raise ConversionError(msg)
    partial = jobs.result(job).with_suffix(".partial")
    convert(jobs.original(job), partial)
    partial.rename(jobs.result(job))
