"""Scored rows as they are written, and read back."""

import csv
import io
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trident.errors import ScoringError
from trident.scoring.formats import CsvFormat, JsonlFormat, LabelAnswer, TsvFormat, taken
from trident.scoring.parquet import ArrowRow, ParquetSink, ParquetSource
from trident.scoring.rows import Row, Scored
from trident_client import Prediction

SPAM = Prediction(("spam", "ham"), (0.75, 0.25))
NOTHING = Prediction((), ())
ONE, TWO = LabelAnswer("", None), LabelAnswer("", 2)
HOSTILE = ["", " ", "a,b", 'say "hi"', "two\nlines", "a\rb", "end\r\n", "schön ☃", "\x00", "=1+1", "'"]


def test_jsonl_adds_to_the_rows_own_keys() -> None:
    rows = [Scored({"text": "schön", "n": [1, {"x": None}]}, SPAM), Scored({"other": 2.5}, NOTHING)]
    written = JsonlFormat(ONE).rows(rows).decode()
    assert written.splitlines() == [
        '{"text": "schön", "n": [1, {"x": null}], "label": "spam", "score": 0.75}',
        '{"other": 2.5, "label": null, "score": null}',
    ]


def test_what_is_no_finite_number_is_null_in_json_and_has_its_name_in_a_table(tmp_path: Path) -> None:
    """As a Parquet file brings it, also in lists, structs and maps."""
    nan, infinity = float("nan"), float("inf")
    columns = {
        "x": pa.array([nan, -infinity, 1.5]),
        "list": pa.array([[nan, 1.0], [infinity], []]),
        "struct": pa.array([{"y": nan, "z": [infinity]}, None, {"y": 2.0, "z": []}]),
        "map": pa.array([[("k", nan)], [], None], pa.map_(pa.string(), pa.float32())),
    }
    pq.write_table(pa.table({"text": ["a", "b", "c"], **columns}), tmp_path / "in.parquet")
    with closing(ParquetSource(tmp_path / "in.parquet", "text", as_arrow=False)) as source:
        rows = [Scored(row.values, SPAM) for row in source.rows(0, 0) if isinstance(row, Row)]
    written = JsonlFormat(ONE).rows(rows).decode().splitlines()
    answer = '"label": "spam", "score": 0.75}'
    assert written == [
        '{"text": "a", "x": null, "list": [null, 1.0], "struct": {"y": null, "z": [null]}, "map": [["k", null]], '
        + answer,
        '{"text": "b", "x": null, "list": [null], "struct": null, "map": [], ' + answer,
        '{"text": "c", "x": 1.5, "list": [], "struct": {"y": 2.0, "z": []}, "map": null, ' + answer,
    ]
    table = CsvFormat(["x", "list"], ONE).rows(rows).decode().splitlines()
    assert table == ['NaN,"[null, 1.0]",spam,0.75', "-Infinity,[null],spam,0.75", "1.5,[],spam,0.75"]


def test_several_labels_are_lists() -> None:
    rows = [Scored({"text": "a"}, SPAM), Scored({"text": "b"}, NOTHING)]
    written = [json.loads(line) for line in JsonlFormat(TWO).rows(rows).splitlines()]
    assert written[0] == {"text": "a", "labels": ["spam", "ham"], "scores": [0.75, 0.25]}
    assert written[1] == {"text": "b", "labels": [], "scores": []}
    head, first, _ = csv.reader(
        io.StringIO((form := CsvFormat(["text"], TWO)).header().decode() + form.rows(rows).decode())
    )
    assert head == ["text", "labels", "scores"]
    assert first == ["a", '["spam", "ham"]', "[0.75, 0.25]"]


@pytest.mark.parametrize("value", HOSTILE)
def test_csv_gives_back_what_it_was_given(value: str) -> None:
    form = CsvFormat(["text", value], ONE)
    raw = form.header() + form.rows([Scored({"text": value, value: "x"}, SPAM)] * 2)
    read = list(csv.reader(io.StringIO(raw.decode(), newline=""), strict=True))
    assert read == [["text", value, "label", "score"], *[[value, "x", "spam", "0.75"]] * 2]


def test_csv_has_other_values_as_json() -> None:
    values = {"a": None, "b": 1, "c": True, "d": {"x": "ü"}}
    assert CsvFormat(list("abcde"), ONE).rows([Scored(values, NOTHING)]) == ',1,true,"{""x"": ""ü""}",,,\n'.encode()


@pytest.mark.parametrize("value", [value for value in HOSTILE if not {"\r", "\n"} & set(value)])
def test_tsv_gives_back_what_it_was_given(value: str) -> None:
    form = TsvFormat(["text", "id"], ONE)
    assert form.refuse({"text": value, "id": "1"}) is None
    raw = form.header() + form.rows([Scored({"text": value, "id": "1"}, SPAM)])
    assert raw.decode() == f"text\tid\tlabel\tscore\n{value}\t1\tspam\t0.75\n"


@pytest.mark.parametrize("value", ["a\tb", "a\nb", "a\rb"])
def test_tsv_refuses_what_it_cannot_hold(value: str) -> None:
    form = TsvFormat(["text"], ONE)
    assert form.refuse({"text": value}) == "a tab or a line break, which TSV cannot hold; write CSV, JSONL or Parquet"
    with pytest.raises(ScoringError, match="a column's name has a tab"):
        TsvFormat([value], ONE).header()


def test_a_key_without_a_column_is_refused(tmp_path: Path) -> None:
    reason = "the key 'new', which the first row has not, has no column; write JSONL"
    for form in (CsvFormat(["text"], ONE), TsvFormat(["text"], ONE), ParquetSink(tmp_path, ONE, ["text"], None)):
        assert form.refuse({"text": "a", "new": 1}) == reason
        assert form.refuse({}) is None


def test_a_column_that_is_taken_is_refused() -> None:
    reason = "a column 'score' is there already; give the prediction's columns another name with --prefix"
    assert taken(ONE, ["text", "score"]) == reason
    assert JsonlFormat(ONE).refuse({"text": "a", "score": 1}) == reason
    assert taken(TWO, ["label", "score"]) is None
    assert taken(LabelAnswer("model_", None), ["label", "score"]) is None
    assert LabelAnswer("model_", 3).names == ("model_labels", "model_scores")


def parquet(folder: Path, rows: list[list[Scored]], **options: Any) -> pa.Table:
    """What the sink makes of rows, with a checkpoint behind each list."""
    sink = ParquetSink(folder / "out.part", options.pop("answer", ONE), options.pop("columns", ["text"]), **options)
    sink.open(0)
    for chunk in rows:
        sink.write(chunk)
        sink.sync()
    sink.complete()
    return pq.read_table(sink.ready)


def test_parquet_of_text_is_strings(tmp_path: Path) -> None:
    rows = [Scored({"text": "a\nb", "n": 1}, SPAM), Scored({"text": "b"}, NOTHING)]
    table = parquet(tmp_path, [rows], columns=["text", "n"], schema=None)
    assert table.schema.names == ["text", "n", "label", "score"]
    assert table.schema.field("score").type == pa.float32()
    assert table.to_pylist() == [
        {"text": "a\nb", "n": "1", "label": "spam", "score": 0.75},
        {"text": "b", "n": None, "label": None, "score": None},
    ]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None], pa.int16()),
        pa.array([1_700_000_000_000_000_001, 2], pa.timestamp("ns", "UTC")),
        pa.array([[{"a": 1}], None], pa.list_(pa.struct([("a", pa.int32())]))),
        pa.array(["x", "x"]).dictionary_encode(),
        pa.array([b"\xff", b""], pa.binary()),
        pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda column: str(column.type),
)
def test_parquet_of_parquet_keeps_types(tmp_path: Path, column: pa.Array) -> None:
    batch = pa.record_batch([pa.array(["a", "b"]), column], names=["text", "other"])
    scored = [Scored(ArrowRow(batch, at), SPAM) for at in (0, 1)]
    table = parquet(tmp_path, [scored[:1], scored[1:]], schema=batch.schema)
    assert table.column("other").type == column.type
    assert table.column("other").equals(pa.chunked_array([column]))
    assert table.column("label").to_pylist() == ["spam", "spam"]


def test_parquet_parts_become_few_row_groups(tmp_path: Path) -> None:
    rows = [Scored({"text": str(number)}, SPAM) for number in range(100)]
    sink = ParquetSink(tmp_path / "out.part", TWO, ["text"], None)
    sink.open(0)
    marks = []
    for start in range(0, 100, 10):
        sink.write(rows[start : start + 5])
        sink.write(rows[start + 5 : start + 10])
        marks.append(sink.sync())
    assert marks == list(range(1, 11))
    assert sink.sync() == 10
    sink.complete()
    with pq.ParquetFile(sink.ready) as file:
        assert file.num_row_groups == 1
        assert file.read().column("text").to_pylist() == [str(number) for number in range(100)]


def test_parquet_goes_on_behind_the_parts_that_count(tmp_path: Path) -> None:
    def row(text: str) -> list[Scored]:
        return [Scored({"text": text}, SPAM)]

    first = ParquetSink(tmp_path / "out.part", ONE, ["text"], None)
    first.open(0)
    for text in ("a", "b"):
        first.write(row(text))
        first.sync()
    first.write(row("lost"))
    first.sync()
    second = ParquetSink(tmp_path / "out.part", ONE, ["text"], None)
    second.open(2)
    second.write(row("c"))
    second.sync()
    second.complete()
    assert pq.read_table(second.ready).column("text").to_pylist() == ["a", "b", "c"]
    with pytest.raises(ScoringError, match=r"000003\.parquet is gone; the run cannot go on"):
        ParquetSink(tmp_path / "out.part", ONE, ["text"], None).open(4)


def test_parquet_without_rows_has_its_columns(tmp_path: Path) -> None:
    assert parquet(tmp_path, [], schema=None).schema.names == ["text", "label", "score"]
