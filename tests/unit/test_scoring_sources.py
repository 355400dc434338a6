"""Rows of files, good and bad: none is lost, none stops the run, and each can be found again."""

import io
import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trident.errors import ScoringError
from trident.scoring import lines
from trident.scoring.images import ImageSource, is_images
from trident.scoring.lines import Lines, RowTooLong
from trident.scoring.parquet import ArrowRow, ParquetSource
from trident.scoring.rows import BadRow, Row, Source
from trident.scoring.text_sources import CsvSource, JsonlSource, TsvSource


def write(folder: Path, content: bytes, name: str = "rows") -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def everything(source: Source, position: int = 0, done: int = 0) -> list[Any]:
    """The rows behind a position; the source is closed."""
    with closing(source):
        return list(source.rows(position, done))


def read(source: Source) -> list[tuple[int, Any]]:
    """Line and text of good rows, line and reason (as a set of one) of bad ones."""
    return [(row.line, {row.reason} if isinstance(row, BadRow) else row.item) for row in everything(source)]


def csv(folder: Path, content: bytes) -> list[tuple[int, Any]]:
    return read(CsvSource(write(folder, content), "text"))


def jsonl(folder: Path, content: bytes) -> list[tuple[int, Any]]:
    return read(JsonlSource(write(folder, content), "text"))


def test_csv_keeps_all_columns(tmp_path: Path) -> None:
    source = CsvSource(write(tmp_path, b"id,text,more\n1,hello,x\n"), "text")
    (row,) = everything(source)
    assert source.columns == ["id", "text", "more"]
    assert isinstance(row, Row)
    assert row.values == {"id": "1", "text": "hello", "more": "x"}
    assert (row.line, row.lines, row.end, source.total) == (2, 2, 23, 23)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"\xef\xbb\xbftext,id\nhello,1\n", [(2, "hello")]),
        (b"text,id\r\nhello,1\r\nyou,2\r\n", [(2, "hello"), (3, "you")]),
        (b'text,id\n"two\r\nlines",1\nnext,2', [(2, "two\r\nlines"), (4, "next")]),
        (b'text,id\n"a ""b"", c",1\n', [(2, 'a "b", c')]),
        (b"text,id\n\n\nhello,1\n\n", [(4, "hello")]),
        ("text,id\nschön ☃,1\n".encode(), [(2, "schön ☃")]),
        (b"text,id\n,1\n", [(2, "")]),
        (b"text,id\n", []),
    ],
    ids=["BOM", "CRLF", "quoted lines", "quotes", "blank lines", "UTF-8", "empty text", "header alone"],
)
def test_csv_as_it_comes(tmp_path: Path, content: bytes, rows: list[tuple[int, Any]]) -> None:
    assert csv(tmp_path, content) == rows


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"a,b,c\n", "3 fields; expected 2"),
        (b"a\n", "1 fields; expected 2"),
        (b"b\xffd,1\n", "not UTF-8: invalid start byte at byte 1"),
        (b'"a"b,1\n', "',' expected after '\"'"),
        (b"a\rb,1\n", "new-line character seen in unquoted field"),
    ],
    ids=["too many", "too few", "bytes", "quote in the middle", "carriage return"],
)
def test_a_bad_csv_row_stands_alone(tmp_path: Path, bad: bytes, reason: str) -> None:
    first, found, last = csv(tmp_path, b"text,id\nfirst,1\n" + bad + b"last,2\n")
    assert (first, last) == ((2, "first"), (4, "last"))
    assert found[0] == 3
    assert next(iter(found[1])).startswith(reason)


def test_an_open_quote_takes_no_other_row_with_it(tmp_path: Path) -> None:
    rows = csv(tmp_path, b'text,id\n"open,1\nnext,2\n"quoted",3\nlast,4\n')
    assert [line for line, text in rows if isinstance(text, set)] == [2]
    assert [text for _, text in rows if isinstance(text, str)] == ["next", "quoted", "last"]


def test_an_open_quote_at_the_end(tmp_path: Path) -> None:
    rows = csv(tmp_path, b'text,id\n"open,1\nnext,2\nlast,3')
    assert rows == [(2, {"unexpected end of data (is a quote left open?)"}), (3, "next"), (4, "last")]


def test_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 100)
    content = b"text,id\na,1\n" + b"x" * 1000 + b',1\nb,2\n"open,3\n' + b"more,4\n" * 30 + b"last,5\n"
    rows = csv(tmp_path, content)
    assert [line for line, text in rows if isinstance(text, set)] == [3, 5]
    assert [text for _, text in rows if isinstance(text, str)] == ["a", "b", *["more"] * 30, "last"]


def test_a_long_line_behind_an_open_quote_is_skipped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 100)
    monkeypatch.setattr(lines, "SKIPPED_AT_ONCE_BYTES", 64)
    content = b'"open\n' + b"y" * 1000 + b"\nlast\n"
    read_lines = Lines(io.BytesIO(content))
    read_lines.begin()
    assert next(read_lines) == '"open\n'
    with pytest.raises(RowTooLong):
        next(read_lines)
    read_lines.retreat()
    assert (read_lines.position, read_lines.number) == (6, 1)
    read_lines.begin()
    with pytest.raises(RowTooLong):
        next(read_lines)
    assert (read_lines.position, read_lines.number) == (1007, 2)
    read_lines.begin()
    assert next(read_lines) == "last\n"
    assert read_lines.position == len(content)


def test_every_row_can_be_gone_on_from(tmp_path: Path) -> None:
    content = '\ufefftext,id\r\nschön,1\n"a\nb",2\n\nbad\nx\ufffd,3\nlast,4'.encode()
    path = write(tmp_path, content)
    whole = everything(CsvSource(path, "text"))
    assert len(whole) == 5
    for number, row in enumerate(whole, start=1):
        assert everything(CsvSource(path, "text"), row.end, row.lines) == whole[number:]


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        (CsvSource, b"", "is empty or begins with a blank line"),
        (CsvSource, b"\ntext\n", "is empty or begins with a blank line"),
        (CsvSource, b"id,label\n1,2\n", "has no column 'text'; it has id, label. Use --column."),
        (CsvSource, b"text,text\n", "has the column 'text' more than once"),
        (CsvSource, "text,id\n".encode("utf-16"), "is not UTF-8: .*; convert the file with iconv"),
        (CsvSource, b'"text\n', "has no header: unexpected end of data"),
        (TsvSource, b"text,id\n", "has no column 'text'; it has text,id"),
        (JsonlSource, b"", "has no JSON object in its first 1000 lines; expected one a line"),
        (JsonlSource, b"[\n1\n]\n", r"has no JSON object .* \(line 1: not JSON: Expecting value at character 2\)"),
        (JsonlSource, b'{"id": 1}\n', "has no column 'text'; it has id. Use --column."),
        (JsonlSource, b"{}\n", "has no column 'text'; it has none"),
    ],
)
def test_a_file_without_texts_is_refused(tmp_path: Path, kind: Any, content: bytes, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        kind(write(tmp_path, content), "text")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"^no file .*nowhere\.csv in "):
        CsvSource(str(tmp_path / "nowhere.csv"), "text")


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    source = TsvSource(write(tmp_path, b'label\ttext\r\nham\t"hello\r\n\nspam\ta, b\nx\n'), "text")
    assert read(source) == [(2, '"hello'), (4, "a, b"), (5, {"1 fields; expected 2"})]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"text": 1}', "'text' is a number; expected a string"),
        (b'{"text": null}', "'text' is null; expected a string"),
        (b'{"text": ["a"]}', "'text' is a list; expected a string"),
        (b'{"id": 1, "x": 2}', "no column 'text'; it has id, x"),
        (b'["text"]', "a list; expected an object"),
        (b"true", "true or false; expected an object"),
        (b'{"text": "a"', "not JSON: Expecting ',' delimiter at character 13"),
        (b'{"text": "a", "x": NaN}', "not usable JSON: NaN is no JSON"),
        (b'{"text": "a", "x": 1e999}', "not usable JSON: 1e999 is no finite number"),
        (b'{"text": "\\ud800"}', "half a surrogate pair is escaped in it; expected whole characters"),
        (b'{"text": "a", "x": {"\\udc00": 1}}', "half a surrogate pair is escaped in it; expected whole characters"),
        (b'{"text": "\xff"}', "not UTF-8: invalid start byte at byte 10"),
        (b"[" * 100_000, "not usable JSON: nested too deeply"),
        (b'{"text": "a", "x": ' + b"9" * 5000 + b"}", "not usable JSON: Exceeds the limit (4300 digits)"),
    ],
)
def test_a_bad_json_line_stands_alone(tmp_path: Path, bad: bytes, reason: str) -> None:
    first, found, last = jsonl(tmp_path, b'{"text": "first"}\r\n\n' + bad + b'\n{"text": "last \\u2603"}')
    assert (first, last) == ((1, "first"), (4, "last ☃"))
    assert found[0] == 3
    assert next(iter(found[1])).startswith(reason)


def test_jsonl_may_begin_with_bad_lines(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf\nnonsense\n{"text": 1, "n": 2}\n{"text": "a", "n": {"x": [1]}}\n'
    source = JsonlSource(write(tmp_path, content), "text")
    rows = everything(source)
    assert source.columns == ["text", "n"]
    assert [row.line for row in rows] == [2, 3, 4]
    assert isinstance(rows[2], Row)
    assert rows[2].values == {"text": "a", "n": {"x": [1]}}
    assert everything(JsonlSource(source.name, "text"), rows[1].end, rows[1].lines) == rows[2:]


def test_a_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"text\na\n")
    seen = []
    for content in (None, None, b"text\nb\n"):
        if content is not None:
            write(tmp_path, content)
        with closing(CsvSource(path, "text")) as source:
            seen.append(source.fingerprint)
    assert seen[0] == seen[1] != seen[2]


def parquet(folder: Path, table: pa.Table, as_arrow: bool = False, **options: Any) -> ParquetSource:
    pq.write_table(table, folder / "rows.parquet", **options)
    return ParquetSource(folder / "rows.parquet", "text", as_arrow=as_arrow)


def test_parquet_rows_across_row_groups(tmp_path: Path) -> None:
    table = pa.table({"id": range(5000), "text": [None if n == 7 else f"text {n}" for n in range(5000)]})
    source = parquet(tmp_path, table, row_group_size=1500)
    rows = list(source.rows(0, 0))
    assert (source.columns, source.total) == (["id", "text"], 5000)
    assert [row.line for row in rows] == list(range(1, 5001))
    assert rows[7] == BadRow(8, 8, 8, "'text' is null; expected a string")
    assert isinstance(rows[4999], Row)
    assert rows[4999].values == {"id": 4999, "text": "text 4999"}
    for position in (1, 1023, 1024, 1500, 2999, 4999, 5000):
        following = list(source.rows(position, position))
        assert [row.line for row in following] == list(range(position + 1, 5001))
    source.close()


def test_parquet_rows_keep_their_types_for_parquet(tmp_path: Path) -> None:
    source = parquet(tmp_path, pa.table({"text": ["a", "b"], "n": [1, 2]}), as_arrow=True)
    _, row = everything(source)
    assert isinstance(row.values, ArrowRow)
    assert row.values.at == 1


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
def test_parquet_has_several_kinds_of_strings(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"text": pa.array(["a", "b"], pa.string()).cast(kind)})
    assert read(parquet(tmp_path, table)) == [(1, "a"), (2, "b")]


def test_parquet_strings_that_are_not_utf8_stand_alone(tmp_path: Path) -> None:
    broken = pa.array([b"a", b"b\xff", b"c"], pa.binary()).view(pa.string())
    rows = read(parquet(tmp_path, pa.table({"text": broken, "other": broken})))
    assert rows == [(1, "a"), (2, {"not UTF-8: invalid start byte at byte 1"}), (3, "c")]


def test_parquet_values_that_python_has_not(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"], "at": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns"))})
    (row,) = everything(parquet(tmp_path, table))
    assert isinstance(row, Row)
    assert json.loads(json.dumps(row.values)) == {"text": "a", "at": "2023-11-14 22:13:20.000000001"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"text": [1]}), "column 'text' of .* is int64; expected strings"),
        (pa.table({"id": [1]}), "has no column 'text'; it has id. Use --column."),
    ],
)
def test_parquet_without_texts_is_refused(tmp_path: Path, table: pa.Table, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        parquet(tmp_path, table)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = Path(write(tmp_path, b"text\na\n"))
    with pytest.raises(ScoringError, match="is no Parquet file: "):
        ParquetSource(path, "text", as_arrow=False)


def test_a_damaged_row_group_is_named(tmp_path: Path) -> None:
    source = parquet(tmp_path, pa.table({"text": [f"text {n}" for n in range(4000)]}), compression="gzip")
    source.close()
    path = tmp_path / "rows.parquet"
    raw = bytearray(path.read_bytes())
    raw[200:400] = bytes(200)
    path.write_bytes(raw)
    with pytest.raises(ScoringError, match="row group 1 of the Parquet file is damaged: "):
        everything(ParquetSource(path, "text", as_arrow=False))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images in it and below it, and with other things."""
    folder = tmp_path / "images"
    (folder / "more.png").mkdir(parents=True)
    for name in ("b.jpg", "a.PNG", "more.png/c.webp", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_folder_is_a_row_an_image(images: Path) -> None:
    source = ImageSource(str(images))
    rows = list(source.rows(0, 0))
    names = ["a.PNG", "b.jpg", "more.png/c.webp"]
    assert [row.values for row in rows if isinstance(row, Row)] == [{"path": str(images / name)} for name in names]
    assert [row.item for row in rows if isinstance(row, Row)] == [name.encode() for name in names]
    assert (source.total, source.columns) == (3, ["path"])
    assert list(source.rows(2, 2)) == rows[2:]


def test_a_pattern_is_a_row_a_match(images: Path) -> None:
    assert [line for line, _ in read(ImageSource(str(images / "*.*")))] == [1, 2]
    assert [line for line, _ in read(ImageSource(str(images / "**/*.webp")))] == [1]
    assert [line for line, _ in read(ImageSource(str(images / "b.jpg")))] == [1]


def test_an_image_that_is_gone_is_a_bad_row(images: Path) -> None:
    source = ImageSource(str(images))
    (images / "b.jpg").unlink()
    _, bad, _ = read(source)
    assert bad == (2, {f"{images / 'b.jpg'} cannot be read: No such file or directory"})


def test_a_place_without_images_is_refused(images: Path) -> None:
    with pytest.raises(ScoringError, match=re.escape("no images in ") + ".*expected files with .jpg, .jpeg, .png"):
        ImageSource(str(images / "*.txt"))


def test_what_is_taken_for_images(images: Path, tmp_path: Path) -> None:
    literal = Path(write(tmp_path, b"", "odd[1].png"))
    assert is_images(str(images))
    assert is_images(str(images / "*.txt"))
    assert is_images(str(literal))
    assert [line for line, _ in read(ImageSource(str(literal)))] == [1]
    assert not is_images(write(tmp_path, b"", "rows.csv"))
    assert not is_images(write(tmp_path, b"", "odd[1].csv"))
