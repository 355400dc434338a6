"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

URL_VARIABLE = "TRIDENT_URL"

# `addresses.address` makes a URL of it.
Url = Annotated[
    str | None,
    typer.Option(
        envvar=URL_VARIABLE,
        metavar="URL",
        help="http://HOST:PORT or grpc://HOST:PORT; https, grpcs.",
        show_default="port 8000 here, else the one server that you run",
    ),
]
OwnUrl = Annotated[
    str | None,
    typer.Option(
        "--url", envvar=URL_VARIABLE, metavar="URL", help="A server that you run here.", show_default="the only one"
    ),
]
# `repository_servers.servers_of` looks whether it serves the folder.
RepositoryUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar=URL_VARIABLE,
        metavar="URL",
        help="One more server of this repository, grpc://HOST:PORT.",
        show_default="all that you run here",
    ),
]
Timeout = Annotated[float, typer.Option(metavar="S", min=0.001, help="Seconds that a request may take.")]
Repository = Annotated[Path, typer.Option("--model-repository", metavar="DIR", help="Folder of models for Triton.")]
Services = Annotated[Path, typer.Option(metavar="DIR", help="Where service folders lie.")]
AnyPort = Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0: any free port.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
HttpPort = Annotated[
    int | None, typer.Option(metavar="PORT", help="Its HTTP port, instead of --url.", show_default=False)
]


def is_set_for_all(context: typer.Context) -> bool:
    """Whether --url of a command comes from the environment, and so was not given for this command alone."""
    source = context.get_parameter_source("url")
    return source is not None and source.name == "ENVIRONMENT"
