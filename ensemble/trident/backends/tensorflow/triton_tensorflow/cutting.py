"""Cut a batch of unequal lengths into the cheapest sub-batches.

A call costs about `call_s + cell_s × rows × longest`: one long text makes every row of its batch as dear as itself.
So rows are sorted by length, and the cuts between them are those of the least sum; the sorted order makes the
choice a small dynamic programme over the lengths that differ. Both constants are measured at load.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from math import ceil
from time import perf_counter

import numpy as np

SLOW_S = 1.0
SPREAD_S = 2e-3  # what takes less is not worth waking a thread for
SPREAD_GAIN = 0.9  # more calls must be done in at most this share of the time


@dataclass(frozen=True)
class Cost:
    """What a call costs.

    Attributes:
        call_s: seconds, whatever is in it.
        cell_s: seconds for each row × position.
    """

    call_s: float
    cell_s: float


def cut(lengths: Sequence[int], cost: Cost) -> list[list[int]]:
    """Group rows.

    Args:
        lengths: of each row, in any order.
        cost: of a call.

    Returns:
        Indices into `lengths`, a list for each sub-batch, the shortest rows first.
    """
    order = np.argsort(lengths, kind="stable")
    ordered = np.asarray(lengths)[order]
    ends = np.flatnonzero(np.diff(ordered, append=ordered[-1] + 1)) + 1  # rows up to the end of each length
    starts = np.concatenate([[0], ends])
    best = np.zeros(len(starts))
    origin = np.zeros(len(starts), dtype=int)
    for k in range(1, len(starts)):
        sums = best[:k] + cost.call_s + cost.cell_s * ordered[ends[k - 1] - 1] * (ends[k - 1] - starts[:k])
        origin[k] = int(sums.argmin())
        best[k] = sums[origin[k]]
    groups = []
    k = len(starts) - 1
    while k > 0:
        groups.append(order[starts[origin[k]] : ends[k - 1]].tolist())
        k = int(origin[k])
    return groups[::-1]


def spread(groups: list[list[int]], lengths: Sequence[int], cost: Cost, workers: int) -> list[list[int]]:
    """Cut sub-batches further where that lets workers finish them sooner.

    Args:
        groups: of `cut`.
        lengths: what `cut` was given.
        cost: of a call.
        workers: calls at once, ≥ 1.

    Returns:
        Groups in the same order; the same ones if no more cuts pay.
    """
    if workers == 1 or cost.call_s + cost.cell_s * sum(lengths) < SPREAD_S:
        return groups
    longest = [max(lengths[index] for index in group) for group in groups]
    prices = [cost.call_s + cost.cell_s * size * len(group) for group, size in zip(groups, longest, strict=True)]
    best, best_s = [1] * len(groups), _span(prices, workers)
    for number in range(2, 2 * workers + 1):
        target = sum(prices) / number
        pieces = [min(len(group), ceil(price / target)) for group, price in zip(groups, prices, strict=True)]
        span_s = _span(
            [
                cost.call_s + cost.cell_s * size * ceil(len(group) / count)
                for group, size, count in zip(groups, longest, pieces, strict=True)
                for _ in range(count)
            ],
            workers,
        )
        if span_s < SPREAD_GAIN * best_s:
            best, best_s = pieces, span_s
    return [piece.tolist() for group, count in zip(groups, best, strict=True) for piece in np.array_split(group, count)]


def _span(prices: Sequence[float], workers: int) -> float:
    """When the last call ends, if each worker takes the next one as soon as it is free."""
    free = [0.0] * workers
    for price in prices:
        heapreplace(free, free[0] + price)
    return max(free)


def measure(call: Callable[[int, int], int]) -> Cost:
    """Measure what a call costs.

    Args:
        call: runs the model on (rows, length) and returns the cells that it was.

    Returns:
        The cost; `cell_s` is 0 if more cells take no longer.
    """
    few, many = (1, 8), (8, 64)
    times, cells = [], []
    for rows, length in (few, many):
        cells.append(call(rows, length))  # the first of a shape also allocates and compiles
        first = _timed(call, rows, length)
        repeats = 2 if first < SLOW_S else 0  # loading a large model should not take much longer for it
        times.append(min([first, *(_timed(call, rows, length) for _ in range(repeats))]))
    cell_s = max(0.0, (times[1] - times[0]) / (cells[1] - cells[0]))
    return Cost(max(0.0, times[0] - cell_s * cells[0]), cell_s)


def _timed(call: Callable[[int, int], int], rows: int, length: int) -> float:
    start = perf_counter()
    call(rows, length)
    return perf_counter() - start
