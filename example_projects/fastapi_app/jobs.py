"""
Conversions that go on after their request: one dictionary in one process, gone when it ends.

That is enough for an example. An app with several processes keeps its jobs in a task queue; the token travels with the
job's arguments in the same way.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from conversion import ConversionError, convert

from remotion_licensing_integrations import UsageRecorder

KEPT_JOBS = 20


@dataclass
class Job:
    """
    One conversion.

    Attributes:
        usage_point: Idempotency key of the usage point that its end records.
    """

    folder: Path
    usage_point: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: Literal["running", "done", "failed"] = "running"
    progress: float = 0.0
    error: str | None = None

    @property
    def result(self) -> Path:
        """
        Where the converted video is once the job is done.
        """
        return self.folder / f"{self.id}.webm"

    def to_json(self) -> dict[str, str | float | None]:
        """
        Return what the page may know.
        """
        return {
            "id": self.id,
            "state": self.state,
            "progress": self.progress,
            "error": self.error,
            "bytes": self.result.stat().st_size if self.state == "done" else None,
            "usage_point": self.usage_point,
        }

    def run(self, original: Path, token: str, recorder: UsageRecorder) -> None:
        """
        Convert *original*, then record the usage point that *token* has carried here.
        """
        error: str | None = "The conversion stopped unexpectedly."
        try:
            convert(original, self.result, progress=self._set_progress)
            error = None
        except ConversionError as refusal:
            error = str(refusal)
        finally:
            # Recorded before the state changes: who sees the job finished finds its usage point.
            recorder.complete(token, succeeded=error is None)
            self.error, self.state = error, "failed" if error else "done"

    def _set_progress(self, progress: float) -> None:
        self.progress = progress


class Jobs(dict[str, Job]):
    """
    The latest jobs by id; older results are deleted.
    """

    def add(self, job: Job) -> None:
        """
        Keep *job*, and let go of the oldest finished ones beyond `KEPT_JOBS`.
        """
        self[job.id] = job
        finished = [old for old in self.values() if old.state != "running"]
        for old in finished[: max(0, len(self) - KEPT_JOBS)]:
            del self[old.id]
            old.result.unlink(missing_ok=True)
