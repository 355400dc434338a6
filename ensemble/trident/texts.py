"""Texts of the command line or of stdin."""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice

from trident.errors import TridentError

STDIN = "-"
CHUNK = 256  # texts read from stdin before they are answered


def read_texts(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts of the command line at once, or stdin's lines in chunks.

    Raises:
        TridentError: a line is not UTF-8.
    """
    if list(texts) != [STDIN]:
        yield list(texts)
        return
    lines = enumerate(sys.stdin.buffer, start=1)
    while chunk := [_decode(number, line) for number, line in islice(lines, CHUNK)]:
        yield chunk


def _decode(number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise TridentError(f"line {number} of stdin is not UTF-8: {error.reason} at byte {error.start}") from None
