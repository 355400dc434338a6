"""Pauses between attempts that grow, so that what dies again and again is not started in a hot loop."""

import time
from collections.abc import Callable

FIRST_S, LONGEST_S = 1.0, 60.0
CALM_S = 10.0  # after which all is forgotten


class Pauses:
    """None before the first attempt, then 1, 2, 4 … 60 seconds, until there was peace for ten seconds after one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no pause."""
        self._clock = clock
        self._next_s = 0.0
        self._begun = clock()  # the last attempt

    def next_s(self) -> float:
        """Seconds to wait before the next attempt."""
        now = self._clock()
        if now - self._begun > CALM_S:
            self._next_s = 0.0
        pause_s = self._next_s
        self._begun = now + pause_s
        self._next_s = min(LONGEST_S, 2 * pause_s or FIRST_S)
        return pause_s
