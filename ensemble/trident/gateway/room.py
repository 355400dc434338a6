"""What callers may hold: memory until they are answered, and time to send a request and to take its answer."""

from collections.abc import Iterator
from contextlib import contextmanager

TOGETHER = 16  # of the largest requests may be under way at a time
LEAST_BYTES = 2**22  # that the largest counts for
REQUEST_BYTES = 2**16  # that each costs besides its own: descriptors, tasks, buffers
PATIENCE_S = 30.0  # for a caller who sends or takes nothing
SLOWEST = 2**18  # bytes a second, of one who does


class NotNow(Exception):
    """A request that may pass another time; the text is for its caller."""


class Share:
    """What one request, or stream of them, holds of a `Room`."""

    def __init__(self, room: "Room") -> None:
        """Nothing yet."""
        self._size = 0
        self._room = room
        self._closed = False

    def take(self, size: int) -> None:
        """Have some bytes more.

        Raises:
            NotNow: there are none.
        """
        if size > self._room.free or self._closed:
            raise NotNow("the gateway holds as many bytes of requests as it may; come again")
        self.add(size)

    def add(self, size: int) -> None:
        """Have some bytes more that are there already, as those of an answer; or fewer."""
        self._size += size
        self._room.free -= size

    def close(self) -> None:
        """Give all back, for good."""
        self.add(-self._size)
        self._closed = True


class Room:
    """The memory of all that is under way.

    Attributes:
        free: bytes that are left; fewer than none if answers are larger than what was left.
    """

    def __init__(self, most_bytes: int) -> None:
        """All is free.

        Args:
            most_bytes: of one request.
        """
        self.free = TOGETHER * max(most_bytes, LEAST_BYTES)

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Yields what a request holds; all is given back in the end.

        Raises:
            NotNow: there is no room for any.
        """
        share = Share(self)
        share.take(REQUEST_BYTES)
        try:
            yield share
        finally:
            share.close()


def patience_s(size: int) -> float:
    """Seconds that so many bytes may take on their way."""
    return PATIENCE_S + size / SLOWEST
