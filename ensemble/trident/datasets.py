"""Labelled examples from TSV, CSV or JSONL: read, checked row by row, without duplicates, split."""

import csv
import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trident.errors import DataError
from trident.labels import has_control
from trident.stages.text.preprocess import clean

TEST_FRACTION = 0.2
VALIDATION_FRACTION = 0.1  # of what is not held out; early stopping looks at it
SHOWN = 5  # bad rows, or labels that are too rare

csv.field_size_limit(2**28)  # a text may be longer than the csv module's 128 KiB


@dataclass(frozen=True)
class Example:
    """A text and its label."""

    text: str
    label: str


@dataclass(frozen=True)
class Dataset:
    """What a file of examples holds.

    Attributes:
        examples: in the file's order, each text once.
        labels: sorted.
        rows: data rows in the file.
        bad_rows: rows that were skipped.
        duplicates: rows left out because the same text with the same label came before.
        contradictions: rows left out because the same text has different labels.
        sha256: of the file.
    """

    examples: list[Example]
    labels: list[str]
    rows: int
    bad_rows: int
    duplicates: int
    contradictions: int
    sha256: str


@dataclass(frozen=True)
class Split:
    """Examples to train on, to stop early by, and to measure with (held out)."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]


class _BadRow(Exception):
    """Why a row cannot be used."""


def read_dataset(path: Path, *, text_column: str, label_column: str, skip_bad_rows: bool) -> Dataset:
    """Read labelled examples.

    Args:
        path: .tsv (tab-separated, no quoting), .csv (quoted as usual) or .jsonl, UTF-8, with a header
            (columns) or keys of these names.
        text_column: column of the texts.
        label_column: column of the labels.
        skip_bad_rows: go on without rows that cannot be used.

    Raises:
        DataError: the file, a column or (with line numbers) rows cannot be used, or too few are left.
    """
    if not path.is_file():
        raise DataError(
            f"no file {path} in {Path.cwd()}; expected a .tsv, .csv or .jsonl with the columns label and text"
        )
    examples: list[Example] = []
    bad: list[str] = []
    for line, row in _rows(path, text_column, label_column):
        try:
            examples.append(_example(row))
        except _BadRow as reason:
            bad.append(f"line {line}: {reason}")
    if bad and not skip_bad_rows:
        shown = "; ".join(bad[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise DataError(f"{path} has {len(bad)} bad rows: {shown}{more}. Mend them, or go on with --skip-bad-rows.")
    kept, duplicates, contradictions = _unique(examples)
    dataset = Dataset(
        examples=kept,
        labels=sorted({example.label for example in kept}),
        rows=len(examples) + len(bad),
        bad_rows=len(bad),
        duplicates=duplicates,
        contradictions=contradictions,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    _check_size(path, dataset)
    return dataset


Row = tuple[str, str] | str  # (text, label), or why there is none


def _rows(path: Path, text_column: str, label_column: str) -> Iterator[tuple[int, Row]]:
    readers = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl}
    if path.suffix not in readers:
        raise DataError(f"{path} ends in '{path.suffix}'; expected one of {', '.join(readers)}")
    return readers[path.suffix](path, text_column, label_column)


def _lines(path: Path) -> Iterator[str]:
    # Bytes that are not UTF-8 become lone surrogates, so that the row they stand in can be named.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        yield from file


def _tsv(path: Path, text_column: str, label_column: str) -> Iterator[tuple[int, Row]]:
    cells = (line.rstrip("\r\n").split("\t") for line in _lines(path))
    yield from _table(path, enumerate(cells, start=1), text_column, label_column)


def _csv(path: Path, text_column: str, label_column: str) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(_lines(path), strict=True)

    def rows() -> Iterator[tuple[int, list[str] | str]]:
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, f"not CSV: {error} (is a quote left open?)"
            else:
                yield reader.line_num, cells

    yield from _table(path, rows(), text_column, label_column)


def _table(
    path: Path, rows: Iterator[tuple[int, list[str] | str]], text_column: str, label_column: str
) -> Iterator[tuple[int, Row]]:
    _, header = next(rows, (0, []))
    if isinstance(header, str):
        raise DataError(f"{path}: the first line is {header}")
    for column in (text_column, label_column):
        if column not in header:
            raise DataError(
                f"{path} has no column '{column}'; its first line names {list(header)}. "
                f"Use --text-column and --label-column."
            )
    text, label = header.index(text_column), header.index(label_column)
    for line, cells in rows:
        if isinstance(cells, str):
            yield line, cells
        elif cells not in ([], [""]):  # a blank line
            wrong = f"{len(cells)} columns, expected {len(header)}"
            yield line, wrong if len(cells) != len(header) else (cells[text], cells[label])


def _jsonl(path: Path, text_column: str, label_column: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        values = [record.get(key) if isinstance(record, dict) else None for key in (text_column, label_column)]
        text, label = values
        if isinstance(text, str) and isinstance(label, str):
            yield number, (text, label)
        else:
            yield number, f"expected an object with strings '{text_column}' and '{label_column}'"


def _example(row: Row) -> Example:
    if isinstance(row, str):
        raise _BadRow(row)
    text, label = row[0], row[1].strip()
    for value in (text, label):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise _BadRow("not UTF-8") from None
    if not label or len(label.splitlines()) > 1:
        raise _BadRow("the label holds a line break" if label else "the label is empty")
    if has_control(label):  # labels.txt may have none
        raise _BadRow(f"the label {label!r} holds a control character")
    if not clean(text, lowercase=False):
        raise _BadRow("the text is empty")
    return Example(text, label)


def _unique(examples: Sequence[Example]) -> tuple[list[Example], int, int]:
    """Each text once, so that no copy of a training text is held out; texts with several labels not at all."""
    labels = defaultdict(set)
    for example in examples:
        labels[_key(example)].add(example.label)
    kept: dict[str, Example] = {}
    contradictions = 0
    for example in examples:
        if len(labels[_key(example)]) > 1:
            contradictions += 1
        else:
            kept.setdefault(_key(example), example)
    return list(kept.values()), len(examples) - len(kept) - contradictions, contradictions


def _key(example: Example) -> str:
    return clean(example.text, lowercase=True)


def _check_size(path: Path, dataset: Dataset) -> None:
    if len(dataset.labels) < 2:
        raise DataError(f"{path} has the labels {dataset.labels}; expected at least two")
    counts = Counter(example.label for example in dataset.examples)
    scarce = [label for label in dataset.labels if counts[label] < 3]
    if scarce:
        shown = {label: counts[label] for label in scarce[:SHOWN]}
        more = f" and {len(scarce) - SHOWN} more labels (is it the right column?)" if len(scarce) > SHOWN else ""
        needed = "each label needs 3: to train, to stop early, to measure"
        raise DataError(f"{path} has too few different texts for {shown}{more}; {needed}")


def split(dataset: Dataset, seed: int) -> Split:
    """Split at random with the same share of every label in each part.

    Args:
        dataset: each text once.
        seed: the same seed gives the same split.

    Returns:
        72 % to train, 8 % for validation, 20 % to test; at least one of each label in each.
    """
    generator = random.Random(seed)  # noqa: S311 - repeatable, not secret
    parts: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    groups: dict[str, list[Example]] = {label: [] for label in dataset.labels}
    for example in dataset.examples:
        groups[example.label].append(example)
    for group in groups.values():
        generator.shuffle(group)
        test = max(1, round(len(group) * TEST_FRACTION))
        validation = max(1, round((len(group) - test) * VALIDATION_FRACTION))
        parts[2].extend(group[:test])
        parts[1].extend(group[test : test + validation])
        parts[0].extend(group[test + validation :])
    for part in parts:
        generator.shuffle(part)
    return Split(*parts)
