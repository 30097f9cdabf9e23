"""
Makes foreign text safe to show.
"""

from __future__ import annotations

from typing import TextIO


def to_line(text: str) -> str:
    """
    Return *text* as one line in which everything that cannot be printed is written as an escape.

    Fault: a server's answer has a line feed, which begins a line of a log that we did not write, or an escape sequence,
    which a terminal obeys (tests/delivery/test_deliverer.py::test_error_text_that_a_terminal_obeys).
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def to_encodable(text: str, stream: TextIO) -> str:
    """
    Return *text* with escapes in the place of what the encoding of *stream* does not have.

    Fault: a host or a label has such a letter, and the output goes to a file on Windows, whose encoding has 256 letters
    (tests/operations/test_cli.py::test_letters_that_the_output_cannot_have).
    """
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
