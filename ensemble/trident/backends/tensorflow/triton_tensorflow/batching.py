"""Requests of different shapes become one batch, and the batch's answer becomes theirs again.

Axis letters: N rows of one request, B rows of the whole batch, the others are the model's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Feeds = dict[str, NDArray[Any]]


class InvalidInput(Exception):
    """A request's input cannot be served; the message names the input and what was expected."""


def merge(requests: Sequence[Feeds]) -> Feeds:
    """Stack the requests' inputs along the batch axis, padding each to the longest of the batch.

    Args:
        requests: per request the same input names; arrays [N, ...] of equal rank.

    Returns:
        Arrays [B, ...]. Padding is 0 (False, empty bytes for strings) and stands at the end of an axis.
    """
    return {name: _stack([feeds[name] for feeds in requests]) for name in requests[0]}


def _stack(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    if len(arrays) == 1:
        return arrays[0]
    tails = {array.shape[1:] for array in arrays}
    if len(tails) == 1:
        return np.concatenate(arrays)
    longest = tuple(max(lengths) for lengths in zip(*tails, strict=True))
    rows = sum(len(array) for array in arrays)
    padding = b"" if arrays[0].dtype == object else 0
    batch = np.full((rows, *longest), padding, dtype=arrays[0].dtype)
    row = 0
    for array in arrays:
        window = (slice(row, row + len(array)), *(slice(0, length) for length in array.shape[1:]))
        batch[window] = array
        row += len(array)
    return batch


def split(outputs: Feeds, requests: Sequence[Feeds], open_axes: Mapping[str, Sequence[int]]) -> list[Feeds]:
    """Give each request its rows of the batch's outputs, without the padding of its neighbours.

    An output's axis is cut back to the request's own length if the signature leaves that axis open and it
    came out as long as the same axis of the padded input (token states [B, L, H] of ids [B, L]).

    Args:
        outputs: name → [B, ...].
        requests: what `merge` was given.
        open_axes: output name → the axes (1, 2, …) whose size the signature leaves open.

    Returns:
        Per request name → [N, ...], in the order of `requests`.

    Raises:
        ValueError: an output has not one row for each row of the batch, so the model cannot be batched.
    """
    sizes = [len(next(iter(feeds.values()))) for feeds in requests]
    for name, output in outputs.items():
        if output.ndim == 0 or len(output) != sum(sizes):
            expected = f"expected [{sum(sizes)}, …], a row for each row of the batch; set max_batch_size to 0"
            raise ValueError(f"output '{name}' has shape {list(output.shape)}; {expected}")
    ends = np.cumsum(sizes)
    return [
        {
            name: _cut(output[end - size : end], open_axes.get(name, ()), feeds, requests)
            for name, output in outputs.items()
        }
        for feeds, size, end in zip(requests, sizes, ends, strict=True)
    ]


def _cut(rows: NDArray[Any], axes: Sequence[int], feeds: Feeds, requests: Sequence[Feeds]) -> NDArray[Any]:
    for axis in axes:
        for name, array in feeds.items():
            if axis < array.ndim and rows.shape[axis] == max(other[name].shape[axis] for other in requests):
                rows = rows.take(range(array.shape[axis]), axis) if array.shape[axis] < rows.shape[axis] else rows
                break
    return np.ascontiguousarray(rows)
