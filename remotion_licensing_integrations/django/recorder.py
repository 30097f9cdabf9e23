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


def _make_recorder() -> UsageRecorder:
    settings = read_settings()
    outbox = make_outbox(settings)
    return UsageRecorder(
        settings,
        outbox=outbox,
        on_commit=_make_enqueuer(),
        allows_host=is_trusted,
        warns_of_local_hosts=not project.DEBUG,
        keeper=DirectKeeper(outbox) if is_test_run() else None,
    )


#: Returns the recorder of this process; raises `ConfigurationError` when the settings are unusable.
get_recorder: Final = SharedRecorder(_make_recorder)


def _make_enqueuer() -> Callable[[], object]:
    if not sends_by_tasks():
        return lambda: None
    load_task()  # so that its errors appear at the start
    return Enqueuer().wake


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
