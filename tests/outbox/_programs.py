"""
Programs that the tests run in processes of their own: `python _programs.py NAME ARGUMENT…`.

They fork, kill and give up rights, which the process of the tests must not. Each prints JSON lines.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from functools import partial
from pathlib import Path

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import SQLiteOutbox, damage, open_outbox
from remotion_licensing_integrations.points.point import Registration
from tests.outbox._values import REGISTRATION, point

DEADLINE = 120  # seconds; a program that takes longer hangs


def run(name, *arguments, program=__file__):
    """
    Run a program to its end and return what it printed.
    """
    with start(name, *arguments, program=program) as process:
        try:
            out, _ = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def start(name, *arguments, program=__file__):
    """
    Start a program that is talked to.
    """
    command = [sys.executable, program, name, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def fork(work):
    """
    Run *work* in a child; its status says whether it ended well.
    """
    if child := os.fork():
        return child
    try:
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing may leave the child
        traceback.print_exc()
        os._exit(1)


def failures(children):
    """
    Wait for the children and count those that failed.
    """
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def opened(place):
    """
    Return the outbox at a path or a URL.
    """
    return open_outbox(place) if "://" in place else SQLiteOutbox(place)


def say(value):
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


def open_at_once(processes, *places):
    """
    Many processes open a new outbox at the same moment, at each of the places; prints how many of them failed.
    """
    failed = 0
    for place in places:
        outbox = opened(place)
        wait, go = os.pipe()

        def work(outbox=outbox, wait=wait, go=go):
            os.close(go)
            os.read(wait, 1)
            outbox.add([point()])

        children = [fork(work) for _ in range(int(processes))]
        os.close(go)
        failed += failures(children)
        os.close(wait)
    say(failed)


def add_and_claim(path, writers, each):
    """
    Some processes add while one claims; prints failed processes and the keys as they were claimed.
    """
    outbox = opened(path)
    total = int(writers) * int(each)

    def write(number):
        for index in range(int(each)):
            outbox.add([point(f"{number}-{index}")])

    def deliver():
        taken = []
        while len(taken) < total:
            claimed = outbox.claim(50, lease=600)
            outbox.update([entry.register(Registration(billable=True, classification=None)) for entry in claimed])
            taken += [entry.point.idempotency_key for entry in claimed]
        say(taken)

    children = [fork(partial(write, number)) for number in range(int(writers))]
    say(failures([*children, fork(deliver)]))


def claim_at_once(place, claimers):
    """
    Many processes claim until nothing is due; prints how many failed, and the keys that each has got.
    """
    outbox = opened(place)

    def take():
        taken = []
        while claimed := outbox.claim(7, lease=600):
            taken += [entry.point.idempotency_key for entry in claimed]
        say(taken)

    say(failures([fork(take) for _ in range(int(claimers))]))


def prune_at_once(place, pruners, number):
    """
    Processes prune, half of them killed at it; prints how many points are left then, and how many are counted.
    """
    outbox = opened(place)
    for start in range(0, int(number), 500):
        outbox.add([point(f"key-{index}") for index in range(start, start + 500)])
        outbox.update([entry.register(REGISTRATION) for entry in outbox.claim(500, lease=600)])
    outbox.close()
    children = [fork(lambda: outbox.prune(-1)) for _ in range(int(pruners))]
    while outbox.counts().registered == int(number):
        time.sleep(0.001)
    for child in children[::2]:
        os.kill(child, signal.SIGKILL)
    failures(children)
    outbox.prune(-1)
    [total] = outbox.totals()
    say([outbox.counts().registered, total.number])
    outbox.close()


def claim_and_wait(place, lease):
    """
    Claim what is due, print its keys, and reject it when a line is read; prints how many were rejected.
    """
    outbox = opened(place)
    claimed = outbox.claim(100, lease=float(lease))
    say([entry.point.idempotency_key for entry in claimed])
    sys.stdin.readline()
    say(outbox.update([entry.reject("no") for entry in claimed]))
    outbox.close()


def end_after_a_fork(place):
    """
    A child uses the outbox, in a session of its own, and ends as programs do.

    Prints how many children failed, whether the parent's session is still there, and the points.
    """
    outbox = opened(place)
    outbox.add([point("parent")])
    before = session(outbox)
    if (child := os.fork()) == 0:
        outbox.add([point("child")])
        sys.exit(session(outbox) == before)
    failed = failures([child])
    say([failed, before == session(outbox), outbox.counts().pending])
    outbox.close()


def session(outbox):
    """
    Return the number of the outbox's session at its server.
    """
    [(number,)] = outbox._server.rows("SELECT pg_backend_pid()", {})
    return number


def fork_while_writing(path, forks):
    """
    Fork while a thread writes; each child adds a point, too. Prints failures and keys acknowledged.
    """
    outbox = opened(path)
    stop = threading.Event()
    acknowledged = []

    def write():
        while not stop.is_set():
            key = f"parent-{len(acknowledged)}"
            outbox.add([point(key)])
            acknowledged.append(key)

    thread = threading.Thread(target=write)
    thread.start()
    failed = 0
    for number in range(int(forks)):
        failed += failures([fork(lambda number=number: outbox.add([point(f"child-{number}")]))])
    stop.set()
    thread.join()
    say(failed)
    say(acknowledged)


def outlive_the_parent(path):
    """
    A child goes on with the object after its parent has closed it; prints how many points are there.
    """
    outbox = opened(path)
    outbox.add([point("parent")])
    wait, go = os.pipe()
    added, tell = os.pipe()

    def work():
        outbox.add([point("child")])
        os.write(tell, b".")
        os.read(wait, 1)
        for number in range(20):
            outbox.add([point(f"child-{number}")])

    child = fork(work)
    os.read(added, 1)
    outbox.close()
    os.write(go, b".")
    failed = failures([child])
    say([failed, outbox.counts().pending])


def kill_writers(path, rounds, *, early=False):
    """
    Four writers acknowledge keys and are killed at some moment, again and again; prints the keys that are lost.
    """
    lost = []
    for number in range(int(rounds)):
        read, write = os.pipe()
        children = [fork(partial(_acknowledge, path, f"{number}-{n}", write, early=early)) for n in range(4)]
        os.close(write)
        with os.fdopen(read) as lines:
            acknowledged = [lines.readline() for _ in range(random.randrange(20, 60))]
            for child in children:
                os.kill(child, signal.SIGKILL)
            acknowledged += lines
        failures(children)
        outbox = opened(path)
        stored = {entry.point.idempotency_key for entry in outbox.list(limit=1_000_000)}
        outbox.close()
        lost += {line.strip() for line in acknowledged if line.endswith("\n")} - stored
    say([check_integrity(path), lost])


def check_integrity(place):
    if "://" in place:
        return "ok"  # the server's own business
    with sqlite3.connect(place) as connection:
        [(integrity,)] = connection.execute("PRAGMA integrity_check")
    return integrity


def kill_writers_that_acknowledge_early(path, rounds):
    """
    The control: the same, with a fault that must be found.
    """
    kill_writers(path, rounds, early=True)


def _acknowledge(path, name, pipe, *, early):
    outbox = opened(path)
    for index in range(1_000_000):
        key = f"{name}-{index}"
        if early:
            os.write(pipe, f"{key}\n".encode())
        outbox.add([point(key)])
        if not early:
            os.write(pipe, f"{key}\n".encode())


def leave_wal(path, number):
    """
    Add points one by one and die, so that the WAL stays.
    """
    outbox = SQLiteOutbox(path)
    for index in range(int(number)):
        outbox.add([point(f"key-{index}")])
    say(Path(f"{path}-wal").stat().st_size)
    os._exit(0)


def replace_damaged(path, steps):
    """
    Find a damaged file, and be killed before so many steps of its replacement are done.
    """
    left = int(steps)

    def counted(work):
        def step(*arguments):
            nonlocal left
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return work(*arguments)

        return step

    Path.replace, damage.transact = counted(Path.replace), counted(damage.transact)
    reader = sqlite3.connect(path)  # keeps the WAL
    reader.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    SQLiteOutbox(path).claim(3000, lease=60)
    reader.close()


def hold_lock(path):
    """
    Keep the file locked until a line is read.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    say("locked")
    sys.stdin.readline()
    connection.execute("ROLLBACK")


def add_when_told(path):
    """
    Add as many points as each line says; prints their keys.
    """
    outbox = SQLiteOutbox(path)
    outbox.open()
    say("ready")
    for line in sys.stdin:
        keys = []
        for _ in range(int(line)):
            keys.append(f"{os.getpid()}-{time.monotonic_ns()}")
            outbox.add([point(keys[-1])])
        say(keys)
    os._exit(0)


def add_as(path, uid):
    """
    Add a point with the rights of another user; prints the error.
    """
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    try:
        SQLiteOutbox(path).add([point()])
    except OutboxError as error:
        say(str(error))
    else:
        say(None)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
