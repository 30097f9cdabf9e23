"""
What the result of sending a point means: for the point, and for delivery as a whole.

A problem with one point affects that point only: it is rescheduled, rejected or held. A problem with all points pauses
delivery for a stated reason, and uses up no attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from .._support.log import logger
from .._support.text import to_line
from ..errors import (
    CertificateError,
    EndpointError,
    KeyRefusedError,
    LicensingError,
    NoAnswerError,
    NotSentError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from ..outbox import Change, ClaimedPoint
from ..points import Registration
from ..settings import Settings
from .pace import OUTAGE_AFTER, REFUSALS_IN_A_ROW, Pace, backoff
from .senders import Result

_OUTAGE: Final = "the licensing API cannot be reached"
_ASKED: Final = "the licensing API asked us to wait"
#: How the reasons of pauses begin that end without a person.
PASSING: Final = (_OUTAGE, _ASKED)

#: Seconds for which the API is trusted to remember an idempotency key; it documents no figure.
KEY_MEMORY: Final = 86_400.0


class Judge:
    """
    Turns the results of one deliverer into changes of its points, and into pauses of its *pace*.

    Args:
        clock: The present moment in epoch seconds.
        uniform: Draws a number between two bounds.
    """

    def __init__(
        self, settings: Settings, pace: Pace, *, clock: Callable[[], float], uniform: Callable[[float, float], float]
    ) -> None:
        self._settings = settings
        self._pace = pace
        self._clock = clock
        self._uniform = uniform

    def hold_unsafe(self, claimed: ClaimedPoint) -> Change | None:
        """
        Return the change that holds a point which cannot be sent again without danger, `None` for any other.
        """
        doubt = self._find_doubt(claimed.unanswered_since)
        # Held without being sent, so this claim was no attempt.
        return None if doubt is None else replace(_held(claimed, doubt), is_attempt=False)

    def judge(self, claimed: ClaimedPoint, result: Result) -> Change:
        """
        Return what becomes of a point that was sent, or was not when *result* is `None`.
        """
        if result is None:
            return claimed.release()
        if not self._pace.seconds:
            # Not for a point that was sent before a pause: it would hide why that pause began
            # (tests/delivery/test_keys.py::test_late_result_hides_no_refused_key).
            self._pace.is_key_refused = isinstance(result, KeyRefusedError)
        if isinstance(result, Registration):
            self._pace.succeed()
            return claimed.register(result)
        error = to_line(f"{type(result).__name__}: {result}")  # a server's words go to logs and terminals from here on
        if isinstance(result, RefusedError):
            return self._refused(claimed, error)
        trouble = self._trouble_of_all(result)
        if trouble is None:
            return self._failed(claimed, result, error)
        wait = result.retry_after if isinstance(result, ThrottledError) else None
        self._pace.pause(f"{trouble}. {error}", seconds=wait)
        return claimed.release(error)

    def _trouble_of_all(self, error: Exception) -> str | None:
        if isinstance(error, KeyRefusedError):
            return "the API refused the licence key; set the right one, then see `remotion-licensing status`"
        if isinstance(error, (EndpointError, CertificateError)):
            return f"base_url {self._settings.base_url} does not point to the licensing API"
        return _ASKED if isinstance(error, ThrottledError) else None

    def _refused(self, claimed: ClaimedPoint, error: str) -> Change:
        if self._pace.refusals >= REFUSALS_IN_A_ROW:
            self._pace.pause(
                f"{REFUSALS_IN_A_ROW} points in a row were refused, so the points are not the cause. {error}"
            )
            return claimed.release(error)
        self._pace.refusals += 1
        logger.error(
            "The licensing API rejected usage point %s: %s",
            claimed.point.idempotency_key,
            error,
            extra={"action": "point_rejected"},
        )
        return claimed.reject(error)

    def _failed(self, claimed: ClaimedPoint, result: Exception, error: str) -> Change:
        if not isinstance(result, LicensingError):
            logger.error("A usage point could not be sent.", exc_info=result, extra={"action": "send_crashed"})
        self._pace.failures += 1
        was_paused = self._pace.is_paused
        if was_paused or self._pace.failures >= OUTAGE_AFTER:
            self._pace.pause(f"{_OUTAGE}. {error}")
        if isinstance(result, NotSentError):
            return claimed.release(
                error, delay=0 if self._pace.is_paused else backoff(self._pace.failures, uniform=self._uniform)
            )
        if isinstance(result, NoAnswerError):
            return self._unanswered(claimed, error)
        if was_paused:
            return claimed.release(error)
        asked = result.retry_after if isinstance(result, UnavailableError) else None
        return claimed.reschedule(max(asked or 0.0, backoff(claimed.attempts, uniform=self._uniform)), error)

    def _unanswered(self, claimed: ClaimedPoint, error: str) -> Change:
        doubt = self._find_doubt(claimed.unanswered_since or datetime.fromtimestamp(self._clock(), UTC))
        if doubt is None:
            return claimed.reschedule(backoff(claimed.attempts, uniform=self._uniform), error, unanswered=True)
        return _held(claimed, f"{doubt}. {error}")

    def _find_doubt(self, unanswered_since: datetime | None) -> str | None:
        if unanswered_since is None:
            return None
        if self._settings.idempotency == "off":
            return "it may have been counted, and no idempotency key makes a repeat safe"
        if self._clock() - unanswered_since.timestamp() >= KEY_MEMORY:
            return "it may have been counted, so long ago that the API may have forgotten its key"
        return None


def _held(claimed: ClaimedPoint, reason: str) -> Change:
    logger.error(
        "Usage point %s is held: %s. See `remotion-licensing reconcile`.",
        claimed.point.idempotency_key,
        reason,
        extra={"action": "point_held"},
    )
    return claimed.hold(reason, unanswered=True)
