"""`trident models`: what a server serves and how it fares; loads, unloads and removes models."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from trident_client import Client, ConnectError, InferenceError, RequestTimeout

from trident.addresses import address
from trident.errors import TridentError
from trident.model_table import ModelRow, ModelTable
from trident.options import AsJson, Repository, RepositoryUrl, Timeout, Url, is_set_for_all
from trident.output import natural_width, print_whole, printable
from trident.ownership import is_built
from trident.server.state import server_at

LOAD_TIMEOUT_S = 300.0
UNLOAD_TIMEOUT_S = 60.0
POLL_S = 0.1
WORDS = {"model", "ver", "state", "backend"}  # the other columns are numbers
DISPENSABLE = (
    ("backend", "queue", "rows"),
    ("fail", "req/s"),
    ("ms",),
    ("req",),
)  # what a narrow terminal goes without
HUNDRED = 100
STATES = {"READY": "green", "not loaded": "dim", "LOADING": "yellow", "UNLOADING": "yellow"}
models = typer.Typer(rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the model or service.", show_default=False)]


@models.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    watch: bool = typer.Option(False, "--watch", help="Keep the table live, with rates, until Ctrl-C."),
    interval: float = typer.Option(2.0, metavar="S", min=0.1, help="Seconds between two looks, for --watch."),
    url: Url = None,
    timeout: Timeout = 30.0,
    as_json: AsJson = False,
) -> None:
    """Show a server's models; or load, unload, remove one.

    \b
    trident models
    trident models --watch
    trident models --json | jq '.[] | select(.state != "READY")'
    trident models unload spam
    """  # noqa: D301 - click's mark for lines that stay as they are
    if context.invoked_subcommand is not None:
        return
    with Client(address(url), timeout_s=timeout) as client:
        if watch:
            _watch(ModelTable(client), interval, as_json)
            return
        rows = ModelTable(client).read()
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        _print(rows)


@models.command()
def load(name: Name, url: Url = None, timeout: Timeout = LOAD_TIMEOUT_S, as_json: AsJson = False) -> None:
    """Load a model or service.

    \b
    trident models load spam

    One that is loaded already is loaded anew if its files have changed.
    """  # noqa: D301
    with Client(address(url), timeout_s=timeout) as client:
        try:
            client.load_model(name)
        except InferenceError as error:
            raise type(error)(f"{error}{_why_not_completed(client.url, name)}") from None
    print(json.dumps({"loaded": name}) if as_json else f"loaded {name}")


def _why_not_completed(url: str, name: str) -> str:
    """What is to be done if a model did not load for want of a whole configuration; empty if that cannot be why."""
    state = server_at(url)
    if state is None or state.completes_configs or is_built(Path(state.model_repository) / name):
        return ""
    return (
        f". If the config.pbtxt of '{name}' is missing or leaves something out: this server completes none, since "
        "`trident build` had written all that it found at its start; start it again"
    )


@models.command()
def unload(name: Name, url: Url = None, timeout: Timeout = UNLOAD_TIMEOUT_S, as_json: AsJson = False) -> None:
    """Unload a model, or a service with its models.

    \b
    trident models unload spam

    Requests under way are answered.
    """  # noqa: D301
    with Client(address(url), timeout_s=timeout) as client:
        _unload(client, name, timeout)
    print(json.dumps({"unloaded": name}) if as_json else f"unloaded {name}")


@models.command()
def remove(
    context: typer.Context,
    name: Name,
    model_repository: Repository = Path("model_repository"),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    url: RepositoryUrl = None,
    timeout: Timeout = UNLOAD_TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Remove a built service from a model repository.

    \b
    trident models remove spam --yes

    A server that serves it there unloads it first; --url and TRIDENT_URL as in `trident release`. The service folder
    stays, so `trident build` brings it back.
    """  # noqa: D301
    from trident.repository import remove as run
    from trident.repository_servers import servers_of
    from trident.versions import find_service

    found = find_service(name, model_repository)
    if not yes:
        _confirm(f"remove {', '.join(found)} from {model_repository}?")
    for place, key in servers_of(model_repository, url, by_the_way=is_set_for_all(context)):
        with Client(place, timeout_s=timeout, admin_key=key) as client:
            _unload(client, name, timeout)
    run(name, model_repository)
    print(json.dumps({"removed": found}) if as_json else f"removed {', '.join(found)} from {model_repository}")


def _confirm(question: str) -> None:
    """Ask a person; who has no terminal, and pipes no answer either, is told of --yes."""
    try:
        typer.confirm(question, abort=True, err=True)
    except typer.Abort:
        if sys.stdin is not None and sys.stdin.isatty():
            raise
        print(file=sys.stderr)  # the question has no answer to end its line
        raise TridentError(
            "nothing is removed: there is no terminal to ask at, and nobody said yes; give --yes"
        ) from None


def _unload(client: Client, name: str, timeout_s: float) -> None:
    """Unload, and wait until it is done: Triton answers before."""
    if name not in {entry["name"] for entry in client.get_model_repository_index()}:
        raise TridentError(f"{client.url} knows no model '{name}'; `trident models` lists those that it knows")
    order = [name, *_own_steps(client, name)]
    for model in order:
        client.unload_model(model)
    end = time.monotonic() + timeout_s
    while there := sorted({*order} & _loaded(client)):
        if time.monotonic() > end:
            raise RequestTimeout(f"{there} were told to unload and are still there after {timeout_s:g} s")
        time.sleep(POLL_S)


def _loaded(client: Client) -> set[str]:
    index = client.get_model_repository_index()
    return {entry["name"] for entry in index if entry.get("state") in ("READY", "LOADING", "UNLOADING")}


def _own_steps(client: Client, name: str) -> list[str]:
    """The models of an ensemble that no other ensemble uses.

    Triton's own unload_dependents leaves those that were loaded by name, as `trident serve` loads all.
    """
    others = {step for model in sorted(_loaded(client) - {name}) for step in _steps(client, model)}
    return [step for step in _steps(client, name) if step not in others]


def _steps(client: Client, name: str) -> list[str]:
    """The models of an ensemble; none of another model, or of one that is not loaded."""
    try:
        scheduling = client.get_model_config(name).get("ensemble_scheduling") or {}
    except InferenceError:
        return []
    return [step["model_name"] for step in scheduling.get("step", [])]


def _watch(table: ModelTable, interval_s: float, as_json: bool) -> None:
    """Show the models again and again; a server that is away for a while is waited for."""
    rates = _Rates()
    rows: list[ModelRow] = []
    console = Console()
    live = Live(console=console, auto_refresh=False) if console.is_terminal and not console.is_dumb_terminal else None
    with live if live is not None and not as_json else nullcontext():
        try:
            while True:
                trouble = ""
                try:
                    rows = table.read()
                    rates.update(rows)
                except (ConnectError, RequestTimeout) as error:
                    trouble = str(error)
                if as_json:
                    if not trouble:
                        print(json.dumps([asdict(row) | {"requests_per_s": rates.of(row)} for row in rows]), flush=True)
                elif live is not None:
                    shown = _table(rows, console.width, rates, trouble)
                    live.update(Group(shown, *_notes(rows, trouble)), refresh=True)
                else:
                    _print(rows, rates, trouble)
                time.sleep(interval_s)
        except KeyboardInterrupt:
            return


class _Rates:
    """Requests a second of each model, between two looks."""

    def __init__(self) -> None:
        self._looked = 0.0
        self._requests: dict[tuple[str, str], int] = {}
        self._rates: dict[tuple[str, str], float] = {}

    def update(self, rows: Sequence[ModelRow]) -> None:
        """Take the next look; a model that was loaded anew counts from 0 again."""
        now, before = time.monotonic(), self._requests
        self._requests = {(row.name, row.version): row.requests for row in rows}
        self._rates = {
            key: max(0, requests - before[key]) / (now - self._looked)
            for key, requests in self._requests.items()
            if key in before
        }
        self._looked = now

    def of(self, row: ModelRow) -> float | None:
        """None before the second look."""
        return self._rates.get((row.name, row.version))


def _print(rows: Sequence[ModelRow], rates: _Rates | None = None, trouble: str = "") -> None:
    console = Console(soft_wrap=True)
    print_whole(_table(rows, console.width, rates, trouble))
    for note in _notes(rows, trouble):
        console.print(note)


def _table(rows: Sequence[ModelRow], width: int, rates: _Rates | None, trouble: str) -> Table:
    """A table that goes without what matters least where a terminal is narrow; names and states are always whole."""
    columns = _columns(rows, rates, trouble)
    table = _made(columns)
    for headings in DISPENSABLE:
        if natural_width(table) <= width:
            break
        columns = {heading: cells for heading, cells in columns.items() if heading not in headings}
        table = _made(columns)
    return table


def _columns(rows: Sequence[ModelRow], rates: _Rates | None, trouble: str) -> dict[str, list[str]]:
    """Heading → a cell for each row."""
    columns = {
        "model": [escape(row.name) for row in rows],
        "ver": [row.version for row in rows],
        "state": ["[dim]?[/]" if trouble else f"[{STATES.get(row.state, 'red')}]{row.state}[/]" for row in rows],
        "backend": [row.backend for row in rows],
        "req": [_short(row.requests) for row in rows],
        "fail": [_short(row.failures) for row in rows],
        "ms": [_short(row.latency_ms) for row in rows],
        "queue": [_short(row.queue_ms) for row in rows],
        "rows": [_short(row.batch_size) for row in rows],
    }
    return columns if rates is None else columns | {"req/s": [_short(rates.of(row)) for row in rows]}


def _made(columns: dict[str, list[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for heading in columns:
        table.add_column(heading, justify="left" if heading in WORDS else "right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _notes(rows: Sequence[ModelRow], trouble: str) -> list[str]:
    """Why models are not ready, and why nothing is known of them now."""
    notes = [escape(printable(f"{row.name}: {row.reason}")) for row in rows if row.reason]
    return [*notes, f"[red]{escape(printable(trouble))}[/]"] if trouble else notes


def _short(value: float | None) -> str:
    """A number in at most six characters; `--json` has all of it."""
    if value is None:
        return ""
    if isinstance(value, float) and value < HUNDRED:
        return f"{value:.2f}"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 10 * size:
            return f"{value / size:.{0 if value >= HUNDRED * size else 1}f}{unit}"
    return f"{value:,.0f}"
