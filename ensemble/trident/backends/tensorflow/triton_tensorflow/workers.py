"""Runs the sub-batches of a batch side by side, on threads of this process."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from typing import TypeVar

Part = TypeVar("Part")


class Workers:
    """A fixed number of threads, which cost nothing while there is only one part.

    Attributes:
        count: how many parts are worked on at once, ≥ 1.
    """

    def __init__(self, count: int) -> None:
        """Threads are started when they are first needed."""
        self.count = count
        self._pool = ThreadPoolExecutor(count, "parallel-call") if count > 1 else None

    def finished(self, work: Callable[[Part], None], parts: Sequence[Part]) -> Iterator[Part]:
        """Work on all parts, begun in the order given.

        Yields:
            Each part as soon as it is done.

        Raises:
            Exception: what `work` raised; no part is being worked on any more then.
        """
        if self._pool is None or len(parts) == 1:
            for part in parts:
                work(part)
                yield part
            return
        running = {self._pool.submit(work, part): part for part in parts}
        try:
            for done in as_completed(running):
                done.result()
                yield running[done]
        finally:
            wait(running)
