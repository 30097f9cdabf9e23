"""
`remotion-licensing sandbox`: the sandbox from the command line.
"""

from __future__ import annotations

import argparse
import errno
import sys
from dataclasses import asdict
from typing import Final

from ..._support.signals import stop_signals
from ..._support.text import to_encodable
from ...errors import ConfigurationError
from .failures import MODES, Failure
from .server import Sandbox

DEFAULT_PORT: Final = 8484


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
    Run the sandbox until Ctrl+C or SIGTERM, and return the exit status 0.

    Raises:
        ConfigurationError: An option is wrong, or the port or file cannot be used.
    """
    failure = Failure(
        mode=arguments.fail,
        latency_ms=arguments.latency,
        retry_after=arguments.retry_after,
        first=arguments.first,
        count_first=arguments.count_first,
    )
    try:
        sandbox = Sandbox(host=arguments.host, port=arguments.port, file=arguments.file)
        sandbox.set_failure(**asdict(failure))
        with stop_signals() as wait, sandbox:
            sys.stdout.write(to_encodable(_welcome(sandbox, arguments.file), sys.stdout))
            sys.stdout.flush()
            wait()
    except OSError as error:
        msg = f"sandbox: {error}"
        if error.errno == errno.EADDRINUSE:
            msg = (
                f"sandbox: port {arguments.port} is taken; stop the program that listens there, "
                "or choose another port with --port (0: any free one)"
            )
        raise ConfigurationError(msg) from error
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
