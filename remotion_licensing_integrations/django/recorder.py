"""
The one recorder of a Django process, created when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings as project
from django.core.signals import setting_changed
from django.dispatch import receiver

from .._support.testrun import is_test_run
from ..outbox import Outbox, open_outbox
from ..recording import Entry, Keeper, SharedRecorder, UsageRecorder, store_now
from ..settings import Settings
from .conf import NAME, OWN_DATABASE, database_alias, read_settings, sends_by_tasks
from .enqueuer import Enqueuer, load_task
from .origins import is_trusted
from .signals import HOOKS


class DirectKeeper(Keeper):
    """
    Stores from the calling thread, on the test's database connection: points disappear with the test's transaction.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def keep(self, entry: Entry) -> bool:
        """
        Store *entry*.
        """
        return store_now(self._outbox, entry)

    async def akeep(self, entry: Entry) -> bool:
        """
        Same as `keep`, but from a coroutine, in the thread of synchronous code.
        """
        return await sync_to_async(self.keep)(entry)


class ProjectRecorder(SharedRecorder):
    """
    Returns, when called, the one recorder of this process; raises `ConfigurationError` when the settings are unusable.
    """

    def __init__(self) -> None:
        super().__init__(self._make_recorder)
        self._enqueuer: Enqueuer | None = None

    def attend(self) -> None:
        """
        Take care of points that other processes have left, where tasks deliver; a thread does so from now on.
        """
        if self._enqueuer is not None:
            self._enqueuer.attend()

    def forget(self) -> None:
        """
        Stop the recorder and the thread that looks, if there are any; the next call creates a new recorder.
        """
        super().forget()
        enqueuer, self._enqueuer = self._enqueuer, None
        if enqueuer is not None:
            enqueuer.stop()

    def _make_recorder(self) -> UsageRecorder:
        settings = read_settings()
        outbox = make_outbox(settings)

        def next_due() -> float | None:
            return recorder.next_due()

        enqueuer = _make_enqueuer(next_due)
        recorder = UsageRecorder(
            settings,
            outbox=outbox,
            on_commit=_do_nothing if enqueuer is None else enqueuer.wake,
            allows_host=is_trusted,
            warns_of_local_hosts=not project.DEBUG,
            keeper=DirectKeeper(outbox) if is_test_run() else None,
            **HOOKS,
        )
        # Where nothing is recorded, and in a test run, points of others are not ours to deliver.
        self._enqueuer = enqueuer if recorder.enabled and not is_test_run() else None
        return recorder


get_recorder: Final = ProjectRecorder()


def _make_enqueuer(next_due: Callable[[], float | None]) -> Enqueuer | None:
    if not sends_by_tasks():
        return None
    load_task()  # so that its errors appear at the start
    return Enqueuer(next_due)


def _do_nothing() -> None:
    pass


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
        get_recorder.forget()
