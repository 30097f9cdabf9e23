"""
What follows a page of the documentation: saves its files, and runs its commands as in terminals.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests._environment import clean_environment, skip_missing
from tests._systems import skip_without_posix
from tests.processes.servers import DEADLINE, eventually

#: What is another one each time: moments, days, keys, ages, folders and ports.
CHANGING = re.compile(
    r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\dZ)?|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d:\d\d:\d\d old"
    r"|'[^']*/remotion-usage|127\.0\.0\.1:\d+| +"
)


def same(text: str) -> str:
    """
    Return *text* without what is another one each time.
    """
    return CHANGING.sub("…", text)


class Page:
    """
    The page at *path*, followed in *folder*.

    Attributes:
        shell: Its blocks for the shell.
        shown: Its blocks with what is shown.

    Args:
        ports: What the page's ports are here.
    """

    def __init__(self, path: Path, folder: Path, ports: dict[str, int]) -> None:
        skip_without_posix("the shell of this page")
        if shutil.which("curl") is None:
            skip_missing("curl is not on the PATH")
        self._text = path.read_text()
        self._folder = folder
        self._ports = ports
        self.shell, self.shown = self._blocks("shell"), self._blocks("text")
        self._files = re.findall(
            r"\b(save|append) this (?:as|to) `([^`\n]+)`.*:\n\n```python\n((?s:.*?))^```$",
            self._text,
            re.MULTILINE | re.IGNORECASE,
        )
        assert len(self._files) == len(self._blocks("python"))
        path_with_ours = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._options = {"cwd": folder, "env": clean_environment(PATH=path_with_ours)}

    def _blocks(self, language: str) -> list[str]:
        return re.findall(rf"^```{language}\n((?s:.*?))^```$", self._text, re.MULTILINE)

    def _local(self, commands: str) -> list[str]:
        for port, ours in self._ports.items():
            commands = commands.replace(port, str(ours))
        commands = commands.replace("licensing sandbox", f"licensing sandbox --port {self._ports['8484']}")
        return ["sh", "-ec", commands]

    def save(self, *numbers: int) -> None:
        """
        Save these files of the page, by default all.
        """
        for number in numbers or range(len(self._files)):
            verb, name, text = self._files[number]
            with (self._folder / name).open("a" if verb.lower() == "append" else "w") as file:
                file.write(text)

    def export(self, commands: str) -> None:
        """
        Give every terminal the variables that *commands* export.
        """
        self._options["env"].update(re.findall(r"^export (\w+)=(\S+)", self._local(commands)[-1], re.MULTILINE))

    def run(self, commands: str) -> str:
        """
        Return what *commands* print.
        """
        done = subprocess.run(self._local(commands), **self._options, check=True, capture_output=True, text=True)
        return done.stdout

    @contextmanager
    def running(self, commands: str, port: str) -> Iterator[None]:
        """
        Let *commands* run, from when they listen at the page's *port*, until Ctrl+C.
        """
        log = self._folder / f"log-{port}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._local(commands), **self._options, stdout=output, stderr=output, start_new_session=True
            )

        def listens() -> bool:
            assert process.poll() is None, "it ended instead of listening"
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._ports[port])):
                return True
            return False

        try:
            eventually(listens)
            yield
        except BaseException as error:
            error.add_note(log.read_text())
            raise
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(DEADLINE)
