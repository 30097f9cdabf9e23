"""
Long reads of an outbox file.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading

import pytest

from remotion_licensing_integrations.errors import OutboxError
from remotion_licensing_integrations.outbox import SQLiteOutbox
from tests._systems import needs_forks
from tests.outbox._values import point

PATIENCE = 10
#: Never ends by itself.
ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"

FORK = f"""
import os, sys, threading, time, warnings
from remotion_licensing_integrations.outbox import SQLiteOutbox, scanning
from remotion_licensing_integrations.points import UsagePoint

warnings.simplefilter("ignore")
outbox = SQLiteOutbox(sys.argv[1])
outbox.open()
threading.Thread(target=outbox._file.scan, args=({ENDLESS!r}, {{}}), daemon=True).start()
while not scanning._scanning:
    time.sleep(0.001)
if (child := os.fork()) == 0:
    outbox.add([UsagePoint(event="cloud-render", host=None, succeeded=True)])
    sys.exit(outbox.counts().pending - 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture
def outbox(tmp_path):
    outbox = SQLiteOutbox(tmp_path / "usage.sqlite3")
    outbox.open()
    yield outbox
    outbox.close()


def test_a_long_read_keeps_nobody_from_committing(outbox):
    """
    A point is committed while the points are being counted.
    """
    gate = threading.Event()
    begun = threading.Event()

    def wait() -> int:
        begun.set()
        return int(gate.wait(PATIENCE))

    connect = sqlite3.connect

    def connect_waiting(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.create_function("wait", 0, wait)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("remotion_licensing_integrations.outbox.sqlite.sqlite3.connect", connect_waiting)
        reader = threading.Thread(target=outbox._file.scan, args=("SELECT wait()", {}))
        reader.start()
        assert begun.wait(PATIENCE)
        outbox.add([point("0")])
        committed = not gate.is_set() and reader.is_alive()
        gate.set()
        reader.join(PATIENCE)

    assert committed
    assert outbox.counts().pending == 1


@needs_forks
def test_a_fork_ends_a_long_read(tmp_path):
    """
    It does not wait for it, and its child can use the outbox.
    """
    command = [sys.executable, "-c", FORK, str(tmp_path / "usage.sqlite3")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)

    assert done.stdout == "0\n"


def test_a_read_that_fails_is_explained(outbox):
    """
    As every other.
    """
    with pytest.raises(OutboxError, match="no_such_table"):
        outbox._file.scan("SELECT * FROM no_such_table", {})
