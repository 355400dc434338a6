"""Cut a batch of unequal lengths into the cheapest sub-batches.

A call costs about `call_s + cell_s × rows × longest`: one long text makes every row of its batch as dear as itself.
So rows are sorted by length, and the cuts between them are those of the least sum; the sorted order makes the
choice a small dynamic programme over the lengths that differ. Both constants are measured at load.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

SLOW_S = 1.0


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
