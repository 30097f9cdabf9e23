"""
The log line of last resort: a usage point that could not be stored, written so that it can be read back.
"""

from __future__ import annotations

import json
import re
from typing import Final

from .._support.log import logger
from .point import UsagePoint

#: What precedes the JSON of a point.
LOG_MARK: Final = "remotion-usage-point"

# A log that is JSON itself has the point inside a string, with every quote escaped.
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
    Return the point of a log line, with any text around it; `None` when the line has none.

    Raises:
        ValueError: The line is cut or damaged.
    """
    match = _POINT_LINE.search(line)
    if match is None:
        return None
    try:
        text = match["plain"] or json.loads(f'"{match["escaped"] or ""}"')
        values, _ = _DECODER.raw_decode(text)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error
    return UsagePoint.from_json(values)
