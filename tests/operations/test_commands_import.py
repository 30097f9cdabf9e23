"""
Points that come back from logs.
"""

from __future__ import annotations

import json
import logging
import os
import sys

import pytest

from remotion_licensing_integrations.outbox import State
from remotion_licensing_integrations.points.logline import LOG_MARK, log_point
from tests.outbox._values import bring, point


def test_import_of_a_line_that_a_terminal_obeys(run, log) -> None:
    """
    What is wrong with a line that an attacker may have written is said in one short line without escape sequences.
    """
    hostile = {**point("a").to_json(), "\x1b[2J" + "x" * 10_000: 1}
    log.write_text(f"{LOG_MARK} {json.dumps(hostile)}\n")

    ran = run("import", str(log))

    assert (ran.status, len(ran.out) < 1_000, ran.out.replace("\n", "").isprintable()) == (1, True, True)


def line_of(key: str, prefix: str = "") -> str:
    return f"{prefix}{LOG_MARK} {json.dumps(point(key).to_json())}"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "app.log"


def test_import_of_what_the_writer_logs(run, outbox, log) -> None:
    """
    A line of `log_point`, as a handler formats it, becomes the point that it was.
    """
    logger = logging.getLogger("remotion_licensing_integrations")
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] {%(name)s} %(message)s"))
    logger.addHandler(handler)
    try:
        log_point(point("lost", host="https://bücher.example", succeeded=False, is_still=True))
    finally:
        logger.removeHandler(handler)
        handler.close()

    assert run("import", str(log)) == (0, "1 usage point in the outbox, 0 lines unreadable.\n", "")
    stored = outbox.get("lost")
    assert stored is not None
    assert stored.point == point("lost", host="https://bücher.example", succeeded=False, is_still=True)


@pytest.mark.parametrize(
    "line",
    [
        line_of("a"),
        line_of("a", "CRITICAL:remotion_licensing_integrations:"),
        line_of("a", "Nov 22 10:00:00 host gunicorn[12]: {not json} "),
        line_of("a") + ' {"request_id": "7"}',
        line_of("a") + "\r",
        json.dumps({"level": "critical", "message": line_of("a"), "more": {}}),
        json.dumps({"log": line_of("a") + "\n", "stream": "stderr"}, separators=(",", ":")),
        f"\udcff\udcfe {line_of('a')}",
    ],
    ids=["bare", "logging", "syslog", "suffix", "crlf", "json", "docker", "not utf-8"],
)
def test_import_from_any_log(line, run, outbox, log) -> None:
    """
    A point is found whatever a log writes around it, or when the line is a string in JSON.
    """
    log.write_bytes(f"started\n{line}\nstopped\n".encode(errors="surrogateescape"))

    assert run("import", str(log)).status == 0
    assert outbox.get("a").point == point("a")


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (line_of("a")[:-20], "Unterminated string"),
        (json.dumps({"message": line_of("a")})[:-20], "Unterminated string"),
        (LOG_MARK, "Expecting value"),
        (f'{LOG_MARK} {{"event": "cloud-render"}}', "usage point: host, idempotency_key, is_production"),
        (line_of("a").replace("cloud-render", "coffee"), "event: 'coffee' is not one of"),
        (f'{LOG_MARK} {{"a":' + "[" * 100_000, "nested too deeply"),
    ],
    ids=["cut", "cut json", "only the mark", "fields", "event", "nested"],
)
def test_import_of_a_damaged_line(damaged, reason, run, outbox, log) -> None:
    """
    A line that cannot be read is named with its reason and gives status 1; the others are imported.
    """
    log.write_text(f"{line_of('before')}\n{damaged}\n{line_of('after')}\n")

    ran = run("import", str(log))

    assert ran.status == 1
    assert f"{log}:2 is not readable: {reason}" in ran.out
    assert ran.out.endswith("2 usage points in the outbox, 1 line unreadable.\n")
    assert outbox.counts().pending == 2


@pytest.mark.parametrize(
    "line", ["", "nothing to see", f"host https://{LOG_MARK}.com seen", f"grep {LOG_MARK} app.log"]
)
def test_import_passes_over_other_lines(line, run, log) -> None:
    """
    Lines without a point are no damage.
    """
    log.write_text(f"{line}\n")

    assert run("import", str(log)).out == "0 usage points in the outbox, 0 lines unreadable.\n"


def test_import_twice(run, outbox, log) -> None:
    """
    A repeated import counts each point once.
    """
    log.write_text(f"{line_of('a')}\n{line_of('a')}\n")
    run("import", str(log))
    run("import", str(log), str(log))

    assert outbox.counts().pending == 1


def test_import_of_a_registered_point(run, outbox, log) -> None:
    """
    A point that was registered meanwhile stays registered.
    """
    bring(outbox, State.REGISTERED, "a")
    log.write_text(line_of("a"))
    run("import", str(log))

    assert outbox.counts().pending == 0


def test_import_of_many(run, outbox, log) -> None:
    """
    More points than one transaction takes are all imported.
    """
    log.write_text("\n".join(line_of(str(number)) for number in range(1_001)))
    run("import", str(log))

    assert outbox.counts().pending == 1_001


def test_import_from_standard_input(run, outbox, log, monkeypatch) -> None:
    """
    `-` reads standard input, bytes that are not UTF-8 included, and leaves it open.
    """
    log.write_bytes(b"\xff\xfe\n" + line_of("a").encode())
    with log.open(encoding="utf-8") as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        ran = run("import", "-")
        os.fstat(standard_input.fileno())

    assert ran.status == 0
    assert outbox.counts().pending == 1


def test_import_of_no_file(run) -> None:
    """
    A file that cannot be read is one line with the reason.
    """
    assert run("import", "gone.log") == (
        2,
        "",
        "error: import: 'gone.log' cannot be read: No such file or directory\n",
    )
