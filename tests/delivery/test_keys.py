"""
Keys that change: in a file or by a function, without a restart.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from remotion_licensing_integrations import ConfigurationError, UsageRecorder
from remotion_licensing_integrations.delivery import worker as worker_module
from remotion_licensing_integrations.outbox import MemoryOutbox
from remotion_licensing_integrations.points import make_fingerprint
from remotion_licensing_integrations.recording import threads as threads_module
from remotion_licensing_integrations.settings import READ_EVERY, LicenseKeys, Settings
from remotion_licensing_integrations.settings import keys as keys_module
from tests._delivery import NO_ANSWER, OK, PATIENCE, Api, answer
from tests._outboxes import new_point
from tests._recorders import actions
from tests.outbox._values import point

OLD, NEW = "rm_pub_old", "rm_pub_new"
BAD_KEY = answer(401, b'{"error":"Invalid API key"}')


@pytest.fixture
def file(tmp_path) -> Path:
    """
    A file with the old key, as editors leave it.
    """
    file = tmp_path / "key"
    file.write_text(f"{OLD}\n")
    return file


def sent(api: Api) -> list[str]:
    return [body["apiKey"] for body in api.bodies]


def test_key_of_a_file(rig, file) -> None:
    """
    Points are registered with the key in the file.
    """
    it = rig(license_key=None, license_key_file=str(file))
    it.deliver()

    assert sent(it.api) == [OLD]


def test_key_of_a_function(rig) -> None:
    """
    Points are registered with the key that the function returns.
    """
    it = rig(license_key=lambda: OLD)
    it.deliver()

    assert sent(it.api) == [OLD]


def test_changed_file(rig, file) -> None:
    """
    The next pass registers with the new key what was recorded for the old one, too.
    """
    it = rig(license_key=None, license_key_file=str(file), points=0)
    file.write_text(NEW)
    it.outbox.add([point("a", key_fingerprint=make_fingerprint(OLD))])
    it.clock.now += READ_EVERY
    it.deliver()

    assert sent(it.api) == [NEW]


def test_function_is_not_called_for_each_pass(rig) -> None:
    """
    A function, which may ask a server, is called every five seconds at the most.
    """
    calls: list[str] = []

    def find_key() -> str:
        calls.append(OLD)
        return OLD

    it = rig(license_key=find_key)
    for _ in range(10):
        it.deliver()
    it.clock.now += READ_EVERY
    it.deliver()

    assert len(calls) == 2


def test_new_key_ends_the_pause_for_a_refused_one(rig, file) -> None:
    """
    The point that the old key was refused for is registered at the next pass, long before the pause would be over.
    """
    it = rig(BAD_KEY, license_key=None, license_key_file=str(file))
    it.deliver()
    it.api.replies = [OK]
    file.write_text(NEW)
    it.clock.now += READ_EVERY

    assert it.deliver() == 1
    assert (sent(it.api), it.deliverer.pause_reason) == ([OLD, NEW], None)


def test_new_key_ends_no_other_pause(rig, file) -> None:
    """
    A new key does not overrule an API that asks to wait.
    """
    it = rig(answer(429, retry_after="60"), license_key=None, license_key_file=str(file))
    it.deliver()
    file.write_text(NEW)
    it.clock.now += READ_EVERY

    assert (it.deliver(), len(it.api.bodies)) == (0, 1)


def test_late_result_hides_no_refused_key(rig, file, monkeypatch) -> None:
    """
    A new key ends the pause also when a point that was sent with the old one gets no answer after that.
    """
    both, paused = threading.Barrier(2), threading.Event()

    def refuse(body: dict[str, Any]) -> Any:
        both.wait(PATIENCE)
        return BAD_KEY(body)

    def fail_later(body: dict[str, Any]) -> Any:
        both.wait(PATIENCE)
        assert paused.wait(PATIENCE)
        return NO_ANSWER(body)

    it = rig(OK, refuse, fail_later, OK, points=3, concurrency=2, license_key=None, license_key_file=str(file))
    monkeypatch.setattr(it.outbox, "pause", lambda *_: paused.set())
    it.deliver()
    file.write_text(NEW)
    it.clock.now += READ_EVERY

    assert it.deliver() > 0
    assert sent(it.api)[:4] == [OLD, OLD, OLD, NEW]


def test_same_key_ends_no_pause(rig, file) -> None:
    """
    As long as the file holds the refused key, it is not sent again before its time.
    """
    it = rig(BAD_KEY, license_key=None, license_key_file=str(file))
    it.deliver()
    it.clock.now += READ_EVERY
    it.deliver()

    assert sent(it.api) == [OLD]


def test_worker_looks_for_a_new_key_while_paused(make_recorder, monkeypatch, file) -> None:
    """
    The thread that delivers does not sleep through a pause for a refused key.
    """
    for module, name in ((worker_module, "POLL"), (keys_module, "READ_EVERY")):
        monkeypatch.setattr(module, name, 0.01)
    refused, registered = threading.Event(), threading.Event()

    def reply(body: dict[str, Any]) -> Any:
        (refused if body["apiKey"] == OLD else registered).set()
        return (BAD_KEY if body["apiKey"] == OLD else OK)(body)

    recorder = make_recorder(
        license_key=None, license_key_file=str(file), delivery="worker", transport=Api(reply).transport
    )
    recorder.record(new_point(), wait=PATIENCE)
    assert refused.wait(PATIENCE)
    file.write_text(NEW)

    assert registered.wait(PATIENCE)


def test_process_that_delivers_nothing(make_recorder, monkeypatch, file) -> None:
    """
    Where another process delivers, new points are for the new key, too.
    """
    for module in (keys_module, threads_module):
        monkeypatch.setattr(module, "READ_EVERY", 0.01)
    looked = threading.Event()
    recorder: UsageRecorder = make_recorder(license_key=None, license_key_file=str(file), delivery="external")
    refresh = recorder.keys.refresh

    def note_and_refresh() -> bool:
        has_changed = refresh()
        if has_changed:
            looked.set()
        return has_changed

    monkeypatch.setattr(recorder.keys, "refresh", note_and_refresh)
    recorder.start()
    file.write_text(NEW)
    assert looked.wait(PATIENCE)
    recorder.record(new_point(), wait=PATIENCE)

    assert [stored.point.key_fingerprint for stored in recorder.outbox.list()] == [make_fingerprint(NEW)]


def test_file_that_vanishes(rig, file, caplog) -> None:
    """
    Without its file the last key stays in use; the log says so once, and again only after the file was back.
    """
    it = rig(license_key=None, license_key_file=str(file), points=2)
    for is_there in (False, False, True, False):
        file.write_text(OLD) if is_there else file.unlink(missing_ok=True)
        it.clock.now += READ_EVERY
        it.deliver()

    assert sent(it.api) == [OLD, OLD]
    assert actions(caplog) == ["license_key_lost"] * 2
    assert caplog.messages[0] == (
        f"license_key_file: {str(file)!r} cannot be read: No such file or directory; the last key stays in use."
    )


def test_private_key_that_changes() -> None:
    """
    The key that reads usage is read again, too, and registers nothing while there is a public one.
    """
    now, private = [0.0], iter(["rm_sec_1", "rm_sec_2"])
    keys = LicenseKeys(Settings(license_key=NEW, private_license_key=lambda: next(private)), monotonic=lambda: now[0])
    now[0] += READ_EVERY

    assert not keys.refresh()
    assert (keys.private, keys.current) == ("rm_sec_2", NEW)


def test_many_changes() -> None:
    """
    However often the key changes, a claim looks for few fingerprints, the newest ones.
    """
    now = [0.0]
    keys = LicenseKeys(Settings(license_key=lambda: f"rm_pub_{now[0]:g}"), monotonic=lambda: now[0])
    for _ in range(20):
        now[0] += READ_EVERY
        keys.refresh()

    assert keys.fingerprints == tuple(make_fingerprint(f"rm_pub_{READ_EVERY * count:g}") for count in range(20, 12, -1))


@pytest.mark.parametrize("key", [None, "", "rm pub", "schlüssel", 7])
def test_function_without_a_key(key: Any) -> None:
    """
    A function that returns no key at the start is a mistake.
    """
    with pytest.raises(ConfigurationError, match=r"^license_key: the function returned no licence key$"):
        UsageRecorder(Settings(license_key=lambda: key), outbox=MemoryOutbox())


def test_function_that_fails() -> None:
    """
    What a function raises is named by its type only: its words may hold a secret.
    """

    def fail() -> str:
        raise RuntimeError(OLD)

    with pytest.raises(ConfigurationError, match=r"^license_key: the function raised RuntimeError$"):
        UsageRecorder(Settings(license_key=fail), outbox=MemoryOutbox())
