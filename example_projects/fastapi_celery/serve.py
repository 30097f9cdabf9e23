"""
Start the sandbox licensing server, the broker, a worker and the app, until Ctrl+C; `run` calls this.

A second Ctrl+C kills what still finishes its work.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from remotion_licensing_integrations.testing import Sandbox

HERE = Path(__file__).parent
PLACE = Path(os.environ.get("PLACE", HERE / "data")).absolute()  # jobs, videos, queue and outbox
PORT = os.environ.get("PORT", "8000")
SANDBOX_PORT = int(os.environ.get("SANDBOX_PORT", "8484"))

CELERY = ("celery", "--app=tasks", "worker", "--concurrency=2", "--loglevel=INFO")
# What workers tell each other would pile up in a queue of files.
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def main() -> None:
    """
    Serve until a signal comes, then end everything in the opposite order.
    """
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(port=SANDBOX_PORT))
        os.environ["PLACE"] = str(PLACE)
        os.environ["PYTHONPATH"] = str(HERE.parent / "fastapi_app")  # `conversion` and `uploads` are there
        os.environ["REMOTION_LICENSING_BASE_URL"] = sandbox.url
        os.environ.setdefault("REMOTION_LICENSE_KEY", "rm_pub_sandbox")
        os.environ.setdefault("REMOTION_LICENSING_OUTBOX", f"sqlite:///{PLACE}/usage.sqlite3")
        if "CELERY_BROKER_URL" not in os.environ:
            os.environ["CELERY_BROKER_URL"] = stack.enter_context(running_broker())
        stack.enter_context(running(sys.executable, "-m", *CELERY, *QUIET))
        uvicorn = running(sys.executable, "-m", "uvicorn", "main:app", "--port", PORT, "--no-access-log")
        app = stack.enter_context(uvicorn)
        print(f"--> The app is at http://127.0.0.1:{PORT}, the sandbox at {sandbox.url}", flush=True)
        app.wait()


@contextmanager
def running_broker() -> Iterator[str]:
    """
    Run Redis, its data beside the jobs; where it is not installed the queue is a folder.
    """
    if shutil.which("redis-server") is None:
        print("--> There is no redis-server here; the queue is a folder, see README.md", flush=True)
        yield "filesystem://localhost"
        return
    data = PLACE / "redis"
    data.mkdir(parents=True, exist_ok=True)
    # The path of a socket must be short, that of a project need not be.
    with TemporaryDirectory(prefix="redis-") as folder:
        listen = ("--port", "0", "--unixsocket", f"{folder}/socket", "--unixsocketperm", "700")
        store = ("--dir", str(data), "--logfile", f"{data}/log", "--save", "", "--appendonly", "yes")
        with running("redis-server", *listen, *store):
            yield f"redis+socket://{folder}/socket"


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run a program in a session of its own, so that Ctrl+C comes to it from here, in order.
    """
    with subprocess.Popen(command, cwd=HERE, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        print("--> Stopped.", flush=True)
    except OSError as error:
        sys.exit(f"{error}; is port {SANDBOX_PORT} taken?")
