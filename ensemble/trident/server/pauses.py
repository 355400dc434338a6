"""Pauses between attempts that grow, so that what dies again and again is not started in a hot loop."""

import time
from collections.abc import Callable

FIRST_S, LONGEST_S = 1.0, 60.0
CALM_S = 3.0  # of work, after which all is forgotten: what served a while is missed more than its loads cost


class Pauses:
    """None before the first attempt, then 1, 2, 4 … 60 seconds, until what an attempt began has worked for three."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no pause."""
        self._clock = clock
        self._next_s = 0.0
        self._works_since: float | None = None

    def works(self) -> None:
        """What the last attempt began works now; however long it took to get there, that was no peace."""
        self._works_since = self._clock()

    def next_s(self) -> float:
        """Seconds to wait before the next attempt."""
        if self._works_since is not None and self._clock() - self._works_since > CALM_S:
            self._next_s = 0.0
        self._works_since = None
        pause_s = self._next_s
        self._next_s = min(LONGEST_S, 2 * pause_s or FIRST_S)
        return pause_s
