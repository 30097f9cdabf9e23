"""
System checks: they find mistakes in the set-up before the first request.

Each check is one function with its own ids; run them with `manage.py check --tag remotion_licensing`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name for it
from django.db import Error as DatabaseError
from django.db import connections
from django.utils.module_loading import import_string

from ..errors import ConfigurationError
from ..outbox import open_outbox
from ..points import is_local
from ..settings import LicenseKeys
from ..usage import count_decorated
from .conf import NAME, OWN_DATABASE, database_alias, read_dict, read_settings, sends_by_tasks
from .enqueuer import load_task

TAG: Final = "remotion_licensing"
_MIDDLEWARE: Final = "remotion_licensing_integrations.django.middleware.UsageMiddleware"


@register(TAG)
def check_settings(**_: Any) -> list[CheckMessage]:
    """
    E001: the dict is unusable. W001: there is no licence key.
    """
    try:
        values = read_settings()
        database_alias()
        if values.outbox != OWN_DATABASE:
            open_outbox(values.outbox)
        if sends_by_tasks():
            load_task()
    except (ConfigurationError, TypeError) as error:
        return [Error(str(error), hint=f"Fix {NAME} in your settings.", id=f"{TAG}.E001")]
    if LicenseKeys(values).current is None:
        hint = f'Set {NAME}["LICENSE_KEY"], REMOTION_LICENSE_KEY or REMOTION_PRIVATE_LICENSE_KEY.'
        return [Warning("There is no licence key: no usage point is recorded.", hint=hint, id=f"{TAG}.W001")]
    return []


@register(TAG)
def check_database(**_: Any) -> list[CheckMessage]:
    """
    E002: this database cannot hold the outbox.
    """
    if _settings_or_default("outbox") != OWN_DATABASE:
        return []
    from .outbox import DjangoOutbox, examine_kind  # noqa: PLC0415 - models load after the apps

    try:
        refusal = examine_kind(DjangoOutbox(using=database_alias()).alias)
    except ConfigurationError:
        return []  # E001 says so
    return [Error(refusal, hint=f"Change {NAME} in your settings.", id=f"{TAG}.E002")] if refusal else []


@register(TAG)
def check_middleware(**_: Any) -> list[CheckMessage]:
    """
    W002: views are decorated, but the middleware is missing. W003: it is installed twice.
    """
    count = sum(map(is_own_middleware, settings.MIDDLEWARE))
    if count > 1:
        hint = "Keep the last one."
        return [Warning("UsageMiddleware is in MIDDLEWARE more than once.", hint=hint, id=f"{TAG}.W003")]
    if not count and _has_decorated_views():
        hint = f'Add "{_MIDDLEWARE}" at the end of MIDDLEWARE.'
        message = "Views are decorated with usage_point, but UsageMiddleware is missing: nothing is recorded."
        return [Warning(message, hint=hint, id=f"{TAG}.W002")]
    return []


def is_own_middleware(path: str) -> bool:
    """
    Whether *path*, of the setting `MIDDLEWARE`, is `UsageMiddleware` or a subclass.
    """
    # By import; Django reports what cannot be imported.
    from .middleware import UsageMiddleware  # noqa: PLC0415 - checks are read before the settings are needed

    try:
        middleware = import_string(path)
    except ImportError:
        return False
    return isinstance(middleware, type) and issubclass(middleware, UsageMiddleware)


def _has_decorated_views() -> bool:
    if getattr(settings, "ROOT_URLCONF", None):
        from django.urls import get_resolver  # noqa: PLC0415 - only when there are URLs to resolve

        try:
            _ = get_resolver().url_patterns  # imports the views
        except Exception:  # noqa: BLE001 - Django's own checks report a broken URL configuration
            return False
    return count_decorated() > 0


@register(TAG)
def check_host(**_: Any) -> list[CheckMessage]:
    """
    W004: a fixed local host while DEBUG is off, so that every point counts as development.
    """
    host = _settings_or_default("host")
    if host is None or settings.DEBUG or not is_local(host):
        return []
    hint = f'Set {NAME}["HOST"] to the origin of your frontend, or leave it out.'
    message = f"The fixed host is {host} while DEBUG is off: no usage point will be billed."
    return [Warning(message, hint=hint, id=f"{TAG}.W004")]


def _settings_or_default(name: str) -> Any:
    try:
        return getattr(read_settings(), name)
    except (ConfigurationError, TypeError):
        return None  # E001 says so


@register(TAG, deploy=True)
def check_key_in_settings(**_: Any) -> list[CheckMessage]:
    """
    W005: the licence key is written in a settings file (`check --deploy`).
    """
    try:
        key = read_dict().get("LICENSE_KEY")
    except ConfigurationError:
        return []
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", None) or "")
    path = getattr(module, "__file__", None)
    if not key or not isinstance(key, str) or path is None:
        return []
    if key not in Path(path).read_text(encoding="utf-8", errors="replace"):
        return []
    hint = 'Read it from the environment: os.environ["REMOTION_LICENSE_KEY"].'
    return [Warning("The licence key is written in the settings file.", hint=hint, id=f"{TAG}.W005")]


@register(TAG, Tags.database)
def check_table(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """
    W006: the outbox's table has not been migrated (`check --database`).
    """
    # `migrate` checks the database before it creates the table.
    if not databases or "migrate" in sys.argv[1:2] or _settings_or_default("outbox") != OWN_DATABASE:
        return []
    from .outbox import DjangoOutbox  # noqa: PLC0415 - models load after the apps

    outbox = DjangoOutbox(using=read_dict().get("DATABASE"))
    if outbox.alias not in databases:
        return []
    try:
        tables = connections[outbox.alias].introspection.table_names()
    except DatabaseError:
        return []  # Django's own checks report it
    if outbox.table in tables:
        return []
    message = f"The table {outbox.table} is missing in database {outbox.alias!r}: points would be kept in memory only."
    return [Warning(message, hint="Run `manage.py migrate`.", id=f"{TAG}.W006")]
