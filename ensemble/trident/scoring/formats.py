"""A scored row as bytes: CSV, TSV, JSONL."""

import csv
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

from trident_client import Prediction

from trident.errors import ScoringError
from trident.scoring.rows import Scored

DIGITS = 6  # of a score, which is a float32 in [0, 1]
VALUE_DIGITS = 8  # of any other float32
TAB_BREAKERS = ("\t", "\n", "\r")


class Answer(Protocol):
    """The columns that an answer gets.

    Attributes:
        names: of the columns.
        are_numbers: for each of them whether it holds numbers, else strings.
        several: whether they hold lists.
    """

    names: tuple[str, ...]
    are_numbers: tuple[bool, ...]
    several: bool

    def values(self, answered: Any) -> tuple[Any, ...]:
        """A value for each column."""


class LabelAnswer:
    """`label` and `score`, or `labels` and `scores` if several are asked for. See `Answer`."""

    are_numbers: tuple[bool, ...] = (False, True)

    def __init__(self, prefix: str, top_k: int | None) -> None:
        """Name them with a prefix."""
        self.several = (top_k or 1) > 1
        self.names: tuple[str, ...] = tuple(
            f"{prefix}{name}{'s' if self.several else ''}" for name in ("label", "score")
        )

    def values(self, answered: Prediction) -> tuple[Any, ...]:
        """See `Answer.values`; None where no label reached the threshold."""
        scores = [round(score, DIGITS) for score in answered.scores]
        if self.several:
            return list(answered.labels), scores
        return answered.label, scores[0] if scores else None


class ValueAnswer:
    """The `value` of a regression. See `Answer`."""

    are_numbers: tuple[bool, ...] = (True,)
    several = False

    def __init__(self, prefix: str) -> None:
        """Name it with a prefix."""
        self.names: tuple[str, ...] = (f"{prefix}value",)

    def values(self, answered: float) -> tuple[Any, ...]:
        """See `Answer.values`; None for what is no number, as JSON has none."""
        return (float(f"{answered:.{VALUE_DIGITS}g}") if math.isfinite(answered) else None,)


class Format(Protocol):
    """One way to write rows."""

    def header(self) -> bytes:
        """What the file begins with."""

    def refuse(self, values: Any) -> str | None:
        """Why a row cannot be written, or None."""

    def rows(self, rows: Sequence[Scored]) -> bytes:
        """Rows as the file has them."""


class JsonlFormat:
    """The row's own keys and values, then the prediction."""

    def __init__(self, answer: Answer) -> None:
        """Write an object a line."""
        self._answer = answer

    def header(self) -> bytes:
        """See `Format.header`."""
        return b""

    def refuse(self, values: Any) -> str | None:
        """See `Format.refuse`."""
        return taken(self._answer, values)

    def rows(self, rows: Sequence[Scored]) -> bytes:
        """See `Format.rows`."""
        names, answer = self._answer.names, self._answer.values
        lines = [to_json(row.values | dict(zip(names, answer(row.prediction), strict=True))) for row in rows]
        return "".join(f"{line}\n" for line in lines).encode()


class TableFormat(ABC):
    """What CSV and TSV share: a header, and a cell for each column."""

    def __init__(self, columns: Sequence[str], answer: Answer) -> None:
        """Write the input's columns, then the prediction."""
        self._columns = tuple(columns)
        self._known = frozenset(columns)
        self._answer = answer

    def header(self) -> bytes:
        """See `Format.header`."""
        return self._lines([[*self._columns, *self._answer.names]])

    def refuse(self, values: Any) -> str | None:
        """See `Format.refuse`."""
        return unknown(self._known, values)

    def rows(self, rows: Sequence[Scored]) -> bytes:
        """See `Format.rows`."""
        return self._lines(
            [[*cells(map(row.values.get, self._columns)), *cells(self._answer.values(row.prediction))] for row in rows]
        )

    @abstractmethod
    def _lines(self, rows: Sequence[Sequence[str]]) -> bytes:
        """Cells as the file has them."""


class CsvFormat(TableFormat):
    """Quoted where it must be; lines end in a line feed."""

    def _lines(self, rows: Sequence[Sequence[str]]) -> bytes:
        out = _LineFeeds()
        csv.writer(out).writerows(rows)
        return "".join(out.lines).encode()


class TsvFormat(TableFormat):
    """Without quoting, so that no value can hold a tab or the end of a line."""

    def header(self) -> bytes:
        """See `Format.header`."""
        if reason := _breaks(self._columns):
            raise ScoringError(f"a column's name has {reason}")
        return super().header()

    def refuse(self, values: Any) -> str | None:
        """See `Format.refuse`."""
        return super().refuse(values) or _breaks(cells(values.values()))

    def _lines(self, rows: Sequence[Sequence[str]]) -> bytes:
        return "".join("\t".join(row) + "\n" for row in rows).encode()


class _LineFeeds:
    """A file for the csv module, which quotes a lone carriage return only if lines end with one."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line[:-2] + "\n")


def cells(values: Any) -> list[str]:
    """Values as text: strings as they are, None as nothing, NaN and Infinity by their names, anything else as JSON."""
    return [value if type(value) is str else "" if value is None else _cell(value) for value in values]


def to_json(value: Any) -> str:
    """A value as JSON, which has no NaN and no Infinity: they become null, also in lists and structs."""
    try:
        return _strict(value)
    except ValueError:
        return _strict(_finite(value))


_strict = json.JSONEncoder(ensure_ascii=False, default=str, allow_nan=False).encode


def _cell(value: Any) -> str:
    return json.dumps(value) if type(value) is float else to_json(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(held) for held in value]
    return value


def taken(answer: Answer, columns: Any) -> str | None:
    """Why a prediction cannot stand beside columns (or a row's keys), or None."""
    for name in answer.names:
        if name in columns:
            return f"a column '{name}' is there already; give the prediction's columns another name with --prefix"
    return None


def unknown(columns: frozenset[str], values: Any) -> str | None:
    """Why a row does not fit into a table, or None."""
    if values.keys() <= columns:
        return None
    strange = sorted(values.keys() - columns)[0]
    return f"the key '{strange}', which the first row has not, has no column; write JSONL"


def _breaks(values: Sequence[str]) -> str | None:
    if any(mark in value for value in values for mark in TAB_BREAKERS):
        return "a tab or a line break, which TSV cannot hold; write CSV, JSONL or Parquet"
    return None
