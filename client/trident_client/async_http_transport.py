"""HTTP for an event loop, through aiohttp."""

import asyncio
import contextlib
import io
import math
import socket
import ssl
import weakref
from typing import Any

import aiohttp

from trident_client.async_waiting import OneLoop
from trident_client.deadline import Deadline
from trident_client.errors import ClientError
from trident_client.failures import Failures, closed
from trident_client.http_protocol import HttpAnswer, HttpRequest, check_size
from trident_client.settings import Settings

ROUNDS_TO_CLOSE = 5  # of the event loop, until it has noticed


class AsyncHttpTransport:
    """See `protocol.Transport`; cancelling a call closes its connection."""

    def __init__(self, settings: Settings) -> None:
        """Connect when the first call is made."""
        self._base = settings.server
        self._tls = settings.tls_context()
        self._failures = Failures(settings.server)
        self._session: aiohttp.ClientSession | None = None
        self._loop = OneLoop()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._closed = False

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpAnswer:
        """See `Transport`."""
        if self._closed:
            raise closed()
        self._loop.check()
        try:
            return await self._ask(request, deadline.left_s())
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise self._failures.timed_out(deadline) from error
        except (aiohttp.ClientError, RuntimeError, asyncio.CancelledError) as error:
            if self._closed:  # which ends connections, refuses new ones, and cancels the search for a name
                raise closed() from error
            if isinstance(error, aiohttp.ClientError):
                raise self._ours(error) from error
            raise
        except ValueError as error:
            raise self._failures.foreign(error) from error

    async def close(self) -> None:
        """See `Transport`."""
        self._closed = True
        if self._session is None:
            return
        await self._session.close()
        for each in self._sockets:  # else one lives on until its server has read what was still to be sent
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for _ in range(ROUNDS_TO_CLOSE):
            await asyncio.sleep(0)

    async def _ask(self, request: HttpRequest, timeout_s: float) -> HttpAnswer:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True, socket_factory=self._make_socket)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        async with self._session.request(
            request.method,
            self._base + request.path,
            data=io.BytesIO(request.body) if request.body else None,  # sent piece by piece, others get their turn
            headers=request.headers,
            allow_redirects=False,
            # From 5 s on aiohttp would round up to a whole second of the loop's clock.
            timeout=aiohttp.ClientTimeout(total=timeout_s, ceil_threshold=math.inf),
        ) as answer:
            check_size(answer.content_length or 0)
            pieces, size = [], 0
            async for piece in answer.content.iter_any():
                size += len(piece)
                check_size(size)
                pieces.append(piece)
            return HttpAnswer(answer.status, answer.headers, b"".join(pieces))

    def _make_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """For an address as `socket.getaddrinfo` gives it."""
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        self._sockets.add(made)
        return made

    def _ours(self, error: aiohttp.ClientError) -> ClientError:
        """Our error for one of aiohttp's."""
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            failed = error.certificate_error
            return self._failures.untrusted(getattr(failed, "verify_message", None) or failed)
        if isinstance(error, aiohttp.ClientConnectorError):
            return self._unreachable(error.os_error)
        if isinstance(error, aiohttp.ServerDisconnectedError):
            return self._failures.lost("it ended without an answer")
        if isinstance(error, aiohttp.ClientPayloadError):
            return self._failures.lost("the answer is cut off")
        if isinstance(error, aiohttp.ClientOSError):
            return self._failures.lost(error.strerror or error)
        if isinstance(error, aiohttp.ClientResponseError):
            return self._failures.foreign(error.message)
        return self._failures.foreign(error)

    def _unreachable(self, error: OSError) -> ClientError:
        if isinstance(error, ssl.SSLError):
            return self._failures.untrusted(getattr(error, "reason", None) or error)
        if self._tls is not None and isinstance(error, ConnectionResetError):
            return self._failures.untrusted("it closed the connection at once")
        return self._failures.unreachable(error.strerror or error)
