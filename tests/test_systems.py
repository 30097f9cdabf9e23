"""
A process on a system without POSIX, such as Windows: the same promises.
"""

import errno
import json
import subprocess
import sys
import threading

import pytest

from remotion_licensing_integrations.outbox.locks import is_passing, lock_file
from tests._systems import needs_linux

PROGRAM = """
import json, sys
import tests._gaps
from remotion_licensing_integrations import Settings, UsagePoint, UsageRecorder
from remotion_licensing_integrations.outbox.locks import lock_file
from remotion_licensing_integrations.operations import main
from remotion_licensing_integrations.testing import Sandbox
from pathlib import Path

facts = {}
with Sandbox() as sandbox:
    url = "sqlite:///usage.sqlite3"
    settings = Settings(license_key="rm_pub_x", base_url=sandbox.url, outbox=url, spill="off")
    recorder = UsageRecorder(settings)
    recorder.start()
    facts["recorded"] = recorder.record(UsagePoint(event="cloud-render", host="https://myapp.com", succeeded=True))
    facts["counted"] = len(sandbox.wait_for(points=1, timeout=20))
    recorder.stop()
    recorder.outbox.close()
    facts["status"] = main(["--outbox", url, "list", "--state", "registered", "--json"])
path = Path("usage.sqlite3-lock")
with lock_file(path):
    try:
        with lock_file(path):
            facts["locked"] = False
    except BlockingIOError:
        facts["locked"] = True
path.unlink()
path.symlink_to("elsewhere")
try:
    with lock_file(path):
        facts["link"] = "followed"
except OSError as error:
    facts["link"] = error.strerror
facts["elsewhere"] = Path("elsewhere").exists()
facts["fcntl"] = "fcntl" in dir(sys.modules[lock_file.__module__])
print(json.dumps(facts))
"""


@needs_linux
def test_a_process_without_posix(tmp_path) -> None:
    """
    It records to a file, delivers to a sandbox, lists the points, and locks the file against others and against links.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    *listed, facts = done.stdout.splitlines()

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(facts) == {
        "recorded": True,
        "counted": 1,
        "status": 0,
        "locked": True,
        "link": "Too many levels of symbolic links",
        "elsewhere": False,
        "fcntl": False,
    }
    assert [json.loads(line)["state"] for line in listed] == ["registered"]


def test_a_lock_is_for_one_at_a_time(tmp_path) -> None:
    """
    While a thread or process holds the lock, another one is refused at once; afterwards it gets it.
    """
    refused = []

    def lock() -> None:
        try:
            with lock_file(tmp_path / "lock"):
                refused.append(False)
        except BlockingIOError:
            refused.append(True)

    with lock_file(tmp_path / "lock"):
        thread = threading.Thread(target=lock)
        thread.start()
        thread.join()
    lock()

    assert refused == [True, False]


@pytest.mark.parametrize(
    ("error", "passes"),
    [(BlockingIOError(errno.EAGAIN, "locked"), True), (PermissionError(errno.EACCES, "not yours"), False)],
)
def test_what_another_program_is_the_cause_of(error, passes) -> None:
    """
    A lock of another program will go; missing rights will not.
    """
    assert is_passing(error) == passes
