"""Batches are cut where that is cheapest."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import pytest
from triton_tensorflow import cutting
from triton_tensorflow.cutting import Cost, cut, measure, spread


def price(groups: Sequence[Sequence[int]], lengths: Sequence[int], cost: Cost) -> float:
    return sum(cost.call_s + cost.cell_s * len(group) * max(lengths[row] for row in group) for group in groups)


def ways(rows: list[int]) -> Iterator[list[list[int]]]:
    """All partitions of rows."""
    if not rows:
        yield []
        return
    for rest in ways(rows[1:]):
        yield [[rows[0]], *rest]
        for index, group in enumerate(rest):
            yield [*rest[:index], [rows[0], *group], *rest[index + 1 :]]


@pytest.mark.parametrize("lengths", [*permutations([1, 2, 40, 41]), (5,), (7, 7, 7), (1, 100, 1, 100, 50, 3)])
@pytest.mark.parametrize("cost", [Cost(0.0, 1.0), Cost(10.0, 1.0), Cost(1000.0, 1.0)])
def test_no_partition_is_cheaper(lengths: tuple[int, ...], cost: Cost) -> None:
    groups = cut(lengths, cost)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    best = min(price(way, lengths, cost) for way in ways(list(range(len(lengths)))))
    assert price(groups, lengths, cost) == pytest.approx(best)


def test_the_shortest_rows_come_first_and_equal_ones_stay_together() -> None:
    assert cut([90, 2, 90, 2], Cost(1.0, 1.0)) == [[1, 3], [0, 2]]


def test_rows_stay_in_one_call_if_a_call_is_dear() -> None:
    assert [sorted(group) for group in cut([90, 2, 90, 2], Cost(1e6, 1.0))] == [[0, 1, 2, 3]]


def test_the_cost_is_what_calls_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(cutting, "perf_counter", lambda: now[0])

    def call(rows: int, length: int) -> int:
        now[0] += 0.007 + 0.0001 * rows * length
        return rows * length

    cost = measure(call)
    assert cost.call_s == pytest.approx(0.007)
    assert cost.cell_s == pytest.approx(0.0001)


@pytest.mark.parametrize(
    ("groups", "lengths", "workers", "expected"),
    [
        ([[0, 1, 2, 3]], [5, 5, 5, 5], 2, [[0, 1], [2, 3]]),
        ([[0, 1, 2, 3]], [5, 5, 5, 5], 1, [[0, 1, 2, 3]]),
        ([[0]], [500], 2, [[0]]),
        ([[0, 1], [2, 3, 4, 5]], [1, 1, 9, 9, 9, 9], 2, [[0, 1], [2, 3], [4, 5]]),
        ([[0, 1], [2, 3]], [8, 8, 9, 9], 2, [[0, 1], [2, 3]]),
        ([[0, 1, 2, 3, 4, 5, 6, 7]], [9] * 8, 4, [[0, 1], [2, 3], [4, 5], [6, 7]]),
    ],
)
def test_workers_share_what_one_of_them_would_be_longer_at(
    groups: list[list[int]], lengths: list[int], workers: int, expected: list[list[int]]
) -> None:
    assert spread(groups, lengths, Cost(0.001, 0.01), workers) == expected


def test_what_takes_hardly_any_time_is_not_shared() -> None:
    assert spread([[0, 1]], [5, 5], Cost(1e-5, 1e-6), 2) == [[0, 1]]
