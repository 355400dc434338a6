"""`trident status`: the servers of this user, or one at a URL."""

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from trident_client import Client, ClientError, NotFound
from trident_client.settings import without_secrets

from trident.model_table import ModelTable
from trident.options import AsJson, Timeout
from trident.output import printable
from trident.server.state import ServerState, running_servers, server_at


@dataclass(frozen=True)
class ServerStatus:
    """How a server fares.

    Attributes:
        url: where it was asked.
        live: whether it answers.
        ready: whether all its models can serve.
        models: loaded and ready; None if it does not say, as `trident gateway`.
        not_ready: the models that should serve and do not.
        trouble: why it is not ready, if that is known.
        pid: of its supervisor; None if it is not one of this user's on this machine.
        model_repository: what it serves; likewise.
        log: its log; likewise.
        restarts: model, or tritonserver → how often a process that died or hung was replaced; likewise.
    """

    url: str
    live: bool
    ready: bool
    models: int | None
    not_ready: list[str]
    trouble: str
    pid: int | None = None
    model_repository: str | None = None
    log: str | None = None
    restarts: dict[str, int] | None = None


def status(
    url: Annotated[
        str | None,
        typer.Option(envvar="TRIDENT_URL", metavar="URL", help="A server.", show_default="all that you run here"),
    ] = None,
    timeout: Timeout = 5.0,
    as_json: AsJson = False,
) -> None:
    """Say whether the servers are live and ready.

    \b
    trident status
    trident status --url grpc://127.0.0.1:8001 && echo ready

    The exit status is 0 if all are, else 1.
    """  # noqa: D301 - click's mark for lines that stay as they are
    asked = [(url, server_at(url))] if url else [(state.http_url, state) for state in running_servers()]
    found = [_ask(each, timeout, state) for each, state in asked]
    if as_json:
        print(json.dumps([asdict(entry) for entry in found], indent=2))
    elif found:
        for entry in found:
            Console(highlight=False, soft_wrap=True).print(_describe(entry))
    else:
        print("no server of yours runs on this machine; start one with `trident serve`, or give --url")
    if not found or not all(entry.ready for entry in found):
        raise typer.Exit(1)


def _ask(url: str, timeout_s: float, state: ServerState | None) -> ServerStatus:
    from trident.server.health import read_health

    live = ready = False
    models: int | None = 0
    faults: dict[str, str] = {}
    try:
        with Client(url, timeout_s=timeout_s, retry=None) as client:
            live, ready = client.is_server_live(), client.is_server_ready()
            is_listed = _lists_models(client)
            rows = ModelTable(client).read() if is_listed else []
            models = sum(row.state == "READY" for row in rows) if is_listed else None
            broken = [row for row in rows if row.state not in ("READY", "not loaded") and row.reason != "unloaded"]
            faults = {row.name: row.reason or row.state for row in broken}
    except ClientError as error:
        faults = {"": str(error)}
    entry = ServerStatus(without_secrets(url), live, ready, models, [], "")
    if state is not None:
        entry = replace(entry, pid=state.supervisor_pid, model_repository=state.model_repository, log=state.log)
        with contextlib.suppress(OSError, ValueError):  # it is ending; Triton's word must do
            told = read_health(state.health_port, timeout_s)
            faults |= told["not_ready"]
            ready = live and told["ready"]  # Triton's own word stays no after a load that failed
            entry = replace(entry, restarts=told["restarts"])
    trouble = "; ".join(f"{name}: {reason}" if name else reason for name, reason in faults.items())
    return replace(entry, ready=ready and not faults, not_ready=sorted(filter(None, faults)), trouble=trouble)


def _lists_models(client: Client) -> bool:
    """As all do but `trident gateway`."""
    try:
        client.get_model_repository_index()
    except NotFound:
        return False
    return True


def _describe(entry: ServerStatus) -> str:
    state = "[green]ready[/]" if entry.ready else "[yellow]live, not ready[/]" if entry.live else "[red]no answer[/]"
    lines = [f"{entry.url}  {state}" + (f", {entry.models} models" if entry.live and entry.models is not None else "")]
    if entry.trouble:
        lines.append(f"  {escape(printable(entry.trouble))}")
    if entry.restarts:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(entry.restarts.items()))
        lines.append(f"  started again: {escape(counts)}")
    if entry.pid is not None:
        lines.append(f"  serves {escape(entry.model_repository or '')}, process {entry.pid}")
        lines.append(f"  log {escape(entry.log or '')}")
    return "\n".join(lines)
