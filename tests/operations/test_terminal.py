"""
Commands as a person runs them: real processes on a terminal, and without the extra `cli`.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import NamedTuple

import pytest

from remotion_licensing_integrations.outbox import State
from tests._systems import IS_POSIX, needs_forks
from tests.operations._keys import KEY
from tests.outbox._values import bring, claim, point

PROGRAM = [sys.executable, "-m", "remotion_licensing_integrations"]
PATIENCE = 20  # seconds for what must happen sooner or later
KEYS = [f"01a21870-3bb3-70cb-b1f9-90e9cf3d7e{number:02}" for number in range(4)]
#: The program in an environment without the extra.
BARE = "import sys; sys.modules |= {'rich': None, 'shtab': None}; sys.argv[0] = 'remotion-licensing'\n"
BARE += "from remotion_licensing_integrations.operations import main; sys.exit(main())"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(NamedTuple):
    """
    A terminal with what was written on it.
    """

    status: int
    out: str

    @property
    def lines(self) -> list[str]:
        """
        What was written, line by line, without colours.
        """
        return [line.rstrip() for line in ESCAPES.sub("", self.out).splitlines()]


@pytest.fixture
def terminal(run, monkeypatch):
    """
    Run the program on a terminal that has so many columns.
    """
    if not IS_POSIX:
        pytest.skip("this system has no pseudo-terminals: run it on Linux or macOS, or in a Linux container")
    import fcntl  # noqa: PLC0415 - only there
    import pty  # noqa: PLC0415 - only there
    import termios  # noqa: PLC0415 - only there

    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def terminal(*words: str, columns: int = 80, program: list[str] = PROGRAM) -> Terminal:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with subprocess.Popen([*program, *words], stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            out = b""
            with suppress(OSError):  # Linux's answer when the other end is closed
                while part := os.read(ours, 65536):
                    out += part
            process.wait(PATIENCE)
        os.close(ours)
        return Terminal(process.returncode, out.decode())

    return terminal


@pytest.fixture
def filled(outbox) -> None:
    """
    Fill the outbox with a point in each of four states.
    """
    outbox.add([point(key, host="https://a-frontend-with-a-long-name.example") for key in KEYS])
    first, second, third = claim(outbox, 3)
    outbox.update([first.reject("HTTP 400: the host is not one of those that the project allows")])
    outbox.update([second.hold("no answer", unanswered=True), third.release()])


@pytest.mark.parametrize(
    ("columns", "heading"),
    [
        (200, "OCCURRED STATE KEY EVENT HOST OUTCOME ATTEMPTS RESULT"),
        (112, "OCCURRED STATE KEY EVENT HOST RESULT"),
        (83, "OCCURRED STATE KEY RESULT"),
        (70, "OCCURRED STATE KEY"),
    ],
)
def test_table_fits_the_terminal(columns, heading, terminal, filled) -> None:
    """
    On a narrow terminal columns go and long texts are cut, but keys are whole.
    """
    ran = terminal("list", columns=columns)

    assert ran.lines[0].split() == heading.split()
    assert {line.split()[3] for line in ran.lines[1:]} == set(KEYS)
    assert max(map(len, ran.lines)) <= columns


def test_table_that_cannot_fit(terminal, filled) -> None:
    """
    A terminal that is too narrow for anything still gets the columns that matter.
    """
    assert terminal("list", columns=30).lines[0].startswith("OCC")


def test_colours_on_a_terminal(terminal, filled, monkeypatch) -> None:
    """
    States have colours on a terminal, unless `NO_COLOR` is set.
    """
    coloured = terminal("list").out
    monkeypatch.setenv("NO_COLOR", "1")
    plain = terminal("list").out

    assert ("\x1b[31mrejected" in coloured, "\x1b[31m" in plain) == (True, False)


@pytest.mark.parametrize("words", [["list"], ["status"]])
def test_plain_text_for_programs(words, filled, run) -> None:
    """
    What goes to a program has no colours, and nothing is cut, however narrow the terminal.
    """
    done = subprocess.run(
        [*PROGRAM, *words], env=os.environ | {"COLUMNS": "20"}, capture_output=True, text=True, check=False
    )

    assert "\x1b" not in done.stdout
    assert words == ["status"] or "the host is not one of those that the project allows" in done.stdout


def test_plain_text_on_a_terminal_without_rich(terminal, filled) -> None:
    """
    Without the extra, a terminal gets the same plain text.
    """
    ran = terminal("list", program=[sys.executable, "-c", BARE])

    assert "\x1b" not in ran.out
    assert ran.lines[0].split()[:3] == ["OCCURRED", "STATE", "KEY"]


def test_plain_text_on_a_dumb_terminal(terminal, filled, monkeypatch) -> None:
    """
    A terminal that can nothing is not asked for anything.
    """
    monkeypatch.setenv("TERM", "dumb")

    assert "\x1b" not in terminal("list").out


def test_bar_of_deliver(terminal, outbox, api) -> None:
    """
    `deliver` shows how many points of how many are registered, and how fast; the bar goes at the end.
    """
    outbox.add([point(str(number)) for number in range(60)])

    ran = terminal("deliver", "--once", columns=120)

    assert re.search(r"Delivering.* \d+/60 ", ESCAPES.sub("", ran.out))
    assert ran.lines[-1] == "60 usage points registered."
    assert outbox.counts().registered == 60


def test_log_beside_a_bar(terminal, outbox, api) -> None:
    """
    What is logged while a bar is shown has a line to itself.
    """
    api.set_failure("key")
    outbox.add([point()])

    ran = terminal("deliver", "--once", columns=200)

    assert ran.status == 1
    assert any(line.startswith("ERROR Delivery of usage points is paused") for line in ran.lines)


def test_bar_of_what_arrives_later(terminal, outbox, api) -> None:
    """
    Points that arrive while `deliver` runs lengthen its bar.
    """
    outbox.add([point("first")])
    stopped = []

    def add_and_stop() -> None:
        api.wait_for(points=1, timeout=PATIENCE)
        outbox.add([point(str(number)) for number in range(20)])
        api.wait_for(points=21, timeout=PATIENCE)
        [pid] = children()
        stopped.append(os.kill(pid, signal.SIGTERM))

    thread = threading.Thread(target=add_and_stop)
    thread.start()
    ran = terminal("deliver", columns=120)
    thread.join()

    assert (ran.status, ran.lines[-1]) == (0, "21 usage points registered.")


def children() -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], check=True, capture_output=True, text=True
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if line.rstrip().endswith("deliver")]


def test_bar_of_import(terminal, outbox, tmp_path) -> None:
    """
    `import` shows how much of the files is read.
    """
    log = tmp_path / "app.log"
    log.write_text("nothing\n" * 100_000)

    assert "Importing" in terminal("import", str(log)).out


def test_bar_of_prune(terminal, outbox) -> None:
    """
    `prune` shows how many of how many points are deleted.
    """
    bring(outbox, State.REGISTERED, *(f"{number}" for number in range(50)))

    assert "/50 " in ESCAPES.sub("", terminal("prune", "--days", "0", columns=120).out)


def test_bar_of_a_long_list(terminal, outbox, tmp_path) -> None:
    """
    A long list that goes to a file has its bar on the terminal, and nothing of it in the file.
    """
    outbox.add([point(str(number)) for number in range(1_500)])
    file = tmp_path / "points.txt"
    shell = ["sh", "-c", f'exec "$@" > {file}', "sh"]

    ran = terminal("list", "--limit", "1400", program=[*shell, *PROGRAM], columns=120)
    by_event = terminal("list", "--limit", "1400", "--event", "cloud-render", program=[*shell, *PROGRAM])

    assert ("Listing" in ran.out, "Listing" in by_event.out) == (True, True)
    assert ("\x1b" in file.read_text(), len(file.read_text().splitlines())) == (False, 1_401)


def test_interrupt(run, outbox, monkeypatch) -> None:
    """
    Ctrl+C ends a command with the shells' status for it, and without a traceback.
    """

    def interrupt() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin.fileno", interrupt, raising=False)

    assert run("import", "-") == (130, "", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, run) -> None:
    """
    The script of a shell knows the commands and their options.
    """
    ran = run("--print-completion", shell)

    assert ran.status == 0
    assert {"reconcile", "--max-age", "web-render"} <= set(
        re.findall(r"[\w-]+", ran.out.replace("-l max-age", "--max-age"))
    )


@needs_forks
def test_completion_in_bash(run, tmp_path) -> None:
    """
    Bash completes a command, an option and a choice from the script.
    """
    script = tmp_path / "completion.sh"
    script.write_text(run("--print-completion", "bash").out)
    completed = [
        subprocess.run(
            ["bash", "-c", COMPLETE.format(script=script, words=words, last=len(words.split()) - 1)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for words in (
            "remotion-licensing recon",
            "remotion-licensing list --clas",
            "remotion-licensing list --state he",
        )
    ]

    assert completed == [["reconcile"], ["--classification"], ["held"]]


COMPLETE = """
source {script}
COMP_WORDS=({words})
COMP_CWORD={last}
$(complete -p remotion-licensing | sed 's/.*-F \\([^ ]*\\) .*/\\1/') >/dev/null 2>&1
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def test_completion_without_shtab(filled) -> None:
    """
    Without the extra, one line says what to install.
    """
    done = subprocess.run(
        [sys.executable, "-c", BARE, "--print-completion", "bash"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.endswith("completion: run pip install 'remotion-licensing-integrations[cli]'\n")
    assert KEY not in done.stderr
