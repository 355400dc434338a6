"""What padding does to a model, found out at load by running it on made-up values.

A signature says that an output's axis is open, not why. Cutting it back to a request's own length is right only if it
is as long as that request's input, and taking a row's own padding away only if the answer stays the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_tensorflow.engines import Feeds
from triton_tensorflow.plan import Plan

TOLERANCE = 1e-5
Lengths = Mapping[tuple[str, int], int]  # (padded input, axis) → length


@dataclass(frozen=True)
class Padding:
    """What padding does.

    Attributes:
        followers: output name → axis → the input and its axis that it is as long as.
        harmed: the other outputs that padding changes by more than 1e-5.
        negative: whether that was tried with negative numbers, too: behind these a 0 becomes the largest.
        alike: axis → inputs that were tried with one length for all on it, since the model refuses each of its own.
    """

    followers: dict[str, dict[int, tuple[str, int]]]
    harmed: frozenset[str]
    negative: bool = False
    alike: dict[int, list[str]] = field(default_factory=dict)

    def shows(self, outputs: Iterable[str]) -> bool:
        """Whether any of these outputs tells how much padding there was."""
        return any(name in self.followers or name in self.harmed for name in outputs)


def probe_padding(plan: Plan, call: Callable[[Feeds], Feeds]) -> Padding | None:
    """Run a model with padded inputs on several lengths.

    Args:
        plan: of the model, with at least one padded input.
        call: runs the model on a batch and returns all outputs.

    Returns:
        What padding does; None if the model refuses the values, or an output's length is no input's.
    """
    keys = [
        (name, axis)
        for name, entry in plan.inputs.items()
        if entry.padded
        for axis, size in enumerate(entry.spec.shape or ())
        if axis > 0 and size == -1
    ]
    alike: dict[int, list[str]] = {}
    for name, axis in keys:
        alike.setdefault(axis, []).append(name)
    own = {key: position for position, key in enumerate(keys)}
    shared = {key: key[1] for key in keys}  # inputs such as ids and mask must be of one length
    for kind in (own, shared):
        try:
            found = _compare(plan, call, keys, kind)
        except Exception:  # noqa: S112 - whatever the model says to values that nobody sent
            continue
        return replace(found, alike=alike) if found and kind is shared else found
    return None


def _compare(
    plan: Plan, call: Callable[[Feeds], Feeds], keys: Sequence[tuple[str, int]], kind: Mapping[tuple[str, int], int]
) -> Padding | None:
    short, long = ({key: base + step * kind[key] for key in keys} for base, step in ((5, 6), (8, 7)))
    values = specimen(plan, 2, short)
    first, second = call(values), call(specimen(plan, 2, long))
    followers: dict[str, dict[int, tuple[str, int]]] = {}
    for name, output in first.items():
        if output.ndim != second[name].ndim:
            return None
        for axis in range(1, output.ndim):
            sizes = (output.shape[axis], second[name].shape[axis])
            source = next((key for key in keys if sizes == (short[key], long[key])), None)
            if source is not None:
                followers.setdefault(name, {})[axis] = source
            elif sizes[0] != sizes[1]:
                return None
    harmed, negative = _changed(plan, call, values, first, long), False
    below = _negative(plan, values)
    if below is not None:
        with suppress(Exception):  # a model may refuse negative numbers
            harmed |= _changed(plan, call, below, call(below), long)
            negative = True
    return Padding(followers, frozenset(harmed - set(followers)), negative)


def _changed(plan: Plan, call: Callable[[Feeds], Feeds], values: Feeds, answer: Feeds, lengths: Lengths) -> set[str]:
    """The outputs that are no longer as in `answer` if the values are padded to these lengths."""
    padded = call({name: _padded(plan, name, array, lengths) for name, array in values.items()})
    return {name for name in answer if not _same(answer[name], padded[name])}


def _negative(plan: Plan, values: Feeds) -> Feeds | None:
    """The same with negative numbers in the padded input; None if that may hold ids, or another one be its mask."""
    name, *others = (name for name, entry in plan.inputs.items() if entry.padded)
    if others or values[name].dtype.kind != "f":
        return None
    return values | {name: np.full_like(values[name], min(plan.inputs[name].pad, 0) - 1)}


def specimen(plan: Plan, rows: int, lengths: Lengths | int) -> Feeds:
    """A batch of made-up values: ones, or strings of one letter.

    Args:
        plan: of the model.
        rows: of the batch.
        lengths: of the padded inputs' open axes; any other open axis is 1 long.
    """
    feeds = {}
    for name, entry in plan.inputs.items():
        shape = [rows]
        for axis, size in enumerate(entry.spec.shape or ()):
            if axis > 0:
                length = lengths if isinstance(lengths, int) else lengths.get((name, axis), 1)
                shape.append(size if size != -1 else length if entry.padded else 1)
        feeds[name] = np.full(shape, b"a" if entry.dtype is np.object_ else 1, entry.dtype)
    return feeds


def _padded(plan: Plan, name: str, array: NDArray[Any], lengths: Lengths) -> NDArray[Any]:
    if not plan.inputs[name].padded:
        return array
    shape = [lengths.get((name, axis), size) for axis, size in enumerate(array.shape)]
    filled = np.full(shape, plan.inputs[name].pad, array.dtype)
    filled[tuple(slice(0, size) for size in array.shape)] = array
    return filled


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype.kind not in "fc" or one.shape != other.shape:
        return np.array_equal(one, other)
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
