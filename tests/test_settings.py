"""
Every setting: default, environment, precedence, and what is said of a bad value.
"""

from __future__ import annotations

import copy
import pickle
import re
import traceback
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotion_licensing_integrations._support.masking import mask_url
from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.outbox import MAX_DELAY
from remotion_licensing_integrations.settings import ENVIRONMENT, MAX_SECONDS, LicenseKeys, Settings, SettingsFields

APP = "https://myapp.com"
KEY = "rm_pub_4bZ0kQ"
PRIVATE_KEY = "rm_sec_9XyZ7w"

#: Setting, variable, default: the table of the design, section 3.4.
TABLE = [
    ("license_key", "REMOTION_LICENSE_KEY", None),
    ("license_key_file", "REMOTION_LICENSE_KEY_FILE", None),
    ("private_license_key", "REMOTION_PRIVATE_LICENSE_KEY", None),
    ("private_license_key_file", "REMOTION_PRIVATE_LICENSE_KEY_FILE", None),
    ("host", "REMOTION_LICENSING_HOST", None),
    ("allowed_hosts", "REMOTION_LICENSING_ALLOWED_HOSTS", None),
    ("is_production", "REMOTION_LICENSING_IS_PRODUCTION", True),
    ("base_url", "REMOTION_LICENSING_BASE_URL", "https://www.remotion.pro"),
    ("outbox", "REMOTION_LICENSING_OUTBOX", "sqlite:///remotion-usage.sqlite3"),
    ("spill", "REMOTION_LICENSING_SPILL", "sqlite:///remotion-usage-spill.sqlite3"),
    ("delivery", "REMOTION_LICENSING_DELIVERY", "worker"),
    ("report_failures", "REMOTION_LICENSING_REPORT_FAILURES", True),
    ("report_aborted", "REMOTION_LICENSING_REPORT_ABORTED", False),
    ("idempotency", "REMOTION_LICENSING_IDEMPOTENCY", "body"),
    ("timeout", "REMOTION_LICENSING_TIMEOUT", 10),
    ("shutdown_timeout", "REMOTION_LICENSING_SHUTDOWN_TIMEOUT", 5),
    ("lease", "REMOTION_LICENSING_LEASE", 60),
    ("concurrency", "REMOTION_LICENSING_CONCURRENCY", 8),
    ("max_lag", "REMOTION_LICENSING_MAX_LAG", 300.0),
    ("retention", "REMOTION_LICENSING_RETENTION", 30),
]
VARIABLES = {name: variable for name, variable, _ in TABLE}

#: Setting, text in the environment, the value it means, another value as a keyword.
GIVEN = [
    ("license_key", KEY, KEY, "free-license"),
    ("private_license_key", PRIVATE_KEY, PRIVATE_KEY, KEY),
    ("host", APP, APP, "http://localhost:3000"),
    ("allowed_hosts", f"{APP}, https://*.a.example ,", (APP, "https://*.a.example"), ()),
    ("is_production", "false", False, True),
    ("base_url", "http://localhost:9000/", "http://localhost:9000", "https://a.example"),
    ("outbox", "memory://", "memory://", "sqlite:///a"),
    ("delivery", "off", "off", "inline"),
    ("report_failures", "0", False, True),
    ("report_aborted", "Yes", True, False),
    ("idempotency", "off", "off", "header"),
    ("timeout", "2.5", 2.5, 20),
    ("shutdown_timeout", "1e1", 10.0, 3),
    ("lease", "90", 90, 45.5),
    ("concurrency", "64", 64, 1),
    ("retention", "0.5", 0.5, 90),
]


def test_table() -> None:
    """
    The settings, their variables and defaults are those of the design, in this order.
    """
    settings = Settings()

    assert [(field.name, ENVIRONMENT[field.name], getattr(settings, field.name)) for field in fields(Settings)] == TABLE


def test_keywords_for_the_type_checker() -> None:
    """
    The type checker knows all settings and no others.
    """
    assert list(SettingsFields.__annotations__) == [name for name, _, _ in TABLE]


@pytest.mark.parametrize(("name", "text", "value", "_"), GIVEN)
def test_environment(name: str, text: str, value: object, _: object) -> None:
    """
    A variable is read into its setting and into no other.
    """
    assert Settings.from_env({VARIABLES[name]: text}) == Settings(**{name: value})


@pytest.mark.parametrize(("name", "text", "_", "value"), GIVEN)
def test_keyword_wins(name: str, text: str, _: object, value: Any) -> None:
    """
    A keyword wins over its variable.
    """
    assert getattr(Settings.from_env({VARIABLES[name]: text}, **{name: value}), name) == value


@pytest.mark.parametrize(("name", "text", "value", "_"), GIVEN)
def test_keyword_none(name: str, text: str, value: object, _: object) -> None:
    """
    A keyword that is `None` leaves the word to the variable.
    """
    assert getattr(Settings.from_env({VARIABLES[name]: text}, **{name: None}), name) == value


@pytest.mark.parametrize("name", VARIABLES)
def test_empty_variable(name: str) -> None:
    """
    An empty variable counts as not given.
    """
    assert Settings.from_env({VARIABLES[name]: ""}) == Settings()


def test_process_environment(monkeypatch) -> None:
    """
    Without a mapping the process's environment is read, at the call.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", KEY)

    assert Settings.from_env().license_key == KEY


def test_constructor_reads_no_environment(monkeypatch) -> None:
    """
    Settings built directly are what they were told, and nothing else.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", KEY)

    assert Settings().license_key is None


def test_empty_key_keyword_switches_off() -> None:
    """
    An empty key as a keyword means no key, whatever the environment has.
    """
    assert Settings.from_env({"REMOTION_LICENSE_KEY": KEY}, license_key="").license_key is None


NO_SECONDS = [0, -1, float("nan"), float("inf"), "10", True, [], 7201]
NO_FLAG = ["yes", 1, 0, "", []]
NO_KEY = ["a b", "a\n", "k\u00e9y", 5, b"rm_pub", ["x"]]
NO_ORIGIN = ["myapp.com", "https://myapp.com/", "null", "*", "", "https://b\u00fccher.example", 5]
BAD: list[tuple[str, object]] = [
    *((name, value) for name in ("license_key", "private_license_key") for value in NO_KEY),
    *(("host", value) for value in [*NO_ORIGIN, "https://*.myapp.com"]),
    *(("allowed_hosts", value) for value in [APP, 5, b"x"]),
    *((name, value) for name in ("is_production", "report_failures", "report_aborted") for value in NO_FLAG),
    *(("base_url", value) for value in ["", "www.remotion.pro", "ftp://a.example", "http://", "http://a:0", 5, None]),
    *(("base_url", value) for value in ["http://a:99999", "http://a:x", "http://a?b", "http://a#b", "http://a b"]),
    *(("base_url", value) for value in ["http://a..b", "http://\u00fc.example", "http://a.example\n", "http://[::1"]),
    *(("base_url", value) for value in ["file:///x", "https:///x", "https://x?", f"https://{'a' * 64}.example"]),
    *(("outbox", value) for value in ["", "file.sqlite3", "sqlite:", "://x", 5, None]),
    *(("delivery", value) for value in ["", "Worker", "thread", 5, None, []]),
    *(("idempotency", value) for value in ["", "Body", "none", 5, None, []]),
    *((name, value) for name in ("timeout", "shutdown_timeout", "lease") for value in NO_SECONDS),
    *(("retention", value) for value in NO_SECONDS[:-1]),
    *(("concurrency", value) for value in [0, -1, 65, 1.0, "8", True, None]),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=repr)
def test_bad_value(name: str, value: Any) -> None:
    """
    A bad value is refused with a message that begins with its setting and ends with it, unless it may be a secret.
    """
    shown = "***" if "key" in name else repr(value)
    with pytest.raises(ConfigurationError, match=f"^{name}: .*{re.escape(shown)}"):
        Settings(**{name: value})


@pytest.mark.parametrize("value", NO_ORIGIN)
def test_bad_allowed_host(value: object) -> None:
    """
    One bad entry among the allowed hosts is named.
    """
    with pytest.raises(ConfigurationError, match=f"^allowed_hosts: .*{re.escape(repr(value))}"):
        Settings(allowed_hosts=[APP, value])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("license_key", "a b"),
        ("host", "myapp.com"),
        ("allowed_hosts", f"{APP},myapp.com"),
        ("is_production", "maybe"),
        ("base_url", "remotion.pro"),
        ("outbox", "file"),
        ("delivery", "Worker"),
        ("idempotency", "maybe"),
        ("timeout", "10s"),
        ("shutdown_timeout", "0"),
        ("lease", "nan"),
        ("concurrency", "8.0"),
        ("retention", "-1"),
    ],
)
def test_bad_variable(name: str, text: str) -> None:
    """
    A bad variable is refused with a message that names it and its setting.
    """
    with pytest.raises(ConfigurationError, match=rf"^{VARIABLES[name]} \({name}\): "):
        Settings.from_env({VARIABLES[name]: text})


def test_unknown_keyword() -> None:
    """
    An unknown keyword is a `TypeError`, from the environment one that lists the settings.
    """
    with pytest.raises(TypeError, match="lisence_key"):
        Settings(lisence_key=KEY)
    with pytest.raises(TypeError, match=r"unknown setting lisence_key; the settings are license_key, "):
        Settings.from_env({}, lisence_key=KEY)


def test_unknown_variable_is_ignored() -> None:
    """
    A variable of ours that is no setting may belong to another version.
    """
    assert Settings.from_env({"REMOTION_LICENSING_COLOUR": "red"}) == Settings()


@pytest.mark.parametrize(("timeout", "lease"), [(10, 29.9), (20.5, 61), (2401, 7200)])
def test_lease_too_short(timeout: float, lease: float) -> None:
    """
    A lease must outlast three timeouts; the message has both numbers.
    """
    with pytest.raises(ConfigurationError, match=rf"^lease: {lease} s .* {timeout} s needs {3 * timeout:g} s$"):
        Settings(timeout=timeout, lease=lease)


@pytest.mark.parametrize(("timeout", "lease"), [(10, 30), (20, 60.0), (2400, 7200)])
def test_lease_long_enough(timeout: float, lease: float) -> None:
    """
    Three timeouts are enough.
    """
    assert Settings(timeout=timeout, lease=lease).lease == lease


def test_longest_lease_is_a_lease() -> None:
    """
    No outbox takes a point under the longest lease for one that the clock has left behind.
    """
    assert MAX_SECONDS <= MAX_DELAY


@pytest.mark.parametrize(("key", "wire"), [("free-license", None), (KEY, KEY), (None, None)])
def test_wire_key(key: str | None, wire: str | None) -> None:
    """
    The word for the free licence goes out as null.
    """
    assert LicenseKeys(Settings(license_key=key)).wire_key == wire


def test_frozen() -> None:
    """
    Settings do not change.
    """
    with pytest.raises(FrozenInstanceError):
        Settings().timeout = 5


def test_copies_are_equal() -> None:
    """
    Settings survive copying and pickling, for task queues.
    """
    settings = Settings(license_key=KEY, allowed_hosts=[APP])

    assert settings == copy.deepcopy(settings) == pickle.loads(pickle.dumps(settings))


SECRET = Settings(license_key=KEY, private_license_key=PRIVATE_KEY, outbox="postgresql+psycopg://me:hunter2@db/usage")


SHOWN = {"repr": repr, "str": str, "format": "{}".format, "format repr": "{!r:.2000}".format, "percent": "%s".__mod__}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_secrets_are_masked(show: Any) -> None:
    """
    Neither key nor password is shown, whichever way settings are printed.
    """
    shown = show(SECRET)

    assert not any(secret in shown for secret in (KEY, PRIVATE_KEY, "hunter2"))


def test_masked_repr_tells_what_is_set() -> None:
    """
    The printed settings tell a key that is there from one that is not.
    """
    assert repr(SECRET).startswith("Settings(license_key='***', license_key_file=None, private_license_key='***', ")
    assert repr(Settings()).startswith("Settings(license_key=None, ")


@pytest.mark.parametrize("name", ["license_key", "private_license_key"])
@pytest.mark.parametrize("from_env", [True, False])
def test_bad_key_is_not_in_the_traceback(name: str, *, from_env: bool) -> None:
    """
    A refused key is in no line of the traceback.
    """
    bad = f"{KEY} "
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({VARIABLES[name]: bad}) if from_env else Settings(**{name: bad})

    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", ["base_url", "outbox"])
@pytest.mark.parametrize(
    "url", ["hunter2@a", "x:hunter2@a", "me:hunter2@a b", "me:hun@hunter2@a", "a?password=hunter2"]
)
def test_bad_url_hides_its_password(name: str, url: str) -> None:
    """
    A refused URL is shown without what may be a password.
    """
    with pytest.raises(ConfigurationError) as caught:
        Settings(**{name: url})

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://me:pw@db:5432/usage", "postgresql://me:***@db:5432/usage"),
        ("postgresql://me:p/w@x@db/usage?sslmode=require", "postgresql://me:***@db/usage?sslmode=require"),
        ("postgresql://token@db/usage", "postgresql://***@db/usage"),
        ("postgresql:///usage?user=me&password=pw&x=1", "postgresql:///usage?user=me&password=***&x=1"),
        ("mysql:///usage?user=me&passwd=pw", "mysql:///usage?user=me&passwd=***"),
        ("mysql:///usage?a?password=pw&b=c?secret=pw", "mysql:///usage?a?password=***&b=c?secret=***"),
        ("x" * 9_000, "x" * 9_000),
        ("sqlite:////srv/me:x@y.sqlite3", "sqlite:////srv/me:x@y.sqlite3"),
        ("memory://", "memory://"),
    ],
)
def test_mask_url(url: str, masked: str) -> None:
    """
    Passwords are hidden, everything else stays to be recognised.
    """
    assert mask_url(url) == masked


@given(st.sampled_from([name for name, _, _ in TABLE]), st.text(max_size=30))
def test_any_text_in_a_variable(name: str, text: str) -> None:
    """
    No text makes reading the environment fail in another way than with a named error.
    """
    try:
        assert isinstance(Settings.from_env({VARIABLES[name]: text}), Settings)
    except ConfigurationError as error:
        assert name in str(error)  # noqa: PT017 - either outcome is fine


def test_import_reads_no_environment() -> None:
    """
    The module asks for the environment in one place only, the call.
    """
    source = Path(Settings.from_env.__func__.__code__.co_filename).read_text()

    assert source.count("os.environ") == 1


@pytest.mark.parametrize(
    "fields",
    [{"host": "rm_pub_4bZ0kQ"}, {"allowed_hosts": ["rm_sec_4bZ0kQ"]}, {"base_url": "https://x?k=rm_pub_4bZ0kQ"}],
)
def test_licence_key_in_the_wrong_place_is_masked(fields: dict[str, Any]) -> None:
    """
    A licence key given where an origin belongs is not shown in the error.
    """
    with pytest.raises(ConfigurationError) as caught:
        Settings(**fields)

    assert "4bZ0kQ" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "does not hold a licence key; expected one line of ASCII characters without spaces"),
        (b"rm_pub_a\nrm_pub_b", "does not hold a licence key; expected one line of ASCII characters without spaces"),
        (b"\xff\xff", "cannot be read: it is no text"),
    ],
)
def test_bad_key_file(tmp_path, content: bytes | None, problem: str) -> None:
    """
    A file without a key is an error that names variable and path, and shows nothing of what the file holds.
    """
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigurationError) as error:
        Settings.from_env({"REMOTION_LICENSE_KEY_FILE": str(file)})
    assert str(error.value) == f"REMOTION_LICENSE_KEY_FILE (license_key_file): {str(file)!r} {problem}"


def test_key_file(tmp_path) -> None:
    """
    A key file may have the byte order mark and the line break that editors add.
    """
    file = tmp_path / "key"
    file.write_text(f"\ufeff{KEY}\r\n", encoding="utf-8")

    assert LicenseKeys(Settings.from_env({"REMOTION_LICENSE_KEY_FILE": str(file)})).current == KEY


def test_key_and_key_file(tmp_path) -> None:
    """
    Which of two keys is meant cannot be told.
    """
    file = tmp_path / "key"
    file.write_text(KEY)

    with pytest.raises(ConfigurationError, match=r"^license_key_file: license_key is set, too; set one of them$"):
        Settings.from_env({"REMOTION_LICENSE_KEY": KEY, "REMOTION_LICENSE_KEY_FILE": str(file)})


def test_keyword_wins_over_the_variable_of_the_key_file(tmp_path) -> None:
    """
    A key as a keyword wins over the variable of its file, which is not even read; a file wins over the key's variable.
    """
    file = tmp_path / "key"
    environ = {"REMOTION_LICENSE_KEY_FILE": str(file)}
    assert Settings.from_env(environ, license_key=KEY).license_key_file is None

    file.write_text(PRIVATE_KEY)
    settings = Settings.from_env({"REMOTION_LICENSE_KEY": KEY}, license_key_file=str(file))
    assert LicenseKeys(settings).current == PRIVATE_KEY
