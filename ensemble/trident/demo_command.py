"""`trident demo`: the whole way with the service `spam`."""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trident.options import AsJson, Repository, Services


def demo(
    data: Annotated[Path, typer.Option(metavar="FILE", help="Labelled texts.")] = Path("data/sms_spam.tsv"),
    services: Services = Path("services"),
    model_repository: Repository = Path("model_repository"),
    as_json: AsJson = False,
) -> None:
    """Show the whole way with the service `spam`.

    \b
    trident demo

    Train, build, start Triton, infer over HTTP and gRPC, stop; what is there already is left as it is. With --json
    the figures are on stdout, and what it tells goes to stderr.
    """  # noqa: D301 - click's mark for lines that stay as they are
    from trident.demo import run

    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        report = run(data, services, model_repository)
    if as_json:
        print(json.dumps(asdict(report), indent=2, ensure_ascii=False))
