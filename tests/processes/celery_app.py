"""
A Celery app whose task takes a moment, over the outbox and the licensing API that the environment names.
"""

from __future__ import annotations

import os
import time

import celery

from remotion_licensing_integrations import conversion_job

app = celery.Celery("conversions", broker=os.environ["BROKER"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task(name="render")
@conversion_job("cloud-render")
def render() -> None:
    """
    Convert for a while, so that a worker can be killed meanwhile.
    """
    time.sleep(0.02)
