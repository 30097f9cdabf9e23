"""
How coroutines wait for the commit of their points.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests._outboxes import PATIENCE, new_point


def count_wakes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """
    Count how often other threads wake the running loop.
    """
    loop, wakes = asyncio.get_running_loop(), []
    wake = loop.call_soon_threadsafe

    def call_soon_threadsafe(*arguments: Any, **options: Any) -> Any:
        wakes.append(arguments)
        return wake(*arguments, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", call_soon_threadsafe)
    return wakes


async def pass_turns() -> None:
    """
    Let the tasks record and the loop hand their points over.
    """
    for _ in range(2):
        await asyncio.sleep(0)


@pytest.mark.usefixtures("patient")
def test_a_batch_wakes_its_loop_once(make_recorder, slow_outbox, monkeypatch) -> None:
    """
    Points that one transaction commits wake their event loop once.
    """
    recorder = make_recorder()

    async def record_together() -> tuple[list[bool], int]:
        slow_outbox.gate.clear()
        tasks = [asyncio.create_task(recorder.arecord(new_point("first")))]
        await pass_turns()
        slow_outbox.wait_entered()
        tasks += [asyncio.create_task(recorder.arecord(new_point(str(number)))) for number in range(10)]
        await pass_turns()
        wakes = count_wakes(monkeypatch)
        slow_outbox.gate.set()
        return await asyncio.gather(*tasks), len(wakes)

    assert asyncio.run(record_together()) == ([True] * 11, 2)
    assert slow_outbox.batches == [1, 10]


def test_the_points_of_a_turn_are_one_batch(make_recorder, slow_outbox) -> None:
    """
    Points that coroutines record in one turn of their event loop are committed together, also by an idle writer.
    """
    recorder = make_recorder()

    async def record_together() -> list[bool]:
        return await asyncio.gather(*(recorder.arecord(new_point(str(number))) for number in range(10)))

    assert asyncio.run(record_together()) == [True] * 10
    assert slow_outbox.batches == [10]


def test_waits_of_different_lengths(make_recorder, slow_outbox) -> None:
    """
    Each coroutine waits as long as it was told, whatever the others of its loop wait for.
    """
    recorder = make_recorder()
    slow_outbox.gate.clear()

    ended: list[str] = []

    async def record(key: str, wait: float) -> bool:
        committed = await recorder.arecord(new_point(key), wait=wait)
        ended.append(key)
        return committed

    async def record_together() -> list[bool]:
        longest = asyncio.create_task(record("longest", 600))
        others = await asyncio.gather(record("shortest", 0.01), record("longer", 0.1))
        slow_outbox.gate.set()
        return [*others, await longest]

    assert asyncio.run(record_together()) == [False, False, True]
    assert ended == ["shortest", "longer", "longest"]


def test_a_coroutine_that_is_closed(make_recorder, slow_outbox) -> None:
    """
    A coroutine that is closed in the turn in which it records leaves its point to the outbox, once.
    """
    recorder = make_recorder()

    async def leave() -> None:
        recording = recorder.arecord(new_point("left"))
        recording.send(None)
        recording.close()

    asyncio.run(leave())
    slow_outbox.wait_stored()
    recorder.stop()

    assert slow_outbox.batches == [1]


@pytest.mark.usefixtures("patient")
def test_a_loop_that_has_closed(make_recorder, slow_outbox) -> None:
    """
    A commit whose event loop is gone disturbs nobody: the point is stored, and the next one as well.
    """
    recorder = make_recorder()
    slow_outbox.gate.clear()

    async def leave() -> None:
        task = asyncio.create_task(recorder.arecord(new_point("left")))
        await pass_turns()
        task.cancel()

    asyncio.run(leave())
    slow_outbox.gate.set()
    slow_outbox.wait_stored()

    assert recorder.record(new_point("next"), wait=PATIENCE)
    assert slow_outbox.keys == ["left", "next"]
