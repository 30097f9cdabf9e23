"""
`remotion-licensing sandbox`: the sandbox from the command line.
"""

from __future__ import annotations

import errno
import signal
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ...errors import ConfigurationError
from .failures import MODES, Failure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator
    from types import FrameType

    from .server import Sandbox

DEFAULT_PORT: Final = 8484
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Declare the command's options on *parser*.
    """
    parser.add_argument("--host", default="127.0.0.1", help="host name or address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="port to listen on, 0 for any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--file", metavar="LEDGER.JSONL", help="keep the usage points in this file over a restart (default: memory)"
    )
    parser.add_argument("--latency", type=int, default=0, metavar="MS", help="hold every answer back, in milliseconds")
    parser.add_argument("--fail", choices=MODES, help="fail every request this way (default: answer normally)")
    parser.add_argument(
        "--retry-after", type=int, default=5, metavar="S", help="with --fail 429: seconds to ask for (default: 5)"
    )
    parser.add_argument("--first", type=int, metavar="N", help="fail only the first N requests, then recover")
    parser.add_argument(
        "--count-first", action="store_true", help="with --fail 500, reset, hang or html: count the point, then fail"
    )


def run(arguments: argparse.Namespace) -> int:
    """
    Run the sandbox until Ctrl+C or SIGTERM; return the exit status.
    """
    try:
        from .server import Sandbox  # noqa: PLC0415 - the options must work without the extra

        failure = {
            "mode": arguments.fail,
            "latency_ms": arguments.latency,
            "retry_after": arguments.retry_after,
            "first": arguments.first,
            "count_first": arguments.count_first,
        }
        Failure(**failure)
        sandbox = Sandbox(host=arguments.host, port=arguments.port, file=arguments.file)
        sandbox.set_failure(**failure)
        with _stop_requests() as stop_requests, sandbox:
            sys.stdout.write(_welcome(sandbox, arguments.file))
            sys.stdout.flush()
            stop_requests.recv(1)
    except (ConfigurationError, ModuleNotFoundError) as error:
        return _complain(str(error))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _complain(
                f"port {arguments.port} is taken: stop the program that listens there, "
                "or choose another one with --port (0: any free one)"
            )
        return _complain(str(error))
    return 0


def _welcome(sandbox: Sandbox, file: str | None) -> str:
    return (
        f"Remotion licensing sandbox: {sandbox.url}\n"
        f"  Point an app at it:  REMOTION_LICENSING_BASE_URL={sandbox.url}\n"
        f"                       REMOTION_LICENSE_KEY=rm_pub_sandbox\n"
        f"  Usage points:        {file or 'in memory only (--file keeps them)'}\n"
        f"  Requests:            {sandbox.failure}\n"
        "Press Ctrl+C to stop.\n"
    )


@contextmanager
def _stop_requests() -> Generator[socket.socket]:
    """
    Give a socket that receives a byte for each signal to stop.

    The byte is written by the C part of Python's signal handling, so that no signal can slip in between a look for
    one and the wait, or wake the wrong thread.
    """
    receiver, sender = socket.socketpair()
    with receiver, sender:
        sender.settimeout(0)
        previous_fd = signal.set_wakeup_fd(sender.fileno())
        previous = {number: signal.signal(number, _do_nothing) for number in STOP_SIGNALS}
        try:
            yield receiver
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(previous_fd)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """
    Handle a signal whose byte does the work.
    """


def _complain(text: str) -> int:
    sys.stderr.write(f"remotion-licensing sandbox: {text}\n")
    return 1
