"""
For the tests of the example projects: an app in a process of its own, as its README starts it.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from tests._environment import clean_environment

DEADLINE = 20.0  # seconds for whatever must happen sooner or later
LISTENING = re.compile(r"(?:running on|Listening at:) (http://\S+)")  # uvicorn, gunicorn


@dataclass
class App:
    """
    A running app.

    Attributes:
        url: Where it listens.
        files: Where it puts temporary files.
    """

    url: str
    files: Path
    process: subprocess.Popen[str]
    log: list[str]
    _reader: Thread

    def stop(self) -> str:
        """
        Ask the app to end, as a deployment does, and return its log; a second time, only the log.
        """
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return "".join(self.log)


def make_environment(licensing_url: str, place: Path) -> dict[str, str]:
    """
    Return what an example's processes are given; *place* is where its outbox and its temporary files are.
    """
    files = place / "temporary"
    files.mkdir(exist_ok=True)
    return clean_environment() | {
        "REMOTION_LICENSE_KEY": "rm_pub_example",
        "REMOTION_LICENSING_BASE_URL": licensing_url,
        "REMOTION_LICENSING_OUTBOX": f"sqlite:///{place}/usage.sqlite3",
        "TMPDIR": str(files),
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def running_app(
    folder: Path,
    target: str,
    *,
    licensing_url: str,
    place: Path,
    environment: Mapping[str, str] | None = None,
    server: Sequence[str] = ("uvicorn", "--port=0", "--app-dir={}"),
) -> Iterator[App]:
    """
    Run the app *target*, such as `main:app`, of *folder* on a free port, and check at the end that nothing crashed.

    *environment* goes before what `make_environment` returns; `{}` in *server*'s command line is the folder.
    """
    variables = make_environment(licensing_url, place) | (environment or {})
    command = [sys.executable, "-W", "error", "-m", *(word.format(folder) for word in server)]
    process = subprocess.Popen(
        [*command, target], cwd=place, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process:
        log: list[str] = []
        try:
            url = _wait_for_url(process, log)
            reader = Thread(target=log.extend, args=(process.stdout,))
            reader.start()
            app = App(url, Path(variables["TMPDIR"]), process, log, reader)
            yield app
            output = app.stop()
        finally:
            process.kill()
    assert "Traceback" not in output, output


def _wait_for_url(process: subprocess.Popen[str], log: list[str]) -> str:
    # Blocks on the server's own announcement; when it ends instead, so does its output.
    for line in process.stdout or ():
        log.append(line)
        if announced := LISTENING.search(line):
            return announced[1]
    raise AssertionError("the app did not start:\n" + "".join(log))
