"""
What the doctor finds, and what it leaves alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from remotion_licensing_integrations.operations.doctor import examine
from remotion_licensing_integrations.outbox import MemoryOutbox, SQLiteOutbox, State, place
from remotion_licensing_integrations.recording.recorder import UsageRecorder
from remotion_licensing_integrations.settings import Settings
from tests._selection import needs
from tests._systems import IS_POSIX, make_link, needs_linux, needs_modes
from tests.operations._keys import KEY, PRIVATE_KEY
from tests.outbox._values import bring, point

ROOT_MOUNT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"


@pytest.fixture(autouse=True)
def _without_renderers(monkeypatch, tmp_path):
    # The package is installed for other tests, and both are something to warn of.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mounts(monkeypatch, tmp_path):
    """
    Set what `/proc/self/mountinfo` says.
    """
    mountinfo = tmp_path / "mountinfo"
    monkeypatch.setattr(place, "_MOUNTS", mountinfo)

    def set_mounts(*lines: str) -> None:
        if lines and not IS_POSIX:
            pytest.skip("mountinfo names paths of POSIX: run it on Linux or macOS, or in a Linux container")
        mountinfo.write_bytes(os.fsencode("".join(f"{line}\n" for line in (ROOT_MOUNT, *lines))))

    set_mounts()
    return set_mounts


@pytest.fixture
def look(mounts, server, file):
    """
    Examine a set-up without fault, but for the settings given: the texts of findings by level, and by name.
    """

    def look(*, store: object = None, **settings: object) -> dict[str, list[str]]:
        good = {"license_key": KEY, "allowed_hosts": ["https://myapp.com"], "base_url": server.url}
        recorder = UsageRecorder(Settings(**(good | {"outbox": f"sqlite:///{file}"} | settings)), outbox=store)
        with closing(recorder.outbox):
            found: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
            for finding in examine(recorder):
                found[finding.level].append(finding.text)
                found.setdefault(finding.name, []).append(finding.text)
        return found

    return look


def test_nothing_is_wrong(look, outbox) -> None:
    """
    A good set-up gives neither warnings nor errors.
    """
    found = look()

    assert (found["warning"], found["error"]) == ([], [])


@pytest.mark.parametrize(
    ("settings", "name", "text"),
    [
        ({"license_key": None}, "license_key_missing", "No licence key: set REMOTION_LICENSE_KEY or"),
        (
            {"license_key": "rm_sec_abc"},
            "license_key_secret",
            "A licence key is set, a secret one. If the API refuses it",
        ),
        (
            {"license_key": None, "private_license_key": "rm_sec_abc"},
            "license_key_private",
            "Only the private licence key is set;",
        ),
        ({"license_key": "abc"}, "license_key_odd", "license_key does not look like a Remotion key (rm_pub_…)."),
        ({"license_key": "rm_pub_abc"}, "license_key_set", "A licence key is set."),
        ({"license_key": "free-license"}, "license_key_set", "A licence key is set."),
        ({"allowed_hosts": None}, "any_host", "Neither host nor allowed_hosts is set: any caller can name the host"),
        ({"host": "http://localhost:3000"}, "local_host", "host is http://localhost:3000, a local address: its"),
        ({"host": "http://127.0.0.1"}, "local_host", "host is http://127.0.0.1, a local address: its points"),
        ({"host": "http://0.0.0.0:3000"}, "local_host", "host is http://0.0.0.0:3000, a local address: its points"),
    ],
)
def test_settings(settings, name, text, look, outbox) -> None:
    """
    Each setting that may be a mistake has its finding.
    """
    assert [found.startswith(text) for found in look(**settings)[name]] == [True]


@pytest.mark.parametrize(
    "settings",
    [
        {"allowed_hosts": None, "host": "https://myapp.com"},
        {"allowed_hosts": None, "host": "http://localhost", "is_production": False},
    ],
)
def test_settings_that_are_fine(settings, look, outbox) -> None:
    """
    A fixed host needs no allowed ones, and a local one is right when nothing is billed anyway.
    """
    assert look(**settings)["warning"] == []


def test_outbox_can_be_used(look, outbox) -> None:
    """
    The outbox is named with the number of pending points.
    """
    outbox.add([point("a", occurred_at=datetime.now(UTC))])

    assert f"The outbox {outbox!r} can be used; 1 point pending." in look()["outbox_usable"]


def test_age_of_the_outbox(look, outbox) -> None:
    """
    The day of the first point is told: an outbox that began yesterday may have replaced another.
    """
    outbox.add([point()])

    assert look()["outbox_age"][0].startswith("Its first point is of 2023-11-14.")


def test_points_for_other_keys(look, outbox) -> None:
    """
    Points that this set-up has no key for are named by the fingerprint of their key.
    """
    outbox.add([point(key_fingerprint="0123abcd")])

    assert "0123abcd" in look()["points_for_other_keys"][0]


def test_old_pending_point(look, outbox) -> None:
    """
    A point that has been pending for more than an hour makes the doctor ask whether delivery runs.
    """
    outbox.add([point()])

    assert look()["points_waiting"] == ["A point has been pending since 2023-11-14 22:13Z; is delivery running?"]


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

    [warning] = look()["points_stopped"]
    assert warning.startswith(text)


@pytest.mark.parametrize(("hours", "number"), [(23, 0), (25, 1)])
def test_deferred_for_long(hours, number, look, outbox) -> None:
    """
    A point that has been deferred for more than a day makes the doctor ask for its work.
    """
    outbox.add([point(succeeded=None, occurred_at=datetime.now(UTC) - timedelta(hours=hours))])

    assert len(look().get("points_deferred", ())) == number


def test_paused_delivery(look) -> None:
    """
    Delivery that is paused, by whichever process, is an error with deliverer, reason and beginning.
    """
    store = MemoryOutbox(clock=lambda: 1_700_000_000.0)
    store.pause("web-1/4711", "the API refused the licence key", 900)

    assert look(store=store)["delivery_paused"] == [
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

    assert look()["outbox_refuses"] == [
        f"outbox {file}: this database belongs to another application; use a separate file"
    ]
    assert file.read_bytes() == before


def test_no_outbox_yet(look, file) -> None:
    """
    A missing file is a warning that names the variable.
    """
    [warning] = look()["outbox_missing"]

    assert warning.startswith(f"SQLiteOutbox('{file.as_posix()}') does not exist yet; the first point creates it.")
    assert warning.endswith("see REMOTION_LICENSING_OUTBOX.")


def test_database_without_tables(look, monkeypatch) -> None:
    """
    A store that is no file, and whose tables are missing, is named in the same warning.
    """
    monkeypatch.setattr(MemoryOutbox, "exists", lambda _: False)

    [warning] = look(store=MemoryOutbox())["outbox_missing"]

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

    assert look(outbox=f"sqlite:///{file.parent}/new/usage.sqlite3")["outbox_not_creatable"] == [
        f"{file.parent / 'new' / 'usage.sqlite3'} cannot be created: this user cannot write to {file.parent}."
    ]


def test_outbox_below_a_file(look, file) -> None:
    """
    A path that can never be a file is an error with the remedy.
    """
    file.touch()

    [refusal] = look(outbox=f"sqlite:///{file}/usage.sqlite3")["outbox_refuses"]

    assert refusal.startswith(f"outbox {file / 'usage.sqlite3'}: cannot be created: ")
    assert refusal.endswith("; check the directory's permissions")


def test_outbox_that_is_a_folder(look, tmp_path) -> None:
    """
    A folder in the place of the file is refused; nothing advises to take the rights of its users away.
    """
    tmp_path.chmod(0o755)
    findings = look(outbox=f"sqlite:///{tmp_path}")

    assert str(tmp_path) in findings["outbox_refuses"][0]
    assert "file_open" not in findings


def test_outbox_in_memory(look) -> None:
    """
    An outbox that is no file is looked at without a file.
    """
    assert look(outbox="memory://")["error"] == []


@needs_modes
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-lock"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_file_open_to_others(suffix, mode, look, outbox, file) -> None:
    """
    Each file of the outbox that others may read or write is a warning with its mode.
    """
    found = Path(f"{file}{suffix}")
    found.chmod(mode)

    assert f"{found} is open to other users (mode {mode:o}); 600 is enough." in look()["file_open"]


def test_system_without_modes(look, outbox, file, monkeypatch) -> None:
    """
    Where files have lists of rights instead of a mode and an owner, nothing is said about these.
    """
    monkeypatch.setattr(place, "_HAS_MODES", False)
    file.chmod(0o666)
    file.parent.chmod(0o777)

    assert look()["warning"] == []


@needs_modes
def test_folder_open_to_others(look, outbox, file) -> None:
    """
    A folder in which any user can put a file, such as `/tmp`, is a warning.
    """
    file.parent.chmod(0o1777)

    [warning] = look()["folder_open"]
    assert warning.startswith(f"{file.parent} is open to other users (mode 1777)")


@needs_modes
def test_files_behind_a_link(look, outbox, file) -> None:
    """
    When the outbox is a link, the files beside its target are looked at.
    """
    link = file.with_name("link.sqlite3")
    make_link(link, file)
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

    assert look()["file_not_writable"] == [
        f"{foreign} is not writable for this user; change its owner or delete it when unused."
    ]


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "virtiofs", "fuse.sshfs", "ceph", "fuse.glusterfs"])
def test_network_file_system(kind, look, outbox, file, mounts) -> None:
    """
    An outbox on a network file system is an error.
    """
    mounts(f"30 22 0:44 / {file.parent} rw shared:2 - {kind} server:/export rw")

    assert look()["outbox_on_network"] == [f"{file} is on {kind}: SQLite's WAL needs a local disk."]


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
    make_link(tmp_path / "near", "far")
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


def test_command_without_errors(run, mounts, outbox, api) -> None:
    """
    `doctor` prints one finding a line, with its name; warnings alone give status 0.
    """
    ran = run("doctor")
    *findings, _, summary = ran.out.splitlines()

    assert ran.status == 0
    assert [(line.split()[0], line.split()[-1]) for line in findings] == [
        ("ok", "[license_key_set]"),
        ("warning", "[any_host]"),
        ("ok", "[outbox_usable]"),
        ("ok", "[api_answers]"),
    ]
    assert summary == "0 errors, 1 warning."


def test_command_with_an_error(run, mounts, outbox) -> None:
    """
    An error, here an API out of reach, gives status 1.
    """
    ran = run("doctor")

    assert ran.status == 1
    assert "error   The licensing API at http://127.0.0.1:" in ran.out


@needs("starlette")
def test_bug_report(run, mounts, outbox, api, monkeypatch) -> None:
    """
    With `--json` there are versions and settings besides the findings, and no secret in any of them.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", "a-key-of-another-form")
    monkeypatch.setenv("REMOTION_LICENSING_a-key-of-another-form", PRIVATE_KEY)
    ran = run("doctor", "--json")
    report = json.loads(ran.out)

    assert {finding["name"] for finding in report["findings"]} >= {"license_key_odd", "unknown_variable"}
    assert report["packages"].keys() >= {"httpx", "starlette"}
    assert report["settings"]["license_key"] == "***"
    assert report["settings"]["base_url"] == api.url
    assert report["app"] is None
    assert "a-key-of-another-form" not in ran.out
    assert PRIVATE_KEY not in ran.out


@pytest.mark.parametrize("file_system", ["overlay", "tmpfs"])
def test_outbox_that_ends_with_its_container(look, mounts, file, file_system) -> None:
    """
    An outbox inside a container's own layer, or in memory, is named.
    """
    mounts(f"30 22 0:30 / {file.parent} rw shared:9 - {file_system} {file_system} rw")

    assert f"{file} is on {file_system}, which ends with its container or machine" in look()["outbox_passing"][0]


@needs_linux
def test_outbox_where_no_file_can_be(look, mounts) -> None:
    """
    A place that keeps no files, such as /proc, is an error.
    """
    mounts("24 22 0:22 / /proc rw shared:14 - proc proc rw")

    assert look(outbox="sqlite:////proc/usage.sqlite3")["outbox_without_files"] == [
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
        in look(spill=f"sqlite:///{spill.path}")["points_spilled"]
    )


def test_empty_spill(look, outbox, tmp_path) -> None:
    """
    A spill without points is nothing to warn of.
    """
    assert look(spill=f"sqlite:///{tmp_path}/spill.sqlite3")["warning"] == []


def test_no_spill(look) -> None:
    """
    A spill that is switched off is named, with what it costs.
    """
    assert look(spill="off")["spill_off"][0].startswith('spill is "off"')


def test_spill_that_cannot_be_read(look, tmp_path) -> None:
    """
    A spill that is another application's database is an error.
    """
    with closing(sqlite3.connect(tmp_path / "spill.sqlite3")) as other:
        other.execute("CREATE TABLE other (x)")

    assert any("spill.sqlite3" in text for text in look(spill=f"sqlite:///{tmp_path}/spill.sqlite3")["spill_refuses"])


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"host": "https://other.com"}, "host_not_allowed"),
        ({"allowed_hosts": ["https://myapp.com", "http://localhost:3000"]}, "local_host"),
        ({"is_production": False}, "not_production"),
        ({"is_production": False, "allowed_hosts": None, "host": "https://myapp.com"}, "not_production"),
        ({"delivery": "off"}, "delivery_off"),
        ({"outbox": "memory://"}, "outbox_in_memory"),
    ],
)
def test_settings_that_disagree(settings, name, look, outbox) -> None:
    """
    Settings that do not go together, or lose or hold back points, have their findings.
    """
    found = look(**settings)

    assert (found[name], found["error"]) == (found["warning"], [])


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "https://myapp.com"},
        {"is_production": False, "allowed_hosts": ["http://localhost:3000"]},
    ],
)
def test_settings_that_agree(settings, look, outbox) -> None:
    """
    A host that is listed, and local hosts outside production, are fine.
    """
    assert look(**settings)["warning"] == []


@pytest.mark.parametrize(
    ("variable", "remedy"),
    [
        ("REMOTION_LICENSING_DELIVRY", "did you mean REMOTION_LICENSING_DELIVERY?"),
        ("REMOTION_LICENSING_LICENSE_KEY", "did you mean REMOTION_LICENSE_KEY?"),
        ("REMOTION_LICENSING_", "remove it."),
    ],
)
def test_unknown_variable(variable, remedy, look, outbox, monkeypatch) -> None:
    """
    A variable that looks like a setting and is none is named, with the nearest one.
    """
    monkeypatch.setenv(variable, "external")
    monkeypatch.setenv("REMOTION_LICENSING_APP", "main:app")

    assert look()["unknown_variable"] == [f"The environment variable {variable} is no setting; {remedy}"]


@pytest.mark.parametrize(("megabytes", "level"), [(99.9, "warning"), (0.9, "error")])
def test_disk_that_is_nearly_full(megabytes, level, look, outbox, monkeypatch) -> None:
    """
    Little space for the outbox is a warning, and an error when it is too little to store anything.
    """
    disk = SimpleNamespace(total=10**9, free=int(megabytes * 1024) * 1024)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)

    found = look()

    assert f" has {megabytes:.1f} MB free for usage.sqlite3; below 1 MB" in found["disk_full"][0]
    assert found["disk_full"][0] in found[level]


@needs_modes
def test_file_of_another_owner(look, outbox, file, monkeypatch) -> None:
    """
    A file that belongs to another user than the one who looks, such as root, is a warning.
    """
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    assert any(
        text.startswith(f"{file} belongs to user {owner}, and this is user {owner + 1}.")
        for text in look()["file_owner"]
    )


@pytest.mark.parametrize(("seconds", "words"), [(90, "behind"), (-90, "ahead of")])
def test_clock_of_the_outbox(seconds, words, look, monkeypatch) -> None:
    """
    A store whose clock is more than a minute off this machine's is a warning.
    """
    monkeypatch.setattr(MemoryOutbox, "now", lambda _: datetime.now(UTC) + timedelta(seconds=seconds))

    assert any(
        f" s {words} the outbox's: points have wrong times" in text
        for text in look(store=MemoryOutbox())["clock_differs"]
    )
