"""Pauses before what died is started again."""

import pytest
from trident.server.pauses import CALM_S, LONGEST_S, Pauses


class Clock:
    """Says what it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("attempt_s", [1, CALM_S + 5], ids=["short", "long"])
def test_they_grow_while_attempts_fail_however_long_those_take(attempt_s: float) -> None:
    clock = Clock()
    pauses = Pauses(clock)
    found = []
    for _ in range(10):
        found.append(pauses.next_s())
        clock.now += found[-1] + attempt_s
    assert found == [0, 1, 2, 4, 8, 16, 32, LONGEST_S, LONGEST_S, LONGEST_S]


def test_they_begin_anew_when_it_worked_for_a_while() -> None:
    clock = Clock()
    pauses = Pauses(clock)
    assert [pauses.next_s() for _ in range(3)] == [0, 1, 2]
    clock.now += CALM_S + 5  # so long it loads
    pauses.works()
    clock.now += CALM_S
    assert pauses.next_s() == 4
    pauses.works()
    clock.now += CALM_S + 0.1
    assert pauses.next_s() == 0
