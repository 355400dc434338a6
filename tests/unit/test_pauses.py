"""Pauses before what died is started again."""

from trident.server.pauses import CALM_S, LONGEST_S, Pauses


class Clock:
    """Says what it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_they_grow_while_it_dies_again_and_again() -> None:
    clock = Clock()
    pauses = Pauses(clock)
    found = []
    for _ in range(10):
        found.append(pauses.next_s())
        clock.now += found[-1] + 1
    assert found == [0, 1, 2, 4, 8, 16, 32, LONGEST_S, LONGEST_S, LONGEST_S]


def test_they_begin_anew_when_it_lived_for_a_while() -> None:
    clock = Clock()
    pauses = Pauses(clock)
    assert [pauses.next_s() for _ in range(3)] == [0, 1, 2]
    clock.now += 2 + CALM_S
    assert pauses.next_s() == 4  # the time begins behind the pause
    clock.now += 4 + CALM_S + 0.1
    assert pauses.next_s() == 0
