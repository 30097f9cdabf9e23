"""
A block of code that counts as one usage point.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import Token
from types import TracebackType
from typing import Final, TypeVar

from .._support.log import logger
from ..errors import ConfigurationError, InvalidTokenError
from ..points import Event, ResolvedHost, decode_token, is_known
from ..recording import UsageRecorder, default_recorder, null_recorder
from . import queues
from .options import UsageOptions
from .pending import PendingUsage
from .settlement import CURRENT, Ending, Settlement, find_settlement

R = TypeVar("R")

#: Seconds that a job waits for its point's commit at the most: no client waits, and afterwards its queue forgets it.
JOB_COMMIT_WAIT: Final = 10.0


class _BlockSettlement(Settlement):
    is_block = True

    def __init__(self, recorder: UsageRecorder, around: Settlement | None) -> None:
        super().__init__(recorder)
        self._around = around
        self.label = None if around is None else around.label

    def find_host(self) -> ResolvedHost:
        return super().find_host() if self._around is None else self._around.resolved_host


class Conversion:
    """
    A block of code that counts as one usage point; for `with` and `async with`, once.
    """

    def __init__(self, settlement: Settlement, run: queues.Run) -> None:
        self._settlement = settlement
        self._run = run
        self._token: Token[Settlement | None] | None = None
        self._request: Settlement | None = None  # the request around the block, whose client waits
        self._again = False  # whether the job runs again, so that its outcome is still open

    def __enter__(self) -> PendingUsage:
        if self._token is not None:
            msg = "conversion: a block can be used only once; create a new one"
            raise RuntimeError(msg)
        around = find_settlement()
        self._request = None if around is None or around.settled else around
        self._token = CURRENT.set(self._settlement)
        _ = self._settlement.idempotency_key  # made here, so that a fork within the block does not make two keys
        return PendingUsage(self._settlement)

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ending = self._end(error)
        if ending is not None:
            # Waiting here would block the whole event loop.
            loop = asyncio._get_running_loop()  # noqa: SLF001 - documented despite its name
            self._settlement.record(ending, wait=self._wait if loop is None else None)
            if self._delivers():
                _deliver(self._settlement.recorder, loop)

    async def __aenter__(self) -> PendingUsage:
        return self.__enter__()

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, GeneratorExit):
            # A coroutine or generator that is being closed cannot wait for anything.
            self.__exit__(cls, error, traceback)
            return
        ending = self._end(error)
        if ending is not None:
            await self._settlement.arecord(ending, wait=self._wait)
            if self._delivers():
                await self._settlement.recorder.adeliver_inline()

    def returned(self, result: R) -> R:
        """
        Note the *result* of the job, and return it.
        """
        if queues.is_no_result(result):
            self._again = self._run.grants(result)
            self._settlement.failed = not self._again
        return result

    @property
    def _wait(self) -> float | None:
        return JOB_COMMIT_WAIT if self._request is None else None

    def _delivers(self) -> bool:
        if self._request is not None:
            # The request's middleware delivers after the response has gone out.
            self._request.recorded_within |= self._settlement.recorded
            return False
        return self._settlement.recorded and self._settlement.recorder.settings.delivery == "inline"

    def _end(self, error: BaseException | None) -> Ending | None:
        if self._token is not None:
            with suppress(ValueError):  # it ends in another context than it began in, as in fixtures
                CURRENT.reset(self._token)
        ending = self._ending(error)
        self._settlement.settled |= ending is None
        return ending

    def _ending(self, error: BaseException | None) -> Ending | None:
        if error is None:
            return None if self._again else "whole"
        error = queues.find_limit(error)
        if queues.is_put_off(error) or self._run.retries(error):
            return None
        if queues.is_interruption(error):
            # A queue reruns an interrupted job, so record nothing yet. Nothing reruns other code.
            return "aborted" if self._run.key is None else None
        return "failed"


def _deliver(recorder: UsageRecorder, loop: asyncio.AbstractEventLoop | None) -> None:
    """
    Deliver from this thread, or where it runs *loop*, from another one.

    Fault: the licensing API hangs, and the loop would serve nobody for `timeout` seconds
    (tests/usage/test_jobs.py::test_inline_delivery_blocks_no_event_loop).
    """
    if loop is None:
        recorder.deliver_inline()
        return
    # The loop may be about to close, or there may be no room for a thread: the outbox has the point.
    with suppress(RuntimeError):
        loop.run_in_executor(None, recorder.deliver_inline)  # `asyncio.run` waits for it before it returns


def conversion(
    event: Event,
    *,
    host: str | None = None,
    is_still: bool = False,
    is_production: bool | None = None,
    idempotency_key: str | None = None,
    label: str | None = None,
    recorder: UsageRecorder | None = None,
) -> Conversion:
    """
    Count a block of code as one usage point, failed when it raises.

    `with conversion("cloud-render") as usage:` or `async with …`; *usage* is a `PendingUsage`. An unusable host,
    key or label is logged and ignored.

    Args:
        event: `"web-render"`, `"cloud-render"` or `"webcodec-conversion"`.
        host: Origin of the frontend; defaults to the current request's, then to the setting.
        is_still: Whether a still image is rendered.
        is_production: Whether the point may be billed; defaults to the setting.
        idempotency_key: Names the work, so that its repeats count once; defaults to a fresh one.
        label: Your own word for the point, such as its customer; defaults to the current request's.
        recorder: Defaults to the current request's, then to `default_recorder()`.

    Raises:
        ConfigurationError: The licensing API does not count *event*.
    """
    options = UsageOptions(event, is_still=is_still, is_production=is_production)
    return begin(options, recorder, host=host, key=idempotency_key, label=label)


def begin(
    options: UsageOptions,
    recorder: UsageRecorder | None,
    *,
    token: str | None = None,
    host: str | None = None,
    key: str | None = None,
    label: str | None = None,
    run: queues.Run = queues.UNKNOWN_RUN,
) -> Conversion:
    """
    Return the conversion for a block or job that is about to begin.
    """
    settlement = _BlockSettlement(find_recorder(recorder), find_settlement())
    settlement.enter(options)
    usage = PendingUsage(settlement)
    if host is not None:
        usage.host = host
    if key is not None:
        usage.idempotency_key = key
    if label is not None:
        usage.label = label
    if token is not None:
        _take_deferred(settlement, token)
    return Conversion(settlement, run)


def _take_deferred(settlement: Settlement, token: str) -> None:
    try:
        point = decode_token(token)
        if is_known(token):
            settlement.take_deferred(point)
        else:
            settlement.key = point.idempotency_key
    except InvalidTokenError as error:
        # A bad token must not fail the job; its point is recorded as if there were no token.
        logger.error("conversion_job: %s; ignored.", error, extra={"action": "bad_token"})


def find_recorder(named: UsageRecorder | None) -> UsageRecorder:
    """
    Return the recorder for code of the app: the *named* one, else the current request's, else the default one.

    When the settings are unusable, log it and return a recorder that is off.
    """
    around = find_settlement()
    try:
        return named or (around and around.recorder) or default_recorder()
    except ConfigurationError as error:
        # Bad settings must not fail the app's own work.
        logger.error("No usage points are recorded: %s", error, extra={"action": "bad_settings"})
        return null_recorder()
