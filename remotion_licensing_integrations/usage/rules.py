"""
Rules that name endpoints by method and path, for code that cannot be decorated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ..errors import ConfigurationError
from ..points import Event
from .options import UsageOptions

_RULE: Final = re.compile(r"(?P<method>[A-Z]+) (?P<path>/\S*)")
_PARAMETER: Final = re.compile(r"\{[^{}/]+\}")


class EndpointRules:
    """
    Rules like `{"POST /videos/{id}/convert": "cloud-render"}`; `{…}` stands for one path segment.

    Attributes:
        events: The event of each rule, as they were passed.

    Raises:
        ConfigurationError: A rule is not a method, a space and a path, or its event is unknown.
    """

    def __init__(self, rules: Mapping[str, Event]) -> None:
        self.events: dict[str, Event] = dict(rules)
        self._rules = [(*_parse(rule), UsageOptions(event)) for rule, event in rules.items()]

    def match(self, method: str, *paths: str) -> UsageOptions | None:
        """
        Return the options of the first rule for *method* and one of *paths*.
        """
        for wanted, pattern, options in self._rules:
            if wanted == method and any(map(pattern.fullmatch, paths)):
                return options
        return None


def _parse(rule: object) -> tuple[str, re.Pattern[str]]:
    match = _RULE.fullmatch(rule) if isinstance(rule, str) else None
    if match is None:
        msg = f'endpoints: {rule!r} is not a rule like "POST /convert"'
        raise ConfigurationError(msg)
    first, *rest = map(re.escape, _PARAMETER.split(match["path"]))
    # The first place of a literal is as good as any later one, because the next parameter may begin earlier. So no
    # place is tried again. Fault: with `/{a}.{b}.{c}.zip`, one request with a long path of dots would hold the process
    # for hours (tests/usage/test_rules.py::test_path_that_nearly_matches_in_many_ways).
    between = "".join(f"(?>[^/]+?{literal})" for literal in rest[:-1])
    return match["method"], re.compile(first + between + "".join(f"[^/]+{literal}" for literal in rest[-1:]))
