"""Answers batches of requests with a model: merge, cut, call, split, and no request pays for another's mistake."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_tensorflow.batching import BadOutput, Followers, merge, rows, split
from triton_tensorflow.cutting import Cost, cut, measure, spread
from triton_tensorflow.engines import Engine, Failure, Feeds, InvalidInput
from triton_tensorflow.plan import Input, Plan
from triton_tensorflow.probing import Padding, probe_padding, specimen
from triton_tensorflow.settings import Settings
from triton_tensorflow.signatures import Signature
from triton_tensorflow.workers import Workers

WASTE = 8  # times the elements that requests bring


@dataclass
class Counts:
    """What was done since the model was loaded.

    Attributes:
        calls: of TensorFlow.
        call_s: seconds in them.
        cells: elements of padded inputs in batches of several requests.
        padding: of these, how many were padding.
        parts: sub-batches that batches were cut into, beyond one.
        retries: batches that were run again one by one.
        refused: requests that were answered with an error.
    """

    calls: int = 0
    call_s: float = 0.0
    cells: int = 0
    padding: int = 0
    parts: int = 0
    retries: int = 0
    refused: int = 0


@dataclass
class Request:
    """One request of a batch.

    Attributes:
        index: its place among the requests that Triton sent.
        feeds: input name → array.
        fetch: the outputs it wants.
        answer: output name → array, once it is known.
        error: why there is none.
    """

    index: int
    feeds: Feeds
    fetch: frozenset[str]
    answer: Feeds = field(default_factory=dict)
    error: Exception | None = None


@dataclass
class _Unit:
    """What is never cut: a request, or one row of a request that carries its own padding."""

    request: Request
    feeds: Feeds
    answer: Feeds = field(default_factory=dict)


# Called with the requests that are answered, and whether others of the batch are still to come.
Deliver = Callable[[Sequence[Request], bool], None]


class Executor:
    """Runs batches on one loaded model."""

    def __init__(self, engine: Engine, signature: Signature, plan: Plan, settings: Settings) -> None:
        """Take a loaded model, and measure what a call costs if cutting a batch can pay."""
        self._engine = engine
        self._signature = signature
        self._plan = plan
        self._repeatable = not (signature.stateful or plan.sequence)
        self._max_value = settings.max_value
        self._padded = {name: entry for name, entry in plan.inputs.items() if entry.padded}
        self._padding = self._probe()
        one_axis = all(entry.spec.shape == (-1, -1) for entry in self._padded.values())
        self._trims = one_axis and not plan.batch_inputs
        self._loose = _loose(signature, self._padding.followers if self._padding else {})
        self._workers = Workers(settings.parallel_calls if self._repeatable else 1)
        self.warnings = self._padding_warnings() if self._padded else []
        self.counts = Counts()
        self._counting = Lock()
        self.cost = self._measure()

    def check(self, feeds: Feeds) -> None:
        """Refuse what the model cannot take, before it meets other requests; rows without a request become zeros.

        Raises:
            InvalidInput: names the input, what was received and what was expected.
        """
        self._blank(feeds)
        for name, entry in self._plan.inputs.items():
            array = feeds.get(name)
            if array is None:
                if not entry.optional:
                    raise InvalidInput(f"input '{name}' is missing; send all of {sorted(self._plan.inputs)}")
                continue
            _check_shape(entry, array)
            if self._max_value is not None and array.size and array.dtype.kind in "iu" and not entry.control:
                _check_range(name, array, self._max_value)
        if self._plan.batched:
            sizes = {name: len(array) for name, array in feeds.items()}
            if len(set(sizes.values())) > 1:
                raise InvalidInput(f"inputs have different numbers of rows: {sizes}; send the same number for all")

    def _blank(self, feeds: Feeds) -> None:
        """Triton leaves whatever memory holds in the row of a sequence that has no request (READY is 0)."""
        ready = feeds.get(self._plan.ready or "")
        if ready is None or ready.all():
            return
        empty = ~ready.astype(bool).reshape(len(ready), -1).all(axis=1)
        for name, entry in self._plan.inputs.items():
            if not entry.control and name in feeds:
                feeds[name] = feeds[name].copy()
                feeds[name][empty] = b"" if feeds[name].dtype == object else 0

    def run(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """Answer requests that were checked, those with the same inputs in one batch.

        Args:
            requests: any number, in Triton's order.
            deliver: is given each request once, as soon as its answer or error is known.
        """
        groups: dict[object, list[Request]] = {}
        for request in requests:
            key = tuple(request.feeds) if self._plan.batched else request.index
            groups.setdefault(key, []).append(request)
        left = len(groups)
        for group in groups.values():
            left -= 1
            self._run_group(group, deliver, left > 0)

    def _run_group(self, group: list[Request], deliver: Deliver, more: bool) -> None:
        fetch = sorted(frozenset().union(*(request.fetch for request in group)))
        units = self._units(group, fetch)
        parts = self._parts(units)
        owned: dict[int, list[_Unit]] = {request.index: [] for request in group}
        for unit in units:
            owned[unit.request.index].append(unit)
        waiting = {index: len(own) for index, own in owned.items()}
        finished = self._workers.finished(lambda part: self._run_part(part, fetch), parts)
        for number, part in enumerate(finished, start=1):
            done = []
            for unit in part:
                waiting[unit.request.index] -= 1
                if waiting[unit.request.index] == 0:
                    _assemble(unit.request, owned[unit.request.index])
                    done.append(unit.request)
            deliver(done, more or number < len(parts))

    def _units(self, group: list[Request], fetch: Sequence[str]) -> list[_Unit]:
        """The requests, or their rows if these end in padding that no wanted output would show."""
        if self._padding is None or self.cost is None or not self._trims or not self._loose.isdisjoint(fetch):
            return [_Unit(request, request.feeds) for request in group]
        shows = self._padding.shows(fetch)
        units = []
        for request in group:
            lengths = None if shows or self._uneven(request.feeds) else self._lengths(request.feeds)
            if lengths is None and self._workers.count > 1 and rows(request.feeds) > 1:
                lengths = [self._size(request.feeds)] * rows(request.feeds)  # so that workers can share them
            if lengths is None:
                units.append(_Unit(request, request.feeds))
            else:
                units += [_Unit(request, self._row(request.feeds, row, length)) for row, length in enumerate(lengths)]
        return units

    def _lengths(self, feeds: Feeds) -> list[int] | None:
        """Each row's length without its padding, ≥ 1; None if no row is shorter than the request."""
        arrays = [(feeds[name], entry.pad) for name, entry in self._padded.items() if name in feeds]
        width = max((array.shape[1] for array, _ in arrays), default=0)
        if any(not array.shape[1] or (array[:, -1] != pad).all() for array, pad in arrays if array.shape[1] == width):
            return None
        if self._padding and not self._padding.negative and any(_has_negative(array) for array, _ in arrays):
            return None
        longest = np.ones(rows(feeds), dtype=int)
        for array, pad in (pair for pair in arrays if pair[0].shape[1]):
            used = array != pad
            own = np.where(used.any(axis=1), array.shape[1] - used[:, ::-1].argmax(axis=1), 1)
            longest = np.maximum(longest, own)
        return None if (longest == width).all() else longest.tolist()

    def _row(self, feeds: Feeds, row: int, length: int) -> Feeds:
        return {
            name: array[row : row + 1, :length] if name in self._padded else array[row : row + 1]
            for name, array in feeds.items()
        }

    def _parts(self, units: list[_Unit]) -> list[list[_Unit]]:
        """The cheapest sub-batches."""
        if not self._padded or len(units) == 1:
            return [units]
        if self._padding is None or self._wasteful(units):
            return self._by_shape(units)
        uneven = [unit for unit in units if self._uneven(unit.feeds)]
        if uneven:
            even = [unit for unit in units if not self._uneven(unit.feeds)]
            self.counts.parts += bool(even)
            return [*self._by_shape(uneven), *(self._parts(even) if even else [])]
        if self.cost is None:
            return [units]
        lengths = [self._size(unit.feeds) for unit in units]
        groups = spread(cut(lengths, self.cost), lengths, self.cost, self._workers.count)
        parts = [[units[index] for index in group] for group in groups]
        self.counts.parts += len(parts) - 1
        return parts

    def _size(self, feeds: Feeds) -> int:
        """Cells of one row of the widest padded input."""
        return max((prod(feeds[name].shape[1:]) for name in self._padded if name in feeds), default=0)

    def _uneven(self, feeds: Feeds) -> bool:
        """Whether inputs differ in length that were only ever tried with one for all; the model may well refuse that.

        Padded to the lengths of a batch they would not differ any more.
        """
        alike = self._padding.alike if self._padding else {}
        return any(
            len({feeds[name].shape[axis] for name in names if name in feeds}) > 1 for axis, names in alike.items()
        )

    def _wasteful(self, units: list[_Unit]) -> bool:
        """Whether inputs with several open axes would be padded out of all proportion: 1 x 8000 with 8000 x 1."""
        for name in self._padded:
            shapes = [unit.feeds[name].shape for unit in units if name in unit.feeds]
            if shapes and len(shapes[0]) > 2:
                whole = sum(shape[0] for shape in shapes) * prod(
                    map(max, zip(*(shape[1:] for shape in shapes), strict=True))
                )
                if whole > WASTE * sum(map(prod, shapes)):
                    return True
        return False

    def _by_shape(self, units: list[_Unit]) -> list[list[_Unit]]:
        """Units of one shape share a call, which needs no padding."""
        groups: dict[object, list[_Unit]] = {}
        for unit in units:
            key = tuple(unit.feeds[name].shape[1:] for name in self._padded if name in unit.feeds)
            groups.setdefault(key, []).append(unit)
        self.counts.parts += len(groups) - 1
        return list(groups.values())

    def _run_part(self, part: list[_Unit], fetch: Sequence[str]) -> None:
        alive = [unit for unit in part if unit.request.error is None]
        if not alive:
            return
        try:
            self._answer(alive, fetch)
        except (InvalidInput, Failure, BadOutput) as error:
            requests = list({unit.request.index: unit.request for unit in alive}.values())
            if len(requests) == 1 or not self._repeatable:
                # Without its cause and traceback, whose frames hold the requests' shared memory.
                error.__cause__ = error.__context__ = None
                for request in requests:
                    request.error = error.with_traceback(None)
                return
            self.counts.retries += 1  # find the one that TensorFlow refuses; its neighbours get their answers
            for request in requests:
                own = [unit for unit in alive if unit.request is request]
                self._run_part(own, sorted(request.fetch))

    def _answer(self, units: list[_Unit], fetch: Sequence[str]) -> None:
        requests = [unit.feeds for unit in units]
        feeds = merge(self._plan, requests) if self._plan.batched else self._with_scalars(requests[0])
        start = perf_counter()
        try:
            outputs = self._engine(feeds, fetch) if fetch else {}
        finally:
            with self._counting:
                self.counts.call_s += perf_counter() - start
                self.counts.calls += 1
        if not self._plan.batched:
            units[0].answer = {name: np.atleast_1d(array) for name, array in outputs.items()}
            return
        followers = self._padding.followers if self._padding else {}
        for unit, answer in zip(units, split(self._plan, outputs, requests, followers), strict=True):
            unit.answer = answer
        for name in self._padded if len(requests) > 1 else ():
            if name not in feeds:
                continue
            with self._counting:
                self.counts.cells += feeds[name].size
                self.counts.padding += feeds[name].size - sum(request[name].size for request in requests)

    def _with_scalars(self, feeds: Feeds) -> Feeds:
        """What Triton can only carry as [1], as the model wants it."""
        inputs = self._plan.inputs
        return {name: array.reshape(()) if inputs[name].spec.shape == () else array for name, array in feeds.items()}

    def _probe(self) -> Padding | None:
        if not self._padded or not self._repeatable:
            return None
        return probe_padding(self._plan, lambda feeds: self._engine(merge(self._plan, [feeds]), self._plan.outputs))

    def _padding_warnings(self) -> list[str]:
        if self._padding is None:
            return ["what padding does to this model cannot be found out, so only requests of one shape share a call"]
        if not self._padding.harmed:
            return []
        harmed = sorted(self._padding.harmed)
        return [f"padding changes this model's outputs {harmed}; without allow_ragged_batch it would not be padded"]

    def _measure(self) -> Cost | None:
        if self._padding is None:
            return None

        def call(rows: int, length: int) -> int:
            feeds = specimen(self._plan, rows, length)
            self._engine(merge(self._plan, [feeds]), self._plan.outputs)
            return rows * self._size(feeds)

        try:
            cost = measure(call)
        except Exception as error:  # the model takes no made-up values of that size
            self.warnings.append(f"what a call costs cannot be measured, so no batch is cut: {error}")
            return None
        return cost if cost.cell_s > 0 else None


def _loose(signature: Signature, followers: Followers) -> frozenset[str]:
    """Outputs with an axis that may be as long as the values say: of rows run apart, they would not fit together."""
    return frozenset(
        name
        for name, spec in signature.outputs.items()
        if spec.shape is None
        or any(size == -1 and axis not in followers.get(name, {}) for axis, size in enumerate(spec.shape) if axis > 0)
    )


def _has_negative(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "if" and bool((array < 0).any())


def _assemble(request: Request, units: list[_Unit]) -> None:
    if request.error is not None:
        return
    if len(units) == 1:
        request.answer = units[0].answer
        return
    for name in request.fetch:
        try:
            request.answer[name] = np.concatenate([unit.answer[name] for unit in units])
        except ValueError as error:
            request.error = BadOutput(f"output '{name}': the rows of a request do not fit together: {error}")


def _check_shape(entry: Input, array: NDArray[np.generic]) -> None:
    expected = entry.spec.shape
    if entry.flat or expected is None or (expected == () and array.shape == (1,)):
        return
    if len(expected) != array.ndim or any(
        size not in (-1, got) for size, got in zip(expected, array.shape, strict=True)
    ):
        raise InvalidInput(f"input '{entry.spec.name}' has shape {list(array.shape)}; expected {list(expected)}")


def _check_range(name: str, array: NDArray[np.generic], largest: int) -> None:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > largest:
        found = low if low < 0 else high
        raise InvalidInput(f"input '{name}' holds {found}; expected 0 to {largest} (parameter MAX_VALUE)")
