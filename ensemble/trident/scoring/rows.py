"""What travels between reading, scoring and writing."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from trident_client import Prediction


class Row(NamedTuple):
    """A row that can be scored.

    Attributes:
        line: where it begins, from 1 (Parquet and images: its number).
        end: the input's position behind it (see `Source`).
        lines: lines of the input up to its end.
        item: what is scored: a text, or an image's bytes.
        values: column → value, or an `ArrowRow`; what is written beside the prediction.
        size_bytes: about what its values take in memory.
    """

    line: int
    end: int
    lines: int
    item: str | bytes
    values: Any
    size_bytes: int


class BadRow(NamedTuple):
    """A row that cannot be scored, and why; the other attributes are `Row`'s."""

    line: int
    end: int
    lines: int
    reason: str


class Scored(NamedTuple):
    """The values of a row and what the service says of it."""

    values: Any
    prediction: Prediction


class Source(Protocol):
    """An input that is read once, from its beginning or from a position where a run ended.

    Attributes:
        columns: names of the input's columns, in order.
        input_name: the service's input that takes the items, `text` or `image`.
        total: the last position: bytes, rows or files; None where nobody knows.
        fingerprint: changes with the input's content; None if it cannot be read twice.
    """

    columns: list[str]
    input_name: str

    @property
    def total(self) -> int | None:
        """See above."""

    @property
    def fingerprint(self) -> str | None:
        """See above."""

    def rows(self, position: int, lines: int) -> Iterator[Row | BadRow]:
        """Read what lies behind a position.

        Args:
            position: `end` of the last row that is done, or 0.
            lines: `lines` of that row, or 0.
        """

    def close(self) -> None:
        """Close files."""
