"""Where scored rows go: a file that grows, or stdout."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from trident.errors import ScoringError
from trident.scoring.formats import Format
from trident.scoring.rows import Scored


class Sink(Protocol):
    """An output that can be cut back to where it was at a checkpoint.

    Attributes:
        ready: the complete file, once `complete` has been called.
    """

    ready: Path

    def open(self, mark: int) -> None:
        """Begin (mark 0), or go on behind the rows that were there when `sync` returned `mark`."""

    def refuse(self, values: Any) -> str | None:
        """Why a row's values cannot be written, or None."""

    def write(self, rows: Sequence[Scored]) -> None:
        """Append at least one row."""

    def sync(self) -> int:
        """Bring everything to the disk; the mark to go on from."""

    def complete(self) -> None:
        """Make the whole file at `ready`."""

    def close(self) -> None:
        """Leave what is written as it is; may be called at any time."""


class TextSink:
    """Lines of a format in a file. See `Sink`."""

    def __init__(self, part: Path, form: Format) -> None:
        """Write to `part`."""
        self.ready = part
        self.refuse = form.refuse
        self._form = form
        self._file: BinaryIO | None = None

    def open(self, mark: int) -> None:
        """See `Sink.open`; a mark is a number of bytes."""
        self._file = open_at(self.ready, mark)
        if mark == 0:
            self._file.write(self._form.header())

    def write(self, rows: Sequence[Scored]) -> None:
        """See `Sink.write`."""
        self._opened.write(self._form.rows(rows))

    def sync(self) -> int:
        """See `Sink.sync`."""
        return fsync(self._opened)

    def complete(self) -> None:
        """See `Sink.complete`."""
        self._opened.close()

    def close(self) -> None:
        """See `Sink.close`."""
        if self._file is not None:
            self._file.close()

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise RuntimeError("the sink has not been opened")
        return self._file


class StdoutSink:
    """Lines of a format on stdout."""

    def __init__(self, form: Format) -> None:
        """Write the header with the first rows."""
        self.refuse = form.refuse
        self._form = form
        self._next = form.header()

    def write(self, rows: Sequence[Scored]) -> None:
        """Append rows."""
        sys.stdout.buffer.write(self._next + self._form.rows(rows))
        self._next = b""

    def flush(self) -> None:
        """Hand everything to the reader."""
        sys.stdout.buffer.write(self._next)
        self._next = b""
        sys.stdout.buffer.flush()


def open_at(path: Path, mark: int) -> BinaryIO:
    """Open a file to append behind its first `mark` bytes; the others go.

    Raises:
        ScoringError: it is shorter.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    if os.fstat(file.fileno()).st_size < mark:
        file.close()
        raise ScoringError(f"{path} is shorter than the run left it; it cannot go on. Start anew with --overwrite.")
    file.truncate(mark)
    file.seek(mark)
    return file


def fsync(file: BinaryIO) -> int:
    """Bring a file to the disk; its length."""
    file.flush()
    os.fsync(file.fileno())
    return file.tell()
