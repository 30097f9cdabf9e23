"""
The command line as a whole: what it reads, how it fails, what it never shows; and points that come back from logs.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from remotion_licensing_integrations import __version__
from remotion_licensing_integrations.operations import cli, output
from tests._systems import needs_signals
from tests.operations._keys import KEY, SECRETS
from tests.outbox._values import point

PROGRAM = [sys.executable, "-m", "remotion_licensing_integrations"]
PATIENCE = 20  # seconds for what must happen sooner or later
VARIABLES = {
    "REMOTION_LICENSING_HOST": "myapp.com",
    "REMOTION_LICENSING_ALLOWED_HOSTS": "https://*",
    "REMOTION_LICENSING_IS_PRODUCTION": "maybe",
    "REMOTION_LICENSING_BASE_URL": "www.remotion.pro",
    "REMOTION_LICENSING_OUTBOX": "usage.sqlite3",
    "REMOTION_LICENSING_DELIVERY": "sometimes",
    "REMOTION_LICENSING_IDEMPOTENCY": "trailer",
    "REMOTION_LICENSING_TIMEOUT": "0",
    "REMOTION_LICENSING_CONCURRENCY": "1.5",
    "REMOTION_LICENSING_RETENTION": "for ever",
}


@pytest.mark.parametrize("words", [["--version"], ["--outbox", "memory://", "--version"]])
def test_version(words, run) -> None:
    """
    `--version` prints the package's version.
    """
    assert run(*words) == (0, f"{__version__}\n", "")


def test_module(run) -> None:
    """
    `python -m` runs the same program.
    """
    done = subprocess.run([*PROGRAM, "--version"], check=True, capture_output=True, text=True)

    assert done.stdout == f"{__version__}\n"


def test_no_command(run) -> None:
    """
    Without a command the usage is shown, with status 2.
    """
    ran = run()

    assert ran.status == 2
    assert ran.err.startswith("usage: remotion-licensing ")


def test_help_names_the_variables(run) -> None:
    """
    The help says which environment variables are read.
    """
    assert "REMOTION_LICENSING_ALLOWED_HOSTS" in run("--help").out


def test_sandbox_help(run, monkeypatch) -> None:
    """
    The sandbox explains itself whatever the environment holds.
    """
    monkeypatch.setenv("REMOTION_LICENSING_TIMEOUT", "bad")
    ran = run("sandbox", "--help")

    assert ran.status == 0
    assert "--retry-after" in ran.out


def test_sandbox_runs(run) -> None:
    """
    A mistake in the sandbox's options is the sandbox's answer.
    """
    ran = run("sandbox", "--port", "70000")

    assert (ran.status, ran.err) == (2, "error: port: expected 0 to 65535, got 70000\n")


def test_outbox_option(run, outbox, file, monkeypatch) -> None:
    """
    `--outbox` wins over the environment, before the verb and behind it.
    """
    monkeypatch.setenv("REMOTION_LICENSING_OUTBOX", "sqlite:///other.sqlite3")
    outbox.add([point("a")])
    option = ["--outbox", f"sqlite:///{file}"]

    assert [" a " in run(*words).out for words in ([*option, "list"], ["list", *option])] == [True, True]


# How it fails


@pytest.mark.parametrize(("variable", "value"), VARIABLES.items())
def test_bad_variable(variable, value, run, monkeypatch) -> None:
    """
    A bad value is one line that names its variable, with status 2.
    """
    monkeypatch.setenv(variable, value)
    ran = run("status")

    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith(f"error: {variable} (")


def test_unknown_store(run) -> None:
    """
    A URL that names no store is one line too.
    """
    ran = run("--outbox", "redis://localhost", "status")

    assert ran.status == 2
    assert ran.err == (
        "error: outbox: 'redis://localhost' is not a supported outbox URL; expected "
        '"sqlite:///file.sqlite3", "postgresql+psycopg://…", "mysql+pymysql://…" or "memory://"\n'
    )


@pytest.mark.parametrize("words", [["status"], ["list"], ["retry", "--all"], ["prune"], ["reconcile"]])
def test_no_such_outbox(words, run, file) -> None:
    """
    A command about recorded points does not take a missing file for an empty outbox, and makes none.
    """
    ran = run(*words)

    assert ran.status == 2
    assert ran.err == (
        f"error: outbox: SQLiteOutbox('{file.as_posix()}') does not exist or has no tables; "
        "point --app, --outbox or REMOTION_LICENSING_OUTBOX at the app's outbox\n"
    )
    assert not file.exists()


def test_unreadable_path(run) -> None:
    """
    A path that cannot even be looked at is one line with the reason.
    """
    ran = run("--outbox", f"sqlite:///{'x' * 300}", "status")

    assert ran.status == 2
    assert "File name too long" in ran.err


def test_store_that_refuses(run, file) -> None:
    """
    An error of the store is one line with its remedy.
    """
    file.mkdir()
    ran = run("list")

    assert (ran.status, ran.err) == (
        2,
        f"error: outbox {file}: unable to open database file; check that the path is a file in a writable directory\n",
    )


@pytest.fixture
def unread():
    """
    Open a pipe whose reader has gone.
    """
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def test_closed_pipe(run, outbox, unread, monkeypatch) -> None:
    """
    A reader that goes away early, as in `list | head`, ends the command.
    """
    outbox.add([point("a")])
    with open(unread, "w", encoding="utf-8", closefd=False) as standard_output:
        monkeypatch.setattr(sys, "stdout", standard_output)

        assert run("list").status == 1


def test_closed_pipe_of_windows(run, outbox, monkeypatch) -> None:
    """
    Where a closed pipe is an "invalid argument", it ends the command in the same way.
    """
    monkeypatch.setattr(cli, "_CLOSED_PIPE", {errno.EINVAL})
    monkeypatch.setattr(output, "to_line", raising(OSError(errno.EINVAL, "Invalid argument")))
    with Path(os.devnull).open("w", encoding="utf-8") as standard_output:
        monkeypatch.setattr(sys, "stdout", standard_output)

        assert run("status").status == 1


def test_other_errors_of_the_system(run, outbox, monkeypatch) -> None:
    """
    An error that nobody has foreseen is shown with its place.
    """
    monkeypatch.setattr(output, "to_line", raising(OSError(errno.EIO, "Input/output error")))

    with pytest.raises(OSError, match="Input/output error"):
        run("status")


def raising(error: Exception) -> Callable[[str], str]:
    def raise_error(_: str) -> str:
        raise error

    return raise_error


def test_letters_that_the_output_cannot_have(run, outbox) -> None:
    """
    Where the encoding of the output lacks a letter, as that of a file on Windows does, its number is printed.
    """
    outbox.add([point("a", label="Łódź 日本")])
    environment = {**os.environ, "PYTHONIOENCODING": "cp1250", "PYTHONUTF8": "0"}
    done = subprocess.run([*PROGRAM, "show", "a"], check=True, capture_output=True, env=environment)

    assert "Łódź \\u65e5\\u672c" in done.stdout.decode("cp1250")


def test_closed_pipe_of_the_program(run, outbox, unread) -> None:
    """
    It gives no traceback either, not even from what Python flushes at its exit.
    """
    outbox.add([point(str(number)) for number in range(3)])
    done = subprocess.run([*PROGRAM, "list"], stdout=unread, stderr=subprocess.PIPE, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, "")


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_deliver_until_stopped(number, run, outbox, api) -> None:
    """
    A running deliverer registers what arrives and ends with status 0 at the signal.
    """
    outbox.add([point("a")])
    with subprocess.Popen([*PROGRAM, "deliver"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            api.wait_for(points=1, timeout=PATIENCE)
            process.send_signal(number)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()

    assert (process.returncode, err) == (0, "")
    assert out.startswith("Delivering usage points from SQLiteOutbox(")
    assert outbox.counts().registered == 1


@pytest.fixture(params=[None, "key", "html"])
def answering(request, api) -> None:
    """
    Bring the licensing server into reach, in good health or not.
    """
    api.set_failure(request.param)


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["list"],
        ["deliver", "--once"],
        ["usage"],
        ["reconcile"],
        ["doctor"],
        ["register", "cloud-render"],
        ["register", "cloud-render", "--host", f"https://{KEY}"],
    ],
    ids=" ".join,
)
def test_keys_are_never_shown(words, run, outbox, answering, caplog) -> None:
    """
    No output and no log line has a licence key, whatever the API answers.
    """
    outbox.add([point("a")])

    ran = run(*words)

    assert not re.search("|".join(SECRETS), ran.out + ran.err + caplog.text)


@pytest.mark.parametrize("variable", ["REMOTION_LICENSE_KEY", "REMOTION_PRIVATE_LICENSE_KEY"])
def test_bad_keys_are_never_shown(variable, run, monkeypatch) -> None:
    """
    A key that cannot be one is reported without its value.
    """
    monkeypatch.setenv(variable, f"{KEY} \n")
    ran = run("status")

    assert ran.err.startswith(f"error: {variable} (")
    assert SECRETS[0] not in ran.err
