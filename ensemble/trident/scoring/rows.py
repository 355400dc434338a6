"""What travels between reading, scoring and writing."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from trident_client import Prediction

Item = str | bytes | Mapping[str, Any]  # a text, an image's bytes, a record
Answered = Prediction | float  # labels, or the value of a regression


class Row(NamedTuple):
    """A row that can be scored.

    Attributes:
        line: where it begins, from 1 (Parquet and images: its number).
        end: the input's position behind it (see `Source`).
        lines: lines of the input up to its end.
        item: what is scored.
        values: column → value, or an `ArrowRow`, which has `get` too; what is written beside the prediction.
        size_bytes: about what its values take in memory.
    """

    line: int
    end: int
    lines: int
    item: Item
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
    prediction: Answered


class Source(Protocol):
    """An input that is read once, from its beginning or from a position where a run ended.

    Attributes:
        columns: names of the input's columns, in order.
        total: the last position: bytes, rows or files; None where nobody knows.
        fingerprint: changes with the input's content; None if it cannot be read twice.
    """

    columns: list[str]

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
