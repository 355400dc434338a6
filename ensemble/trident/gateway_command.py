"""`trident gateway`: a door in front of tritonserver for callers whom nobody knows."""

import json
import os
import signal
import sys
from typing import Annotated

import typer
from trident_client import TridentError

from trident.addresses import address
from trident.options import AnyPort, AsJson, Url
from trident.server.limits import allow_connections
from trident.server.state import server_at

MOST_BYTES = 2**26


def gateway(
    url: Url = None,
    grpc_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The same server over gRPC.", show_default="that of a server that you run"),
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
    trident gateway --host 0.0.0.0

    It passes on inference and questions about models, over HTTP and gRPC, and refuses what a tritonserver does not
    survive, what is laid out wrong, and all administration. Put a proxy with TLS and passwords before it.
    """  # noqa: D301
    import asyncio

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it writes to stderr of itself
    from trident.gateway.running import Place, in_url, run

    upstream = address(url)
    if not upstream.startswith("http://"):
        raise TridentError(f"the server is {upstream}; expected http://HOST:PORT, and --grpc-url for the other")
    place = Place(upstream, _grpc(upstream, grpc_url), host, http_port, grpc_port, max_request_bytes, exit_timeout)

    def opened(http: int, grpc: int) -> None:
        at = in_url(host)
        urls = {"http_url": f"http://{at}:{http}", "grpc_url": f"grpc://{at}:{grpc}", "server": upstream}
        if as_json:
            print(json.dumps(urls), flush=True)
        else:
            print(f"HTTP {urls['http_url']}   gRPC {urls['grpc_url']}   for {upstream}", flush=True)
        print("Ctrl-C ends it.", file=sys.stderr)

    async def until_told() -> None:
        closing = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, closing.set)
        await run(place, opened, closing)

    allow_connections(os.getpid())
    asyncio.run(until_told())
    print("stopped", file=sys.stderr)


def _grpc(upstream: str, given: str | None) -> str:
    """HOST:PORT of the gRPC side."""
    state = server_at(upstream)
    if given is None and state is None:
        raise TridentError(f"{upstream} is no server that you run here; say where it takes gRPC with --grpc-url")
    found = given or (state.grpc_url if state else "")
    if not found.startswith("grpc://") or found == "grpc://":
        raise TridentError(f"--grpc-url is {found}; expected grpc://HOST:PORT")
    return found.removeprefix("grpc://").rstrip("/")
