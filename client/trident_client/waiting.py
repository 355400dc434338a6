"""Waiting in an event loop, and what both kinds of waiting have in common."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from trident_client.blocking import LOOK_AHEAD

T = TypeVar("T")
Batch = TypeVar("Batch")


class Waiting(Protocol):
    """All that differs between `Client` and `AsyncClient` beside their transports."""

    async def sleep(self, seconds: float) -> None:
        """Wait between two attempts."""

    def in_order(
        self, work: Callable[[Batch], Coroutine[Any, Any, T]], batches: AsyncIterable[Batch], concurrency: int
    ) -> AsyncGenerator[T, None]:
        """Work on batches, `concurrency` at once, and yield the results in the batches' order.

        Of the batches not many more are taken than are worked on. The first error, in that order, ends the work on
        all others and is raised; so does closing the generator.
        """


class AsyncWaiting:
    """Tasks of the running loop."""

    async def sleep(self, seconds: float) -> None:
        """See `Waiting`."""
        await asyncio.sleep(seconds)

    async def in_order(
        self, work: Callable[[Batch], Coroutine[Any, Any, T]], batches: AsyncIterable[Batch], concurrency: int
    ) -> AsyncGenerator[T, None]:
        """See `Waiting`."""
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
