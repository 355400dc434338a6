"""Waiting in an event loop, which only `AsyncClient` needs: asyncio takes a while to import."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine
from typing import Any, TypeVar

from trident_client.errors import ClientError
from trident_client.protocol import LOOK_AHEAD

T = TypeVar("T")
Batch = TypeVar("Batch")


class OneLoop:
    """Connections belong to the event loop that they were opened in."""

    def __init__(self) -> None:
        """The first call's loop is the one."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Check that this is the loop of the calls before.

        Raises:
            ClientError: it is another.
        """
        running = asyncio.get_running_loop()
        self._loop = self._loop or running
        if self._loop is not running:
            raise ClientError(
                "this client was used in another event loop before; make an AsyncClient in each asyncio.run, or use "
                "one asyncio.run for all"
            )


class AsyncWaiting:
    """Tasks of the running loop."""

    async def sleep(self, seconds: float) -> None:
        """See `protocol.Waiting`."""
        await asyncio.sleep(seconds)

    async def in_order(
        self, work: Callable[[Batch], Coroutine[Any, Any, T]], batches: AsyncIterable[Batch], concurrency: int
    ) -> AsyncGenerator[T, None]:
        """See `protocol.Waiting`."""
        free = asyncio.Semaphore(concurrency)

        async def work_in_turn(batch: Batch) -> T:
            async with free:
                return await work(batch)

        waiting: deque[asyncio.Task[T]] = deque()
        try:
            async for batch in batches:
                waiting.append(asyncio.create_task(work_in_turn(batch)))
                while waiting and (waiting[0].done() or len(waiting) >= LOOK_AHEAD * concurrency):
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
