"""
The log line of last resort: a usage point that could not be stored, written so that it can be read back.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Final

from .point import UsagePoint

logger: Final = logging.getLogger("remotion_licensing_integrations")

#: What precedes the JSON of a point.
LOG_MARK: Final = "remotion-usage-point"

# A log that is JSON itself holds the point as part of a string, with every quote escaped.
_POINT_LINE: Final = re.compile(
    re.escape(LOG_MARK) + r"""(?:\ (?P<escaped>\{\\"(?:[^"\\\n]|\\.)*) | \ (?P<plain>\{.*) | \s*$)""", re.VERBOSE
)
_DECODER: Final = json.JSONDecoder()


def log_point(point: UsagePoint) -> None:
    """
    Write *point* as the log line that `remotion-licensing import` reads.
    """
    logger.critical("%s %s", LOG_MARK, json.dumps(point.to_json()), extra={"action": "point_logged"})


def read_point(line: str) -> UsagePoint | None:
    """
    Return the point of a log line, whatever the log has put around it; `None` when the line has none.

    Raises:
        ValueError: The line is cut or damaged.
    """
    found = _POINT_LINE.search(line)
    if found is None:
        return None
    try:
        text = found["plain"] or json.loads(f'"{found["escaped"] or ""}"')
        values, _ = _DECODER.raw_decode(text)
    except RecursionError as error:
        msg = "nested too deep"
        raise ValueError(msg) from error
    return UsagePoint.from_json(values)
