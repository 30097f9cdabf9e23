"""
The URL that names a store.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import remotion_licensing_integrations
import remotion_licensing_integrations.outbox as outbox_package
from remotion_licensing_integrations.errors import ConfigurationError, OutboxError
from remotion_licensing_integrations.outbox import MemoryOutbox, ServerOutbox, SQLiteOutbox, open_outbox
from tests._environment import clean_environment
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


def test_file_on_a_drive(tmp_path):
    """
    Three slashes and a drive name an absolute path of Windows; elsewhere, where there are no drives, a relative one.
    """
    assert open_outbox("sqlite:///C:/data/usage.sqlite3").path == Path("C:/data/usage.sqlite3").absolute()


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
    with pytest.raises(ConfigurationError, match="is not a supported outbox URL; expected"):
        open_outbox(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:secret@host/db",
        "mssql+pyodbc://user:secret@host/db",
        "mysql+mysqldb://user:secret@host/db",
    ],
)
def test_password_is_hidden(url):
    """
    The message of a refusal does not tell the password.
    """
    with pytest.raises(ConfigurationError) as caught:
        open_outbox(url)

    assert "secret" not in str(caught.value)


SCHEMES = {
    **dict.fromkeys(["postgresql+psycopg", "postgresql", "postgres"], "sslmode=require"),
    **dict.fromkeys(["mysql+pymysql", "mysql", "mariadb+pymysql", "mariadb"], "ssl_disabled=true"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_server(scheme):
    """
    A server is named by its kind, with or without its driver; the password is never shown.
    """
    outbox = open_outbox(f"{scheme}://user:secret@host:1234/db?password=secret&{SCHEMES[scheme]}")

    assert repr(outbox) == f"ServerOutbox('{scheme}://user:***@host:1234/db?password=***&{SCHEMES[scheme]}')"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://user:my@secret@host/db", "percent-encode special characters in the password"),
        ("mysql://user:my@secret@host/db", "percent-encode special characters in the password"),
        ("mysql://user:my/secret@host/db", "percent-encode special characters in the password"),
        ("mysql://user:1#secret@host/db", "percent-encode special characters in the password"),
        ("mysql://user:secret@[host/db", "Invalid IPv6 URL"),
        ("postgresql://user:secret@host:port/db", "the port is not a number"),
        ("postgresql://user:secret@host/db?kind=1", 'invalid URI query parameter: "kind"'),
        ("postgresql://user:secret@host/db?prepare_threshold=soon", "soon"),
        ("mysql://user:secret@host:port/db", "Port could not be cast to integer"),
        ("mysql://user:secret@host/db?kind=1", "PyMySQL has no option 'kind'"),
        ("mysql://user@host/db?passwd=secret&connect_timeout=soon", "soon"),
        ("mysql://user@host/db?passwd=secret&ssl_disabled=perhaps", "perhaps"),
    ],
)
def test_unusable_url(url, reason):
    """
    What is wrong with the URL of a server is said at start-up, without the password.
    """
    with pytest.raises(ConfigurationError) as caught:
        open_outbox(url)

    assert "cannot be used" in str(caught.value)
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_server():
    """
    A server store takes the URL of a server only.
    """
    with pytest.raises(ConfigurationError, match="is not a supported outbox URL; expected"):
        ServerOutbox("sqlite:///usage.sqlite3")


def test_option_that_the_driver_refuses():
    """
    What is found out about an option by connecting only is an error of the outbox.
    """
    with pytest.raises(OutboxError, match="No such file"):
        open_outbox("mysql://user@127.0.0.1:9/db?ssl_ca=x").open()


@pytest.mark.parametrize(
    ("scheme", "missing"),
    [("postgresql", "psycopg"), ("mysql", "pymysql"), ("postgresql+psycopg", "psycopg"), ("mysql+pymysql", "pymysql")],
)
def test_missing_package(scheme, missing):
    """
    Where the driver is not installed, the error at start-up says what to install.
    """
    start = f"from {PACKAGE} import Settings, UsageRecorder; UsageRecorder(Settings(outbox='{scheme}://u:secret@h/d'))"
    # Without the packages that are installed here.
    command = [sys.executable, "-S", "-c", start]
    ended = subprocess.run(
        command, env=clean_environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.endswith(
        f"ConfigurationError: outbox: '{scheme}://u:***@h/d' needs a package that is not installed "
        f"(No module named '{missing}'): "
        f'pip install "remotion-licensing-integrations[{scheme.partition("+")[0]}]"\n'
    )


def test_missing_driver(monkeypatch):
    """
    The error is the same in a process that has every other package.
    """
    monkeypatch.setitem(sys.modules, f"{PACKAGE}.outbox.drivers.postgresql", None)

    with pytest.raises(ConfigurationError, match=r"remotion-licensing-integrations\[postgresql\]"):
        open_outbox("postgresql://u@h/d")


def test_no_such_name():
    """
    What the package does not have is an error as everywhere.
    """
    with pytest.raises(AttributeError, match="no attribute 'RedisOutbox'"):
        outbox_package.RedisOutbox  # noqa: B018 - it raises


def test_names_itself(tmp_path):
    """
    The `repr` tells the stores apart.
    """
    assert [f"SQLiteOutbox('{tmp_path.as_posix()}/a.sqlite3')", "MemoryOutbox()"] == [
        repr(SQLiteOutbox("a.sqlite3")),
        repr(MemoryOutbox()),
    ]
