"""
Whatever is missing when a server starts, the app starts.
"""

from __future__ import annotations

import pytest

from tests.processes.servers import DEADLINE, eventually


@pytest.fixture
def blocked(outbox):
    """
    Make the outbox impossible, for root too: where its directory should be, there is a file.
    """
    outbox = outbox.parent / "folder" / outbox.name
    outbox.parent.touch()
    return {"REMOTION_LICENSING_OUTBOX": f"sqlite:///{outbox}"}


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn-4-preload"])
def test_the_app_answers_when_the_api_was_down_at_boot(name, serve, refused_url):
    """
    An app whose licensing API is out of reach starts and answers.
    """
    with serve(name, base_url=refused_url) as server:
        assert server.convert()


def test_the_log_says_that_the_api_cannot_be_reached(serve, refused_url):
    """
    An outage is one line, which names the address and says that the points are kept.
    """
    with serve("uvicorn", base_url=refused_url) as server:
        for _ in range(10):
            server.convert()
        line = f"paused; the points are kept: the licensing API cannot be reached. NotSentError: {refused_url}"
        eventually(lambda: line in server.output)
        assert server.output.count("is paused") == 1


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn-4-preload"])
def test_the_app_answers_when_the_outbox_cannot_be_made(name, serve, sandbox, blocked):
    """
    An app whose outbox cannot be created starts and answers.
    """
    with serve(name, base_url=sandbox.url, environment=blocked) as server:
        assert server.convert()


def test_the_log_says_how_to_fix_the_outbox(serve, sandbox, blocked):
    """
    The line names the file, the error and the remedy.
    """
    with serve("uvicorn", base_url=sandbox.url, environment=blocked) as server:
        path = blocked["REMOTION_LICENSING_OUTBOX"].removeprefix("sqlite:///")
        line = eventually(lambda: next((line for line in server.output.splitlines() if path in line), None))
        assert "File exists; check the directory's permissions" in line


def test_points_wait_in_memory_for_the_outbox_to_be_mended(serve, sandbox, outbox, blocked):
    """
    Once the outbox can be made, the points recorded without it are stored and registered.
    """
    with serve("uvicorn", base_url=sandbox.url, environment=blocked) as server:
        keys = sorted(server.convert()["idempotency_key"] for _ in range(3))
        (outbox.parent / "folder").unlink()
        sandbox.wait_for(points=3, timeout=DEADLINE)
    assert sorted(point.idempotency_key for point in sandbox.points()) == keys


def test_points_that_never_found_an_outbox_are_in_the_log(serve, sandbox, blocked):
    """
    A server that ends before its outbox is mended logs each waiting point whole.
    """
    hasty = {**blocked, "REMOTION_LICENSING_SHUTDOWN_TIMEOUT": "0.5"}
    with serve("uvicorn", base_url=sandbox.url, environment=hasty) as server:
        key = server.convert()["idempotency_key"]
        server.stop()
        assert [line for line in server.output.splitlines() if "remotion-usage-point" in line and key in line]
