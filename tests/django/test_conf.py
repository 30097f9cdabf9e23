"""
Where the settings of a Django project come from.
"""

from __future__ import annotations

import pytest
from django.test import override_settings

from remotion_licensing_integrations.django import recorder as recorder_module
from remotion_licensing_integrations.django.conf import OWN_DATABASE, database_alias, read_settings
from remotion_licensing_integrations.django.outbox import DjangoOutbox
from remotion_licensing_integrations.django.recorder import get_recorder
from remotion_licensing_integrations.errors import ConfigurationError
from remotion_licensing_integrations.outbox import MemoryOutbox


def given(**values):
    return override_settings(REMOTION_LICENSING=values)


def test_dict_before_environment(monkeypatch):
    """
    A key of the dict wins over its environment variable.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", "rm_pub_environment")
    with given(LICENSE_KEY="rm_pub_dict"):
        assert read_settings().license_key == "rm_pub_dict"


def test_environment_before_default(monkeypatch):
    """
    What the dict leaves out, or leaves open with `None`, is taken from the environment.
    """
    monkeypatch.setenv("REMOTION_LICENSE_KEY", "rm_pub_environment")
    with given(LICENSE_KEY=None):
        assert read_settings().license_key == "rm_pub_environment"


def test_no_dict(settings):
    """
    A project without the dict has the defaults.
    """
    del settings.REMOTION_LICENSING

    assert (read_settings().license_key, read_settings().outbox) == (None, OWN_DATABASE)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///remotion-usage.sqlite3"])
@pytest.mark.parametrize("place", ["dict", "environment"])
def test_outbox_elsewhere(monkeypatch, url, place):
    """
    The points are in the project's database unless another outbox is named, be it the default of other frameworks.
    """
    if place == "environment":
        monkeypatch.setenv("REMOTION_LICENSING_OUTBOX", url)
    with given(**({"OUTBOX": url} if place == "dict" else {})):
        assert read_settings().outbox == url


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"LICENCE_KEY": "rm_pub_x"}, "REMOTION_LICENSING: unknown key LICENCE_KEY; the keys are ALLOWED_HOSTS, "),
        ({"license_key": "rm_pub_x"}, "unknown key license_key"),
        ({"TIMEOUT": "soon"}, "timeout: .*'soon'"),
        (["LICENSE_KEY"], "REMOTION_LICENSING: expected a dict, got list"),
    ],
)
def test_unusable(values, message):
    """
    A mistake is an error that names the field and the value.
    """
    with override_settings(REMOTION_LICENSING=values), pytest.raises(ConfigurationError, match=message):
        read_settings()


def test_unknown_database():
    """
    `DATABASE` has to be one of the project's.
    """
    with given(DATABASE="nowhere"), pytest.raises(ConfigurationError, match="'nowhere' is not one of DATABASES"):
        database_alias()


def test_recorder_is_made_once():
    """
    A process has one recorder.
    """
    assert get_recorder() is get_recorder()


def test_changed_settings():
    """
    `override_settings` leads to a recorder with the changed settings, and back.
    """
    with given(LICENSE_KEY="rm_pub_one", OUTBOX="memory://"):
        inside = get_recorder()

    assert (inside.settings.license_key, type(inside.outbox)) == ("rm_pub_one", MemoryOutbox)
    assert get_recorder().settings.license_key == "rm_pub_test"


def test_other_settings_keep_the_recorder():
    """
    A change of other settings changes nothing here.
    """
    before = get_recorder()
    with override_settings(DEBUG=True):
        assert get_recorder() is before


def test_recorder_of_a_test_run():
    """
    Under a test runner the recorder starts no thread, delivers nothing, and has the project's database.
    """
    recorder = get_recorder()
    recorder.start()

    assert (recorder._own_threads(), recorder.deliver(), type(recorder.outbox)) == (None, 0, DjangoOutbox)


def test_recorder_of_production(monkeypatch):
    """
    Elsewhere it is the recorder of every framework.
    """
    monkeypatch.setattr(recorder_module, "is_test_run", lambda: False)

    assert get_recorder()._keeper is None
