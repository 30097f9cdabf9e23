"""
Recording: the bounded wait for the commit, who delivers, tokens and counts.
"""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from remotion_licensing_integrations.errors import InvalidTokenError, OutboxError
from remotion_licensing_integrations.outbox import MemoryOutbox, SQLiteOutbox, State
from remotion_licensing_integrations.points.origin import ResolvedHost
from remotion_licensing_integrations.points.token import encode_token
from remotion_licensing_integrations.recording import recorder as recorder_module
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import Settings
from tests._delivery import OK, Api, answer
from tests._outboxes import PATIENCE, new_point
from tests._recorders import BOTH, actions, record, threads


@BOTH
@pytest.mark.usefixtures("patient")
def test_committed(make_recorder, slow_outbox, how: str) -> None:
    """
    Recording returns true once the point is in the store.
    """
    assert record(make_recorder(), how)
    assert slow_outbox.keys == ["0"]


@BOTH
@pytest.mark.usefixtures("hasty")
def test_slow_store(make_recorder, slow_outbox, how: str, caplog) -> None:
    """
    A store that hangs holds nobody up: false after the bound, counted and said once, the point stored later.
    """
    slow_outbox.gate.clear()
    recorder = make_recorder()

    assert (record(recorder, how, "0"), record(recorder, how, "1")) == (False, False)
    assert (recorder.counts().late, recorder.counts().waiting, actions(caplog)) == (2, 2, ["commit_late"])
    slow_outbox.gate.set()
    slow_outbox.wait_stored(2)
    assert slow_outbox.keys == ["0", "1"]


def test_bound() -> None:
    """
    A request waits a quarter of a second at the most.
    """
    assert recorder_module.COMMIT_WAIT == 0.25


@BOTH
@pytest.mark.usefixtures("patient")
def test_refusing_store(make_recorder, slow_outbox, how: str, caplog) -> None:
    """
    A store that refuses gives false at once, and nothing is raised.
    """
    slow_outbox.refuses = True
    recorder = make_recorder()

    assert not record(recorder, how)
    assert (recorder.counts().waiting, recorder.counts().late, actions(caplog)) == (1, 0, ["outbox_refused"])


@pytest.mark.parametrize(("key", "others"), [("rm_pub_test", []), (None, ["no_license_key"])])
def test_variable_that_is_no_setting(make_recorder, key, others, caplog, monkeypatch) -> None:
    """
    A recorder names a misspelt variable once, when it starts, with the nearest one; without a key, too.
    """
    monkeypatch.setenv("REMOTION_LICENSING_LICENSE_KEY", "rm_pub_secret")
    recorder = make_recorder(license_key=key)
    for name in "12":
        recorder.record(new_point(name), wait=PATIENCE)

    assert actions(caplog) == [*others, "unknown_variable"]
    assert "REMOTION_LICENSING_LICENSE_KEY is no setting; did you mean REMOTION_LICENSE_KEY?" in caplog.text
    assert "rm_pub_secret" not in caplog.text


@pytest.mark.parametrize(
    ("patch", "option", "said"),
    [(26, "master", True), (26, "enable-threads", False), (26, "threads", False), (28, "master", False)],
)
def test_uwsgi(make_recorder, patch, option, said, caplog) -> None:
    """
    In an older uWSGI threads stand still between requests unless an option lets them run; the log says so once.
    """
    recorder = make_recorder()
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "uwsgi", SimpleNamespace(version_info=(2, 0, patch, 0, b""), opt={option: True}))
        for name in "12":
            recorder.record(new_point(name), wait=PATIENCE)

    assert actions(caplog) == ["threads_stand_still"] * said


@BOTH
def test_no_licence_key(make_recorder, slow_outbox, how: str, caplog) -> None:
    """
    Without a licence key nothing is recorded and no thread starts; that is said once.
    """
    recorder = make_recorder(license_key=None)
    recorder.start()

    assert not record(recorder, how)
    assert not record(recorder, how, "1")
    assert (slow_outbox.keys, threads(), actions(caplog)) == ([], [], ["no_license_key"])


@pytest.mark.usefixtures("patient")
def test_arecord_lets_the_loop_run(make_recorder, slow_outbox) -> None:
    """
    Other coroutines go on while a commit is waited for.
    """

    async def main() -> bool:
        recording = asyncio.ensure_future(recorder.arecord(new_point()))
        await asyncio.sleep(0)
        assert not recording.done()
        slow_outbox.gate.set()
        return await recording

    slow_outbox.gate.clear()
    recorder = make_recorder()
    assert asyncio.run(main())


@pytest.mark.usefixtures("patient")
def test_cancelled_arecord(make_recorder, slow_outbox) -> None:
    """
    A request that is cancelled meanwhile still has its point stored.
    """

    async def main() -> None:
        recording = asyncio.ensure_future(recorder.arecord(new_point()))
        await asyncio.sleep(0)
        recording.cancel()
        with pytest.raises(asyncio.CancelledError):
            await recording
        slow_outbox.gate.set()
        await asyncio.to_thread(slow_outbox.wait_stored)
        await asyncio.to_thread(recorder.stop)

    slow_outbox.gate.clear()
    recorder = make_recorder()
    asyncio.run(main())
    assert slow_outbox.keys == ["0"]


def test_loop_that_has_closed(make_recorder, slow_outbox) -> None:
    """
    An event loop that ends before the commit neither loses the point nor stops the writer.
    """

    async def leave() -> None:
        recording = asyncio.ensure_future(recorder.arecord(new_point()))
        await asyncio.sleep(0)
        recording.cancel()

    slow_outbox.gate.clear()
    recorder = make_recorder()
    asyncio.run(leave())
    slow_outbox.gate.set()

    assert recorder.record(new_point("1"))
    assert slow_outbox.keys == ["0", "1"]


@pytest.mark.parametrize("delivery", ["external", "inline", "off"])
@pytest.mark.usefixtures("patient")
def test_no_delivery_by_itself(make_recorder, slow_outbox, delivery: str) -> None:
    """
    Where another one delivers, or nobody, points stay in the store untouched.
    """
    api = Api(OK)
    recorder = make_recorder(delivery=delivery, transport=api.transport)
    recorder.record(new_point())
    recorder.stop(PATIENCE)

    assert (api.bodies, slow_outbox.counts().pending, slow_outbox.get("0").attempts) == ([], 1, 0)


@pytest.mark.usefixtures("patient")
def test_worker_delivers(make_recorder, slow_outbox) -> None:
    """
    With a worker, a recorded point is registered by the time the recorder has stopped.
    """
    api = Api(OK)
    recorder = make_recorder(delivery="worker", transport=api.transport)
    recorder.record(new_point())
    recorder.stop(PATIENCE)

    assert (api.keys, slow_outbox.get("0").state) == (["0"], State.REGISTERED)


@pytest.mark.usefixtures("patient")
def test_deliver(make_recorder) -> None:
    """
    A caller can deliver from its own thread.
    """
    api = Api(OK)
    recorder = make_recorder(delivery="inline", transport=api.transport)
    recorder.record(new_point())

    assert recorder.deliver(PATIENCE) == 1
    assert api.keys == ["0"]


@pytest.mark.usefixtures("patient")
def test_deliver_from_many_requests(make_recorder) -> None:
    """
    Requests that deliver inline at the same time send every point once, and none waits for another's answer.
    """
    api = Api(OK)
    recorder = make_recorder(delivery="inline", transport=api.transport)

    def handle(number: int) -> int:
        recorder.record(new_point(str(number)))
        return recorder.deliver(PATIENCE)

    began = time.monotonic()
    with ThreadPoolExecutor(16) as requests:
        assert sum(requests.map(handle, range(100))) == 100
    assert sorted(api.keys) == sorted(map(str, range(100)))
    assert time.monotonic() - began < PATIENCE


@pytest.mark.usefixtures("patient")
def test_loop_of_another_library(make_recorder, slow_outbox) -> None:
    """
    A coroutine that no asyncio loop runs stores its point all the same.
    """
    coroutine = make_recorder().arecord(new_point())
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)

    assert (ended.value.value, slow_outbox.keys) == (True, ["0"])


TOKEN = encode_token(new_point("deferred"))


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("succeeded", [True, False])
def test_complete(make_recorder, slow_outbox, *, succeeded: bool) -> None:
    """
    Completing a token records its point with the outcome; the first completion stands.
    """
    recorder = make_recorder()

    assert recorder.complete(TOKEN, succeeded=succeeded)
    assert asyncio.run(recorder.acomplete(TOKEN, succeeded=not succeeded))
    assert slow_outbox.keys == ["deferred"]
    assert slow_outbox.get("deferred").point.succeeded is succeeded


@pytest.mark.parametrize("token", ["", "ru1.", TOKEN[:-1], f"{TOKEN}A", TOKEN.replace("ru1", "ru2"), None, 5])
def test_bad_token(make_recorder, slow_outbox, token: Any) -> None:
    """
    A damaged or foreign token is refused, and nothing is recorded.
    """
    recorder = make_recorder()
    with pytest.raises(InvalidTokenError):
        recorder.complete(token, succeeded=True)
    with pytest.raises(InvalidTokenError):
        asyncio.run(recorder.acomplete(token, succeeded=True))

    assert (slow_outbox.keys, threads()) == ([], [])


@pytest.mark.usefixtures("patient")
def test_counts(make_recorder) -> None:
    """
    The counts tell what is stored, how hosts were chosen, and why delivery is paused.
    """
    recorder = make_recorder(transport=Api(answer(401, b"")).transport)
    for source in ("origin", "origin", "refused", "refused"):
        recorder.count_host(ResolvedHost(None, source))
    recorder.record(new_point())
    recorder.deliver()
    counts = recorder.counts()

    assert (counts.stored.pending, counts.waiting, counts.late, counts.logged) == (1, 0, 0, 0)
    assert counts.hosts == {"origin": 2, "refused": 2}
    assert counts.paused.startswith("the API refused the licence key")


def test_next_due(make_recorder) -> None:
    """
    A recorder knows when its outbox has something to deliver, and waits for a pause of its own.
    """
    recorder = make_recorder(transport=Api(answer(429, b"", retry_after="60")).transport)
    waits = [recorder.next_due()]
    recorder.record(new_point(), wait=PATIENCE)
    waits.append(recorder.next_due())
    recorder.deliver()

    assert waits == [None, 0]
    assert 50 < recorder.next_due() <= 60


def test_counts_before_the_first_use(make_recorder) -> None:
    """
    Counting starts nothing.
    """
    assert (make_recorder().counts().paused, threads()) == (None, [])


def test_counts_of_a_refusing_store(make_recorder, slow_outbox, monkeypatch) -> None:
    """
    Counting raises what the store does.
    """

    def refuse() -> None:
        msg = "the disk is full"
        raise OutboxError(msg)

    monkeypatch.setattr(slow_outbox, "counts", refuse)
    with pytest.raises(OutboxError):
        make_recorder().counts()


def test_refused_host_is_said_once(make_recorder, caplog) -> None:
    """
    The first origin that is not allowed is logged, further ones are counted.
    """
    recorder = make_recorder()
    for _ in range(3):
        recorder.count_host(ResolvedHost(None, "refused"))

    assert actions(caplog) == ["host_refused"]


def test_repr(make_recorder) -> None:
    """
    A recorder shows its store and no secret.
    """
    assert repr(make_recorder()) == "UsageRecorder(outbox=MemoryOutbox(), delivery='external')"


def test_defaults(monkeypatch, tmp_path) -> None:
    """
    Without arguments everything comes from the environment.
    """
    monkeypatch.setenv("REMOTION_LICENSING_OUTBOX", f"sqlite:///{tmp_path}/usage.sqlite3")
    recorder = UsageRecorder()

    assert (recorder.enabled, type(recorder.outbox), recorder.allows_host) == (False, SQLiteOutbox, None)


def test_allowed_hosts(make_recorder) -> None:
    """
    The recorder knows which hosts a request may name.
    """
    recorder = make_recorder(allowed_hosts=["https://myapp.com"])

    assert (recorder.allows_host("https://myapp.com"), recorder.allows_host("https://b.example")) == (True, False)


def test_default_outbox_of_a_test_run() -> None:
    """
    What a test records without naming an outbox stays in memory, so that nothing delivers it later.
    """
    assert isinstance(UsageRecorder(Settings(license_key="free-license")).outbox, MemoryOutbox)
