"""`trident gateway`: a door in front of tritonserver for callers whom nobody knows."""

import json
import os
import re
import signal
import sys
from typing import Annotated

import typer
from trident_client import Client, ClientError, TridentError
from trident_client.settings import DEFAULT_URL

from trident.addresses import address, running_here
from trident.options import URL_VARIABLE, AnyPort, AsJson
from trident.server.limits import allow_connections
from trident.server.state import server_at

MOST_BYTES = 2**26
LOOK_S = 2.0
EVERYWHERE, LOOPBACK = {"0.0.0.0", "::"}, {"127.0.0.1", "localhost", "[::1]"}  # noqa: S104


def gateway(
    url: Annotated[
        str | None,
        typer.Option(
            envvar=URL_VARIABLE,
            metavar="URL",
            help="The server over HTTP, http://HOST:PORT.",
            show_default="port 8000 here, else the one server that you run",
        ),
    ] = None,
    grpc_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The same server over gRPC, grpc://HOST:PORT.",
            show_default="that of a server that you run",
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0: everywhere.")] = "127.0.0.1",
    http_port: AnyPort = 8080,
    grpc_port: AnyPort = 8081,
    max_request_bytes: Annotated[int, typer.Option(metavar="N", min=1, help="Of a request, unpacked.")] = MOST_BYTES,
    exit_timeout: Annotated[
        float, typer.Option(metavar="S", min=0, help="Seconds that requests may take when it stops.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Stand in front of a server for callers whom you do not know.

    \b
    trident serve &
    trident gateway

    It passes on inference and questions about models, over HTTP and gRPC, and refuses what a tritonserver does not
    survive, what is laid out wrong, and all administration. Put a proxy with TLS and passwords before it.
    """  # noqa: D301
    import asyncio

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it writes to stderr of itself
    from trident.gateway.running import Place, in_url, run

    http_upstream, grpc_upstream = _upstreams(url, grpc_url)
    _check_ports(http_port, grpc_port, host, (http_upstream, grpc_upstream))
    for upstream in (http_upstream, grpc_upstream):
        _look(upstream)
    place = Place(
        *(http_upstream, grpc_upstream.removeprefix("grpc://"), host, http_port, grpc_port),
        *(max_request_bytes, exit_timeout),
    )

    def opened(http: int, grpc: int) -> None:
        at = in_url(host)
        urls = {"http_url": f"http://{at}:{http}", "grpc_url": f"grpc://{at}:{grpc}"}
        _announce(urls | {"server_http_url": http_upstream, "server_grpc_url": grpc_upstream}, as_json)

    async def until_told() -> None:
        closing = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, closing.set)
        await run(place, opened, closing)

    allow_connections(os.getpid())
    asyncio.run(until_told())
    print("stopped", file=sys.stderr)


def _upstreams(url: str | None, grpc_url: str | None) -> tuple[str, str]:
    """The server over HTTP and over gRPC, as http://HOST:PORT and grpc://HOST:PORT."""
    http = address(url).rstrip("/")
    if not _is_address(http, "http"):
        raise TridentError(f"the server is {http}; expected http://HOST:PORT, and --grpc-url for the other")
    state = server_at(http)
    if grpc_url is None and state is None:
        if url is None and http == DEFAULT_URL:
            raise TridentError(
                f"there is no server: {running_here()}; start one with `trident serve`, or say where one "
                "is with --url and --grpc-url"
            )
        raise TridentError(f"{http} is no server that you run here; say where it takes gRPC with --grpc-url")
    grpc = (grpc_url or (state.grpc_url if state else "")).rstrip("/")
    if not _is_address(grpc, "grpc"):
        raise TridentError(f"--grpc-url is {grpc}; expected grpc://HOST:PORT")
    return http, grpc


def _is_address(url: str, scheme: str) -> bool:
    return re.fullmatch(rf"{scheme}://(\[[^\]/]+\]|[^:/\[\]]+):\d+", url) is not None


def _check_ports(http_port: int, grpc_port: int, host: str, upstreams: tuple[str, str]) -> None:
    if http_port == grpc_port != 0:
        raise TridentError(f"--http-port and --grpc-port are both {http_port}; expected two ports")
    for upstream in upstreams:
        if _is_here(upstream, host, (http_port, grpc_port)):
            raise TridentError(f"the gateway would stand in front of itself: {upstream} is where it listens")


def _announce(urls: dict[str, str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(urls | {"pid": os.getpid()}), flush=True)
    else:
        print(f"HTTP {urls['http_url']}   gRPC {urls['grpc_url']}", flush=True)
        print(f"for  {urls['server_http_url']}   and  {urls['server_grpc_url']}", flush=True)
    print("Ctrl-C ends it.", file=sys.stderr)


def _is_here(url: str, host: str, ports: tuple[int, int]) -> bool:
    name, _, port = url.rpartition("//")[2].rpartition(":")
    names = {host, f"[{host}]"} | (LOOPBACK if host in EVERYWHERE | LOOPBACK else set())
    return name in names and int(port) in ports


def _look(upstream: str) -> None:
    """Say so if nobody is there yet: it may come, or the URL may be wrong."""
    try:
        with Client(upstream, timeout_s=LOOK_S, retry=None) as client:
            client.is_server_live()
    except ClientError as error:
        print(f"not there yet: {error}", file=sys.stderr)
