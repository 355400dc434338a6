"""The end of a call: one moment for connecting, sending, waiting, reading and trying again."""

import time

from trident_client.errors import InvalidRequest

LONGEST_TIMEOUT_S = 86_400
SHORTEST_ATTEMPT_S = 0.05


class Deadline:
    """When a call must have ended.

    Attributes:
        timeout_s: seconds that it was given.
    """

    def __init__(self, timeout_s: float) -> None:
        """Begin to count.

        Raises:
            InvalidRequest: timeout_s is no number of seconds > 0 and at most a day.
        """
        if (
            isinstance(timeout_s, bool)
            or not isinstance(timeout_s, int | float)
            or not 0 < timeout_s <= LONGEST_TIMEOUT_S
        ):
            raise InvalidRequest(f"timeout_s is {timeout_s!r}; expected seconds > 0 and ≤ {LONGEST_TIMEOUT_S}")
        self.timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds that are left, > 0.

        Raises:
            TimeoutError: there are none.
        """
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def part(self, timeout_s: float | None) -> "Deadline":
        """An earlier end, for one attempt; this one, if there is none or it would be later."""
        if timeout_s is None or time.monotonic() + timeout_s >= self._end:
            return self
        return Deadline(timeout_s)

    def allows_attempt(self, pause_s: float) -> bool:
        """Whether a pause leaves enough time to ask again: an attempt that is cut off hides why the last one failed."""
        return time.monotonic() + pause_s < self._end - min(SHORTEST_ATTEMPT_S, self.timeout_s / 10)
