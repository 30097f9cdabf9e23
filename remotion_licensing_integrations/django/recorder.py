"""
The one recorder of a Django process, made when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings as project
from django.core.signals import setting_changed
from django.dispatch import receiver

from .._support.forks import ForkLock
from .._support.testrun import is_test_run
from ..outbox import Outbox, open_outbox
from ..points import UsagePoint
from ..recording import UsageRecorder, store_or_log
from ..settings import Settings
from .conf import NAME, OWN_DATABASE, database_alias, read_settings, sends_by_tasks
from .origins import is_trusted

_recorder: UsageRecorder | None = None
_lock: Final = ForkLock()


class TestRecorder(UsageRecorder):
    """
    The recorder of a test run, without threads.

    It stores on the test's own database connection, so that its points go with the test's transaction.
    """

    __test__ = False  # no class of tests

    def record(self, point: UsagePoint, *, wait: float | None = None) -> bool:  # noqa: ARG002 - as declared
        """
        Store *point* from the calling thread.
        """
        return self.enabled and store_or_log(self.outbox, point)

    async def arecord(self, point: UsagePoint, *, wait: float | None = None) -> bool:  # noqa: ARG002 - as declared
        """
        Same as `record`, but from the thread of synchronous code.
        """
        return await sync_to_async(self.record)(point)

    def forget_deferred(self, idempotency_key: str, *, wait: float | None = None) -> bool:  # noqa: ARG002 - as declared
        """
        Let the deferral go from the calling thread.
        """
        return self.enabled and self._forget(idempotency_key)

    async def aforget_deferred(self, idempotency_key: str, *, wait: float | None = None) -> bool:  # noqa: ARG002 - as declared
        """
        Same as `forget_deferred`, but from the thread of synchronous code.
        """
        return await sync_to_async(self.forget_deferred)(idempotency_key)

    def start(self) -> None:
        """
        Start nothing.
        """

    def deliver(self, timeout: float | None = None) -> int:  # noqa: ARG002 - as declared
        """
        Deliver nothing.
        """
        return 0


def get_recorder() -> UsageRecorder:
    """
    Return the recorder of this process.

    Raises:
        ConfigurationError: The settings are unusable.
    """
    global _recorder  # noqa: PLW0603 - one for the process
    if _recorder is None:
        with _lock:
            if _recorder is None:
                _recorder = _make_recorder()
    return _recorder


def _make_recorder() -> UsageRecorder:
    settings = read_settings()
    kind = TestRecorder if is_test_run() else UsageRecorder
    recorder = kind(settings, outbox=make_outbox(settings), on_commit=_make_sender())
    recorder.allows_host = recorder.allows_host or is_trusted
    recorder.warns_of_local_hosts &= not project.DEBUG
    return recorder


def _make_sender() -> Callable[[], object]:
    if not sends_by_tasks():
        return lambda: None
    from .sender import TaskSender, load_task  # noqa: PLC0415 - the task uses this module

    load_task()  # so that what is wrong with it is known at the start
    return TaskSender().wake


def make_outbox(settings: Settings) -> Outbox:
    """
    Return the outbox of the settings: the project's own database unless they name another.
    """
    if settings.outbox != OWN_DATABASE:
        return open_outbox(settings.outbox)
    from .outbox import DjangoOutbox  # noqa: PLC0415 - models load after the apps

    return DjangoOutbox(using=database_alias())


@receiver(setting_changed)
def _forget(*, setting: str, **_: Any) -> None:
    if setting == NAME:
        forget_recorder()


def forget_recorder() -> None:
    """
    Stop the recorder of this process, if there is one; the next use makes a new one from the settings of then.
    """
    global _recorder
    with _lock:
        stale, _recorder = _recorder, None
    if stale is not None:
        stale.stop()
