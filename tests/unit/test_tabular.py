"""Records become tensors as features.json says, and the model's numbers become values."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from trident.stages.regression import postprocess as regression
from trident.stages.regression.stage import Stage as RegressionStage
from trident.stages.tabular.features import Features, read_features
from trident.stages.tabular.preprocess import InvalidInput, TabularPreprocessor
from trident.stages.tabular.stage import Stage

AGE = {"name": "age", "type": "number", "mean": 40.0, "scale": 10.0}
PLAIN = {"name": "rooms", "type": "number"}
CITY = {"name": "city", "type": "category", "values": ["Rome", "Oslo", "Kraków"]}
PLACE = CITY | {"encoding": "index"}
NAN, INFINITE = float("nan"), float("inf")


def written(folder: Path, document: Any) -> Path:
    """A features.json, of bytes or of what JSON makes of a document."""
    path = folder / "features.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return path


def fault(folder: Path, document: Any) -> str:
    """What is said of a features.json, after its path."""
    path = written(folder, document)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the callers compare all of the message)
        read_features(path)
    return str(caught.value).removeprefix(str(path))


def features(folder: Path, *columns: dict[str, Any], **more: Any) -> Features:
    return read_features(written(folder, {"columns": columns, **more}))


def stage(folder: Path, *columns: dict[str, Any], data_type: str = "TYPE_FP32", records: bool = True) -> Stage:
    """A stage with one tensor, `features`."""
    read = features(folder, *columns)
    inputs = {"record": "TYPE_STRING"} if records else read.inputs({"features": data_type})
    outputs = [entry(name, data_type, width) for name, width in read.widths().items()]
    return Stage(folder, {"input": [entry(*item) for item in inputs.items()], "output": outputs, "max_batch_size": 8})


def entry(name: str, data_type: str, width: int = 1) -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "dims": [width]}


def texts(*raw: bytes) -> NDArray[np.object_]:
    return np.array(raw, np.object_).reshape(-1, 1)


def encoded(stage: Stage, *records: Any) -> list[list[Any]]:
    """The rows of `features` for records, each bytes or what JSON makes of it."""
    raw = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    rows: list[list[Any]] = stage({"record": texts(*raw)}, {})["features"].tolist()
    return rows


def refusal(stage: Stage, *records: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        encoded(stage, *records)
    return str(caught.value)


# What features.json may say.


def test_columns_keep_their_order_and_have_defaults(tmp_path: Path) -> None:
    read = features(tmp_path, PLAIN, CITY)
    assert [(column.name, column.type) for column in read.columns.values()] == [
        ("rooms", "number"),
        ("city", "category"),
    ]
    assert read.inputs({"features": "TYPE_FP32"}) == {"rooms": "TYPE_FP32", "city": "TYPE_STRING"}
    assert read.tensors == {"features": ["rooms", "city"]}
    assert read.widths() == {"features": 4}


def test_tensors_may_share_columns_and_name_their_own_order(tmp_path: Path) -> None:
    tensors = {"wide": ["city", "age"], "deep": ["rooms", "age"]}
    read = features(tmp_path, AGE, PLAIN, CITY, tensors=tensors)
    assert read.tensors == tensors
    assert read.widths() == {"wide": 4, "deep": 2}


@pytest.mark.parametrize(
    ("name", "shown"),
    [(None, "null"), (5, "5"), ("", "''"), ("a\nb", "'a\\nb'"), ("\ud800", "'\\ud800'")],
)
def test_a_name_that_cannot_be_printed_is_refused(tmp_path: Path, name: Any, shown: str) -> None:
    message = f"column 1 has the name {shown}; expected a string of at least one printable character"
    assert fault(tmp_path, {"columns": [AGE, PLAIN | {"name": name}]}) == f": {message}"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (5, "column 0 is 5; expected an object"),
        (AGE | {"name": "record"}, "column 'record' has the name of the input that carries whole records; rename it"),
        ({"name": "age"}, "column 'age': type is null; expected 'number', 'category' or 'text'"),
        (
            CITY | {"type": "categorical"},
            "column 'city': type is 'categorical'; expected 'number', 'category' or 'text'",
        ),
        (AGE | {"type": ["number"]}, "column 'age': type is a list; expected 'number', 'category' or 'text'"),
        (AGE | {"means": 1}, "column 'age' has the unknown key 'means'; did you mean 'mean'?"),
        (
            AGE | {"values": []},
            "column 'age' has the unknown key 'values'; known are 'type', 'name', 'mean', 'scale', 'missing'",
        ),
        (AGE | {"mean": "0"}, "column 'age': mean is '0'; expected a finite number"),
        (AGE | {"mean": None}, "column 'age': mean is null; expected a finite number"),
        (AGE | {"mean": NAN}, "column 'age': mean is NaN; expected a finite number"),
        (AGE | {"mean": 10**400}, "column 'age': mean is Infinity; expected a finite number"),
        (AGE | {"scale": True}, "column 'age': scale is true; expected a finite number"),
        (AGE | {"scale": -INFINITE}, "column 'age': scale is -Infinity; expected a finite number"),
        (AGE | {"scale": 0}, "column 'age': scale is 0; expected another number (1 leaves values as is)"),
        (AGE | {"missing": "mean"}, "column 'age': missing is 'mean'; expected a finite number"),
        (AGE | {"missing": NAN}, "column 'age': missing is NaN; expected a finite number"),
        ({"name": "c", "type": "category"}, "column 'c': values is empty; expected a list of at least one string"),
        (CITY | {"values": []}, "column 'city': values is empty; expected a list of at least one string"),
        (CITY | {"values": None}, "column 'city': values is null; expected a list of at least one string"),
        (CITY | {"values": "Rome"}, "column 'city': values is 'Rome'; expected a list of at least one string"),
        (CITY | {"values": ["1", 2]}, "column 'city': values holds 2; expected strings, in double quotes"),
        (CITY | {"values": [["a"]]}, "column 'city': values holds a list; expected strings, in double quotes"),
        (CITY | {"values": ["a", "b", "a"]}, "column 'city': values holds 'a' 2 times; expected each value once"),
        (CITY | {"encoding": "hash"}, "column 'city': encoding is 'hash'; expected 'one-hot' or 'index'"),
        (CITY | {"encoding": []}, "column 'city': encoding is a list; expected 'one-hot' or 'index'"),
        (CITY | {"unknown": "first"}, "column 'city': unknown is 'first'; expected 'zeros', or null to refuse"),
        (CITY | {"unknown": 0}, "column 'city': unknown is 0; expected 'zeros', or null to refuse"),
    ],
)
def test_a_column_that_cannot_be_served_is_refused(tmp_path: Path, column: Any, message: str) -> None:
    assert fault(tmp_path, {"columns": [column]}) == f": {message}"


@pytest.mark.parametrize(
    ("unknown", "shown"),
    [("zeros", "'zeros'"), (0.5, "0.5"), (-2, "-2"), (2**24 + 1, "16777217"), (True, "true"), ({}, "an object")],
)
def test_an_index_for_unknown_names_that_no_tensor_can_hold_is_refused(
    tmp_path: Path, unknown: Any, shown: str
) -> None:
    message = f"unknown is {shown}; expected a whole number from -1 to 16777216, or null to refuse"
    assert fault(tmp_path, {"columns": [PLACE | {"unknown": unknown}]}) == f": column 'city': {message}"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([AGE], "the file is a list; expected an object"),
        ({}, "columns is null; expected a list of at least one column"),
        ({"columns": []}, "columns is empty; expected a list of at least one column"),
        ({"columns": {"age": AGE}}, "columns is an object; expected a list of at least one column"),
        ({"columns": [AGE], "tensor": {}}, "the file has the unknown key 'tensor'; did you mean 'tensors'?"),
        ({"columns": [AGE, CITY, PLAIN, AGE]}, "column 'age' is there twice; expected each name once"),
    ],
)
def test_a_file_that_cannot_be_served_is_refused(tmp_path: Path, document: Any, message: str) -> None:
    assert fault(tmp_path, document) == f": {message}"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (["age"], "tensors is a list; expected an object"),
        ({}, "columns 'age', 'city' are in no tensor; add them to one or leave them out"),
        ({"x": ["age"]}, "columns 'city' are in no tensor; add them to one or leave them out"),
        ({"": ["age"]}, "a tensor has the name ''; expected a string of at least one printable character"),
        ({"x": []}, "tensor 'x' is empty; expected a list of at least one column"),
        ({"x": "age"}, "tensor 'x' is 'age'; expected a list of at least one column"),
        ({"x": ["agee"]}, "tensor 'x' has the unknown column 'agee'; did you mean 'age'?"),
        ({"x": [["age"]]}, "tensor 'x' has the unknown column a list; known are 'age', 'city'"),
        ({"x": ["age", "age"]}, "tensor 'x' has the column 'age' twice; expected each column once"),
    ],
)
def test_a_tensor_that_cannot_be_served_is_refused(tmp_path: Path, tensors: Any, message: str) -> None:
    assert fault(tmp_path, {"columns": [AGE, CITY], "tensors": tensors}) == f": {message}"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is not JSON in UTF-8 (Expecting value: line 1 column 1 (char 0))"),
        (b'{"columns": [], "columns": []}', "has the key 'columns' twice in one object; expected each once"),
        (b'{"columns": [}', "is not JSON in UTF-8 (Expecting value: line 1 column 14 (char 13))"),
        (b"\xff", "is not JSON in UTF-8 ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte)"),
        (b"[" * 100_000, "is nested too deeply; expected lists and objects a few levels deep"),
    ],
)
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    assert fault(tmp_path, raw) == f" {message}"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"features\.json cannot be read: No such file or directory$"):
        read_features(tmp_path / "features.json")


# Numbers.


def test_numbers_are_scaled(tmp_path: Path) -> None:
    assert encoded(stage(tmp_path, AGE, PLAIN), {"age": 60, "rooms": 2.5}, {"rooms": -1, "age": 0.0}) == [
        [2.0, 2.5],
        [-4.0, -1.0],
    ]


@pytest.mark.parametrize("raw", [b'{"age": null}', b'{"age": NaN}'])
def test_missing_numbers_are_replaced_before_scaling(tmp_path: Path, raw: bytes) -> None:
    assert encoded(stage(tmp_path, AGE | {"missing": 20}), raw) == [[-2.0]]


@pytest.mark.parametrize("missing", [None, 20])
@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b'"abc"', "'abc'"),
        (b'"60"', "'60'"),
        (b"true", "true"),
        (b"[60]", "a list"),
        (b"{}", "an object"),
        (b"Infinity", "Infinity"),
        (b"-1e400", "-Infinity"),
        (b"9" * 5000, "Infinity"),
        (b'"' + b"x" * 10_000 + b'"', f"'{'x' * 32}…'"),
        (b'"\\ud800\\n"', "'\\ud800\\n'"),
    ],
)
def test_what_is_no_finite_number_is_refused(tmp_path: Path, missing: float | None, raw: bytes, shown: str) -> None:
    message = refusal(stage(tmp_path, AGE | {"missing": missing}), {"age": 1}, b'{"age": ' + raw + b"}")
    assert message == f"record 1: column 'age' is {shown}; expected a finite number"


@pytest.mark.parametrize(("raw", "shown"), [(b"null", "null"), (b"NaN", "NaN")])
def test_a_missing_number_that_nothing_replaces_is_refused(tmp_path: Path, raw: bytes, shown: str) -> None:
    message = refusal(stage(tmp_path, AGE), b'{"age": ' + raw + b"}")
    assert message == f"record 0: column 'age' is {shown}; expected a finite number"


@pytest.mark.parametrize("value", [1e300, -1e300, 3.5e38])
def test_a_number_that_float32_cannot_hold_is_refused(tmp_path: Path, value: float) -> None:
    message = refusal(stage(tmp_path, PLAIN), {"rooms": 3.4e38}, {"rooms": value})
    largest = "3.4028234663852886e+38"
    assert message == f"record 1: column 'rooms' is {value}; expected a number from -{largest} to {largest} once scaled"


@pytest.mark.parametrize("column", [PLAIN | {"scale": 1e-300}, PLAIN | {"mean": -1.7e308}])
def test_a_number_that_overflows_in_scaling_is_refused(tmp_path: Path, column: dict[str, Any]) -> None:
    message = refusal(stage(tmp_path, column, data_type="TYPE_FP64"), {"rooms": 1e308})
    assert message.startswith("record 0: column 'rooms' is 1e+308; expected a number from ")


def test_float64_holds_what_float32_does_not(tmp_path: Path) -> None:
    assert encoded(stage(tmp_path, PLAIN, data_type="TYPE_FP64"), {"rooms": 1e300}, {"rooms": 0.1}) == [[1e300], [0.1]]


# Categories.


def test_one_hot(tmp_path: Path) -> None:
    assert encoded(stage(tmp_path, CITY), {"city": "Kraków"}, {"city": "Rome"}) == [[0, 0, 1], [1, 0, 0]]


def test_index(tmp_path: Path) -> None:
    assert encoded(stage(tmp_path, PLACE), {"city": "Kraków"}, {"city": "Rome"}) == [[2], [0]]


@pytest.mark.parametrize("value", ["Romee", "rome", "", " Rome", "\ud800", None])
def test_unknown_names_become_what_stands_for_them(tmp_path: Path, value: str | None) -> None:
    assert encoded(stage(tmp_path, CITY | {"unknown": "zeros"}), {"city": value}) == [[0, 0, 0]]
    assert encoded(stage(tmp_path, PLACE | {"unknown": -1}), {"city": value}) == [[-1]]
    assert encoded(stage(tmp_path, PLACE | {"unknown": 2**24}), {"city": value}) == [[2**24]]


@pytest.mark.parametrize("column", [CITY, PLACE])
@pytest.mark.parametrize(("value", "shown"), [("Romee", "'Romee'"), ("", "''"), (None, "null"), ("\n", "'\\n'")])
def test_unknown_names_are_refused(tmp_path: Path, column: dict[str, Any], value: str | None, shown: str) -> None:
    message = refusal(stage(tmp_path, column), {"city": value})
    assert message == f"record 0: column 'city' is {shown}; expected one of 'Rome', 'Oslo', 'Kraków'"


def test_of_many_known_names_a_few_are_shown(tmp_path: Path) -> None:
    message = refusal(stage(tmp_path, CITY | {"values": list("abcdefgh")}), {"city": "x"})
    assert message.endswith("expected one of 'a', 'b', 'c', 'd', 'e' and 3 more")


@pytest.mark.parametrize(("value", "shown"), [(5, "5"), (0.5, "0.5"), (False, "false"), (["Rome"], "a list")])
def test_a_category_that_is_no_string_is_refused_even_where_unknown_ones_are_not(
    tmp_path: Path, value: Any, shown: str
) -> None:
    message = refusal(stage(tmp_path, CITY | {"unknown": "zeros"}), {"city": value})
    assert message == f"record 0: column 'city' is {shown}; expected a string"


# Texts.


TOWN = {"name": "town", "type": "text"}


def test_texts_go_to_the_model_as_they_are(tmp_path: Path) -> None:
    made = stage(tmp_path, TOWN | {"missing": "?"}, TOWN | {"name": "street"}, data_type="TYPE_STRING")
    assert encoded(made, {"town": "Kraków", "street": ""}, {"town": None, "street": "x y"}) == [
        ["Kraków".encode(), b""],
        [b"?", b"x y"],
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "record 0: column 'town' is null; expected a string"),
        (7, "record 0: column 'town' is 7; expected a string"),
        (["Rome"], "record 0: column 'town' is a list; expected a string"),
        ("\ud800", "record 0: column 'town' holds a lone surrogate; send UTF-8"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    assert refusal(stage(tmp_path, TOWN, data_type="TYPE_STRING"), {"town": value}) == message


def test_texts_and_numbers_share_no_tensor(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'features' is TYPE_FP32, and its columns 'town' are texts"):
        stage(tmp_path, PLAIN, TOWN)
    with pytest.raises(ValueError, match="is TYPE_STRING, and its columns 'rooms' are no texts; expected columns of"):
        stage(tmp_path, PLAIN, TOWN, data_type="TYPE_STRING")
    assert fault(tmp_path, {"columns": [TOWN | {"missing": 0}]}) == (
        ": column 'town': missing is 0; expected a string or null"
    )


# Records.


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"rooms": 1', "Expecting ',' delimiter: line 1 column 12 (char 11)"),
        (b'{"rooms": 1} x', "Extra data: line 1 column 14 (char 13)"),
        ('{"rooms": 1}'.encode("utf-16"), "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_record_that_is_not_json_is_refused(tmp_path: Path, raw: bytes, found: str) -> None:
    message = f"record 1 is not JSON in UTF-8 ({found}); encode it with json.dumps(record).encode()"
    assert refusal(stage(tmp_path, PLAIN), {"rooms": 1}, raw) == message


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([1], "record 1 is a list; expected an object with the columns 'rooms'"),
        (None, "record 1 is null; expected an object with the columns 'rooms'"),
        ({}, "record 1 lacks the columns 'rooms'; give each a value or null"),
        ({"romos": 1}, "record 1 has the unknown columns 'romos'; did you mean 'rooms'?"),
        ({"rooms": 1, "x": 1, "y": 2}, "record 1 has the unknown columns 'x', 'y'; known are 'rooms'"),
    ],
)
def test_a_record_without_exactly_the_columns_is_refused(tmp_path: Path, record: Any, message: str) -> None:
    assert refusal(stage(tmp_path, PLAIN | {"missing": 0}), {"rooms": 1}, record) == message


@pytest.mark.parametrize("raw", [b"[" * 200_000, b'{"rooms":' * 200_000, b'{"rooms":' + b"[" * 200_000])
def test_deep_nesting_is_refused(tmp_path: Path, raw: bytes) -> None:
    assert refusal(stage(tmp_path, PLAIN), raw).startswith("record 0 is nested too deeply; expected ")


def test_a_huge_record_is_refused_in_a_short_line_and_holds_nobody_up(tmp_path: Path) -> None:
    columns = [PLAIN | {"name": f"column {number}"} for number in range(500)]
    record = {f"{number}{'x' * size}": number for number, size in enumerate([10_000_000, *[10] * 499])}
    made = stage(tmp_path, *columns)
    started = time.perf_counter()
    message = refusal(made, record)
    assert time.perf_counter() - started < 1
    assert message.startswith("record 0 has the unknown columns ")
    assert " and 495 more; " in message
    assert len(message) < 500


def test_no_records_make_an_empty_tensor(tmp_path: Path) -> None:
    made = stage(tmp_path, AGE, CITY, PLACE | {"name": "place"})
    assert made({"record": texts()}, {})["features"].shape == (0, 5)


# One input a column.


def test_columns_may_be_inputs_of_their_own(tmp_path: Path) -> None:
    made = stage(tmp_path, AGE | {"missing": 40}, CITY, records=False)
    age = np.array([[60], [NAN]], np.float32)
    tensor = made({"city": texts(b"Oslo", "Kraków".encode()), "age": age}, {"top_k": "ignored"})["features"]
    assert tensor.dtype == np.float32
    assert tensor.tolist() == [[2, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("data_type", ["TYPE_FP64", "TYPE_INT32", "TYPE_INT64"])
def test_a_column_loses_no_digit_that_its_tensor_holds(tmp_path: Path, data_type: str) -> None:
    made = stage(tmp_path, PLAIN, data_type=data_type, records=False)
    assert made({"rooms": np.array([[2**24 + 1]], np.float64)}, {})["features"].tolist() == [[2**24 + 1]]


def test_only_numbers_of_finer_tensors_travel_as_fp64(tmp_path: Path) -> None:
    tensors = {"whole": ["rooms", "city"], "both": ["rooms", "age"]}
    read = features(tmp_path, PLAIN, PLACE, AGE, tensors=tensors)
    assert read.inputs({"whole": "TYPE_INT64", "both": "TYPE_FP32"}) == {
        "rooms": "TYPE_FP64",
        "city": "TYPE_STRING",
        "age": "TYPE_FP32",
    }


def test_both_forms_give_the_same(tmp_path: Path) -> None:
    rows = [{"age": 18.5, "city": "Rome"}, {"age": -0.25, "city": "Oslo"}]
    inputs = {
        "age": np.array([[row["age"]] for row in rows], np.float32),
        "city": texts(*(str(row["city"]).encode() for row in rows)),
    }
    assert stage(tmp_path, AGE, CITY, records=False)(inputs, {})["features"].tolist() == encoded(
        stage(tmp_path, AGE, CITY), *rows
    )


@pytest.mark.parametrize(
    ("age", "city", "message"),
    [
        (NAN, b"Oslo", "record 1: column 'age' is NaN; expected a finite number"),
        (INFINITE, b"Oslo", "record 1: column 'age' is Infinity; expected a finite number"),
        (1.0, b"", "record 1: column 'city' is ''; expected one of 'Rome', 'Oslo', 'Kraków'"),
        (
            1.0,
            b"caf\xe9",
            "record 1: column 'city' is not UTF-8 (byte 0xe9 at offset 3); encode it with text.encode('utf-8')",
        ),
    ],
)
def test_a_bad_value_in_a_column_is_refused(tmp_path: Path, age: float, city: bytes, message: str) -> None:
    made = stage(tmp_path, AGE, CITY, records=False)
    with pytest.raises(InvalidInput) as caught:
        made({"age": np.array([[1], [age]], np.float32), "city": texts(b"Rome", city)}, {})
    assert str(caught.value) == message


# Tensors.


def test_each_tensor_has_its_columns_and_its_type(tmp_path: Path) -> None:
    read = features(
        tmp_path, AGE, PLAIN, PLACE, tensors={"scaled": ["age"], "whole": ["city", "rooms"], "exact": ["rooms", "age"]}
    )
    preprocess = TabularPreprocessor(read, {"scaled": "TYPE_FP32", "whole": "TYPE_INT32", "exact": "TYPE_FP64"})
    tensors = preprocess({"age": [30, 60], "rooms": [2, 3], "city": ["Oslo", "Kraków"]})
    assert {name: (str(tensor.dtype), tensor.tolist()) for name, tensor in tensors.items()} == {
        "scaled": ("float32", [[-1.0], [2.0]]),
        "whole": ("int32", [[1, 2], [2, 3]]),
        "exact": ("float64", [[2.0, -1.0], [3.0, 2.0]]),
    }


@pytest.mark.parametrize(("data_type", "largest"), [("TYPE_INT32", 2**31 - 1), ("TYPE_INT64", 2**53 - 1)])
def test_whole_numbers_are_exact_or_refused(tmp_path: Path, data_type: str, largest: int) -> None:
    made = stage(tmp_path, PLAIN, data_type=data_type)
    assert encoded(made, {"rooms": largest}, {"rooms": -largest}, {"rooms": 2.0}) == [[largest], [-largest], [2]]
    for value in (largest + 1, largest + 2, -largest - 1, 0.5, 1e30):
        message = refusal(made, {"rooms": value})
        assert message.endswith(f"expected a whole number from -{largest} to {largest} once scaled")


@pytest.mark.parametrize(
    "column",
    [CITY, AGE, PLAIN | {"mean": 1}, PLAIN | {"scale": 2}, PLAIN | {"missing": 0.5}],
    ids=["one-hot", "both", "mean", "scale", "missing"],
)
def test_an_integer_tensor_cannot_have_columns_with_fractions(tmp_path: Path, column: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^tensor 'features' is TYPE_INT64, and its columns '.*' are one-hot, "):
        stage(tmp_path, column, data_type="TYPE_INT64")


def test_an_integer_tensor_may_have_whole_numbers_for_what_is_missing(tmp_path: Path) -> None:
    made = stage(tmp_path, PLAIN | {"missing": -1}, PLACE | {"unknown": 3}, data_type="TYPE_INT32")
    assert encoded(made, {"rooms": None, "city": None}) == [[-1, 3]]


@pytest.mark.parametrize(
    "inputs", [{}, {"rooms": "TYPE_INT64"}, {"rooms": "TYPE_FP32", "record": "TYPE_STRING"}, {"record": "TYPE_FP32"}]
)
def test_inputs_that_do_not_suit_are_refused(tmp_path: Path, inputs: dict[str, str]) -> None:
    features(tmp_path, PLAIN)
    config = {"input": [entry(*item) for item in inputs.items()], "output": [entry("features", "TYPE_FP32")]}
    with pytest.raises(ValueError, match=r"^the inputs are ") as caught:
        Stage(tmp_path, config)
    expected = "expected {'rooms': 'TYPE_FP32'}, or record alone as TYPE_STRING"
    assert str(caught.value) == f"the inputs are {inputs}; {expected}"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (entry("x", "TYPE_FP32"), r"^the outputs are 'x'; features\.json makes 'features'$"),
        (entry("features", "TYPE_FP16"), r"^tensor 'features' is TYPE_FP16; expected one of TYPE_FP32, TYPE_FP64, "),
        (entry("features", "TYPE_FP32", 2), r"^the outputs have the dims {'features': \[2\]}; features\.json makes "),
    ],
)
def test_outputs_that_do_not_suit_are_refused(tmp_path: Path, output: dict[str, Any], message: str) -> None:
    features(tmp_path, PLAIN)
    with pytest.raises(ValueError, match=message):
        Stage(tmp_path, {"input": [entry("record", "TYPE_STRING")], "output": [output]})


# Regression.


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_values_are_scaled_back(shape: tuple[int, ...]) -> None:
    output = np.array([-1.0, 0.0, 2.5], np.float32).reshape(shape)
    value = regression.postprocess(output, regression.Settings(mean=200.0, scale=50.0))
    assert value.dtype == np.float32
    assert value.tolist() == [[150.0], [200.0], [325.0]]


def test_scaling_back_rounds_once() -> None:
    value = regression.postprocess(np.array([[1.0]], np.float32), regression.Settings(mean=-1e8, scale=1e8 + 1))
    assert value.tolist() == [[1.0]]


@pytest.mark.parametrize("number", [NAN, INFINITE, -INFINITE, 3e38])
def test_a_model_that_gives_no_finite_value_is_a_failure(number: float) -> None:
    with pytest.raises(ValueError, match=r"^the model gave NaN or infinite values \(× scale 10\.0 \+ mean 0\.0\)$"):
        regression.postprocess(np.array([[1.0], [number]], np.float32), regression.Settings(scale=10.0))


@pytest.mark.parametrize("shape", [(2, 2), (1, 3), (2, 1, 1), (2, 0)])
def test_a_model_that_gives_other_than_one_number_an_item_is_a_failure(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^the model gives the shape \[.*\]; expected \[B, 1\] or \[B\]"):
        regression.postprocess(np.zeros(shape, np.float32), regression.Settings())


@pytest.mark.parametrize(
    ("settings", "value"), [("{}", 0.5), ('{"mean": 1}', 1.5), ('{"mean": 1.0, "scale": 4.0}', 3.0)]
)
def test_the_regression_stage_reads_its_folder(tmp_path: Path, settings: str, value: float) -> None:
    (tmp_path / "settings.json").write_text(settings, encoding="utf-8")
    answer = RegressionStage(tmp_path, {})({"output": np.array([[0.5]], np.float32)}, {"top_k": 1})
    assert list(answer) == ["value"]
    assert answer["value"].tolist() == [[value]]
