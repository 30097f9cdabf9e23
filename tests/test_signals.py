"""
Waiting for the signal to stop.
"""

import signal
import subprocess
import sys

import pytest

from remotion_licensing_integrations._support.signals import STOP_SIGNALS, stop_signals
from tests._systems import IS_POSIX, needs_signals

HANGING = """
import threading
from remotion_licensing_integrations._support.signals import stop_signals
with stop_signals() as wait:
    print("started", flush=True)
    wait()
    print("stopping", flush=True)
    threading.Event().wait()
"""


def blocked():
    return signal.pthread_sigmask(signal.SIG_BLOCK, []) if IS_POSIX else ()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_that_comes_before_the_wait_ends_it(number):
    """
    A signal between the start of the context and the wait is not lost.
    """
    with stop_signals() as wait:
        signal.raise_signal(number)
        wait()


@pytest.mark.parametrize("numbers", [[], [signal.SIGTERM]], ids=["no signal", "a signal"])
def test_handlers_are_put_back(numbers):
    """
    A process that goes on has the handlers, and the blocked signals, that it had before.
    """
    before = [signal.getsignal(number) for number in STOP_SIGNALS], blocked()
    with stop_signals():
        for number in numbers:
            signal.raise_signal(number)

    after = [signal.getsignal(number) for number in STOP_SIGNALS], blocked()
    assert after == before


@needs_signals
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_second_signal_ends_a_stop_that_hangs(number):
    """
    Where the first signal began a stop that never ends, the second one ends the process.
    """
    with subprocess.Popen(
        [sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            lines = [process.stdout.readline()]
            process.send_signal(number)
            lines.append(process.stdout.readline())
            process.send_signal(number)
            status = process.wait(20)
        finally:
            process.kill()

    assert (lines, status) == (["started\n", "stopping\n"], -number)
