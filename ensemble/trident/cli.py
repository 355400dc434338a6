"""The command `trident`: parse, call one function, print. Data goes to stdout, logs and progress to stderr.

Exit status: 0 ok, 1 failure (one line on stderr), 2 wrong usage.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from trident_client import ConnectError, TridentError

from trident import __version__
from trident.__main__ import INTERRUPTED
from trident.addresses import look_here
from trident.bench_command import bench
from trident.demo_command import demo
from trident.embed_command import embed
from trident.gateway_command import gateway
from trident.import_command import import_, new_stage
from trident.infer_command import infer
from trident.logs_command import logs
from trident.models_command import models
from trident.options import AsJson, Repository
from trident.output import LONE_TEXTS, printable
from trident.release_command import release, rollback
from trident.serve_command import serve, stop
from trident.status_command import status
from trident.train_command import train
from trident.tune_command import tune

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


app.command()(train)
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


app.command()(serve)
app.command()(stop)
app.command()(gateway)
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


app.command()(demo)


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


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


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
        _fail(f"{error}{look_here()}")
    except TridentError as error:
        _fail(str(error))
    except OSError as error:  # a folder that cannot be written, a full disk
        if isinstance(error, BrokenPipeError):  # the reader of our stdout went away, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    stderr.print(f"[bold red]error:[/] {escape(printable(message))}")
    sys.exit(1)
