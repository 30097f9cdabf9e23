"""
Sentry's middleware, with transactions that go nowhere.
"""

from __future__ import annotations

from typing import Any

import sentry_sdk
from sentry_sdk.transport import Transport

from . import Count, View

names: list[str] = []


class Nowhere(Transport):
    """
    Notes the names of the transactions.
    """

    def capture_envelope(self, envelope: Any) -> None:
        """
        Take *envelope*.
        """
        transaction = envelope.get_transaction_event()
        if transaction is not None:
            names.append(transaction["transaction"])


def add(convert: View, *, sample_rate: float) -> tuple[View, Count]:
    """
    Start Sentry.
    """
    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Nowhere, traces_sample_rate=sample_rate)
    return convert, lambda: names.count("/convert")
