"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str, typer.Option(envvar="TRIDENT_URL", metavar="URL", help="http://HOST:PORT or grpc://HOST:PORT; https, grpcs.")
]
Timeout = Annotated[float, typer.Option(metavar="S", min=0.001, help="Seconds that a request may take.")]
Repository = Annotated[Path, typer.Option("--model-repository", metavar="DIR", help="Folder of models for Triton.")]
Services = Annotated[Path, typer.Option(metavar="DIR", help="Where service folders lie.")]
AnyPort = Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0: any free port.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
HttpPort = Annotated[
    int | None, typer.Option(metavar="PORT", help="HTTP port of the server.", show_default="the only one")
]
