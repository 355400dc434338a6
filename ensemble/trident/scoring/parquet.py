"""Parquet through pyarrow, which only this module imports: rows, and files that appear part by part."""

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from trident.errors import ScoringError
from trident.scoring.formats import Answer, cells, taken, unknown
from trident.scoring.rows import BadRow, Row, Scored
from trident.scoring.text_sources import check_column, fingerprint, open_input

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise ScoringError(
        f"Parquet needs pyarrow ({error}); pip install '.[parquet]' in Trident's folder, or use CSV or JSONL"
    ) from None

READ_ROWS = 1024  # at once; they stay in memory until the last of them is written
GROUP_ROWS = 2**16  # of a row group of the output, unless it has GROUP_BYTES before
GROUP_BYTES = 2**26
JOINED = "joined.parquet"


class ArrowRow(NamedTuple):
    """A row of a batch, so that all types stay what they are."""

    batch: pa.RecordBatch
    at: int

    def get(self, column: str) -> Any:
        """The value of a column."""
        return self.batch.column(column)[self.at].as_py()


class ParquetSource:
    """A Parquet file, read a row group at a time; positions are rows. See `Source`."""

    def __init__(self, path: Path, column: str | None, *, as_arrow: bool) -> None:
        """Open a file.

        Args:
            path: the file.
            column: of the texts; None: see `TextSource`.
            as_arrow: rows' values are `ArrowRow`s, else dicts.

        Raises:
            ScoringError: it is no Parquet, or has no such column of strings.
        """
        self._file = open_input(path)
        self._column = column
        self._as_arrow = as_arrow
        self.fingerprint = fingerprint(self._file)
        try:
            self._parquet = pq.ParquetFile(self._file)
            self.schema = self._parquet.schema_arrow
            self.columns = list(self.schema.names)
            self.total = self._parquet.metadata.num_rows
            self._check(path)
        except (pa.ArrowException, OSError) as error:
            self._file.close()
            raise ScoringError(f"{path} is no Parquet file: {_first_line(error)}") from None
        except ScoringError:
            self._file.close()
            raise

    def rows(self, position: int, lines: int) -> Iterator[Row | BadRow]:
        """See `Source.rows`."""
        number = 0
        for group in range(self._parquet.num_row_groups):
            size = self._parquet.metadata.row_group(group).num_rows
            if number + size <= position:
                number += size
                continue
            for batch in self._batches(group):
                yield from self._of_batch(batch, number, max(0, position - number))
                number += batch.num_rows

    def close(self) -> None:
        """See `Source.close`."""
        self._file.close()

    def _check(self, path: Path) -> None:
        if len(set(self.columns)) < len(self.columns):
            raise ScoringError(f"{path} has a column more than once; expected each name once")
        if self._column is None:
            return
        check_column(str(path), self._column, self.columns)
        if not _is_text(kind := self.schema.field(self._column).type):
            raise ScoringError(f"column '{self._column}' of {path} is {kind}; expected strings")

    def _batches(self, group: int) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._parquet.iter_batches(READ_ROWS, row_groups=[group])
        except (pa.ArrowException, OSError) as error:  # what comes after cannot be found
            raise ScoringError(f"row group {group + 1} of the Parquet file is damaged: {_first_line(error)}") from None

    def _of_batch(self, batch: pa.RecordBatch, before: int, start: int) -> Iterator[Row | BadRow]:
        """The rows of a batch from an index on."""
        texts = None if self._column is None else batch.column(self._column)
        size = batch.nbytes // max(1, batch.num_rows)
        whole = None if self._as_arrow else _to_dicts(batch)
        for index in range(start, batch.num_rows):
            number = before + index + 1
            try:
                text = "" if texts is None else texts[index].as_py()
            except UnicodeDecodeError as error:
                yield BadRow(number, number, number, f"not UTF-8: {error.reason} at byte {error.start}")
                continue
            if text is None:
                yield BadRow(number, number, number, f"'{self._column}' is null; expected a string")
            else:
                values = ArrowRow(batch, index) if whole is None else whole[index]
                yield Row(number, number, number, text, values, size)


class ParquetSink:
    """A folder of part files, one or more to a checkpoint; joined at the end. See `Sink`."""

    def __init__(self, folder: Path, answer: Answer, columns: Sequence[str], schema: "pa.Schema | None") -> None:
        """Write into a folder.

        Args:
            folder: made when the first part is.
            answer: the columns of the prediction.
            columns: the input's, which become strings unless there is a schema.
            schema: the input's, if it is Parquet.
        """
        self.ready = folder / JOINED
        self._folder = folder
        self._answer = answer
        self._known = frozenset(columns)
        self._typed = schema is not None
        self._schema = _with_answer(schema or pa.schema([(name, pa.string()) for name in columns]), answer)
        self._writer: pq.ParquetWriter | None = None
        self._parts = 0

    def open(self, mark: int) -> None:
        """See `Sink.open`; a mark is a number of parts."""
        self._folder.mkdir(exist_ok=True)
        self._parts = mark
        kept = {self._part(number) for number in range(mark)}
        if missing := [path for path in kept if not path.exists()]:
            raise ScoringError(f"{min(missing)} is gone; the run cannot go on. Start anew with --overwrite.")
        for path in set(self._folder.iterdir()) - kept:
            path.unlink()

    def refuse(self, values: Any) -> str | None:
        """See `Sink.refuse`."""
        return None if self._typed else taken(self._answer, values) or unknown(self._known, values)

    def write(self, rows: Sequence[Scored]) -> None:
        """See `Sink.write`."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._part(self._parts), self._schema)
        self._writer.write_table(self._table(rows))

    def sync(self) -> int:
        """See `Sink.sync`."""
        if self._writer is not None:
            self._writer.close()
            _fsync(self._part(self._parts))
            self._writer = None
            self._parts += 1
        return self._parts

    def complete(self) -> None:
        """See `Sink.complete`: many little parts become one file of large row groups."""
        with pq.ParquetWriter(self.ready, self._schema) as writer:
            held: list[pa.RecordBatch] = []
            for batch in self._written():
                held.append(batch)
                if sum(b.num_rows for b in held) >= GROUP_ROWS or sum(b.nbytes for b in held) >= GROUP_BYTES:
                    writer.write_table(pa.Table.from_batches(held), row_group_size=GROUP_ROWS)
                    held = []
            if held:
                writer.write_table(pa.Table.from_batches(held), row_group_size=GROUP_ROWS)
        _fsync(self.ready)

    def close(self) -> None:
        """See `Sink.close`."""
        if self._writer is not None:
            self._writer.close()

    def _written(self) -> Iterator[pa.RecordBatch]:
        for number in range(self._parts):
            with pq.ParquetFile(self._part(number)) as part:
                for batch in part.iter_batches(READ_ROWS):
                    yield batch.cast(self._schema)

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06}.parquet"

    def _table(self, rows: Sequence[Scored]) -> pa.Table:
        inputs = _taken_rows(rows) if self._typed else self._strings(rows)
        answers = zip(*(self._answer.values(row.prediction) for row in rows), strict=True)
        fields = [self._schema.field(name) for name in self._answer.names]
        columns = [pa.array(values, field.type) for values, field in zip(answers, fields, strict=True)]
        return pa.Table.from_arrays([*inputs, *columns], schema=self._schema)

    def _strings(self, rows: Sequence[Scored]) -> list[pa.Array]:
        names = self._schema.names[: -len(self._answer.names)]
        return [pa.array([_text(row.values.get(name)) for row in rows], pa.string()) for name in names]


def _taken_rows(rows: Sequence[Scored]) -> list[pa.ChunkedArray]:
    """The input's columns of rows that come from a few batches."""
    tables = []
    for _, group in groupby((row.values for row in rows), key=lambda value: id(value.batch)):
        chosen = list(group)
        tables.append(chosen[0].batch.take(pa.array([value.at for value in chosen], pa.int64())))
    return list(pa.Table.from_batches(tables).columns)


def _with_answer(schema: "pa.Schema", answer: Answer) -> "pa.Schema":
    for name, is_number in zip(answer.names, answer.are_numbers, strict=True):
        kind = pa.float32() if is_number else pa.string()
        schema = schema.append(pa.field(name, pa.list_(kind) if answer.several else kind))
    return schema


def _text(value: Any) -> str | None:
    return None if value is None else cells([value])[0]


def _to_dicts(batch: "pa.RecordBatch") -> list[dict[str, Any]]:
    """Values for CSV, TSV and JSONL; what Python has no type for becomes the text that Arrow has for it."""
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns[name] = column.to_pylist()
        except ValueError:  # nanoseconds, strings that are not UTF-8
            columns[name] = [_shown(value) for value in column]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _shown(value: Any) -> Any:
    try:
        return value.as_py()
    except ValueError:  # the two named above
        text = value.cast(pa.string()).cast(pa.binary()).as_py()
        return text.decode("utf-8", "backslashreplace")


def _is_text(kind: "pa.DataType") -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
