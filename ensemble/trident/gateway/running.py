"""Opens both doors, and closes them when what is under way is done."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from trident_client import TridentError

from trident.gateway.grpc_door import GrpcDoor
from trident.gateway.http_door import HttpDoor
from trident.gateway.room import Room

UNLIMITED = -1
IDLE_S = 75.0  # of a connection over HTTP, also in the middle of a request's head
CALLERS_FAULTS = (HttpProcessingError, web.RequestPayloadError, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class Place:
    """Where a gateway listens, and what for.

    Attributes:
        http_upstream: tritonserver, http://HOST:PORT.
        grpc_upstream: the same, HOST:PORT.
        host: the address to listen at.
        http_port: 0 is any free one.
        grpc_port: likewise.
        most_bytes: of a request.
        exit_timeout_s: that requests may take when it closes.
    """

    http_upstream: str
    grpc_upstream: str
    host: str
    http_port: int
    grpc_port: int
    most_bytes: int
    exit_timeout_s: float


async def run(place: Place, opened: Callable[[int, int], None], closing: asyncio.Event) -> None:
    """Serve until `closing` is set, and then until all requests are answered or the time for it is over.

    Args:
        place: where.
        opened: told the two ports.
        closing: the order to stop.

    Raises:
        TridentError: a port cannot be had.
    """
    room = Room(place.most_bytes)
    application = HttpDoor(place.http_upstream, place.most_bytes, room).application()
    runner = web.AppRunner(
        application,
        access_log=None,
        logger=_log(),
        auto_decompress=False,
        shutdown_timeout=place.exit_timeout_s,
        keepalive_timeout=IDLE_S,
    )
    await runner.setup()
    options = [("grpc.max_send_message_length", UNLIMITED), ("grpc.max_receive_message_length", UNLIMITED)]
    limits = [("grpc.max_send_message_length", UNLIMITED), ("grpc.max_receive_message_length", place.most_bytes)]
    async with grpc.aio.insecure_channel(place.grpc_upstream, options) as channel:
        server = grpc.aio.server(
            handlers=[GrpcDoor(channel, place.most_bytes, room)], options=[*limits, ("grpc.so_reuseport", 0)]
        )
        try:
            grpc_port = _listen(server, place)
            site = web.TCPSite(runner, place.host, place.http_port)
            await _started(site, place)
            await server.start()
            opened(runner.addresses[0][1], grpc_port)
            await closing.wait()
        finally:
            await asyncio.gather(server.stop(place.exit_timeout_s), runner.cleanup())


def _log() -> logging.Logger:
    """Errors of ours, on stderr; aiohttp would add a traceback for each caller who vanishes or sends no HTTP."""
    log = logging.getLogger("trident.gateway")
    log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], CALLERS_FAULTS)))
    return log


def in_url(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _listen(server: "grpc.aio.Server", place: Place) -> int:
    try:
        return int(server.add_insecure_port(f"{in_url(place.host)}:{place.grpc_port}"))
    except RuntimeError:
        raise TridentError(
            f"cannot listen at {place.host}:{place.grpc_port}; choose others with --host and --grpc-port"
        ) from None


async def _started(site: web.TCPSite, place: Place) -> None:
    try:
        await site.start()
    except OSError as error:
        raise TridentError(
            f"cannot listen at {place.host}:{place.http_port}: {error.strerror}; "
            "choose others with --host and --http-port"
        ) from None
