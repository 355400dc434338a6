"""A stream of requests over gRPC: how many are under way, and for how long its caller may be idle."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from trident.gateway.checks import Malformed, check_grpc
from trident.gateway.room import NotNow, Share

UNDER_WAY = 16  # requests without an answer: tritonserver itself would take in all that are sent
ROOM_S = 1.0  # that the next one waits, since a decoupled model may answer nothing


class Stream:
    """One caller's.

    Which request an answer is of, is not known; it counts for the oldest.
    """

    def __init__(self, context: Any, share: Share, idle_s: float) -> None:
        """Read nothing yet.

        Args:
            context: gRPC's, of the call.
            share: what the call holds.
            idle_s: that the next message may take while nothing is under way.
        """
        self._context = context
        self._share = share
        self._idle_s = idle_s
        self._sizes: deque[int] = deque()  # of the requests that are under way
        self._taken = asyncio.Event()
        self._is_taking = False
        self._is_heard = False  # since it was asked last: an answer was taken
        self._fault: Malformed | NotNow | None = None
        self._reading: asyncio.Future[Any] | None = None

    async def requests(self) -> AsyncIterator[bytes]:
        """Those that may pass, until there are no more, or one may not."""
        try:
            while isinstance(message := await self._next(), bytes):
                await self._have_place()
                self._share.take(len(message))
                self._sizes.append(len(message))
                check_grpc(message)
                yield message
        except (Malformed, NotNow) as error:
            self._fault = error

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """While the caller takes an answer of so many bytes."""
        self._is_taking = True
        self._share.add(size)
        yield
        self._share.add(-size)
        self._is_taking = False
        self._is_heard = True
        self._drop_oldest()
        self._taken.set()

    def close(self) -> None:
        """Whoever waits in `requests` waits no longer: gRPC would let him."""
        self._sizes.clear()
        self._share.close()
        self._taken.set()
        if self._reading is not None:
            self._reading.cancel()

    def check(self) -> None:
        """All answers are taken.

        Raises:
            Malformed: a request was so; those before it have their answers.
            NotNow: likewise.
        """
        if self._fault is not None:
            raise self._fault

    async def _next(self) -> Any:
        self._reading = asyncio.ensure_future(self._context.read())
        while not (await asyncio.wait({self._reading}, timeout=self._idle_s))[0]:
            if not self._sizes and not self._is_heard:
                self._reading.cancel()
                raise NotNow("the next message takes too long to come")
            self._is_heard = False
        return self._reading.result()

    async def _have_place(self) -> None:
        """Wait while many are under way: for an answer to be taken, or for a second if there is none."""
        while len(self._sizes) >= UNDER_WAY:
            self._taken.clear()
            try:
                await asyncio.wait_for(self._taken.wait(), ROOM_S)
            except asyncio.TimeoutError:
                if not self._is_taking:
                    self._drop_oldest()

    def _drop_oldest(self) -> None:
        if self._sizes:
            self._share.add(-self._sizes.popleft())
