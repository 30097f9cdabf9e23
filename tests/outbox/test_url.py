"""
The URL that names a store.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import remotion_licensing_integrations
from remotion_licensing_integrations.errors import ConfigurationError, OutboxError
from remotion_licensing_integrations.outbox import MemoryOutbox, open_outbox
from remotion_licensing_integrations.outbox.sqlite import SQLiteOutbox
from tests.outbox._values import point

PACKAGE = remotion_licensing_integrations.__name__
ROOT = Path(__file__).parents[2]


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
        "mssql+pyodbc://localhost/db",
        "postgresql:localhost/db",
        "postgresql+psycopg2://localhost/db",
        "postgresql+asyncpg://localhost/db",
        "mysql+mysqldb://localhost/db",
        "mysqlx://localhost/db",
    ],
)
def test_no_store(url):
    """
    Other URLs are refused with an example of a good one.
    """
    with pytest.raises(ConfigurationError, match="names no store; expected"):
        open_outbox(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:secret@host/db",
        "mssql+pyodbc://user:secret@host/db",
        "mysql+mysqldb://user:secret@host/db",
        "postgresql://user:my@secret@host/db",
        "postgresql://user:secret@host:port/db",
        "postgresql://secret@host:port/db",
        "mysql://user@host/db?passwd=secret&connect_timeout=soon",
    ],
)
def test_password_is_hidden(url):
    """
    The message of a refusal does not tell the password.
    """
    with pytest.raises(ConfigurationError) as caught:
        open_outbox(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ("postgresql+psycopg", "postgresql+psycopg"),
        ("postgresql", "postgresql+psycopg"),
        ("postgres", "postgresql+psycopg"),
        ("mysql+pymysql", "mysql+pymysql"),
        ("mysql", "mysql+pymysql"),
        ("mariadb+pymysql", "mysql+pymysql"),
        ("mariadb", "mysql+pymysql"),
    ],
)
def test_database(scheme, name):
    """
    A database is named as SQLAlchemy does, or by its kind alone; the password is never shown.
    """
    pytest.importorskip("sqlalchemy")
    outbox = open_outbox(f"{scheme}://user:secret@host:1234/db?password=secret&sslmode=require")

    assert repr(outbox) == f"SQLAlchemyOutbox('{name}://user:***@host:1234/db?password=***&sslmode=require')"


@pytest.mark.parametrize(("scheme", "option"), [("postgresql", "kind=1"), ("mysql", "kind=1"), ("mysql", "ssl_ca=x")])
def test_option_that_the_driver_refuses(scheme, option):
    """
    What a driver cannot make of the URL's options is an error of the outbox.
    """
    pytest.importorskip("sqlalchemy")

    with pytest.raises(OutboxError, match=scheme):
        open_outbox(f"{scheme}://user@127.0.0.1:9/db?{option}").open()


#: What is installed, and what is missing then.
INSTALLED = {
    "postgresql": ([], "sqlalchemy"),
    "mysql": ([], "sqlalchemy"),
    "postgresql+psycopg": (["sqlalchemy", "typing_extensions"], "psycopg"),
    "mysql+pymysql": (["sqlalchemy", "typing_extensions"], "pymysql"),
}


@pytest.mark.parametrize("scheme", INSTALLED)
def test_missing_package(scheme, tmp_path):
    """
    Where SQLAlchemy or the driver is not installed, the error at start-up says what to install.
    """
    names, missing = INSTALLED[scheme]
    for name in names:
        module = Path(pytest.importorskip(name).__file__)
        module = module.parent if module.stem == "__init__" else module
        (tmp_path / module.name).symlink_to(module)
    start = f"from {PACKAGE} import Settings, UsageRecorder; UsageRecorder(Settings(outbox='{scheme}://u:secret@h/d'))"
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    # Without the packages that are installed here.
    command = [sys.executable, "-S", "-c", start]
    ended = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert ended.stderr.endswith(
        f"ConfigurationError: outbox: '{scheme}://u:***@h/d' needs what is not installed "
        f"(No module named '{missing}'): "
        f'pip install "remotion-licensing-integrations[{scheme.partition("+")[0]}]"\n'
    )


def test_names_itself(tmp_path):
    """
    The `repr` tells the stores apart.
    """
    assert [f"SQLiteOutbox('{tmp_path}/a.sqlite3')", "MemoryOutbox()"] == [
        repr(SQLiteOutbox("a.sqlite3")),
        repr(MemoryOutbox()),
    ]
