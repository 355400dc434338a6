"""Requests of different shapes become one batch, and the batch's answer becomes theirs again.

Axis letters: N rows of one request, B rows of the whole batch, the others are the model's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_tensorflow.engines import Feeds
from triton_tensorflow.plan import BatchInput, BatchOutput, Input, Plan


class BadOutput(Exception):
    """The model's answer cannot be dealt out to the requests of a batch."""


def merge(plan: Plan, requests: Sequence[Feeds]) -> Feeds:
    """Make one batch of requests.

    Args:
        plan: of the model; `plan.batched` is true.
        requests: per request the same input names; arrays [N, ...] of equal rank.

    Returns:
        What the signature takes: arrays [B, ...], padded at the end of an axis to the longest of the batch;
        flat inputs joined end to end; the batch inputs.
    """
    feeds = {name: _join(plan.inputs[name], [request[name] for request in requests]) for name in requests[0]}
    for entry in plan.batch_inputs:
        values = _of_shapes(entry, [request[entry.source].shape for request in requests])
        feeds |= dict.fromkeys(entry.targets, values)
    return feeds


def _join(entry: Input, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    if entry.flat:
        return arrays[0].reshape(-1) if len(arrays) == 1 else np.concatenate([array.reshape(-1) for array in arrays])
    if len(arrays) == 1:
        return arrays[0]
    tails = {array.shape[1:] for array in arrays}
    if len(tails) == 1:
        return np.concatenate(arrays)
    longest = tuple(max(lengths) for lengths in zip(*tails, strict=True))
    batch = np.full((sum(map(len, arrays)), *longest), entry.pad, dtype=arrays[0].dtype)
    row = 0
    for array in arrays:
        window = (slice(row, row + len(array)), *(slice(0, length) for length in array.shape[1:]))
        batch[window] = array
        row += len(array)
    return batch


def _of_shapes(entry: BatchInput, shapes: Sequence[tuple[int, ...]]) -> NDArray[Any]:
    """Source: triton-inference-server/backend, src/backend_input_collector.cc, BatchInputShape and the following.

    Element counts are of whole requests, rows included; item shapes are one for each row.
    """
    counts = [int(np.prod(shape)) for shape in shapes]
    items = [shape[1:] for shape in shapes for _ in range(shape[0])]
    if entry.kind == "BATCH_ELEMENT_COUNT":
        values = np.array(counts)
    elif entry.kind == "BATCH_ACCUMULATED_ELEMENT_COUNT":
        values = np.cumsum(counts)
    elif entry.kind == "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO":
        values = np.cumsum([0, *counts])
    elif entry.kind == "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE":
        values = np.zeros(max(counts))  # only its shape has a meaning
    else:  # BATCH_ITEM_SHAPE, BATCH_ITEM_SHAPE_FLATTEN
        values = np.array(items).reshape(len(items), len(shapes[0]) - 1)
        values = values.reshape(-1) if entry.kind == "BATCH_ITEM_SHAPE_FLATTEN" else values
    return values.astype(entry.dtype)


# Output name → axis → the input and its axis that it is as long as.
Followers = Mapping[str, Mapping[int, tuple[str, int]]]


def split(plan: Plan, outputs: Feeds, requests: Sequence[Feeds], followers: Followers) -> list[Feeds]:
    """Give each request its part of the batch's outputs, without the padding of its neighbours.

    Args:
        plan: of the model.
        outputs: name → [B, ...], or one dimension to be dealt out.
        requests: what `merge` was given.
        followers: the outputs' axes to be cut back to a request's own length (states [B, L, H] of ids [B, L]).

    Returns:
        Per request name → [N, ...], in the order of `requests`.

    Raises:
        BadOutput: an output has not one row for each row of the batch, or too few elements to deal out.
    """
    parts: list[Feeds] = [{} for _ in requests]
    for name, output in outputs.items():
        scatter = plan.batch_outputs.get(name)
        cut = _dealt(scatter, output, requests) if scatter else _rows(name, output, requests, followers.get(name, {}))
        for part, array in zip(parts, cut, strict=True):
            part[name] = array
    return parts


def _rows(
    name: str, output: NDArray[Any], requests: Sequence[Feeds], followed: Mapping[int, tuple[str, int]]
) -> Iterator[NDArray[Any]]:
    sizes = [rows(request) for request in requests]
    if output.ndim == 0 or len(output) != sum(sizes):
        expected = f"expected [{sum(sizes)}, ...], a row for each row of the batch; set max_batch_size to 0"
        raise BadOutput(f"output '{name}' has shape {list(output.shape)}; {expected}")
    lengths = {
        axis: [request[source].shape[source_axis] for request in requests]
        for axis, (source, source_axis) in followed.items()
        if source in requests[0]
    }
    padded = {axis: own for axis, own in lengths.items() if len(set(own)) > 1}
    start = 0
    for number, size in enumerate(sizes):
        part = output[start : start + size]
        for axis, own in padded.items():
            part = part[(slice(None),) * axis + (slice(0, own[number]),)]
        yield part
        start += size


def _dealt(entry: BatchOutput, output: NDArray[Any], requests: Sequence[Feeds]) -> Iterator[NDArray[Any]]:
    flat, start = output.reshape(-1), 0
    for request in requests:
        source = request[entry.source].shape
        shape = [source[axis] if size == -1 else size for axis, size in enumerate(entry.shape)]
        count = int(np.prod(shape))
        if start + count > len(flat):
            raise BadOutput(f"output '{entry.target}' has {len(flat)} elements; expected {start + count} or more")
        yield flat[start : start + count].reshape(shape)
        start += count


def rows(request: Feeds) -> int:
    """How many rows a request has."""
    return len(next(iter(request.values())))
