"""
Waiting for an outcome that another thread tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Timer
from typing import Any

import pytest

from remotion_licensing_integrations.recording.waiting import await_for, wait_for

PATIENCE = 10.0  # seconds


def in_a_thread(*arguments: Any) -> bool | None:
    return wait_for(*arguments)


def in_a_loop(*arguments: Any) -> bool | None:
    return asyncio.run(await_for(*arguments))


WAYS = pytest.mark.parametrize("wait", [in_a_thread, in_a_loop])


@WAYS
@pytest.mark.parametrize("outcome", [True, False])
def test_outcome(wait: Callable[..., bool | None], outcome: bool) -> None:  # noqa: FBT001 - passed by name
    """
    What the other thread says is returned.
    """
    assert wait(lambda notify: Timer(0, notify, [outcome]).start(), PATIENCE) is outcome


@WAYS
def test_nobody_answers(wait: Callable[..., bool | None]) -> None:
    """
    After the bound there is no outcome.
    """
    assert wait(lambda _: None, 0.001) is None


@WAYS
def test_outcome_at_the_bound(wait: Callable[..., bool | None]) -> None:
    """
    An outcome that is there already counts, however little time there is.
    """
    assert wait(lambda notify: notify(True), 0) is True  # noqa: FBT003 - the callback's only argument


def test_outcome_after_the_loop() -> None:
    """
    An outcome that comes when the loop has closed is no error.
    """
    notified: list[Callable[[bool], object]] = []
    assert in_a_loop(notified.append, 0) is None

    notified[0](True)  # noqa: FBT003 - the callback's only argument
