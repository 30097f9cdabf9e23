"""
The main job from beginning to end: sandbox up, app up, a real video converted, its usage point registered.

Run it with `scripts/demo`; with `--serve` app and sandbox stay up until Ctrl+C.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from remotion_licensing_integrations import get_usage
from remotion_licensing_integrations.outbox import open_outbox
from remotion_licensing_integrations.testing import Sandbox

HERE = Path(__file__).parent
ORIGIN = "https://myapp.com"
PATIENCE = 30.0  # seconds


def main() -> int:
    """
    Run the demo and return its exit status.
    """
    parser = argparse.ArgumentParser(description="Convert a video and register its usage point.")
    parser.add_argument("--serve", action="store_true", help="leave the app and the sandbox up for the browser")
    serve = parser.parse_args().serve
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with TemporaryDirectory() as folder, Sandbox(port=8484 if serve else 0) as sandbox:
            step(f"A local licensing server is up at {sandbox.url}")
            outbox = f"sqlite:///{folder}/usage.sqlite3"
            with running_app(sandbox.url, outbox, port=8000 if serve else free_port(), any_origin=serve) as url:
                step(f"The example app is up at {url}")
                convert_both_ways(url)
                show_counts(outbox, sandbox.url)
                if serve:
                    step(f"Open {url} to convert a video and {sandbox.url} to watch the counts. Ctrl+C ends it.")
                    signal.pause()
    except KeyboardInterrupt:
        step("Stopped.")
    return 0


def convert_both_ways(url: str) -> None:
    """
    Convert the sample while the client waits and in the background, and show what was registered.
    """
    video = (HERE / "sample.mp4").read_bytes()
    with httpx.Client(base_url=url, headers={"Origin": ORIGIN}, timeout=PATIENCE) as client:
        response = client.post("/convert", content=video).raise_for_status()
        step(f"POST /convert: {len(video):,} bytes of MP4 became {len(response.content):,} bytes of WebM")
        describe(client, response.headers["X-Usage-Point"])
        job = client.post("/jobs", content=video).raise_for_status().json()
        step("POST /jobs: 202 Accepted, the conversion goes on in the background")
        wait_for(lambda: client.get(f"/jobs/{job['id']}").json()["state"] == "done")
        describe(client, job["usage_point"])


def show_counts(outbox: str, base_url: str) -> None:
    """
    Show that the app and the licensing server have counted the same.
    """
    usage = get_usage(license_key="rm_sec_demo", base_url=base_url)
    step("Both have counted the same")
    print(f"      registered, says the app's outbox:                {open_outbox(outbox).counts().registered}")
    print(f"      billable cloud renders, says the licensing server: {usage.cloud_renders.billable}", flush=True)


def describe(client: httpx.Client, key: str) -> None:
    """
    Wait until a usage point is registered, and print it.
    """
    point: dict[str, Any] = {}

    def registered() -> bool:
        answer = client.get(f"/usage/{key}")
        point.update(answer.json())
        return answer.is_success and point["state"] == "registered"

    wait_for(registered)
    print(f"      usage point {key}")
    print(f"      host {point['host']}, succeeded {point['succeeded']}, classification {point['classification']}")


def step(text: str) -> None:
    """
    Say what is happening.
    """
    print(f"--> {text}", flush=True)


def wait_for(condition: Callable[[], bool]) -> None:
    """
    Return when *condition* holds.

    Raises:
        TimeoutError: It does not within 30 seconds.
    """
    give_up = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > give_up:
            msg = "the demo waited 30 seconds for something that did not happen"
            raise TimeoutError(msg)
        time.sleep(0.05)  # between two looks at another process


def free_port() -> int:
    """
    Return a port nobody listens on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_app(base_url: str, outbox: str, *, port: int, any_origin: bool) -> Iterator[str]:
    """
    Run the app with uvicorn in a process of its own and give its URL.
    """
    environment = os.environ | {
        "REMOTION_LICENSE_KEY": "rm_pub_demo",
        "REMOTION_LICENSING_BASE_URL": base_url,
        "REMOTION_LICENSING_OUTBOX": outbox,
        "REMOTION_LICENSING_ALLOWED_HOSTS": "" if any_origin else ORIGIN,
    }
    command = [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port), "--log-level", "warning"]
    app = subprocess.Popen(command, cwd=HERE, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: app.poll() is not None or is_up(port))
        if app.poll() is not None:
            sys.exit(f"The example app did not start; is port {port} taken?")
        yield url
    finally:
        app.terminate()
        app.wait(PATIENCE)


def is_up(port: int) -> bool:
    """
    Whether something listens on *port*.
    """
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
