"""Inputs made up for a service's model, and what it does with them: whether it runs, and whether it bears padding."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident import savedmodel
from trident.errors import ExportError, ServiceError
from trident.pipeline import Pipeline
from trident.savedmodel import Arrays, Call, ModelTensors
from trident.service import Service, TextPreprocess
from trident.task_stages import TEXT

BATCHES = ((1, 7), (3, 16))  # rows × length
LENGTHS = (1, 5, 12, 32)
PADDED_LENGTHS = (1, 2, 5, 9, 16)
PADDED_WIDTH = 24  # what the rows of the padding probe are filled up to
TOLERANCE = 1e-5
MIXED_ROWS, MIXED_TOLERANCE = 4, 1e-3  # a row alone goes through other matrix kernels than four
WORDS = ("free", "prize", "hello", "def", "import", "ünïcode", "42", "世界")


def probe(service: Service, pipeline: Pipeline, call: Call | None = None) -> bool:
    """Run a service's model on inputs made up for it.

    Args:
        service: the service folder.
        pipeline: what it consists of.
        call: its model, if it is loaded already.

    Returns:
        Whether padding leaves its answers as they are, within 1e-5: then texts of any length may share a batch.

    Raises:
        ServiceError: the tokenizer, the labels or the features do not fit the model.
        ExportError: the model does not load or run.
    """
    if call is None:
        call = savedmodel.load(service.savedmodel, pipeline.model.signature)
    if service.spec.task == "tensors" and pipeline.preprocess is None:
        return False  # nobody knows what its tensors mean
    generator = np.random.default_rng(0)
    for rows, length in _batches(service, pipeline):
        arrays = specimen(pipeline.model, pipeline.model_inputs, pipeline.vocabulary, rows, length, generator)
        try:
            outputs = run(call, arrays, service.tokenizer, pipeline.vocabulary)
        except ExportError as error:
            if not has_lengths(service, pipeline):
                raise
            remedy = "pad short ones with --padding pre or post, or cut long ones with --max-length"
            raise ServiceError(f"the model does not take texts of {length} tokens ({error}); {remedy}") from None
        _check_classes(service, pipeline, outputs)
        if service.spec.task != "tensors":
            _check_finite(service, outputs)
    return has_lengths(service, pipeline) and _bears_padding(service, pipeline, call, generator)


def _batches(service: Service, pipeline: Pipeline) -> list[tuple[int, int]]:
    """Rows and length of each specimen; the longest that the service lets through is among them."""
    settings = service.spec.preprocess
    if not isinstance(settings, TextPreprocess):
        return [*BATCHES]
    if settings.padding == "longest":
        return [*BATCHES, (1, settings.max_length)] if has_lengths(service, pipeline) else [*BATCHES]
    return [(rows, settings.max_length) for rows, _ in BATCHES]


def lengths(service: Service) -> tuple[int, ...]:
    """Lengths of texts as they reach the model, for comparisons."""
    settings = service.spec.preprocess
    if isinstance(settings, TextPreprocess) and settings.padding != "longest":
        return (settings.max_length,)
    return LENGTHS


def specimen(
    model: ModelTensors,
    parts: Mapping[str, str],
    vocabulary: int,
    rows: int,
    length: int,
    generator: np.random.Generator,
) -> Arrays:
    """Inputs that a model should take, never all zero.

    Args:
        model: its tensors.
        parts: part in the service → tensor, for all inputs.
        vocabulary: number of token ids; 0 if the model takes none.
        rows: of the batch; ignored if the model has no batch axis.
        length: of every axis that is open.
        generator: of random numbers.

    Returns:
        The signature's input name → array.
    """
    arrays = {}
    for part, name in parts.items():
        spec = model.signature.inputs[name]
        shape = [length if size == -1 else size for size in spec.shape or ()]
        if model.max_batch_size:
            shape[0] = rows
        dtype = np.dtype(savedmodel.dtype_of(spec))
        arrays[name] = _values(part, vocabulary, tuple(shape), dtype, generator)
    return arrays


def _values(
    part: str, vocabulary: int, shape: tuple[int, ...], dtype: "np.dtype[Any]", generator: np.random.Generator
) -> NDArray[Any]:
    if part == "input_ids" and vocabulary > 1:
        ids = generator.integers(1, vocabulary, shape)
        ids.flat[-1] = vocabulary - 1  # the largest id must be in the model's embedding
        return ids.astype(dtype)
    if part == "pixels":  # as an image file has them, whatever the scaling
        return generator.uniform(0, 255, shape).astype(dtype)
    if part == "attention_mask":
        return np.ones(shape, dtype)
    if part == "token_type_ids":
        return np.zeros(shape, dtype)
    if dtype.kind == "O":
        texts = [" ".join(generator.choice(WORDS, 5)) for _ in range(math.prod(shape))]
        return np.array([text.encode() for text in texts], object).reshape(shape)
    if dtype.kind in "iub":
        values = generator.integers(0, 2, shape)
        values.flat[:1] = 1
        return values.astype(dtype)
    return generator.uniform(0, 1, shape).astype(dtype)


def run(call: Call, arrays: Arrays, tokenizer: Path | None, vocabulary: int) -> Arrays:
    """Call a model on a specimen.

    Raises:
        ServiceError: the tokenizer has ids that the model's embedding has not.
        ExportError: it does not run.
    """
    try:
        return call(arrays)
    except ExportError as error:
        bound = re.search(r"is not in \[0, (\d+)\)", str(error))
        if bound is None or not vocabulary:
            raise
        raise ServiceError(
            f"{tokenizer} has {vocabulary} token ids and the model's embedding {bound[1]}; "
            "give the tokenizer that the model was trained with"
        ) from None


def _check_classes(service: Service, pipeline: Pipeline, outputs: Arrays) -> None:
    own = pipeline.model_outputs.get("logits")
    if own is None or not service.labels:
        return
    classes = outputs[own].shape[-1] if outputs[own].ndim > 1 else 1
    if classes != len(service.labels) and (classes, len(service.labels)) != (1, 2):
        raise ServiceError(
            f"{service.folder / service.spec.labels} has {len(service.labels)} labels and the model gives {classes} "
            "classes; expected one label a class, in the order of the model's outputs"
        )


def _check_finite(service: Service, outputs: Arrays) -> None:
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ServiceError(
                f"the model {service.savedmodel} answers made-up inputs with '{name}' that is not finite; its weights "
                "may be damaged (NaN or infinite)"
            )


def mixes_rows(call: Call, arrays: Arrays) -> bool:
    """Whether a row's answer depends on the other rows of its batch, or a batch's answer has not a row for each.

    Then requests cannot share a batch: the first axis, although open, is no batch axis.

    Args:
        call: the model.
        arrays: a few rows of all inputs.

    Raises:
        ExportError: the model does not run on them.
    """
    whole = call(arrays)
    rows = len(next(iter(arrays.values())))
    if any(array.ndim == 0 or len(array) != rows for array in whole.values()):
        return True
    for row in range(rows):
        alone = call({name: array[row : row + 1] for name, array in arrays.items()})
        if any(not _same(whole[name][row : row + 1], expected) for name, expected in alone.items()):
            return True
    return False


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Equal but for the order in which sums are made."""
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "fc":
        return np.allclose(one, other, rtol=MIXED_TOLERANCE, atol=MIXED_TOLERANCE, equal_nan=True)
    return bool((one == other).all())


def has_lengths(service: Service, pipeline: Pipeline) -> bool:
    """Whether texts reach the model in lengths of their own: all its inputs are token tensors of any length."""
    settings = service.spec.preprocess
    if not isinstance(settings, TextPreprocess) or settings.padding != "longest":
        return False
    entries = [(name, pipeline.model.inputs[own]["dims"]) for name, own in pipeline.model_inputs.items()]
    return all(name in TEXT and [int(size) for size in dims] == [-1] for name, dims in entries)


def _bears_padding(service: Service, pipeline: Pipeline, call: Call, generator: np.random.Generator) -> bool:
    alone = [
        specimen(pipeline.model, pipeline.model_inputs, pipeline.vocabulary, 1, length, generator)
        for length in PADDED_LENGTHS
    ]
    together = {own: _padded([arrays[own] for arrays in alone], value) for own, value in pad_values(service, pipeline)}
    padded = run(call, together, service.tokenizer, pipeline.vocabulary)
    for row, arrays in enumerate(alone):
        for own, expected in run(call, arrays, service.tokenizer, pipeline.vocabulary).items():
            found = padded[own][row : row + 1]
            if expected.ndim > 1 and expected.shape[1] == PADDED_LENGTHS[row] and found.shape[1] == PADDED_WIDTH:
                found = found[:, : PADDED_LENGTHS[row]]  # a state for each token
            if found.shape != expected.shape or not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
                return False
    return True


def pad_values(service: Service, pipeline: Pipeline) -> Iterator[tuple[str, int]]:
    """The signature's token tensors, each with what fills it up."""
    pad_id = getattr(service.spec.preprocess, "pad_id", 0)
    for name, own in pipeline.model_inputs.items():
        yield own, pad_id if name == "input_ids" else 0


def _padded(rows: list[NDArray[Any]], value: int) -> NDArray[Any]:
    tensor = np.full((len(rows), PADDED_WIDTH), value, rows[0].dtype)
    for row, array in zip(tensor, rows, strict=True):
        row[: array.shape[1]] = array[0]
    return tensor
