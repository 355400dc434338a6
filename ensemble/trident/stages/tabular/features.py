"""features.json: the columns of a record, and the tensors that they make. It is checked before anything is served."""

import difflib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

RECORD = "record"  # the input that carries whole records, so no column's name
TENSOR = "features"  # the tensor of all columns, where features.json names none
LARGEST_INDEX = 2**24  # every type that a tensor may have is exact up to here
FINER = ("TYPE_FP64", "TYPE_INT32", "TYPE_INT64")  # tensors that hold digits which FP32 has not
SHOWN_CHARACTERS, SHOWN_NAMES = 32, 5


def show(value: Any) -> str:
    """A value as a message names it: short, on one line, in JSON's words, without what a list or an object holds."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…")
    return json.dumps(value).removesuffix(".0")


def listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = len(names) - SHOWN_NAMES
    return ", ".join(map(show, names[:SHOWN_NAMES])) + (f" and {more} more" if more > 0 else "")


def hint(name: str, known: Iterable[str]) -> str:
    """What someone who wrote an unknown name may have meant."""
    # Cut, since difflib keeps a list of the places of each character, and a request's name may have millions.
    close = difflib.get_close_matches(name[: 2 * SHOWN_CHARACTERS], known, n=1)
    return f"did you mean {show(close[0])}?" if close else f"known are {listed(known)}"


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class RepeatedKey(ValueError):
    """An object of JSON has a key twice, so that nobody knows which value is meant."""


def parse(raw: bytes, source: str) -> Any:
    """Read JSON. Whole numbers become floats too, so that none is too long to convert.

    Raises:
        ValueError: `source` is not JSON in UTF-8, is nested too deeply to be read, or has a key twice in an object.
    """
    try:
        return json.loads(raw.decode("utf-8-sig"), parse_int=float, object_pairs_hook=_unique)
    except RepeatedKey as error:
        raise ValueError(f"{source} has the key {error} twice in one object; expected each once") from None
    except RecursionError:
        raise ValueError(f"{source} is nested too deeply; expected lists and objects a few levels deep") from None
    except ValueError as error:
        raise ValueError(f"{source} is not JSON in UTF-8 ({error})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise RepeatedKey(show(next(key for key, count in counts.items() if count > 1)))
    return entries


@dataclass(frozen=True)
class Number:
    """A column of numbers, encoded as (x - mean) / scale.

    Attributes:
        name: the column's name.
        mean: what becomes 0.
        scale: how far above the mean lies what becomes 1; not 0.
        missing: stands for null and NaN, before scaling; None refuses them.
    """

    type: ClassVar[str] = "number"
    width: ClassVar[int] = 1

    name: str
    mean: float = 0.0
    scale: float = 1.0
    missing: float | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: one of them is no finite number, or the scale is 0.
        """
        for key in ("mean", "scale", "missing"):
            value = getattr(self, key)
            if not is_number(value) and not (key == "missing" and value is None):
                raise ValueError(f"column {show(self.name)}: {key} is {show(value)}; expected a finite number")
        if self.scale == 0:
            raise ValueError(f"column {show(self.name)}: scale is 0; expected another number (1 leaves values as is)")

    @property
    def integral(self) -> bool:
        """Whether whole numbers stay whole."""
        return self.mean == 0 and self.scale == 1 and float(self.missing or 0).is_integer()


@dataclass(frozen=True)
class Category:
    """A column of names.

    Attributes:
        name: the column's name.
        values: the known names.
        encoding: `one-hot` (1 at the name's place in `values`, 0 elsewhere) or `index` (that place, from 0).
        unknown: stands for null and for names that are not in `values`: `zeros` (one-hot), or an index from -1 to
            2**24 (index); None refuses them.
    """

    type: ClassVar[str] = "category"

    name: str
    values: Sequence[str] = ()
    encoding: str = "one-hot"
    unknown: str | float | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: there are no values, or one that comes twice, or another setting is none of those above.
        """
        where = f"column {show(self.name)}"
        if not isinstance(self.values, list | tuple) or not self.values:
            found = "empty" if self.values in ([], ()) else show(self.values)
            raise ValueError(f"{where}: values is {found}; expected a list of at least one string")
        for value in self.values:
            if not isinstance(value, str):
                raise ValueError(f"{where}: values holds {show(value)}; expected strings, in double quotes")
        value, count = Counter(self.values).most_common(1)[0]
        if count > 1:
            raise ValueError(f"{where}: values holds {show(value)} {count} times; expected each value once")
        if self.encoding not in ("one-hot", "index"):
            raise ValueError(f"{where}: encoding is {show(self.encoding)}; expected 'one-hot' or 'index'")
        if not self._unknown_suits():
            expected = "'zeros'" if self.encoding == "one-hot" else f"a whole number from -1 to {LARGEST_INDEX}"
            raise ValueError(f"{where}: unknown is {show(self.unknown)}; expected {expected}, or null to refuse")

    def _unknown_suits(self) -> bool:
        if self.unknown is None or self.encoding == "one-hot":
            return self.unknown in (None, "zeros")
        return (
            is_number(self.unknown) and float(self.unknown).is_integer() and -1 <= float(self.unknown) <= LARGEST_INDEX
        )

    @property
    def width(self) -> int:
        """Numbers that stand for one value."""
        return len(self.values) if self.encoding == "one-hot" else 1

    @property
    def integral(self) -> bool:
        """Whether the encoding is one whole number."""
        return self.encoding == "index"

    @cached_property
    def places(self) -> dict[str | None, int]:
        """The place of each known name in `values`; null is not among them."""
        return {value: place for place, value in enumerate(self.values)}

    @property
    def unknown_place(self) -> int | None:
        """The place that stands for unknown names; -1 for `zeros`, which is no place in a one-hot vector."""
        return -1 if self.unknown == "zeros" else None if self.unknown is None else int(self.unknown)


@dataclass(frozen=True)
class Text:
    """A column of strings for a model that encodes them itself, as with Keras' StringLookup.

    Attributes:
        name: the column's name.
        missing: stands for null; None refuses it.
    """

    type: ClassVar[str] = "text"
    width: ClassVar[int] = 1
    integral: ClassVar[bool] = False

    name: str
    missing: str | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: `missing` is no string.
        """
        if not isinstance(self.missing, str | None):
            raise ValueError(f"column {show(self.name)}: missing is {show(self.missing)}; expected a string or null")


Column = Number | Category | Text


@dataclass(frozen=True)
class Features:
    """What features.json says, checked.

    Attributes:
        columns: name → column, in the order of the file; each has `name` and `type`.
        tensors: name of a tensor → names of its columns, in order.
    """

    columns: dict[str, Column]
    tensors: dict[str, list[str]]

    def inputs(self, data_types: Mapping[str, str]) -> dict[str, str]:
        """Data types of the inputs where each column is an input of its own.

        Args:
            data_types: name of each tensor → its type.

        Returns:
            Column → TYPE_STRING or, of numbers, TYPE_FP32; TYPE_FP64 of those that FP32 would cost digits.
        """
        exact = {name for tensor, names in self.tensors.items() if data_types[tensor] in FINER for name in names}
        numbers = {name: "TYPE_FP64" if name in exact else "TYPE_FP32" for name in self.columns}
        return {
            name: numbers[name] if isinstance(column, Number) else "TYPE_STRING"
            for name, column in self.columns.items()
        }

    def widths(self) -> dict[str, int]:
        """Numbers (or strings, of texts) that stand for a record in each tensor."""
        return {tensor: sum(self.columns[name].width for name in names) for tensor, names in self.tensors.items()}


def read_features(path: Path) -> Features:
    """Read and check a features.json.

    Raises:
        ValueError: it cannot be read, or what it says cannot be served; the message begins with the path.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    document = parse(raw, str(path))
    try:
        _require_object(document, "the file")
        _require_keys(document, "the file", ["columns", "tensors"])
        columns = _columns(document.get("columns"))
        return Features(columns, _tensors(document.get("tensors", {TENSOR: list(columns)}), columns))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _require_object(entry: Any, where: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is {show(entry)}; expected an object")


def _require_keys(entry: dict[str, Any], where: str, known: list[str]) -> None:
    unknown = next((key for key in entry if key not in known), None)
    if unknown is not None:
        raise ValueError(f"{where} has the unknown key {show(unknown)}; {hint(unknown, known)}")


def _require_list(entries: Any, where: str) -> None:
    if not isinstance(entries, list) or not entries:
        found = "empty" if entries == [] else show(entries)
        raise ValueError(f"{where} is {found}; expected a list of at least one column")


def _require_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ValueError(f"{where} has the name {show(name)}; expected a string of at least one printable character")


def _columns(entries: Any) -> dict[str, Column]:
    _require_list(entries, "columns")
    columns: dict[str, Column] = {}
    for position, entry in enumerate(entries):
        column = _column(entry, f"column {position}")
        if column.name in columns:
            raise ValueError(f"column {show(column.name)} is there twice; expected each name once")
        columns[column.name] = column
    return columns


def _column(entry: Any, where: str) -> Column:
    _require_object(entry, where)
    _require_name(entry.get("name"), where)
    where = f"column {show(entry['name'])}"
    if entry["name"] == RECORD:
        raise ValueError(f"{where} has the name of the input that carries whole records; rename it")
    kinds: list[type[Column]] = [kind for kind in (Number, Category, Text) if kind.type == entry.get("type")]
    if not kinds:
        raise ValueError(f"{where}: type is {show(entry.get('type'))}; expected 'number', 'category' or 'text'")
    _require_keys(entry, where, ["type", *(field.name for field in fields(kinds[0]))])
    return kinds[0](**{key: value for key, value in entry.items() if key != "type"})


def _tensors(entries: Any, columns: dict[str, Column]) -> dict[str, list[str]]:
    _require_object(entries, "tensors")
    for tensor, names in entries.items():
        _require_name(tensor, "a tensor")
        _require_list(names, f"tensor {show(tensor)}")
        for name in names:
            if not isinstance(name, str) or name not in columns:
                close = hint(name, columns) if isinstance(name, str) else f"known are {listed(columns)}"
                raise ValueError(f"tensor {show(tensor)} has the unknown column {show(name)}; {close}")
            if names.count(name) > 1:
                raise ValueError(f"tensor {show(tensor)} has the column {show(name)} twice; expected each column once")
    unused = [name for name in columns if not any(name in names for names in entries.values())]
    if unused:
        raise ValueError(f"columns {listed(unused)} are in no tensor; add them to one or leave them out")
    return dict(entries)
