"""
The app config: a fixed label, and the system checks.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from ..recording import provide_default_recorder


class RemotionLicensingConfig(AppConfig):
    """
    The app `remotion_licensing`.
    """

    name: str = "remotion_licensing_integrations.django"
    label: str = "remotion_licensing"
    verbose_name: Any = _("Remotion licensing")
    default_auto_field: str = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """
        Register the system checks and the default recorder; nothing starts here.
        """
        from . import checks  # noqa: F401, PLC0415 - checks register themselves, once the apps are loaded
        from .recorder import get_recorder  # noqa: PLC0415 - models load after the apps

        provide_default_recorder(get_recorder)
