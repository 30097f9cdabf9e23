"""
The fingerprint of a licence key, which a usage point keeps in place of the key.

Equal keys have equal fingerprints on every machine, so there is no random salt. A key of Remotion has 48 random
letters and digits: nobody finds it by trying, so one plain hash is enough; its half keeps two keys apart.
"""

from __future__ import annotations

import hashlib
from typing import Final

# Tells our hashes from those that others may make of the same key.
_CONTEXT: Final = b"remotion-licensing-integrations/key-fingerprint:"
_LENGTH: Final = 16  # hexadecimal digits


def make_fingerprint(license_key: str) -> str:
    """
    Return the fingerprint of *license_key*: 16 hexadecimal digits that tell keys apart and do not give them away.
    """
    return hashlib.sha256(_CONTEXT + license_key.encode()).hexdigest()[:_LENGTH]
