"""
The dict `REMOTION_LICENSING`, read when it is used, so that `override_settings` works.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from django import VERSION, get_version
from django.conf import settings
from django.db import connections

from ..errors import ConfigurationError
from ..settings import ENVIRONMENT, Settings, check_dict

NAME: Final = "REMOTION_LICENSING"

#: The default of `OUTBOX`: a table in the project's own database.
OWN_DATABASE: Final = "django://"

#: Keys of the dict that only Django has.
DJANGO_KEYS: Final = frozenset({"DATABASE", "SENDER"})

#: The one value of `SENDER`.
TASKS: Final = "django.tasks"


def read_dict() -> Mapping[str, Any]:
    """
    Return the dict of the project's settings, empty when there is none.

    Raises:
        ConfigurationError: It is not a dict, or a key is not a setting.
    """
    values = getattr(settings, NAME, {})
    return check_dict(NAME, values, more=DJANGO_KEYS)


def read_settings() -> Settings:
    """
    Return the settings of the project: the dict over the environment over the defaults.

    Raises:
        ConfigurationError: The dict or a value is unusable.
    """
    values = {key.lower(): value for key, value in read_dict().items() if key not in DJANGO_KEYS}
    if values.get("outbox") is None and not os.environ.get(ENVIRONMENT["outbox"]):
        values["outbox"] = OWN_DATABASE
    if sends_by_tasks():
        values["delivery"] = _external(values.get("delivery") or os.environ.get(ENVIRONMENT["delivery"]))
    return Settings.from_env(**values)


def sends_by_tasks() -> bool:
    """
    Whether tasks of Django deliver, because `SENDER` says so.

    Raises:
        ConfigurationError: `SENDER` is something else, or Django has no tasks.
    """
    sender = read_dict().get("SENDER")
    if sender not in (None, TASKS):
        msg = f"{NAME}: SENDER: expected {TASKS!r} or None, got {sender!r:.80}"
        raise ConfigurationError(msg)
    if sender and VERSION < (6, 0):
        msg = f"{NAME}: SENDER: {TASKS!r} needs Django 6.0 or newer, this is Django {get_version()}"
        raise ConfigurationError(msg)
    return sender is not None


def _external(delivery: str | None) -> str:
    if delivery not in (None, "", "external"):
        msg = f"{NAME}: SENDER: with {TASKS!r} tasks deliver; leave DELIVERY out, it cannot be {delivery!r:.80}"
        raise ConfigurationError(msg)
    return "external"


def database_alias() -> str | None:
    """
    Return the alias of the database that `DATABASE` names; `None` leaves it to the routers.

    Raises:
        ConfigurationError: There is no such database.
    """
    alias: str | None = read_dict().get("DATABASE")
    if alias is not None and alias not in list(connections):
        msg = f"{NAME}: DATABASE: {alias!r} is not one of DATABASES: {', '.join(connections)}"
        raise ConfigurationError(msg)
    return alias
