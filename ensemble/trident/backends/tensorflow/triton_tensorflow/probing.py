"""What padding does to a model, found out at load by running it on made-up values.

A signature says that an output's axis is open, not why. Cutting it back to a request's own length is right only if it
is as long as that request's input, and taking a row's own padding away only if the answer stays the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
        alike: axis → inputs that were tried with one length for all on it, since the model refuses each of its own.
    """

    followers: dict[str, dict[int, tuple[str, int]]]
    harmed: frozenset[str]
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
    padded = call({name: _padded(plan, name, array, long) for name, array in values.items()})
    changed = {name for name in first if name not in followers and not _same(first[name], padded[name])}
    return Padding(followers, frozenset(changed))


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
    if one.dtype.kind not in "fc":
        return np.array_equal(one, other)
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
