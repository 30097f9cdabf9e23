"""
Records usage points: hands them to the thread that makes them durable.

Nothing runs until the first point or `start()`; then each process has its own threads. A forked child has none of them;
its first point starts new ones.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, replace
from functools import partial
from typing import Any, ClassVar, Final, Unpack

from .._support.log import logger
from ..delivery import Hooks, Pace
from ..errors import OutboxError
from ..outbox import Outbox
from ..points import AllowedOrigins, UsagePoint, check_flag, decode_token
from ..settings import LicenseKeys, Settings
from .counts import ProcessCounts, RecorderCounts
from .entries import Entry, Forget, Wake, ended, store_now
from .keeper import NOTHING, Keeper
from .remarks import Remarks
from .stores import open_default, open_spill
from .threads import START_LOCK, Threads
from .waiting import find_waiter, wait_for

COMMIT_WAIT: Final = 0.25  # seconds that a request waits for its point's commit at the most


class UsageRecorder(Remarks):
    """
    Records usage points and, by default, delivers them from a thread of this process.

    Args:
        settings: Defaults to `Settings.from_env()`.
        outbox: Defaults to the one that `settings.outbox` names.
        transport: Stands in for the network in tests: a transport of httpx2 when that is installed, else of httpx.
        on_commit: Called after each commit of points that another process delivers, from the thread that commits; it
            must neither wait nor raise.
        allows_host: Whether an origin may be a point's host, when `settings.allowed_hosts` is not set; defaults to any.
        warns_of_local_hosts: Whether to warn when the host of a point is the server's own, local address.
        keeper: For tests and tools: keeps the points, instead of threads that commit and deliver.
        **hooks: `on_registered`, `on_rejected` and `on_paused`, see `Hooks`.

    Raises:
        ConfigurationError: A setting is unusable, or the driver of the outbox is not installed.

    Attributes:
        settings: The settings.
        outbox: Where the points are kept.
        spill: The file that keeps points while the outbox refuses; `None` for none.
        keeper_of_all: Keeps the points of every recorder of this process, in tests.
        allows_host: Whether an origin may be a point's host; `None` when any may.
        enabled: Whether points are recorded; false without a licence key.
        keys: The licence keys, and the fingerprints of points for them.
    """

    keeper_of_all: ClassVar[Keeper | None] = None

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        outbox: Outbox | None = None,
        transport: Any = None,
        on_commit: Callable[[], object] = lambda: None,
        allows_host: Callable[[str], bool] | None = None,
        warns_of_local_hosts: bool = True,
        keeper: Keeper | None = None,
        **hooks: Unpack[Hooks],
    ) -> None:
        self.settings: Settings = settings or Settings.from_env()
        self.keys: LicenseKeys = LicenseKeys(self.settings)
        self.enabled: bool = self.keys.current is not None
        self.outbox: Outbox = open_default(self.settings) if outbox is None else outbox
        self.spill: Outbox | None = open_spill(self.settings, self.outbox)
        listed = self.settings.allowed_hosts
        self.allows_host: Callable[[str], bool] | None = allows_host if listed is None else AllowedOrigins(listed)
        super().__init__(warns_of_local_hosts=warns_of_local_hosts and self.settings.is_production)
        # It outlives a stop. Fault: where each request starts and stops the app (by Mangum's lifespan), each response
        # would wait for an API that is away (test_recorder_life.py::test_pause_outlives_a_stop).
        pace = Pace(self.settings.concurrency)
        options: Any = {"transport": transport, "on_commit": on_commit, "hooks": hooks, "pace": pace}
        self._make_threads = partial(Threads, self.outbox, self.spill, self.settings, self.keys, **options)
        self._keeper = keeper if self.enabled else None
        self._threads: Threads | None = None
        self._late = 0

    def __repr__(self) -> str:
        return f"UsageRecorder(outbox={self.outbox!r}, delivery={self.settings.delivery!r})"

    def start(self) -> None:
        """
        Open the outbox and start the threads; otherwise the first point does so.
        """
        if self._find_substitute() is None:
            try:
                self.outbox.open()
            except OutboxError as error:
                # The app must start anyway: points wait in memory, and the writer tries again.
                logger.error("The outbox cannot be opened: %s", error, extra={"action": "outbox_refused"})
            self._running()

    def stop(self, timeout: float | None = None) -> None:
        """
        Commit waiting points, deliver due ones and end the threads; undelivered points stay in the outbox.

        This takes at most *timeout* seconds, by default `settings.shutdown_timeout`.
        """
        stop_at = time.monotonic() + (self.settings.shutdown_timeout if timeout is None else timeout)
        with START_LOCK:
            threads, self._threads = self._own_threads(), None
        if threads is not None:
            threads.stop(stop_at)
        self.outbox.close()

    def record(self, point: Entry, *, wait: float | None = None) -> bool:
        """
        Store *point*, and return whether it is committed.

        Waits at most *wait* seconds, by default 0.25, as long as a request may wait. A point that is not committed by
        then stays with this process, which keeps trying. Never raises.
        """
        keeper, point = self._find_substitute(), self._marked(point)
        if keeper is not None:
            return keeper.keep(point)
        return self._noted(wait_for(self._submit(point), COMMIT_WAIT if wait is None else wait, self._relieve))

    async def arecord(self, point: Entry, *, wait: float | None = None) -> bool:
        """
        Same as `record`, but does not block the event loop.
        """
        keeper, point = self._find_substitute(), self._marked(point)
        if keeper is not None:
            return await keeper.akeep(point)
        waiter = find_waiter()
        if waiter is None:
            return self.record(point, wait=wait)  # the loop of another library
        return self._noted(
            await waiter.record(self._submit, point, COMMIT_WAIT if wait is None else wait, self._relieve)
        )

    def complete(self, token: str, *, succeeded: bool, wait: float | None = None) -> bool:
        """
        Record the usage point that `PendingUsage.defer()` deferred, when its work has ended; see `record`.

        Completing a token twice counts once, and the first outcome stands: complete it when the job has ended for
        good, not after each attempt. For a failure that is not reported, it only removes the deferred point.

        Raises:
            ConfigurationError: *succeeded* is not a flag.
            InvalidTokenError: *token* is not from `defer()`.
        """
        entry = self._completed(token, succeeded)
        return self.record(entry, wait=wait) and isinstance(entry, UsagePoint)

    async def acomplete(self, token: str, *, succeeded: bool, wait: float | None = None) -> bool:
        """
        Same as `complete`, but does not block the event loop.
        """
        entry = self._completed(token, succeeded)
        return await self.arecord(entry, wait=wait) and isinstance(entry, UsagePoint)

    def deliver(self, timeout: float | None = None) -> int:
        """
        Deliver due points from this thread, and return how many were registered; 0 with delivery "off".

        It ends when nothing is due, or after *timeout* seconds.

        Raises:
            OutboxError: The store refuses.
        """
        if self.settings.delivery == "off" or self._find_substitute() is not None:
            return 0
        return self._running().deliverer.deliver(timeout)

    def deliver_inline(self) -> None:
        """
        Deliver due points for at most `settings.timeout` seconds; the rest stays in the outbox. Never raises.
        """
        try:
            self.deliver(self.settings.timeout)
        except Exception:  # noqa: BLE001 - the log has it, and the points are safe
            logger.exception("Usage points could not be delivered.", extra={"action": "delivery_crashed"})

    async def adeliver_inline(self) -> None:
        """
        Same as `deliver_inline`, but does not block the event loop.
        """
        try:
            await asyncio.to_thread(self.deliver_inline)
        except RuntimeError:
            self.deliver_inline()  # the loop of another library, or one that is about to close

    def next_due(self) -> float | None:
        """
        Return the seconds until `deliver` has something to send, as far as this process knows, or `None`.

        Raises:
            OutboxError: The store refuses.
        """
        due = self.outbox.next_due(self.keys.fingerprints)
        threads = self._own_threads()
        return due if due is None or threads is None else max(due, threads.deliverer.pause_seconds)

    def counts(self) -> RecorderCounts:
        """
        Count the points of the outbox and what this process has seen.

        Raises:
            OutboxError: The store refuses.
        """
        process = asdict(self.process_counts())
        return RecorderCounts(stored=self.outbox.counts(), spilled=self.count_spilled(), **process)

    def process_counts(self) -> ProcessCounts:
        """
        Return what this process has seen, without a look at the outbox.
        """
        threads = self._own_threads()
        return ProcessCounts(late=self._late, hosts=dict(self._hosts), **(threads.counts() if threads else {}))

    def count_spilled(self) -> int:
        """
        Count the points of this machine that wait for the outbox in the spill.

        Raises:
            OutboxError: The file cannot be read.
        """
        if self.spill is None or not self.spill.exists():
            return 0
        counts = self.spill.counts()
        return counts.pending + counts.deferred

    def _find_substitute(self) -> Keeper | None:
        keeper = self.keeper_of_all or self._keeper
        if keeper is None and not self.enabled:
            message = "No licence key is set (REMOTION_LICENSE_KEY): nothing is recorded."
            if self.warn_once("no_license_key", message):
                self.warn_of_variables()
            return NOTHING
        return keeper

    def _completed(self, token: str, succeeded: object) -> Entry:
        point = decode_token(token, succeeded=check_flag("succeeded", succeeded))
        return point if point.succeeded or self.settings.report_failures else Forget(point.idempotency_key)

    def _marked(self, entry: Entry) -> Entry:
        # Of an app's own making, or of a token that a request without a key has given out.
        if isinstance(entry, UsagePoint) and entry.key_fingerprint is None:
            return replace(entry, key_fingerprint=self.keys.fingerprint)
        return entry

    def _noted(self, committed: bool | None) -> bool:  # noqa: FBT001 - the result of the wait
        if committed is None:
            self._late += 1
            self.warn_once("commit_late", "The outbox is slow: a response went out before its point was committed.")
        return bool(committed)

    def _submit(self, entry: Entry, wake: Wake | None = None) -> Future[bool]:
        try:
            while (future := self._running().writer.submit(entry, wake)) is None:
                pass  # the writer was stopped just now; the next one is new
        except Exception:  # noqa: BLE001 - a coroutine that waits for it must not wait in vain
            # At the interpreter's end no thread can start: tests/recording/test_recorder_life.py::test_record_at_exit
            future = ended(wake, committed=store_now(self.outbox, entry, spill=self.spill))
        return future

    def _relieve(self) -> None:
        if (threads := self._own_threads()) is not None:  # pragma: no branch - another thread may stop the recorder
            threads.writer.relieve()

    def _running(self) -> Threads:
        if (threads := self._own_threads()) is None:
            self.warn_of_variables()
            self.warn_of_uwsgi()
            if self.keys.is_private:
                self.warn_once(
                    "private_license_key",
                    "Usage points are registered with the private licence key, because no public one is set "
                    "(REMOTION_LICENSE_KEY).",
                )
            with START_LOCK:
                threads = self._threads = self._own_threads() or self._make_threads()
        return threads

    def _own_threads(self) -> Threads | None:
        # After a fork the parent's threads are still noted, but do not run here.
        threads = self._threads
        return threads if threads is not None and threads.pid == os.getpid() else None
