"""What the services of each task take and answer, as values and as tensors."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from trident_client.errors import InvalidRequest
from trident_client.png import encode_png
from trident_client.prediction import Prediction, Span, from_tensors
from trident_client.tensors import Arrays

Answer = TypeVar("Answer")
Image = str | Path | bytes | NDArray[np.uint8]
Record = Mapping[str, str | float | None]
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Task(Generic[Answer]):
    """How items of one kind are asked for.

    Attributes:
        what: an item's name, for messages.
        answers: what a service of the task answers, for messages.
        inputs: the tensors that it takes; None if these are the service's own.
        outputs: the tensors that it answers.
        check: makes of an item, and its position among all, what `stack` takes; raises InvalidRequest.
        stack: B of these → the request's tensors.
        read: the answer's tensors → B answers.
    """

    what: str
    answers: str
    inputs: frozenset[str] | None
    outputs: frozenset[str]
    check: Callable[[Any, int], Any]
    stack: Callable[[Sequence[Any]], Arrays]
    read: Callable[[Tensors], Sequence[Answer]]

    def check_all(self, items: Any) -> list[Any]:
        """Check items that are all there, before any is sent.

        Raises:
            InvalidRequest: an item, or all of them, are of another type.
        """
        if isinstance(items, str | bytes):
            kind = "string" if isinstance(items, str) else "bytes object"
            raise InvalidRequest(f"{self.what}s is one {kind}; expected a list of them: [{self.what}]")
        if not isinstance(items, Sequence | np.ndarray):
            raise InvalidRequest(f"{self.what}s is {type(items).__name__}; expected a list of {self.what}s")
        return [self.check(item, position) for position, item in enumerate(items)]


# -- texts and images ------------------------------------------------------------------------------------------------


def _check_text(text: Any, position: int) -> bytes:
    if not isinstance(text, str):
        raise InvalidRequest(f"text {position} is {type(text).__name__}; expected str")
    return _utf8(text, f"text {position}")


def _utf8(text: str, where: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{where} cannot be encoded as UTF-8: {error.reason}") from None


def _check_image(image: Any, position: int) -> Callable[[], bytes]:
    """Images are read when they are sent, so that not all of them have to be in memory."""
    if isinstance(image, str | Path):
        return partial(_read_image, Path(image), position)
    if isinstance(image, bytes):
        return lambda: image
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
            found = f"{image.dtype} {list(image.shape)}"
            raise InvalidRequest(f"image {position} is {found}; expected uint8 [H, W] or [H, W, 1, 3 or 4]")
        if image.size == 0:
            raise InvalidRequest(f"image {position} has the shape {list(image.shape)}; expected at least one pixel")
        return partial(encode_png, image)
    raise InvalidRequest(f"image {position} is {type(image).__name__}; expected a path, a file's bytes or an array")


def _read_image(path: Path, position: int) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a name may hold what no name can
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequest(f"image {position} cannot be read from {path}: {reason}") from error


def _column(values: Sequence[bytes]) -> NDArray[np.object_]:
    column = np.empty((len(values), 1), dtype=np.object_)
    column[:, 0] = values
    return column


# -- records ---------------------------------------------------------------------------------------------------------


def _check_record(columns: Mapping[str, str], record: Any, position: int) -> Any:
    """A record as its row of values, or as JSON if the service takes that."""
    if not isinstance(record, Mapping):
        raise InvalidRequest(f"record {position} is {type(record).__name__}; expected {{column: value}}")
    if columns == {"record": "TYPE_STRING"}:
        try:
            return json.dumps(dict(record), allow_nan=False, default=_plain_number).encode("utf-8")
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"record {position} is no JSON: {error}; expected strings, numbers and None") from None
    if record.keys() != columns.keys():
        found, expected = sorted(map(str, record)), sorted(columns)
        raise InvalidRequest(
            f"record {position} has the columns {found}; expected {expected}, None where one is missing"
        )
    return [_check_value(record[name], columns[name], name, position) for name in columns]


def _check_value(value: Any, data_type: str, name: str, position: int) -> bytes | float:
    if data_type == "TYPE_STRING":
        if value is None or isinstance(value, str):
            return _utf8(value or "", f"record {position}: '{name}'")
    elif value is None:
        return float("nan")
    elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise InvalidRequest(f"record {position}: '{name}' is an integer that is too large for FP32") from None
    expected = "a string" if data_type == "TYPE_STRING" else "a number"
    raise InvalidRequest(f"record {position}: '{name}' is {type(value).__name__}; expected {expected} or None")


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.number | np.bool_):
        return value.item()
    raise TypeError(f"it holds {type(value).__name__}")


def _stack_records(columns: Mapping[str, str], rows: Sequence[Any]) -> Arrays:
    if columns == {"record": "TYPE_STRING"}:
        return {"record": _column(rows)}
    return {
        name: _column(values) if columns[name] == "TYPE_STRING" else _numbers(values, columns[name])
        for name, values in zip(columns, zip(*rows, strict=True), strict=True)
    }


def _numbers(values: Sequence[float], data_type: str) -> NDArray[Any]:
    dtype = np.float64 if data_type == "TYPE_FP64" else np.float32
    return np.array(values, dtype)[:, None]


# -- answers ---------------------------------------------------------------------------------------------------------


def _read_predictions(tensors: Tensors) -> list[Prediction]:
    return from_tensors(tensors["label"], tensors["score"])


def _read_spans(tensors: Tensors) -> list[list[Span]]:
    return [[Span(**entry) for entry in json.loads(raw)] for raw in tensors["spans"][:, 0]]


def _read_rows(name: str, tensors: Tensors) -> list[NDArray[np.float32]]:
    rows = np.asarray(tensors[name], np.float32)
    if rows.ndim != 2:
        raise ValueError(f"'{name}' has the shape {list(rows.shape)}")
    return list(rows)


def _stack_texts(texts: Sequence[bytes]) -> Arrays:
    return {"text": _column(texts)}


def _stack_images(images: Sequence[Callable[[], bytes]]) -> Arrays:
    return {"image": _column([read() for read in images])}


_LABELS = frozenset({"label", "score"})
_CLASSIFIES = "a classification service answers label and score"
TEXTS: Task[Prediction] = Task(
    *("text", _CLASSIFIES, frozenset({"text"}), _LABELS),
    *(_check_text, _stack_texts, _read_predictions),
)
IMAGES: Task[Prediction] = Task(
    *("image", _CLASSIFIES, frozenset({"image"}), _LABELS),
    *(_check_image, _stack_images, _read_predictions),
)
SPANS: Task[list[Span]] = Task(
    *("text", "a token classification service answers spans", frozenset({"text"}), frozenset({"spans"})),
    *(_check_text, _stack_texts, _read_spans),
)
EMBEDDINGS: Task[NDArray[np.float32]] = Task(
    *("text", "an embedding service answers embedding", frozenset({"text"}), frozenset({"embedding"})),
    *(_check_text, _stack_texts, partial(_read_rows, "embedding")),
)


def labels_of_records(columns: Mapping[str, str]) -> Task[Prediction]:
    """The task of a tabular service that classifies; its inputs are `columns`, name → data type."""
    return Task(
        *("record", _CLASSIFIES, None, _LABELS),
        *(partial(_check_record, columns), partial(_stack_records, columns), _read_predictions),
    )


def values_of_records(columns: Mapping[str, str]) -> Task[NDArray[np.float32]]:
    """The task of a tabular service that answers numbers; its inputs as above."""
    return Task(
        *("record", "a regression service answers value", None, frozenset({"value"})),
        *(partial(_check_record, columns), partial(_stack_records, columns), partial(_read_rows, "value")),
    )


# -- services of another task ----------------------------------------------------------------------------------------


def misfit(service: str, task: Task[Any], config: Mapping[str, Any], answered: Collection[str] | None) -> str | None:
    """Why a service cannot be asked for a task, with the method that asks it; None if it can.

    Args:
        service: its name.
        task: what it was asked for.
        config: its configuration.
        answered: the tensors that it answered; None if it refused the request.
    """
    inputs, outputs = ({entry["name"] for entry in config.get(side, ())} for side in ("input", "output"))
    if answered is not None and not task.outputs <= set(answered):
        found = f"'{service}' answers {sorted(answered)}; {task.answers}"
        outputs = set(answered)
    elif inputs and task.inputs not in (None, inputs):
        takes, gives = (", ".join(map(_shown, config.get(side, ()))) for side in ("input", "output"))
        found = f"'{service}' takes {takes} and gives {gives}; expected a service that takes {task.what}s"
    else:
        return None
    arrays = ", ".join(f"'{name}': array" for name in sorted(inputs))
    method = _method(inputs, outputs) or f"infer_tensors('{service}', {{{arrays}}})"
    return f"{found}. Ask this one with Client.{method}"


def _shown(entry: Mapping[str, Any]) -> str:
    datatype = entry.get("data_type", "").removeprefix("TYPE_").replace("STRING", "BYTES")
    return f"{entry['name']} {datatype} {[int(size) for size in entry.get('dims', ())]}"


def _method(inputs: set[str], outputs: set[str]) -> str | None:
    """The method of the client that asks a service; None if none is made for it."""
    of_texts = {TEXTS.outputs: "infer", SPANS.outputs: "infer_spans", EMBEDDINGS.outputs: "embed"}
    of_records = {_LABELS: "infer_records", frozenset({"value"}): "infer_values"}
    if inputs == {"image"}:
        return "infer_images" if outputs == _LABELS else None
    return (of_texts if inputs == {"text"} else of_records).get(frozenset(outputs))
