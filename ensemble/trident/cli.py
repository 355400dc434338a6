"""The command `trident`: parse, call one function, print. Data goes to stdout, logs and progress to stderr.

Exit status: 0 ok, 1 failure (one line on stderr), 2 wrong usage.
"""

import json
import os
import signal
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from trident_client import ConnectError, TridentError

from trident import __version__
from trident.__main__ import INTERRUPTED
from trident.bench_command import bench
from trident.embed_command import embed
from trident.import_command import import_, new_stage
from trident.infer_command import infer
from trident.models_command import models
from trident.options import AnyPort, AsJson, HttpPort, Repository, Services
from trident.output import LONE_TEXTS, print_models, printable
from trident.release_command import release, rollback
from trident.server_commands import logs, status
from trident.tune_command import tune

if TYPE_CHECKING:
    from trident.server.lifecycle import Server

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
backend = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The `tensorflow` backend alone.")
app.add_typer(backend, name="backend")
new = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Begin something of your own.")
app.add_typer(new, name="new")
new.command("stage")(new_stage)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

INSTALL = "pip install '.[train]' in Trident's folder"


class EncoderName(str, Enum):
    """Choices of `--encoder`."""

    minilm = "minilm"
    none = "none"


class ClassWeightsName(str, Enum):
    """Choices of `--class-weights`."""

    none = "none"
    balanced = "balanced"


@app.command()
def train(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Labelled texts: .tsv, .csv or .jsonl with label and text.")
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the service.")],
    services: Services = Path("services"),
    encoder: Annotated[
        EncoderName, typer.Option(help="minilm: frozen pretrained transformer; none: small model from scratch.")
    ] = EncoderName.minilm,
    max_length: Annotated[int, typer.Option(metavar="N", min=1, max=512, help="Tokens of a text that count.")] = 128,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="At most; training stops early.")] = 200,
    patience: Annotated[int, typer.Option(metavar="N", min=1, help="Epochs without improvement before it stops.")] = 5,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**31 - 1, help="Makes the run repeatable.")] = 42,
    class_weights: Annotated[
        ClassWeightsName, typer.Option(help="balanced: weigh rare labels up.")
    ] = ClassWeightsName.none,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of pretrained weights.", show_default="fetched once by name"),
    ] = None,
    text_column: Annotated[str, typer.Option(metavar="NAME", help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(metavar="NAME", help="Column of the labels.")] = "label",
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Go on without rows that are broken.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a text classifier and write its service folder.

    \b
    trident train messages.tsv --name spam
    trident train reviews.csv --name stars --text-column body --label-column stars

    A folder of that name is replaced; its [serving] table, top_k and threshold are kept.
    """  # noqa: D301 - click's mark for lines that stay as they are
    from trident.training import TrainOptions
    from trident.training import train as run

    options = TrainOptions(
        encoder=encoder.value,
        max_length=max_length,
        epochs=epochs,
        patience=patience,
        seed=seed,
        class_weights=class_weights.value,
        weights=weights,
        text_column=text_column,
        label_column=label_column,
        skip_bad_rows=skip_bad_rows,
    )
    folder, metrics = run(file, name, services, options)
    if as_json:
        print(json.dumps({"service": str(folder)} | metrics, indent=2))
        return
    _print_metrics(metrics)
    print(f"service folder: {folder}   next: trident build {folder}")


app.command("import")(import_)


@app.command()
def build(
    service: Annotated[
        Path, typer.Argument(metavar="DIR", help="Service folder, as `trident train` and `import` write it.")
    ],
    model_repository: Repository = Path("model_repository"),
    as_json: AsJson = False,
) -> None:
    """Write a service's next version into the model repository.

    \b
    trident build services/spam
    trident build services/spam && trident release spam

    The first version is released with it; a later one is served when it is released.
    """  # noqa: D301
    from dataclasses import asdict

    from trident.repository import build as run
    from trident.service import load_service

    result = run(load_service(service), model_repository)
    if as_json:
        print(json.dumps(asdict(result)))
        return
    if result.created:
        print(f"built {result.name} version {result.version} in {model_repository}: {', '.join(result.models)}")
    elif result.configured:
        print(f"{result.name} version {result.version} in {model_repository} stays, with other settings")
    else:
        print(f"{result.name} version {result.version} in {model_repository} is already made of this; nothing built")
    if result.ragged is False:
        stderr.print(LONE_TEXTS)
    if result.pending:
        print(f"version {result.released} is released; next: trident release {result.name}")


app.command()(release)
app.command()(rollback)


@app.command()
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
) -> None:
    """Serve a model repository on 127.0.0.1.

    \b
    trident serve
    trident serve --model spam --http-port 9000 --grpc-port 9001

    It runs until Ctrl-C or `trident stop`; requests in flight finish. Processes of models that die or hang are
    replaced, and so is Triton's own.
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
        stderr.print("nothing runs")
        raise
    try:
        _serve(server)
    except KeyboardInterrupt:
        stderr.print("stopping: requests in flight finish ...")
    finally:
        server.stop()
    stderr.print("stopped")


@app.command()
def stop(
    http_port: HttpPort = None,
    as_json: AsJson = False,
) -> None:
    """Stop a running server.

    \b
    trident stop
    trident stop --http-port 9000

    Requests in flight finish, then all its processes end.
    """  # noqa: D301
    from trident.server.stopping import stop_server

    state = stop_server(http_port)
    answer = {"http_port": state.http_port, "model_repository": state.model_repository}
    print(json.dumps(answer) if as_json else f"stopped the server on port {state.http_port}")


app.command()(infer)
app.command()(embed)
app.command()(status)
app.command()(logs)
app.add_typer(models, name="models")


app.command()(bench)
app.command()(tune)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def perf_analyzer(context: typer.Context) -> None:
    """Run NVIDIA's load generator, perf_analyzer.

    \b
    trident perf-analyzer -m spam -u 127.0.0.1:8000 --string-data hello \\
        --shape text:1 --concurrency-range 8

    It gets the arguments as they are, and is fetched once if it is not installed. Without arguments it lists
    its own options; the README shows a run with real texts.
    """  # noqa: D301
    from trident.perf_analyzer import run

    run(context.args)


@backend.command("install")
def backend_install(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Triton's backend directory, such as /opt/tritonserver/backends.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace unknown files in DIR/tensorflow, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the `tensorflow` backend to DIR/tensorflow.

    \b
    trident backend install /opt/tritonserver/backends

    An earlier one, or NVIDIA's library, is replaced. Nothing of Trident is needed there to serve.
    """  # noqa: D301
    from dataclasses import asdict

    from trident.backend_install import install

    result = install(directory, force)
    if as_json:
        print(json.dumps(asdict(result), default=str))
        return
    print(f"installed the tensorflow backend in {result.path}")
    if result.link is not None:
        print(f"replaced the link to {result.link}, which is left as it was")
    if result.nvidias:
        print(f"replaced NVIDIA's {', '.join(result.nvidias)} (Triton prefers its library to a model.py beside it)")
    if result.unknown:
        print(f"replaced, as --force asks: {', '.join(result.unknown)}")
    print(f"next: pip install -r {result.requirements} (for the Python that Triton's stub uses), then restart Triton")


@app.command()
def demo(
    data: Annotated[Path, typer.Option(metavar="FILE", help="Labelled texts.")] = Path("data/sms_spam.tsv"),
    services: Services = Path("services"),
    model_repository: Repository = Path("model_repository"),
) -> None:
    """Show the whole way with the service `spam`.

    \b
    trident demo

    Train, build, start Triton, infer over HTTP and gRPC, stop; what is there already is left as it is.
    """  # noqa: D301
    from trident.demo import run

    run(data, services, model_repository)


def _serve(server: "Server") -> None:
    """Show what is served and wait for the end."""
    print_models(server.model_status())
    print(f"HTTP {server.http_url}   gRPC {server.grpc_url}   metrics {server.metrics_url}")
    print(f"health {server.health_url}")
    print(f"log  {server.log}", flush=True)
    stderr.print("Ctrl-C or `trident stop` ends it.")
    status = server.wait()
    if status != 0:
        how = f"was ended by signal {status - 128}" if status > 128 else f"ended with status {status}"
        raise TridentError(f"the server {how}; its log is {server.log}")


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _print_metrics(metrics: dict[str, Any]) -> None:
    data = metrics["data"]
    names = {"bad_rows": "bad row", "duplicates": "duplicate", "contradictions": "contradictory text"}
    left_out = [(data[key], name) for key, name in names.items() if data[key]]
    notes = "".join(f", {count} {name}{'s' if count > 1 else ''} left out" for count, name in left_out)
    print(f"{data['train']} texts trained on, {data['validation']} to stop early, {data['test']} held out{notes}")
    table = Table("label", "precision", "recall", "F1", "texts")
    for label, row in metrics["per_class"].items():
        table.add_row(escape(label), *(f"{row[key]:.4f}" for key in ("precision", "recall", "f1")), str(row["support"]))
    Console().print(table)
    print(f"held-out accuracy {metrics['accuracy']:.4f}, trained in {metrics['training_s']:.0f} s")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"trident {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """TensorFlow models as a service on NVIDIA Triton: train, build, serve, infer."""


def _open_streams() -> None:
    """Let stdout and stderr take any text, wherever they lead; they may be closed, and their encoding old."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for the whole process
        else:
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line; the one place that turns a `TridentError` into a message and an exit status."""
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C, so that what was begun is removed
    _open_streams()
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            stderr.print("interrupted")
        raise
    except KeyboardInterrupt:
        stderr.print("interrupted")
        sys.exit(INTERRUPTED)
    except UnicodeEncodeError as error:  # an argument of bytes that are no text
        _fail(f"{error.object!r} is not UTF-8; write it in UTF-8")
    except ModuleNotFoundError as error:  # the base install is the client; say what the command needs
        _fail(f"no package '{error.name}'; install what this command needs: {INSTALL}")
    except ConnectError as error:
        _fail(f"{error}{_running_elsewhere()}")
    except TridentError as error:
        _fail(str(error))
    except OSError as error:  # a folder that cannot be written, a full disk
        if isinstance(error, BrokenPipeError):  # the reader of our stdout went away, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        _fail(str(error))


def _running_elsewhere() -> str:
    """Where a server of the user's own is to be found, if it is not where it was looked for."""
    from trident.server.state import running_servers

    found = ", ".join(f"http://127.0.0.1:{state.http_port}" for state in running_servers())
    return f". You run {found}; give it with --url or TRIDENT_URL" if found else ""


def _fail(message: str) -> NoReturn:
    stderr.print(f"[bold red]error:[/] {escape(printable(message))}")
    sys.exit(1)
