"""
What every test of the Django part gets: Django with the test project's settings, and a recorder of its own.
"""

import pytest

from tests._django import set_up

pytest.importorskip("pytest_django")
set_up()

from django.apps import apps  # noqa: E402 - Django must be set up first
from django.test import AsyncClient, Client  # noqa: E402 - Django must be set up first

from remotion_licensing_integrations.django.recorder import get_recorder  # noqa: E402 - Django must be set up first


@pytest.fixture(autouse=True)
def _fresh_recorder(_clean_place):
    apps.get_app_config("remotion_licensing").ready()
    yield
    get_recorder.forget()


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


@pytest.fixture
def async_client():
    return AsyncClient(raise_request_exception=False)
