"""Waiting in threads: coroutines that never suspend are run without an event loop, several at once in a pool."""

import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from trident_client.failures import closed
from trident_client.protocol import LOOK_AHEAD

T = TypeVar("T")
Batch = TypeVar("Batch")

_thread = threading.local()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine whose transport blocks, to its end."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking transport waited for an event loop")


def iterate(stream: AsyncGenerator[T, None]) -> Iterator[T]:
    """Iterate over such a coroutine's sister, and close it at the end, however that comes."""
    try:
        while True:
            try:
                item = run(stream.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(stream.aclose())


class Abort:
    """Ends what the threads of one pool wait for."""

    def __init__(self) -> None:
        """Nothing waits yet."""
        self._lock = threading.Lock()
        self._ordered = threading.Event()
        self._hooks: dict[int, Callable[[], object]] = {}

    def adopt_thread(self) -> None:
        """Let this thread's waiting be ended."""
        _thread.abort = self

    @contextmanager
    def ends(self, hook: Callable[[], object]) -> Iterator[None]:
        """While the block waits, `hook` is what ends that."""
        with self._lock:
            if self._ordered.is_set():
                raise closed()
            self._hooks[id(hook)] = hook
        try:
            yield
        finally:
            with self._lock:
                del self._hooks[id(hook)]

    def order(self) -> None:
        """End everything that waits, and whatever would begin to."""
        with self._lock:
            self._ordered.set()
            for hook in self._hooks.values():
                hook()

    def sleep(self, seconds: float) -> None:
        """Sleep, if need be not to the end."""
        if self._ordered.wait(seconds):
            raise closed()


def current_abort() -> Abort | None:
    """Of the pool that this thread belongs to; None outside one."""
    return getattr(_thread, "abort", None)


class BlockingWaiting:
    """See `protocol.Waiting`."""

    async def sleep(self, seconds: float) -> None:
        """See `protocol.Waiting`."""
        abort = current_abort()
        if abort is None:
            time.sleep(seconds)
        else:
            abort.sleep(seconds)

    async def in_order(
        self, work: Callable[[Batch], Coroutine[Any, Any, T]], batches: AsyncIterable[Batch], concurrency: int
    ) -> AsyncGenerator[T, None]:
        """See `protocol.Waiting`."""
        abort = Abort()
        pool = ThreadPoolExecutor(concurrency, "trident-client", initializer=abort.adopt_thread)
        waiting: deque[Future[T]] = deque()
        try:
            async for batch in batches:
                waiting.append(pool.submit(lambda batch: run(work(batch)), batch))
                while waiting and (waiting[0].done() or len(waiting) >= LOOK_AHEAD * concurrency):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            abort.order()
            pool.shutdown()
