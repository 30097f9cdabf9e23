"""
The package's one logger. Every record has an `action`; a test checks that `docs/reference/log.md` lists them all.
"""

from __future__ import annotations

import logging
from typing import Final

logger: Final = logging.getLogger("remotion_licensing_integrations")
