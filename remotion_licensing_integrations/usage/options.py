"""
The arguments of a decorator, block or rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..points import Event, check_event, check_origin


@dataclass(frozen=True, slots=True)
class UsageOptions:
    """
    What an app says of all points of an endpoint, job or block; `None` leaves a value to the settings or the request.

    Raises:
        ConfigurationError: The licensing API does not count the event, or the host is no origin.
    """

    event: Event
    host: str | None = None
    is_still: bool = False
    is_production: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "event", check_event(self.event))
        if self.host is not None:
            check_origin("host", self.host)
