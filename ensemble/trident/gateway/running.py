"""Opens both doors, and closes them when what is under way is done."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from aiohttp import web
from trident_client import TridentError

from trident.gateway.grpc_door import GrpcDoor
from trident.gateway.grpc_server import UNLIMITED, GrpcServer
from trident.gateway.http_door import HttpDoor
from trident.gateway.logs import open_log
from trident.gateway.room import Room

BACK_MS = 500  # after which a tritonserver that is back has been tried
IDLE_S = 75.0  # of a connection over HTTP, also in the middle of a request's head
AT_ONCE_S = 0.5


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
    runner = _runner(HttpDoor(place.http_upstream, place.most_bytes, room), place)
    await runner.setup()
    async with grpc.aio.insecure_channel(place.grpc_upstream, _upstream_options()) as channel:
        server = GrpcServer(GrpcDoor(channel, place.most_bytes, room), place.most_bytes)
        try:
            grpc_port = await _listen(server, place)
            await _started(web.TCPSite(runner, place.host, place.http_port), place)
            opened(runner.addresses[0][1], grpc_port)
            await closing.wait()
        finally:
            await asyncio.gather(server.close(place.exit_timeout_s), _stop(runner, place))


def in_url(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _runner(door: HttpDoor, place: Place) -> web.AppRunner:
    return web.AppRunner(
        door.application(),
        access_log=None,
        logger=open_log(),
        auto_decompress=False,
        handler_cancellation=True,  # a caller who vanished holds nothing
        keepalive_timeout=IDLE_S,
        shutdown_timeout=max(place.exit_timeout_s, AT_ONCE_S),  # 0 would be no limit
    )


async def _stop(runner: web.AppRunner, place: Place) -> None:
    """Not left to aiohttp, which waits for its connections twice."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(runner.cleanup(), place.exit_timeout_s + 2 * AT_ONCE_S)


def _upstream_options() -> list[tuple[str, int]]:
    return [
        ("grpc.max_send_message_length", UNLIMITED),
        ("grpc.max_receive_message_length", UNLIMITED),
        *((f"grpc.{which}_reconnect_backoff_ms", BACK_MS) for which in ("initial", "min", "max")),
    ]


async def _listen(server: GrpcServer, place: Place) -> int:
    try:
        return await server.open(in_url(place.host), place.grpc_port)
    except RuntimeError:
        raise _cannot_listen(place, place.grpc_port, "--grpc-port", _reason(place)) from None


async def _started(site: web.TCPSite, place: Place) -> None:
    try:
        await site.start()
    except OSError as error:
        raise _cannot_listen(place, place.http_port, "--http-port", error.strerror or str(error)) from None


def _reason(place: Place) -> str:
    """What gRPC does not say."""
    try:
        family, *_, address = socket.getaddrinfo(place.host, place.grpc_port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        return error.strerror or str(error)
    return "gRPC does not say why"


def _cannot_listen(place: Place, port: int, option: str, reason: str) -> TridentError:
    return TridentError(f"cannot listen at {place.host}:{port}: {reason}; choose others with --host and {option}")
