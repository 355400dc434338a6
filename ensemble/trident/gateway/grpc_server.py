"""Keeps the gRPC side open: grpc.aio 1.85 ends its whole server when a call's name is not UTF-8.

Source: grpc v1.85, src/python/grpcio/grpc/_cython/_cygrpc/aio/server.pyx.pxi, AioServer._server_main_loop.
"""

import asyncio
import contextlib
import logging
import sys

import grpc

from trident.gateway.grpc_door import GrpcDoor

UNLIMITED = -1
MOST_CALLS = 128  # of a connection
# Of a connection, and what the calls have then: only its end frees what a caller does not take.
AGE_MS, LAST_CALLS_MS = 600_000, 300_000
AGAIN_S = 0.01
LOGGER = "grpc._cython.cygrpc"


class GrpcServer:
    """One that is opened again until it is closed."""

    def __init__(self, door: GrpcDoor, most_bytes: int) -> None:
        """Open nothing yet.

        Args:
            door: what answers.
            most_bytes: of a request.
        """
        self._door = door
        self._options = [
            ("grpc.max_send_message_length", UNLIMITED),
            ("grpc.max_receive_message_length", most_bytes),
            ("grpc.max_concurrent_streams", MOST_CALLS),
            ("grpc.max_connection_age_ms", AGE_MS),
            ("grpc.max_connection_age_grace_ms", LAST_CALLS_MS),
            ("grpc.so_reuseport", 0),
        ]
        self._server: grpc.aio.Server | None = None
        self._crashed = _Crash()
        self._watch: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Future[bool]] = set()

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            RuntimeError: it cannot be had; gRPC does not say why.
        """
        port = await self._serve(host, port)
        logging.getLogger(LOGGER).addFilter(self._crashed)
        self._watch = asyncio.create_task(self._open_again(host, port))
        return port

    async def close(self, timeout_s: float) -> None:
        """Take no more calls, and end those that are under way after some time."""
        logging.getLogger(LOGGER).removeFilter(self._crashed)
        if self._watch is not None:
            self._watch.cancel()
        if self._server is not None:
            await self._server.stop(timeout_s)

    async def _serve(self, host: str, port: int) -> int:
        server = grpc.aio.server(handlers=[self._door], options=self._options)
        port = int(server.add_insecure_port(f"{host}:{port}"))
        await server.start()
        self._server = server
        return port

    async def _open_again(self, host: str, port: int) -> None:
        """At once: the old one still waits, for some 20 s, for connections that do not answer."""
        while self._server is not None:
            await self._crashed.event.wait()
            self._crashed.event.clear()
            print("a call with a name that is not UTF-8 ended gRPC's server; it is opened again", file=sys.stderr)
            old = asyncio.ensure_future(self._server.wait_for_termination())
            self._ending.add(old)
            old.add_done_callback(self._bury)
            while True:
                with contextlib.suppress(RuntimeError):
                    await self._serve(host, port)
                    break
                await asyncio.sleep(AGAIN_S)

    def _bury(self, old: "asyncio.Future[bool]") -> None:
        self._ending.discard(old)
        if not old.cancelled():
            old.exception()  # so that asyncio does not tell it


class _Crash(logging.Filter):
    """Sees what grpc.aio logs when its server ends so, which it tells nobody else before all is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.msg, UnicodeDecodeError):
            return True
        self.event.set()
        return False
