"""Lines of a stream of bytes as text, in bounded memory, however broken the stream is."""

from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

MAX_ROW_BYTES = 2**24  # 16 MiB; longer is an open quote or no text at all
SKIPPED_AT_ONCE_BYTES = 2**20
BOM = b"\xef\xbb\xbf"


class RowTooLong(Exception):
    """A row, of one line or of several, has more than MAX_ROW_BYTES."""


class Lines:
    """Lines with their ends, grouped into rows by whoever parses them.

    Attributes:
        position: bytes of the stream that were handed out.
        number: lines that were handed out.
        size_bytes: of the row so far.
        problem: why the row's bytes are no text, or None. Such bytes come as lone surrogates.
    """

    def __init__(self, stream: BinaryIO, position: int = 0, number: int = 0) -> None:
        """Read a stream that stands at `position`, behind `number` lines."""
        self.position = position
        self.number = number
        self.size_bytes = 0
        self.problem: str | None = None
        self._stream = stream
        self._row: list[bytes] = []
        self._again: deque[bytes] = deque()

    def begin(self) -> None:
        """Begin a row with the next line."""
        self._row.clear()
        self.size_bytes = 0
        self.problem = None

    def retreat(self) -> None:
        """Give up on the row: hand out again all of its lines but the first."""
        for raw in reversed(self._row[1:]):
            self._again.appendleft(raw)
            self.position -= len(raw)
            self.number -= 1

    def __iter__(self) -> Iterator[str]:
        """Return itself; unlike a generator it goes on after an exception."""
        return self

    def __next__(self) -> str:
        """Return the row's next line.

        Raises:
            RowTooLong: with it the row is too long. A line that is too long alone is skipped to its end.
        """
        raw = self._again.popleft() if self._again else self._stream.readline(MAX_ROW_BYTES + 1)
        if not raw:
            raise StopIteration
        first = self.position == 0
        self._row.append(raw)
        self.position += len(raw)
        self.number += 1
        self.size_bytes += len(raw)
        if self.size_bytes > MAX_ROW_BYTES:
            if len(self._row) == 1:
                self._skip_rest(raw)
            raise RowTooLong(f"longer than {MAX_ROW_BYTES // 2**20} MiB")
        return self._decode(raw.removeprefix(BOM) if first else raw)

    def _skip_rest(self, raw: bytes) -> None:
        while raw and not raw.endswith(b"\n"):
            raw = self._stream.readline(SKIPPED_AT_ONCE_BYTES)
            self.position += len(raw)

    def _decode(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if self.problem is None:
                self.problem = f"not UTF-8: {error.reason} at byte {error.start}"
            return raw.decode("utf-8", "surrogateescape")
