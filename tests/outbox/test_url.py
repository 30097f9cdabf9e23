"""
The URL that names a store.
"""

import pytest

from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.outbox import MemoryOutbox, open_outbox
from remotion_licensing_integrations.outbox.sqlite import SQLiteOutbox
from tests.outbox._values import point


def test_memory():
    """
    `memory://` is the outbox of this process.
    """
    assert isinstance(open_outbox("memory://"), MemoryOutbox)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("usage.sqlite3", "usage.sqlite3"),
        ("a%20b%3F.sqlite3", "a b?.sqlite3"),
        ("deep/er/x.sqlite3", "deep/er/x.sqlite3"),
    ],
)
def test_relative_file(tmp_path, name, file):
    """
    Three slashes name a file below the working directory; percent escapes are read, directories made.
    """
    outbox = open_outbox(f"sqlite:///{name}")
    outbox.add([point()])
    outbox.close()

    assert (tmp_path / file).is_file()


def test_absolute_file(place):
    """
    Four slashes name an absolute path.
    """
    outbox = open_outbox(f"sqlite:///{place}/usage.sqlite3")
    outbox.open()
    outbox.close()

    assert (place / "usage.sqlite3").is_file()


def test_relative_file_stays_where_it_was(tmp_path, monkeypatch, place):
    """
    A later change of the working directory does not move the file.
    """
    outbox = open_outbox("sqlite:///usage.sqlite3")
    monkeypatch.chdir(place)
    outbox.open()
    outbox.close()

    assert (tmp_path / "usage.sqlite3").is_file()


def test_nothing_is_opened_before_its_use(tmp_path):
    """
    An outbox that is not used leaves no file.
    """
    open_outbox("sqlite:///usage.sqlite3")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", ":memory:", "%00", "a%00b", ":anything"])
def test_no_durable_file(path):
    """
    Names that SQLite takes for a database in memory, or cannot take at all, are refused.
    """
    with pytest.raises(ConfigurationError, match="is not the path of a file"):
        open_outbox(f"sqlite:///{path}")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "usage.sqlite3",
        "sqlite:usage.sqlite3",
        "sqlite:/usage.sqlite3",
        "sqlite://usage.sqlite3",
        "sqlite:///usage.sqlite3?mode=ro",
        "sqlite:///usage.sqlite3#1",
        "sqlite://[/x",
        "memory:",
        "memory://x",
        "postgresql://localhost/db",
    ],
)
def test_no_store(url):
    """
    Other URLs are refused with an example of a good one.
    """
    with pytest.raises(ConfigurationError, match="names no store; expected"):
        open_outbox(url)


def test_password_is_hidden():
    """
    The message of a refusal does not tell the password.
    """
    with pytest.raises(ConfigurationError) as caught:
        open_outbox("mysql://user:secret@host/db")

    assert "secret" not in str(caught.value)


def test_names_itself(tmp_path):
    """
    The `repr` tells the stores apart.
    """
    assert [f"SQLiteOutbox('{tmp_path}/a.sqlite3')", "MemoryOutbox()"] == [
        repr(SQLiteOutbox("a.sqlite3")),
        repr(MemoryOutbox()),
    ]
