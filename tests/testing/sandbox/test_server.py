"""
The running server: its life, its failures as a real client sees them, and the command line.
"""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.operations import main
from remotion_licensing_integrations.testing import Sandbox
from remotion_licensing_integrations.testing.sandbox import server
from tests._http import httpx
from tests._systems import needs_signals

REGISTER = "/api/track/register-usage-point"
BODY = {"event": "cloud-render", "apiKey": "rm_pub_0000", "host": None, "succeeded": True, "idempotencyKey": "k"}
IMPATIENT = httpx.Timeout(5, read=0.05)
PROGRAM = [sys.executable, "-W", "error", "-m", "remotion_licensing_integrations", "sandbox", "--port", "0"]


@pytest.fixture
def register(client):
    return lambda **changes: client.post(REGISTER, json={**BODY, **changes})


@pytest.fixture
def start(tmp_path):
    """
    Start `sandbox` in a process of its own on a free port; return the process and its URL.
    """
    processes = []

    def start(*arguments):
        process = subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process, process.stdout.readline().rpartition(" ")[2].strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_the_sandbox_needs_the_standard_library_only():
    """
    `remotion_licensing_integrations.testing` and its sandbox import neither Starlette nor uvicorn.
    """
    code = (
        "import sys, remotion_licensing_integrations.testing.sandbox\n"
        "sys.exit(bool({'starlette', 'uvicorn'} & sys.modules.keys()))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_sandboxes_use_two_ports():
    """
    Port 0 is any free port, so sandboxes run side by side.
    """
    with Sandbox() as one, Sandbox() as other:
        assert one.url != other.url


def test_stop_gives_the_port_back():
    """
    After the end of the block nobody listens.
    """
    with Sandbox() as sandbox:
        url = sandbox.url

    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


@pytest.fixture(params=[server.SHUTDOWN_ENDS_READS, False])
def stopping(request, monkeypatch):
    """
    Have the sandbox stop as it does here, and as it does where only closing a connection ends a read that waits.
    """
    monkeypatch.setattr(server, "SHUTDOWN_ENDS_READS", request.param)


@pytest.mark.usefixtures("stopping")
def test_an_idle_connection_does_not_delay_the_stop():
    """
    A keep-alive client and a silent one do not hold the server.
    """
    with Sandbox() as sandbox, httpx.Client(base_url=sandbox.url) as client:
        client.get("/sandbox/state")
        with socket.create_connection(("127.0.0.1", httpx.URL(sandbox.url).port)):
            began = time.monotonic()
            sandbox.stop()

    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("stopping")
def test_a_stalling_client_does_not_delay_the_stop(caplog, capfd):
    """
    A client that stops in the middle of its request loses its connection at once, and nothing is logged.
    """
    with Sandbox() as sandbox, socket.create_connection(("127.0.0.1", httpx.URL(sandbox.url).port)) as connection:
        connection.sendall(f"POST {REGISTER} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
        httpx.get(sandbox.url)
        sandbox.stop()

        assert (connection.recv(1), caplog.messages, capfd.readouterr().err) == (b"", [], "")


def test_a_fault_of_the_sandbox_is_shown(monkeypatch, capfd):
    """
    An error that nobody has foreseen is printed with its traceback, and ends the connection.
    """

    def fail(*_):
        msg = "unforeseen"
        raise RuntimeError(msg)

    monkeypatch.setattr(server.Api, "answer", fail)
    with Sandbox() as sandbox, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(sandbox.url)

    assert "RuntimeError: unforeseen" in capfd.readouterr().err


def test_a_connection_that_the_stop_closes_is_no_fault(monkeypatch, capfd):
    """
    What a request meets because the stop has closed its connection is not printed.
    """
    asked = threading.Event()

    def fail(*_):
        asked.set()
        assert sandbox._server._stopping.wait(10)
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(server.Api, "answer", fail)
    with Sandbox() as sandbox, socket.create_connection(("127.0.0.1", httpx.URL(sandbox.url).port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert asked.wait(10)
        sandbox.stop()

    assert capfd.readouterr().err == ""


def test_a_stopped_sandbox_can_be_stopped_again():
    """
    Stopping twice is harmless, and so is stopping what never started.
    """
    sandbox = Sandbox()
    sandbox.stop()
    sandbox.stop()


def test_ipv6():
    """
    An IPv6 address is listened on and put in brackets.
    """
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    with Sandbox(host="::1") as sandbox:
        assert httpx.get(sandbox.url).status_code == 200


def test_a_wildcard_has_a_usable_url():
    """
    A sandbox on all addresses gives a URL that can be opened.
    """
    with Sandbox(host="0.0.0.0") as sandbox:
        assert httpx.get(sandbox.url).status_code == 200


def test_counts_are_those_of_the_ledger(sandbox, register):
    """
    `counts()` tells the points by event and classification.
    """
    register()

    assert sandbox.counts()["cloud-render"] == {"billable": 1, "development": 0, "failed": 0}


def test_wait_for_returns_the_points(sandbox, register):
    """
    A test can wait for a point that another thread delivers.
    """
    other = threading.Thread(target=register)
    other.start()
    points = sandbox.wait_for(points=1, requests=1)
    other.join()

    assert len(points) == 1


def test_wait_for_says_what_is_missing(sandbox):
    """
    Waiting in vain says what was there.
    """
    with pytest.raises(TimeoutError, match="0 of 1 points, 0 of 2 requests"):
        sandbox.wait_for(points=1, requests=2, timeout=0)


@pytest.mark.parametrize(
    ("mode", "status", "text"),
    [
        ("500", 500, "Internal server error"),
        ("key", 401, "Invalid API key"),
        ("400", 400, "host: this project does not allow it"),
        ("422", 422, "host: this project does not allow it"),
        ("refused", 200, "host: this project does not allow it"),
    ],
)
def test_errors_look_like_the_api(sandbox, register, mode, status, text):
    """
    Failing with an error answers in the API's form and counts nothing.
    """
    sandbox.set_failure(mode)

    answer = register()

    assert (status, {"success": False, "error": text}, []) == (answer.status_code, answer.json(), sandbox.points())


@pytest.mark.parametrize(("retry_after", "header"), [(7, "7"), (None, None)])
def test_throttling_sends_retry_after(sandbox, register, retry_after, header):
    """
    A 429 asks for the seconds that were set, or for none.
    """
    sandbox.set_failure("429", retry_after=retry_after)

    answer = register()

    assert (429, header) == (answer.status_code, answer.headers.get("retry-after"))


def test_html_is_not_json(sandbox, register):
    """
    The web page comes with status 200, as from a captive portal.
    """
    sandbox.set_failure("html")

    answer = register()

    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/html")


def test_reset_is_a_real_reset(sandbox, register):
    """
    The client's kernel sees RST: ECONNRESET, not an orderly end.
    """
    sandbox.set_failure("reset")
    with socket.create_connection(("127.0.0.1", httpx.URL(sandbox.url).port), timeout=5) as connection:
        head = f"POST {REGISTER} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        connection.sendall(head.encode())

        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_reset_comes_after_the_request_was_read(sandbox, register):
    """
    The key of a request that met a reset was seen.
    """
    sandbox.set_failure("reset")

    with pytest.raises(httpx.TransportError):
        register()

    assert (sandbox.idempotency_keys(), sandbox.points()) == (["k"], [])


def test_a_client_that_leaves_early_is_no_error(caplog):
    """
    A client that leaves in the middle of its request counts nothing and logs nothing.
    """
    with Sandbox() as sandbox:
        with socket.create_connection(("127.0.0.1", httpx.URL(sandbox.url).port)) as connection:
            connection.sendall(f"POST {REGISTER} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
        httpx.get(sandbox.url)

    assert (sandbox.requests, caplog.messages) == (0, [])


def test_hang_times_out(sandbox, register, client):
    """
    A request that hangs ends by the client's own timeout.
    """
    sandbox.set_failure("hang")

    with pytest.raises(httpx.ReadTimeout):
        client.post(REGISTER, json=BODY, timeout=IMPATIENT)


@pytest.mark.parametrize("failure", [{"mode": "hang"}, {"latency_ms": 600_000}], ids=["hang", "latency"])
@pytest.mark.usefixtures("stopping")
def test_a_waiting_request_does_not_delay_the_stop(failure, caplog):
    """
    The stop lets go of requests that hang or are held back, without a word in the log.
    """
    with Sandbox() as sandbox:
        sandbox.set_failure(**failure)

        def send():
            with contextlib.suppress(httpx.TransportError):
                httpx.post(sandbox.url + REGISTER, json=BODY, timeout=30)

        thread = threading.Thread(target=send)
        thread.start()
        sandbox.wait_for(requests=1)
        began = time.monotonic()

    thread.join()

    assert (time.monotonic() - began < 5, caplog.messages) == (True, [])


def test_latency_holds_the_answer_back(sandbox, register):
    """
    A late answer is still the right answer, and comes late.
    """
    sandbox.set_failure(latency_ms=60)
    began = time.monotonic()

    answer = register()

    assert (answer.status_code, time.monotonic() - began >= 0.06) == (200, True)


def test_first_requests_fail_then_recover(sandbox, register):
    """
    `first=2` fails two requests; the third is answered normally.
    """
    sandbox.set_failure("500", first=2)

    assert [register().status_code for _ in range(3)] == [500, 500, 200]


@pytest.mark.parametrize("mode", ["500", "reset", "hang", "html"])
def test_count_first_loses_only_the_answer(sandbox, client, mode):
    """
    With `count_first` the point is counted although the client cannot know it.
    """
    sandbox.set_failure(mode, count_first=True)

    with contextlib.suppress(httpx.TransportError):
        client.post(REGISTER, json=BODY, timeout=IMPATIENT)

    assert [point.idempotency_key for point in sandbox.wait_for(points=1)] == ["k"]


def test_the_retry_after_a_lost_answer_does_not_count_twice(sandbox, register):
    """
    The retry gets the first result, and the point has one repeat.
    """
    sandbox.set_failure("500", first=1, count_first=True)
    register()

    answer = register().json()

    assert (answer["classification"], [point.repeats for point in sandbox.points()]) == ("billable", [1])


def test_usage_fails_too(sandbox, client):
    """
    Failures cover reading usage.
    """
    sandbox.set_failure("500")

    assert client.post("/api/track/get-usage", json={"apiKey": "rm_sec_0000"}).status_code == 500


def test_the_control_api_never_fails(sandbox, client):
    """
    The page keeps working while the API fails.
    """
    sandbox.set_failure("reset")

    assert client.get("/sandbox/state").status_code == 200


def test_a_bad_failure_is_refused(sandbox):
    """
    A switch that makes no sense is refused by name.
    """
    with pytest.raises(ConfigurationError, match="count_first"):
        sandbox.set_failure("429", count_first=True)


@needs_signals
def test_a_file_survives_kill_9(start, tmp_path):
    """
    What was answered before `kill -9` is there after a restart.
    """
    file = str(tmp_path / "ledger.jsonl")
    process, url = start("--file", file)
    httpx.post(url + REGISTER, json=BODY)
    process.send_signal(signal.SIGKILL)
    process.wait()

    with Sandbox(file=file) as sandbox:
        assert [point.idempotency_key for point in sandbox.points()] == ["k"]


def test_a_file_holds_no_licence_key(tmp_path):
    """
    The ledger's file does not contain the key that was sent.
    """
    with Sandbox(file=tmp_path / "ledger.jsonl") as sandbox:
        httpx.post(sandbox.url + REGISTER, json={**BODY, "apiKey": "rm_pub_topsecret"})

    assert b"topsecret" not in (tmp_path / "ledger.jsonl").read_bytes()


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_command_well(start, number):
    """
    Ctrl+C and SIGTERM end the command with status 0 and nothing on stderr.
    """
    process, _ = start()

    process.send_signal(number)

    assert (process.communicate(timeout=20)[1], process.returncode) == ("", 0)


@needs_signals
def test_a_signal_ends_a_hanging_command(start):
    """
    A hanging request does not hold the command either.
    """
    process, url = start("--fail", "hang")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url + REGISTER, json=BODY, timeout=IMPATIENT)

    process.terminate()

    assert process.wait(20) == 0


def test_the_command_says_what_to_set(start):
    """
    The command prints the line that points an app at it.
    """
    process, url = start("--fail", "429", "--retry-after", "9", "--first", "3", "--latency", "4")

    output = "".join(process.stdout.readline() for _ in range(4))

    assert (
        f"REMOTION_LICENSING_BASE_URL={url}\n" in output,
        "Failing: HTTP 429, Retry-After 9 s, 4 ms late, for the next 3 requests" in output,
    ) == (True, True)


def test_the_command_can_fail_from_the_start(start):
    """
    `--fail` is in force from the first request on.
    """
    _, url = start("--fail", "500")

    assert httpx.post(url + REGISTER, json=BODY).status_code == 500


def test_the_command_runs_in_a_process_that_goes_on(monkeypatch):
    """
    Called from Python the command ends at the signal, too, and leaves the signal handlers as they were.
    """
    before = signal.getsignal(signal.SIGTERM)
    start = Sandbox.start

    def start_and_stop(sandbox):
        start(sandbox)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Sandbox, "start", start_and_stop)

    assert (main(["sandbox", "--port", "0"]), signal.getsignal(signal.SIGTERM)) == (0, before)


def test_a_taken_port_is_explained(sandbox, capsys):
    """
    A taken port is status 2 and a sentence that names it and the way out.
    """
    port = str(httpx.URL(sandbox.url).port)

    status = main(["sandbox", "--port", port])

    assert (status, f"port {port} is taken" in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--latency", "-1"],
        ["--fail", "key", "--count-first"],
        ["--file", os.devnull + "/x"],
        ["--host", "no.such.host.invalid"],
        ["--port", "99999"],
    ],
)
def test_bad_arguments_are_explained(arguments, capsys):
    """
    What cannot work is status 2 and one line.
    """
    status = main(["sandbox", "--port", "0", *arguments])

    assert (status, capsys.readouterr().err.count("\n")) == (2, 1)
