"""`trident serve` and `trident stop`: a server of one's own."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trident.addresses import own_server
from trident.errors import TridentError
from trident.options import AnyPort, AsJson, HttpPort, OwnUrl, Repository
from trident.output import print_models

if TYPE_CHECKING:
    from trident.server.lifecycle import Server


def serve(
    model_repository: Repository = Path("model_repository"),
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Load this only; may be given again.", show_default="all")
    ] = None,
    http_port: AnyPort = 8000,
    grpc_port: AnyPort = 8001,
    metrics_port: AnyPort = 8002,
    health_port: AnyPort = 0,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Serve the models that load.")] = False,
    tritonserver: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The tritonserver to start.", show_default="$TRIDENT_TRITONSERVER, PATH or the wheel"
        ),
    ] = None,
    start_timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Seconds that loading may take.")] = 300,
    exit_timeout: Annotated[
        int, typer.Option(metavar="S", min=0, help="Seconds that requests may take when it stops.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Serve a model repository on 127.0.0.1.

    \b
    trident serve
    trident serve --model spam --http-port 9000 --grpc-port 9001

    It runs until Ctrl-C or `trident stop`; requests in flight finish. Processes of models that die or hang are
    replaced, and so is Triton's own. With --json it prints one object when it is ready: URLs, ports, models, pid, log.
    """  # noqa: D301
    from trident.progress import bar
    from trident.server.lifecycle import Server

    try:
        with bar("Loading models", total=0) as update:
            server = Server(
                model_repository,
                models=model or (),
                http_port=http_port,
                grpc_port=grpc_port,
                metrics_port=metrics_port,
                health_port=health_port,
                keep_going=keep_going,
                tritonserver=tritonserver,
                start_timeout_s=start_timeout,
                exit_timeout_s=exit_timeout,
                on_progress=update,
                events=sys.stderr,
            )
            server.start()
    except KeyboardInterrupt:
        print("nothing runs", file=sys.stderr)
        raise
    try:
        _serve(server, as_json)
    except KeyboardInterrupt:
        print("stopping: requests in flight finish ...", file=sys.stderr)
    finally:
        server.stop()
    print("stopped", file=sys.stderr)


def stop(
    http_port: HttpPort = None,
    url: OwnUrl = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="S", min=0.001, help="Seconds to wait for its end.", show_default="until it has ended"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Stop a running server.

    \b
    trident stop
    trident stop --url http://127.0.0.1:9000

    Requests in flight finish, then all its processes end.
    """  # noqa: D301
    from trident.server.stopping import stop_server

    if http_port is None and url is not None:
        http_port = own_server(url).http_port
    state = stop_server(http_port, timeout)
    answer = {"http_port": state.http_port, "model_repository": state.model_repository}
    print(json.dumps(answer) if as_json else f"stopped the server on port {state.http_port}")


def _serve(server: "Server", as_json: bool) -> None:
    """Show what is served and wait for the end."""
    if as_json:
        print(json.dumps(_as_json(server)), flush=True)
    else:
        print_models(server.model_status())
        print(f"HTTP {server.http_url}   gRPC {server.grpc_url}   metrics {server.metrics_url}")
        print(f"health {server.health_url}")
        print(f"log  {server.log}", flush=True)
    print("Ctrl-C or `trident stop` ends it.", file=sys.stderr)
    status = server.wait()
    if status != 0:
        how = f"was ended by signal {status - 128}" if status > 128 else f"ended with status {status}"
        raise TridentError(f"the server {how}; its log is {server.log}")


def _as_json(server: "Server") -> dict[str, Any]:
    """What a program needs to use the server, and to end it."""
    urls = {
        "http_url": server.http_url,
        "grpc_url": server.grpc_url,
        "metrics_url": server.metrics_url,
        "health_url": server.health_url,
    }
    ports = {f"{protocol}_port": port for protocol, port in server.ports.items()}
    models = [asdict(model) for model in server.model_status()]
    about = {"model_repository": str(server.model_repository.resolve()), "pid": server.pid, "log": str(server.log)}
    return urls | ports | about | {"models": models}
