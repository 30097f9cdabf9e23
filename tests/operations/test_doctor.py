"""
What the doctor finds, and what it leaves alone.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from remotion_licensing_integrations.operations import doctor
from remotion_licensing_integrations.operations.doctor import examine
from remotion_licensing_integrations.outbox import Finding, MemoryOutbox, SQLiteOutbox, State, place
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import Settings
from tests.operations._keys import KEY
from tests.outbox._values import bring, point

ROOT_MOUNT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"


@pytest.fixture(autouse=True)
def _without_remotion_lambda(monkeypatch):
    # Installed for other tests, and something to warn of.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def mounts(monkeypatch, tmp_path):
    """
    Set what `/proc/self/mountinfo` says.
    """
    mountinfo = tmp_path / "mountinfo"
    monkeypatch.setattr(place, "_MOUNTS", mountinfo)

    def set_mounts(*lines: str) -> None:
        mountinfo.write_bytes(os.fsencode("".join(f"{line}\n" for line in (ROOT_MOUNT, *lines))))

    set_mounts()
    return set_mounts


@pytest.fixture
def look(monkeypatch, mounts, refused, file):
    """
    Examine a set-up without fault, but for the settings given: findings by level.
    """
    monkeypatch.setattr(doctor, "_examine_api", lambda base_url: Finding("ok", base_url))

    def look(*, store: object = None, **settings: object) -> dict[str, list[str]]:
        good = {"license_key": KEY, "allowed_hosts": ["https://myapp.com"], "base_url": refused}
        recorder = UsageRecorder(Settings(**(good | {"outbox": f"sqlite:///{file}"} | settings)), outbox=store)
        with closing(recorder.outbox):
            found = examine(recorder)
        return {level: [each.text for each in found if each.level == level] for level in ("ok", "warning", "error")}

    return look


@pytest.fixture
def reach(monkeypatch, mounts):
    """
    Examine whether an API can be reached.
    """

    def reach(base_url: str) -> Finding:
        [found] = [
            each
            for each in examine(UsageRecorder(Settings(license_key=KEY, base_url=base_url, outbox="memory://")))
            if base_url in each.text
        ]
        return found

    return reach


def test_nothing_is_wrong(look, outbox) -> None:
    """
    A good set-up gives neither warnings nor errors.
    """
    found = look()

    assert (found["warning"], found["error"]) == ([], [])


@pytest.mark.parametrize(
    ("settings", "level", "text"),
    [
        ({"license_key": None}, "error", "No licence key: set REMOTION_LICENSE_KEY or"),
        ({"license_key": "rm_sec_abc"}, "ok", "A licence key is set, a secret one. If the API refuses it"),
        ({"license_key": None, "private_license_key": "rm_sec_abc"}, "ok", "Only the private licence key is set;"),
        ({"license_key": "abc"}, "warning", "license_key does not look like a Remotion key (rm_pub_…)."),
        ({"license_key": "rm_pub_abc"}, "ok", "A licence key is set."),
        ({"license_key": "free-license"}, "ok", "A licence key is set."),
        ({"allowed_hosts": None}, "warning", "Neither host nor allowed_hosts is set: any caller can name the host"),
        ({"host": "http://localhost:3000"}, "warning", "host is http://localhost:3000, a local address: its"),
        ({"host": "http://127.0.0.1"}, "warning", "host is http://127.0.0.1, a local address: its points"),
        ({"host": "http://0.0.0.0:3000"}, "warning", "host is http://0.0.0.0:3000, a local address: its points"),
    ],
)
def test_settings(settings, level, text, look, outbox) -> None:
    """
    Each setting that may be a mistake has its finding.
    """
    assert any(found.startswith(text) for found in look(**settings)[level])


@pytest.mark.parametrize(
    "settings",
    [
        {"allowed_hosts": None, "host": "https://myapp.com"},
        {"host": "http://localhost", "is_production": False},
    ],
)
def test_settings_that_are_fine(settings, look, outbox) -> None:
    """
    A fixed host needs no allowed ones, and a local one is right when nothing is billed anyway.
    """
    assert look(**settings)["warning"] == []


@pytest.mark.parametrize(
    ("base_url", "warnings"), [("http://api.example", 1), ("https://api.example", 0), ("http://proxy:8000", 0)]
)
def test_licence_key_in_clear_text(base_url: str, warnings: int, look, outbox) -> None:
    """
    A public address without TLS is a warning, because the licence key is sent to it.
    """
    said = look(base_url=base_url)["warning"]

    assert warnings == sum("goes over the network in clear text" in text for text in said)


def test_outbox_can_be_used(look, outbox) -> None:
    """
    The outbox is named with the number of pending points.
    """
    outbox.add([point("a", occurred_at=datetime.now(UTC))])

    assert f"The outbox {outbox!r} can be used; 1 point pending." in look()["ok"]


def test_old_pending_point(look, outbox) -> None:
    """
    A point that has been pending for more than an hour makes the doctor ask whether delivery runs.
    """
    outbox.add([point()])

    assert look()["warning"] == ["A point has been pending since 2023-11-14 22:13Z; is delivery running?"]


def test_young_pending_point(look, outbox) -> None:
    """
    A point that has been pending for minutes is normal.
    """
    outbox.add([point(occurred_at=datetime.now(UTC) - timedelta(minutes=59))])

    assert look()["warning"] == []


@pytest.mark.parametrize(
    ("state", "text"), [(State.REJECTED, "Points rejected: 1, held: 0;"), (State.HELD, "Points rejected: 0, held: 1;")]
)
def test_points_that_wait_for_a_person(state, text, look, outbox) -> None:
    """
    Rejected and held points are a warning.
    """
    bring(outbox, state, "a")

    [warning] = look()["warning"]
    assert warning.startswith(text)


@pytest.mark.parametrize(("hours", "number"), [(23, 0), (25, 1)])
def test_deferred_for_long(hours, number, look, outbox) -> None:
    """
    A point that has been deferred for more than a day makes the doctor ask for its work.
    """
    outbox.add([point(succeeded=None, occurred_at=datetime.now(UTC) - timedelta(hours=hours))])

    assert len([text for text in look()["warning"] if "Has their work ended?" in text]) == number


def test_paused_delivery(look) -> None:
    """
    Delivery that is paused, by whichever process, is an error with deliverer, reason and beginning.
    """
    store = MemoryOutbox(clock=lambda: 1_700_000_000.0)
    store.pause("web-1/4711", "the API refused the licence key", 900)

    assert look(store=store)["error"] == [
        (
            "Delivery is paused: web-1/4711 has been paused since 2023-11-14 22:13:20Z and tries again at 22:28:20Z: "
            "the API refused the licence key"
        )
    ]


def test_foreign_database(look, file) -> None:
    """
    A database of another application is an error, and stays as it is.
    """
    with closing(sqlite3.connect(file)) as foreign:
        foreign.execute("CREATE TABLE customers (name)")
    before = file.read_bytes()

    assert look()["error"] == [f"outbox {file}: this database belongs to another application; use a separate file"]
    assert file.read_bytes() == before


def test_no_outbox_yet(look, file) -> None:
    """
    A missing file is a warning that names the variable.
    """
    [warning] = look()["warning"]

    assert warning.startswith(f"SQLiteOutbox('{file}') does not exist yet; the first point creates it.")
    assert warning.endswith("see REMOTION_LICENSING_OUTBOX.")


def test_database_without_tables(look, monkeypatch) -> None:
    """
    A store that is no file, and whose tables are missing, is named in the same warning.
    """
    monkeypatch.setattr(MemoryOutbox, "exists", lambda _: False)

    [warning] = look(store=MemoryOutbox())["warning"]

    assert warning.startswith("MemoryOutbox() does not exist yet; the first point creates it.")


def test_missing_outbox_is_not_made(look, file) -> None:
    """
    Looking makes no file and no directory: they would belong to the user who looks.
    """
    look(outbox=f"sqlite:///{file.parent}/new/usage.sqlite3")

    assert [path.name for path in file.parent.iterdir()] == ["mountinfo"]


def test_outbox_that_cannot_be_made(look, file, monkeypatch) -> None:
    """
    A missing file in a directory that this user may not write is an error naming the directory.
    """
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    assert look(outbox=f"sqlite:///{file.parent}/new/usage.sqlite3")["error"] == [
        f"{file.parent}/new/usage.sqlite3 cannot be created: this user cannot write to {file.parent}."
    ]


def test_outbox_below_a_file(look, file) -> None:
    """
    A path that can never be a file is an error with the remedy.
    """
    file.touch()

    assert look(outbox=f"sqlite:///{file}/usage.sqlite3")["error"] == [
        f"outbox {file}/usage.sqlite3: cannot be created: File exists; check the directory's permissions"
    ]


def test_outbox_in_memory(look) -> None:
    """
    An outbox that is no file is looked at without a file.
    """
    assert look(outbox="memory://")["error"] == []


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-lock"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_file_open_to_others(suffix, mode, look, outbox, file) -> None:
    """
    Each file of the outbox that others may read or write is a warning with its mode.
    """
    found = Path(f"{file}{suffix}")
    found.chmod(mode)

    assert f"{found} is open to other users (mode {mode:o}); 600 is enough." in look()["warning"]


def test_folder_open_to_others(look, outbox, file) -> None:
    """
    A folder in which any user can put a file, such as `/tmp`, is a warning.
    """
    file.parent.chmod(0o1777)

    [warning] = look()["warning"]
    assert warning.startswith(f"{file.parent} is open to other users (mode 1777)")


def test_files_behind_a_link(look, outbox, file) -> None:
    """
    When the outbox is a link, the files beside its target are looked at.
    """
    link = file.with_name("link.sqlite3")
    link.symlink_to(file)
    Path(f"{file}-wal").chmod(0o644)

    assert look(store=SQLiteOutbox(link))["warning"] == [
        f"{file}-wal is open to other users (mode 644); 600 is enough."
    ]


def test_file_that_is_not_there(look, outbox, file) -> None:
    """
    Of the files beside the outbox those are looked at that are there.
    """
    Path(f"{file}-lock").unlink()

    assert look(store=outbox)["warning"] == []


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-lock"])
def test_file_of_another_user(suffix, look, outbox, file, monkeypatch) -> None:
    """
    A file that this user may not write is an error.
    """
    foreign = Path(f"{file}{suffix}")
    monkeypatch.setattr(os, "access", lambda path, mode: path != foreign)

    assert look()["error"] == [f"{foreign} is not writable for this user; change its owner or delete it when unused."]


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "virtiofs", "fuse.sshfs", "ceph", "fuse.glusterfs"])
def test_network_file_system(kind, look, outbox, file, mounts) -> None:
    """
    An outbox on a network file system is an error.
    """
    mounts(f"30 22 0:44 / {file.parent} rw shared:2 - {kind} server:/export rw")

    assert look()["error"] == [f"{file} is on {kind}: SQLite's WAL needs a local disk."]


@pytest.mark.parametrize("name", ["with space", "tab\there", "back\\slash", "übung", "not-utf-8-\udcff"])
def test_mount_point_with_a_difficult_name(name, look, tmp_path, mounts) -> None:
    """
    Names that mountinfo escapes, and names that are not ASCII or not UTF-8, are recognised.
    """
    folder = tmp_path / name
    folder.mkdir()
    path = folder / "usage.sqlite3"
    store = SQLiteOutbox(path)
    store.open()
    escaped = str(folder).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
    mounts(f"30 22 0:44 / {escaped} rw - nfs4 server:/export rw")

    assert look(store=store)["error"] == [f"{path} is on nfs4: SQLite's WAL needs a local disk."]


def test_link_to_a_network_file_system(look, tmp_path, mounts) -> None:
    """
    What counts is where a link leads.
    """
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to("far")
    store = SQLiteOutbox(tmp_path / "near" / "usage.sqlite3")
    store.open()
    mounts(f"30 22 0:44 / {tmp_path}/far rw - nfs4 server:/export rw")

    assert len(look(store=store)["error"]) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ["30 22 0:44 / {0}/elsewhere rw - nfs4 server:/export rw"],
        ["30 22 0:44 / {1} rw - nfs4 server:/export rw", "31 30 8:2 / {0} rw - xfs /dev/sdb1 rw"],
        ["30 22 0:44 / {0} rw - nfs4 server:/export rw", "31 30 8:2 / {0} rw - xfs /dev/sdb1 rw"],
    ],
    ids=["beside", "inside", "over"],
)
def test_local_disk(lines, look, outbox, file, mounts) -> None:
    """
    The innermost mount counts, and of two at one place the later one.
    """
    mounts(*(line.format(file.parent, file.parent.parent) for line in lines))

    assert look()["error"] == []


def test_system_without_mountinfo(look, outbox, monkeypatch, tmp_path) -> None:
    """
    Where there is no mountinfo, nothing is said about file systems.
    """
    monkeypatch.setattr(place, "_MOUNTS", tmp_path / "gone")

    assert look()["error"] == []


def test_mountinfo_of_this_machine(look, outbox, monkeypatch) -> None:
    """
    The real file can be read.
    """
    monkeypatch.undo()

    assert place._file_system(outbox.path)


def test_api_out_of_reach(reach, refused) -> None:
    """
    A refused connection is an error that says the points are kept.
    """
    found = reach(refused)

    assert found.level == "error"
    assert found.text.startswith(f"The licensing API at {refused} cannot be reached: ")
    assert found.text.endswith("Connection refused. Points are kept until it answers.")


@pytest.fixture
def listening():
    """
    Listen, without ever an answer.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_api_in_reach(reach, listening) -> None:
    """
    A connection is enough: nothing is sent.
    """
    assert reach(f"http://{listening}") == Finding("ok", f"The licensing API at http://{listening} can be reached.")


def test_api_without_tls(reach, listening, monkeypatch) -> None:
    """
    A server that does not speak TLS is out of reach for an https URL.
    """
    monkeypatch.setattr(doctor, "_CONNECT_TIMEOUT", 0.05)

    assert reach(f"https://{listening}").level == "error"


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("http://api.test", ("api.test", 80)),
        ("https://api.test", ("api.test", 443)),
        ("http://[::1]:8484", ("::1", 8484)),
    ],
)
def test_api_address(base_url, expected, reach, monkeypatch) -> None:
    """
    Host and port come from the URL, the port else from its scheme.
    """
    asked = []

    def refuse(address, timeout):
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    reach(base_url)

    assert asked == [expected]


def test_package_that_reports_by_itself(look, outbox, monkeypatch) -> None:
    """
    With `remotion_lambda` installed the doctor warns of counting twice.
    """
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None))

    [warning] = look()["warning"]
    assert warning.startswith("remotion_lambda is installed: it reports renders by itself")


def test_command_without_errors(run, monkeypatch, mounts, outbox) -> None:
    """
    `doctor` prints one finding a line; warnings alone give status 0.
    """
    monkeypatch.setattr(doctor, "_examine_api", lambda base_url: Finding("ok", base_url))
    ran = run("doctor")

    assert ran.status == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["ok", "warning", "ok", "ok"]


def test_command_with_an_error(run, mounts, outbox) -> None:
    """
    An error, here an API out of reach, gives status 1.
    """
    ran = run("doctor")

    assert ran.status == 1
    assert "error   The licensing API at http://127.0.0.1:" in ran.out


@pytest.mark.parametrize("file_system", ["overlay", "tmpfs"])
def test_outbox_that_ends_with_its_container(look, mounts, file, file_system) -> None:
    """
    An outbox inside a container's own layer, or in memory, is named.
    """
    mounts(f"30 22 0:30 / {file.parent} rw shared:9 - {file_system} {file_system} rw")

    assert f"{file} is on {file_system}, which ends with its container or machine" in look()["warning"][0]


def test_outbox_where_no_file_can_be(look, mounts) -> None:
    """
    A place that keeps no files, such as /proc, is an error.
    """
    mounts("24 22 0:22 / /proc rw shared:14 - proc proc rw")

    assert look(outbox="sqlite:////proc/usage.sqlite3")["error"] == [
        "/proc/usage.sqlite3 cannot be created: proc keeps no files."
    ]


def test_points_in_the_spill(look, tmp_path) -> None:
    """
    Points that wait in the spill are named, with its place.
    """
    spill = SQLiteOutbox(tmp_path / "spill.sqlite3")
    spill.add([point("spilled")])
    spill.close()

    assert (
        f"1 point in the spill {spill!r} until the outbox accepts them."
        in look(spill=f"sqlite:///{spill.path}")["warning"]
    )


def test_no_spill(look) -> None:
    """
    A spill that is switched off is named, with what it costs.
    """
    assert any(text.startswith('spill is "off"') for text in look(spill="off")["warning"])


def test_spill_that_cannot_be_read(look, tmp_path) -> None:
    """
    A spill that is another application's database is an error.
    """
    with closing(sqlite3.connect(tmp_path / "spill.sqlite3")) as other:
        other.execute("CREATE TABLE other (x)")

    assert any("spill.sqlite3" in text for text in look(spill=f"sqlite:///{tmp_path}/spill.sqlite3")["error"])
