"""
The app config: a fixed label, and the system checks.
"""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RemotionLicensingConfig(AppConfig):
    """
    The app `remotion_licensing`.
    """

    name = "remotion_licensing_integrations.django"
    label = "remotion_licensing"
    verbose_name = _("Remotion licensing")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """
        Register the system checks; nothing else starts here.
        """
        from . import checks  # noqa: F401, PLC0415 - checks register themselves, once the apps are loaded
