"""Rows of CSV, TSV and JSONL, from a file or from stdin."""

import csv
import hashlib
import json
import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from trident.errors import ScoringError
from trident.scoring.lines import Lines, RowTooLong
from trident.scoring.rows import BadRow, Row

STDIN = "-"
FIRST_LINES = 1000  # of JSONL, among which there must be an object
HEAD_BYTES = 2**16  # of a file, that its fingerprint covers

csv.field_size_limit(2**28)  # `Lines` bounds a row; the module's own bound is too low for documents

Values = dict[str, Any]


class _BadValue(Exception):
    """Why a row cannot be scored."""


class TextSource(ABC):
    """A file, or stdin, that is read line by line; positions are bytes. See `Source`."""

    def __init__(self, place: str, column: str | None) -> None:
        """Open a file, or `-`.

        Args:
            place: of the file.
            column: of the texts; None: the rows' items are empty, and `RecordSource` fills them.

        Raises:
            ScoringError: there is no such file, its text column is missing, or it is empty.
        """
        self.name = "stdin" if place == STDIN else place
        self.columns: list[str] = []
        self.total: int | None = None
        self.fingerprint: str | None = None
        self._column = column
        self._stream = sys.stdin.buffer if place == STDIN else open_input(Path(place))
        if place != STDIN:
            self.total = os.fstat(self._stream.fileno()).st_size
            self.fingerprint = fingerprint(self._stream)
        self._lines = Lines(self._stream)
        try:
            self._start()
        except ScoringError:
            self.close()
            raise

    def rows(self, position: int, lines: int) -> Iterator[Row | BadRow]:
        """See `Source.rows`."""
        if position:
            self._stream.seek(position)
            self._lines = Lines(self._stream, position, lines)
        return self._rows()

    def close(self) -> None:
        """See `Source.close`."""
        if self._stream is not sys.stdin.buffer:
            self._stream.close()

    @abstractmethod
    def _start(self) -> None:
        """Find out the columns."""

    @abstractmethod
    def _parser(self) -> Callable[[], Any]:
        """A function that parses the next row; it goes on after an exception, and a blank line is falsy."""

    @abstractmethod
    def _values(self, parsed: Any) -> Values:
        """Column → value.

        Raises:
            _BadValue: the row does not fit.
        """

    def _rows(self) -> Iterator[Row | BadRow]:
        lines, column, parse, to_values = self._lines, self._column, self._parser(), self._values
        while True:
            lines.begin()
            line = lines.number + 1
            try:
                parsed = parse()
                if not parsed:
                    continue
                values = to_values(parsed)
                text = "" if column is None else values[column]
                reason = lines.problem
            except StopIteration:
                return
            except (csv.Error, RowTooLong) as error:  # a quote that stays open takes the next lines with it
                hint = " (is a quote left open?)" if lines.number > line else ""
                lines.retreat()
                reason = lines.problem or f"{error}{hint}"
            except _BadValue as error:
                reason = lines.problem or str(error)
            if reason is None:
                yield Row(line, lines.position, lines.number, text, values, lines.size_bytes)
            else:
                yield BadRow(line, lines.position, lines.number, reason)


class TableSource(TextSource, ABC):
    """CSV or TSV with a header."""

    def _start(self) -> None:
        try:
            self.columns = next(self._cells(), [])
        except (csv.Error, RowTooLong) as error:
            raise ScoringError(f"{self.name} has no header: {error}; expected the names of the columns") from None
        if self._lines.problem is not None:
            raise ScoringError(f"the header of {self.name} is {self._lines.problem}; convert the file with iconv")
        if not self.columns:
            raise ScoringError(f"{self.name} is empty or begins with a blank line; expected the names of the columns")
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise ScoringError(f"{self.name} has the column '{twice[0]}' more than once; expected each name once")
        if self._column is not None:
            check_column(self.name, self._column, self.columns)

    def _parser(self) -> Callable[[], Any]:
        return self._cells().__next__

    @abstractmethod
    def _cells(self) -> Iterator[list[str]]:
        """The cells of each row."""

    def _values(self, parsed: list[str]) -> Values:
        if len(parsed) != len(self.columns):
            raise _BadValue(f"{len(parsed)} fields; expected {len(self.columns)}")
        return dict(zip(self.columns, parsed, strict=True))


class CsvSource(TableSource):
    """Separated by commas, quoted as usual, also over several lines."""

    def _cells(self) -> Iterator[list[str]]:
        return csv.reader(self._lines, strict=True)


class TsvSource(TableSource):
    """Separated by tabs, without quoting: a quote is a character like any other."""

    def _cells(self) -> Iterator[list[str]]:
        return map(_split_tabs, self._lines)


class JsonlSource(TextSource):
    """A JSON object a line; the columns are the first object's keys."""

    def _start(self) -> None:
        self._first: list[Any] = []
        for row in self._rows():
            self._first.append(row)
            if self.columns:
                return
            if len(self._first) == FIRST_LINES:
                break
        why = f" (line {bad.line}: {bad.reason})" if (bad := next(iter(self._first), None)) else ""
        raise ScoringError(f"{self.name} has no JSON object in its first {FIRST_LINES} lines{why}; expected one a line")

    def rows(self, position: int, lines: int) -> Iterator[Row | BadRow]:
        """See `Source.rows`."""
        following = super().rows(position, lines)
        return following if position else chain(self._first, following)

    def _parser(self) -> Callable[[], Any]:
        return map(str.strip, self._lines).__next__

    def _values(self, parsed: str) -> Values:
        values = _from_json(parsed)
        if not self.columns:
            if self._column is not None:
                check_column(self.name, self._column, list(values))
            self.columns = list(values)
        if self._column is None:
            return values
        if self._column not in values:
            raise _BadValue(f"no column '{self._column}'; it has {', '.join(values) or 'none'}")
        text = values[self._column]
        if not isinstance(text, str):
            raise _BadValue(f"'{self._column}' is {_json_type(text)}; expected a string")
        return values


def open_input(path: Path) -> BinaryIO:
    """Open a file to read bytes.

    Raises:
        ScoringError: there is none.
    """
    if not path.is_file():
        raise ScoringError(f"no file {path} in {Path.cwd()}")
    return path.open("rb")


def fingerprint(stream: BinaryIO) -> str:
    """What changes when a file changes: size, time of change, and a hash of its beginning."""
    status = os.fstat(stream.fileno())
    head = hashlib.sha256(stream.read(HEAD_BYTES)).hexdigest()
    stream.seek(0)
    return f"{status.st_size} bytes, changed at {status.st_mtime_ns} ns, {head}"


def check_column(name: str, column: str, columns: list[str]) -> None:
    """Check that the input has the column.

    Raises:
        ScoringError: it has not; the message says which it has.
    """
    if column not in columns:
        raise ScoringError(f"{name} has no column '{column}'; it has {', '.join(columns) or 'none'}. Use --column.")


def _split_tabs(line: str) -> list[str]:
    text = line.removesuffix("\n").removesuffix("\r")
    return text.split("\t") if text else []


def _from_json(text: str) -> Values:
    try:
        values = _DECODER.decode(text)
        if "\\u" in text:  # halves of surrogate pairs can be escaped, but not written
            json.dumps(values, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _BadValue(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except UnicodeEncodeError:
        raise _BadValue("half a surrogate pair is escaped in it; expected whole characters") from None
    except RecursionError:
        raise _BadValue("not usable JSON: nested too deeply") from None
    except ValueError as error:
        raise _BadValue(f"not usable JSON: {error}") from None
    if not isinstance(values, dict):
        raise _BadValue(f"{_json_type(values)}; expected an object")
    return values


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_constant)
