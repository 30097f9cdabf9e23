"""
A block of code that counts as one usage point.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Token
from types import TracebackType
from typing import Final, TypeVar

from ..errors import ConfigurationError, InvalidTokenError
from ..points import ResolvedHost, UsagePoint, check_event, decode_token, is_known
from ..recording import UsageRecorder, default_recorder
from . import queues
from .pending import CURRENT, PendingUsage, UsageOptions, find_usage

logger: Final = logging.getLogger("remotion_licensing_integrations")

R = TypeVar("R")

#: Seconds that a job waits for its point's commit at the most: no client waits, and afterwards its queue forgets it.
JOB_COMMIT_WAIT: Final = 10.0

_OK: Final = 200


class Conversion:
    """
    Code that counts as one usage point, from its begin to its end; for `with` and `async with`, once.
    """

    def __init__(self, usage: PendingUsage, run: queues.Run | None = None) -> None:
        usage.block = True
        self._usage = usage
        self._run = run or queues.Run()
        self._token: Token[PendingUsage | None] | None = None
        self._request: PendingUsage | None = None  # around it, with a client that waits
        self._again = False  # whether its outcome is still to come

    def __enter__(self) -> PendingUsage:
        if self._token is not None:
            msg = "conversion: a block counts once; make a new one"
            raise RuntimeError(msg)
        around = find_usage()
        self._request = None if around is None or around.settled else around
        self._token = CURRENT.set(self._usage)
        _ = self._usage.idempotency_key  # made here, as a fork within must not leave two blocks that count
        return self._usage

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        point, recorder = self._end(error), self._usage.recorder
        # Where it stands in an event loop, everything there would wait, too.
        wait = None if asyncio._get_running_loop() else self._wait  # noqa: SLF001 - public, whatever its name
        if point is not None and recorder is not None:
            recorder.record(point, wait=wait)
            if self._delivers(recorder):
                recorder.deliver_inline()
        elif self._leaves_deferral and recorder is not None:
            recorder.forget_deferred(self._usage.idempotency_key, wait=wait)

    async def __aenter__(self) -> PendingUsage:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, GeneratorExit):
            # Closed from outside, it cannot wait for anything.
            self.__exit__(kind, error, traceback)
            return
        point, recorder = self._end(error), self._usage.recorder
        if point is not None and recorder is not None:
            await recorder.arecord(point, wait=self._wait)
            if self._delivers(recorder):
                await recorder.adeliver_inline()
        elif self._leaves_deferral and recorder is not None:
            await recorder.aforget_deferred(self._usage.idempotency_key, wait=self._wait)

    def returned(self, result: R) -> R:
        """
        Note what the code has returned.
        """
        if queues.is_no_result(result):
            self._again = self._run.grants(result)
            self._usage.failed = not self._again
        return result

    @property
    def _wait(self) -> float | None:
        return JOB_COMMIT_WAIT if self._request is None else None

    def _delivers(self, recorder: UsageRecorder) -> bool:
        if self._request is not None:
            self._request.recorded = True  # its middleware delivers, once the response has gone out
        return self._request is None and recorder.settings.delivery == "inline"

    @property
    def _leaves_deferral(self) -> bool:
        # It was skipped, or has failed and failures are not reported: nobody must wait for its outcome.
        return self._usage.resumed and not self._again

    def _end(self, error: BaseException | None) -> UsagePoint | None:
        if self._token is not None:
            with suppress(ValueError):  # ended in another context than begun, as fixtures are
                CURRENT.reset(self._token)
        try:
            return self._settle(error)
        except Exception:
            logger.exception("A usage point met an unexpected error.", extra={"action": "record_crashed"})
            self._again = True
            return None
        finally:
            self._usage.settled = True

    def _settle(self, error: BaseException | None) -> UsagePoint | None:
        usage = self._usage
        if error is not None:
            put_off = queues.is_put_off(error) or self._run.retries(error)
            interrupted = queues.is_interruption(error)
            self._again = put_off or interrupted
            # A queue starts an interrupted job again, and the first outcome would stand; other code nobody does.
            if interrupted and not put_off and self._run.key is None:
                return usage.abort("", 0)
        if self._again:
            return None
        return usage.complete("", _OK) if error is None else usage.fail("", 0)


def conversion(
    event: str,
    *,
    host: str | None = None,
    is_still: bool = False,
    is_production: bool | None = None,
    idempotency_key: str | None = None,
    recorder: UsageRecorder | None = None,
) -> Conversion:
    """
    Count a block of code as one usage point, failed when it raises.

    `with conversion("cloud-render") as usage:` or `async with …`; *usage* is a `PendingUsage`. A host or key that is
    unusable is logged and ignored.

    Args:
        event: `"web-render"`, `"cloud-render"` or `"webcodec-conversion"`.
        host: Origin of the frontend; defaults to the current request's, then to the setting.
        is_still: Whether a still image is rendered.
        is_production: Whether the point may be billed; defaults to the setting.
        idempotency_key: Names the work, so that its repeats count once; defaults to a fresh one.
        recorder: Defaults to the current request's, then to `default_recorder()`.

    Raises:
        ConfigurationError: *event* is none that the licensing API counts.
    """
    options = UsageOptions(check_event(event), is_still=is_still, is_production=is_production)
    return Conversion(new_usage(options, recorder, host=host, key=idempotency_key))


def new_usage(
    options: UsageOptions,
    recorder: UsageRecorder | None,
    *,
    token: str | None = None,
    host: str | None = None,
    key: str | None = None,
) -> PendingUsage:
    """
    Return the usage point of a block or job, before it begins.
    """
    around = find_usage()
    recorder = find_recorder(recorder)
    configured = recorder.settings.host if recorder else None
    usage = PendingUsage(recorder, lambda: around.resolved_host if around else _configured(configured))
    usage.enter(options)
    if host is not None:
        usage.host = host
    if key is not None:
        usage.idempotency_key = key
    if token is not None:
        _resume(usage, token)
    return usage


def _configured(host: str | None) -> ResolvedHost:
    return ResolvedHost(host, "configured" if host else "unknown")


def _resume(usage: PendingUsage, token: str) -> None:
    try:
        point = decode_token(token)
        if is_known(token):
            usage.resume(point)
        else:
            usage.idempotency_key = point.idempotency_key
    except InvalidTokenError as error:
        # The job itself must not fail for it; its point is recorded, as if there were no token.
        logger.error("conversion_job: %s; ignored.", error, extra={"action": "bad_token"})  # noqa: TRY400 - as above


def find_recorder(given: UsageRecorder | None) -> UsageRecorder | None:
    """
    Return the recorder for code of the app: the one it was *given*, else the current request's, else the default one.

    `None` when there are no usable settings to make one from, which is logged.
    """
    around = find_usage()
    try:
        return given or (around and around.recorder) or default_recorder()
    except ConfigurationError as error:
        # What the app does must not fail for it.
        logger.error("No usage point is recorded: %s", error, extra={"action": "bad_settings"})  # noqa: TRY400 - as above
        return None
