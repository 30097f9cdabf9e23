"""
System checks: each mistake is found, and nothing is said when all is right.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import contextmanager
from io import StringIO

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections
from django.test import override_settings
from django.urls import get_resolver

from remotion_licensing_integrations.django import checks
from remotion_licensing_integrations.django.middleware import UsageMiddleware
from remotion_licensing_integrations.usage import endpoint
from tests._django import add_database

NAME = "remotion_licensing_integrations.django.middleware.UsageMiddleware"


class OwnMiddleware(UsageMiddleware):
    """
    A project's own version of the middleware.
    """


def found(*, databases=(), **options):
    """
    Return the ids of what our checks find; each message has a hint.

    From Django 6.1 on all databases are looked into unless told otherwise.
    """
    messages = run_checks(tags=[checks.TAG], databases=databases, **options)
    assert all(message.hint for message in messages)
    return [message.id.removeprefix("remotion_licensing.") for message in messages]


def given(settings, **values):
    settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, **values}


def test_all_is_right():
    """
    The test project has nothing to complain of.
    """
    assert found() == []


@pytest.mark.parametrize(
    "values", [{"LICENCE_KEY": "x"}, {"TIMEOUT": -1}, {"OUTBOX": "redis://x"}, {"DATABASE": "nowhere"}, {"HOST": "x"}]
)
def test_unusable_settings(settings, values):
    """
    E001: settings that cannot work.
    """
    given(settings, **values)

    assert found() == ["E001"]


def test_settings_are_no_dict(settings):
    """
    E001: the settings are no dict; that is the only complaint.
    """
    settings.REMOTION_LICENSING = "rm_pub_key"

    assert found(include_deployment_checks=True) == ["E001"]


def test_licence_key_is_not_shown(settings):
    """
    An error shows no licence key.
    """
    given(settings, LICENSE_KEY=["rm_pub_secret"])
    [message] = run_checks(tags=[checks.TAG], databases=())

    assert "rm_pub_secret" not in str(message)


@pytest.mark.parametrize(("outbox", "expected"), [(None, ["E002"]), ("memory://", [])])
def test_database_of_another_kind(settings, monkeypatch, outbox, expected):
    """
    E002: the outbox cannot be in the project's database, unless it is elsewhere.
    """
    given(settings, OUTBOX=outbox)
    monkeypatch.setattr(connections["default"], "vendor", "oracle")

    assert found() == expected


@pytest.mark.parametrize(("public", "private", "expected"), [("", "", ["W001"]), ("key", "", []), ("", "key", [])])
def test_no_licence_key(settings, monkeypatch, public, private, expected):
    """
    W001: there is no licence key, neither in the dict nor in the environment.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", public)
    monkeypatch.setenv("REMOTION_PRIVATE_LICENSE_KEY", private)
    settings.REMOTION_LICENSING = {}

    assert found() == expected


@pytest.mark.parametrize(("decorated", "expected"), [(1, ["W002"]), (0, [])])
def test_no_middleware(settings, monkeypatch, decorated, expected):
    """
    W002: views are decorated, but the middleware is missing.
    """
    assert get_resolver().url_patterns  # imported, or the views would be decorated while the check looks
    monkeypatch.setattr(endpoint, "_decorated", decorated)
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "tests.nowhere.Middleware"]

    assert found() == expected


@pytest.mark.parametrize("urls", [None, "tests.nowhere"])
def test_no_views_to_look_at(settings, monkeypatch, urls):
    """
    Without URLs, or with broken ones, which Django reports, the decorators that are known decide.
    """
    monkeypatch.setattr(endpoint, "_decorated", 0)
    settings.MIDDLEWARE, settings.ROOT_URLCONF = [], urls

    assert found() == []


@pytest.mark.parametrize("own", [NAME, f"{__name__}.OwnMiddleware"])
def test_middleware_twice(settings, own):
    """
    W003: the middleware is there twice, or beside a subclass.
    """
    settings.MIDDLEWARE = [own, NAME]

    assert found() == ["W003"]


def test_subclass_of_the_middleware(settings):
    """
    A subclass is as good as the middleware.
    """
    settings.MIDDLEWARE = [f"{__name__}.OwnMiddleware"]

    assert found() == []


@pytest.mark.parametrize(
    ("host", "debug", "expected"),
    [
        ("http://localhost:3000", False, ["W004"]),
        ("http://0.0.0.0:3000", False, ["W004"]),
        ("http://[::1]:3000", False, ["W004"]),
        ("http://localhost:3000", True, []),
        ("https://myapp.com", False, []),
    ],
)
def test_local_host(settings, host, debug, expected):
    """
    W004: a fixed host that makes every point one of development, though DEBUG is off.
    """
    given(settings, HOST=host)
    settings.DEBUG = debug

    assert found() == expected


@contextmanager
def settings_file(tmp_path, text):
    """
    Have a settings module with *text* in it.
    """
    path = tmp_path / "remotion_settings_of_a_test.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    with override_settings(SETTINGS_MODULE=path.stem):
        yield
    del sys.modules[path.stem]


@pytest.mark.parametrize(
    ("text", "deploy", "expected"),
    [
        ('KEY = "rm_pub_test"', True, ["W005"]),
        ('KEY = "rm_pub_test"', False, []),
        ('KEY = os.environ["REMOTION_LICENSE_KEY"]', True, []),
    ],
)
def test_key_in_the_settings_file(tmp_path, text, deploy, expected):
    """
    W005: the licence key stands in the settings file, which `check --deploy` finds.
    """
    with settings_file(tmp_path, text):
        assert found(include_deployment_checks=deploy) == expected


def test_key_from_elsewhere(settings):
    """
    A key that is not in the dict stands in no settings file.
    """
    settings.REMOTION_LICENSING = {"HOST": "https://myapp.com"}

    assert found(include_deployment_checks=True) == ["W001"]


@pytest.fixture
def unmigrated(tmp_path, settings, django_db_blocker, django_db_setup):
    """
    A database without our table, chosen by the settings.
    """
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "empty.sqlite3"}
    with django_db_blocker.unblock(), add_database("unmigrated", entry, migrated=False) as alias:
        given(settings, DATABASE=alias)
        yield alias
        del settings.REMOTION_LICENSING


def test_missing_table(unmigrated):
    """
    W006: the table is missing in the database that was asked about.
    """
    assert found(databases=[unmigrated]) == ["W006"]


def test_other_databases(unmigrated):
    """
    A database that was not asked about, or without points, is not looked into.
    """
    assert [found(), found(databases=["default"])] == [[], []]


def test_migrate_makes_the_table(unmigrated, monkeypatch):
    """
    `migrate`, which is about to make the table, says nothing of it.
    """
    monkeypatch.setattr(sys, "argv", ["manage.py", "migrate"])

    assert found(databases=[unmigrated]) == []


def test_outbox_without_a_table(unmigrated, settings):
    """
    An outbox elsewhere needs no table.
    """
    given(settings, OUTBOX="memory://")

    assert found(databases=[unmigrated]) == []


def test_unreachable_database(unmigrated, monkeypatch):
    """
    A database that cannot be reached is for Django to report.
    """
    connections[unmigrated].close()
    monkeypatch.setitem(connections[unmigrated].settings_dict, "NAME", "/nowhere/at/all.sqlite3")

    assert found(databases=[unmigrated]) == []


@pytest.mark.django_db
def test_table_is_there():
    """
    With the table there is nothing to say.
    """
    assert found(databases=["default"]) == []


@pytest.mark.django_db
def test_checks_are_bound(settings):
    """
    `manage.py check` runs them.
    """
    given(settings, TIMEOUT="soon")

    with pytest.raises(SystemCheckError, match=r"remotion_licensing\.E001.*'soon'"):
        call_command("check", stdout=StringIO(), stderr=StringIO())
