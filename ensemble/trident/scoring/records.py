"""Rows as records: for a tabular service, whose inputs are columns of the file by name."""

from collections.abc import Iterator, Mapping
from typing import Any

from trident.errors import ScoringError
from trident.scoring.rows import BadRow, Row, Source


class RecordSource:
    """The rows of another source, which has no texts. See `Source`."""

    def __init__(self, source: Source, name: str, service: str, inputs: Mapping[str, str]) -> None:
        """Check that the columns are there.

        Args:
            source: of the rows; closed with this one.
            name: of the file, for messages.
            service: its name, likewise.
            inputs: name → FP32, FP64 or BYTES.

        Raises:
            ScoringError: a column is missing; the source is closed.
        """
        self._source = source
        self._inputs = dict(inputs)
        self.columns = source.columns
        self.schema = getattr(source, "schema", None)  # of Parquet
        missing = [column for column in inputs if column not in source.columns]
        if missing:
            source.close()
            raise ScoringError(
                f"{name} has no column '{missing[0]}'; it has {', '.join(source.columns)}, and service '{service}' "
                f"takes {', '.join(inputs)}. Rename the columns"
            )

    @property
    def total(self) -> int | None:
        """See `Source`."""
        return self._source.total

    @property
    def fingerprint(self) -> str | None:
        """See `Source`."""
        return self._source.fingerprint

    def rows(self, position: int, lines: int) -> Iterator[Row | BadRow]:
        """See `Source.rows`; a key that an object of JSON lacks counts as null, and so does an empty number."""
        for row in self._source.rows(position, lines):
            if isinstance(row, BadRow):
                yield row
                continue
            try:
                record = {name: _value(row.values.get(name), kind, name) for name, kind in self._inputs.items()}
            except ValueError as error:
                yield BadRow(row.line, row.end, row.lines, str(error))
            else:
                yield row._replace(item=record)

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()


def _value(value: Any, kind: str, name: str) -> Any:
    """A value as `Client.infer_records` takes it, which refuses other types; text files have numbers as text."""
    if kind == "BYTES" or not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"'{name}' is {value[:40]!r}; expected a number, or nothing") from None
