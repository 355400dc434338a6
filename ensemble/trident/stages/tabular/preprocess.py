"""Records to tensors: read, check, scale, encode. Training calls the same code that serves.

Axis letters: B records of one request, F numbers that stand for a record in one tensor, V values of a category.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .features import Category, Column, Features, Number, Text, hint, is_number, listed, parse, show

DTYPES = {
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_STRING": np.object_,
}
# Numbers are read as float64, which is exact below 2**53.
LARGEST = {
    "TYPE_FP32": float(np.finfo(np.float32).max),
    "TYPE_FP64": float(np.finfo(np.float64).max),
    "TYPE_INT32": 2**31 - 1,
    "TYPE_INT64": 2**53 - 1,
}


class InvalidInput(Exception):
    """A record cannot be served; the message names its position in the request."""


class TabularPreprocessor:
    """The columns of one service version, and the types of the tensors that they make."""

    def __init__(self, features: Features, data_types: dict[str, str]) -> None:
        """Check that the tensors can have these types.

        Args:
            features: see `Features`.
            data_types: name of each tensor → a key of `DTYPES`.

        Raises:
            ValueError: other tensors than those of features.json, or a type that cannot hold a tensor's columns.
        """
        if data_types.keys() != features.tensors.keys():
            raise ValueError(f"the outputs are {listed(data_types)}; features.json makes {listed(features.tensors)}")
        for tensor, data_type in data_types.items():
            if data_type not in DTYPES:
                raise ValueError(f"tensor {show(tensor)} is {data_type}; expected one of {', '.join(DTYPES)}")
            texts = [name for name in features.tensors[tensor] if isinstance(features.columns[name], Text)]
            others = [name for name in features.tensors[tensor] if name not in texts]
            if texts and data_type != "TYPE_STRING":
                raise ValueError(f"tensor {show(tensor)} is {data_type}, and its columns {listed(texts)} are texts")
            if others and data_type == "TYPE_STRING":
                what = f"tensor {show(tensor)} is {data_type}, and its columns {listed(others)} are no texts"
                raise ValueError(f"{what}; expected columns of the type 'text'")
            fractions = [name for name in features.tensors[tensor] if not features.columns[name].integral]
            if _is_whole(data_type) and fractions:
                raise ValueError(
                    f"tensor {show(tensor)} is {data_type}, and its columns {listed(fractions)} are one-hot, scaled "
                    "or have a fraction for missing values; expected TYPE_FP32"
                )
        self._features = features
        self._data_types = data_types

    def read_records(self, raw: Sequence[bytes]) -> dict[str, list[Any]]:
        """Read records in JSON.

        Args:
            raw: B objects in UTF-8, each with every column and nothing else.

        Returns:
            Name of each column → B values, unchecked.

        Raises:
            InvalidInput: one of them is not such an object.
        """
        records = [self._record(text, row) for row, text in enumerate(raw)]
        return {name: [record[name] for record in records] for name in self._features.columns}

    def _record(self, raw: bytes, row: int) -> dict[str, Any]:
        columns = self._features.columns
        try:
            record = parse(raw, f"record {row}")
        except ValueError as error:
            raise InvalidInput(f"{error}; encode it with json.dumps(record).encode()") from None
        if not isinstance(record, dict):
            raise InvalidInput(f"record {row} is {show(record)}; expected an object with the columns {listed(columns)}")
        unknown = [name for name in record if name not in columns]
        if unknown:
            raise InvalidInput(f"record {row} has the unknown columns {listed(unknown)}; {hint(unknown[0], columns)}")
        lacking = [name for name in columns if name not in record]
        if lacking:
            raise InvalidInput(f"record {row} lacks the columns {listed(lacking)}; give each a value or null")
        return record

    def read_columns(self, inputs: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """Read columns that came as tensors of their own.

        Args:
            inputs: name of each column → float32 or float64 [B, 1] (number) or UTF-8 bytes [B, 1] (category, text).

        Returns:
            Name of each column → B values, unchecked.

        Raises:
            InvalidInput: a text is not UTF-8.
        """
        return {
            name: [_decode(value, name, row) for row, value in enumerate(inputs[name].ravel().tolist())]
            for name in self._features.columns
        }

    def __call__(self, values: dict[str, list[Any]]) -> dict[str, NDArray[Any]]:
        """Encode records.

        Args:
            values: name of each column → B values: numbers or strings; None and NaN are missing.

        Returns:
            Name of each tensor → [B, F] of its type.

        Raises:
            InvalidInput: a value is of the wrong type, missing, unknown, or too large for its tensor.
        """
        return {tensor: self._tensor(tensor, data_type, values) for tensor, data_type in self._data_types.items()}

    def _tensor(self, tensor: str, data_type: str, values: dict[str, list[Any]]) -> NDArray[Any]:
        columns = [self._features.columns[name] for name in self._features.tensors[tensor]]
        parts = [encode(column, values[column.name], data_type) for column in columns]
        return np.concatenate(parts, axis=1, dtype=DTYPES[data_type], casting="unsafe")


def encode(column: Column, values: Sequence[Any], data_type: str) -> NDArray[Any]:
    """Encode one column for a tensor of the given type.

    Args:
        column: see `Number` and `Category`.
        values: B of them.
        data_type: a key of `DTYPES`.

    Returns:
        float64 [B, 1] (number), bool [B, V] (one-hot), int64 [B, 1] (index) or UTF-8 bytes [B, 1] (text); `data_type`
        can hold them.

    Raises:
        InvalidInput: a value is of the wrong type, missing, unknown, or too large.
    """
    if isinstance(column, Number):
        numbers = np.array([_number(column, value, row) for row, value in enumerate(values)], np.float64)
        return _scale(column, numbers, data_type)[:, None]
    if isinstance(column, Text):
        return np.array([_text(column, value, row) for row, value in enumerate(values)], np.object_)[:, None]
    places = np.array([_place(column, value, row) for row, value in enumerate(values)], np.int64)[:, None]
    return places == np.arange(len(column.values)) if column.encoding == "one-hot" else places


def _scale(column: Number, numbers: NDArray[np.float64], data_type: str) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        scaled: NDArray[np.float64] = (numbers - column.mean) / column.scale
    largest = LARGEST[data_type]
    fits = np.abs(scaled) <= largest
    if _is_whole(data_type):
        fits &= scaled == np.rint(scaled)
    if not fits.all():
        row = int(fits.argmin())
        expected = f"{'a whole' if _is_whole(data_type) else 'a'} number from -{largest} to {largest} once scaled"
        raise InvalidInput(f"{_where(column, numbers[row].item(), row)}; expected {expected}")
    return scaled


def _number(column: Number, value: Any, row: int) -> float:
    absent = value is None or (isinstance(value, float) and math.isnan(value))
    number = column.missing if absent else value
    if number is None or not is_number(number):
        raise InvalidInput(f"{_where(column, value, row)}; expected a finite number")
    return float(number)


def _text(column: Text, value: Any, row: int) -> bytes:
    text = column.missing if value is None else value
    if not isinstance(text, str):
        raise InvalidInput(f"{_where(column, value, row)}; expected a string")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"record {row}: column {show(column.name)} holds a lone surrogate; send UTF-8") from None


def _place(column: Category, value: Any, row: int) -> int:
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{_where(column, value, row)}; expected a string")
    place = column.places.get(value, column.unknown_place)
    if place is None:
        raise InvalidInput(f"{_where(column, value, row)}; expected one of {listed(column.values)}")
    return place


def _where(column: Column, value: Any, row: int) -> str:
    return f"record {row}: column {show(column.name)} is {show(value)}"


def _is_whole(data_type: str) -> bool:
    return np.issubdtype(DTYPES[data_type], np.integer)


def _decode(value: Any, name: str, row: int) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{value[error.start]:02x} at offset {error.start}"
        raise InvalidInput(
            f"record {row}: column {show(name)} is not UTF-8 ({found}); encode it with text.encode('utf-8')"
        ) from None
