"""`trident embed`: texts to vectors, as JSON or as a numpy file."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from trident_client import Client

from trident.addresses import address
from trident.errors import TridentError
from trident.options import Timeout, Url
from trident.texts import read_texts

DIGITS = 8  # of a float32


def embed(
    service: Annotated[str, typer.Argument(help="Name of the service.", show_default=False)],
    texts: Annotated[list[str], typer.Argument(help="Texts; - reads stdin, a line a text.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .npy file, float32 [N, D].", show_default="JSON on stdout")
    ] = None,
    url: Url = None,
    timeout: Timeout = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object for each text, or of the file.")] = False,
) -> None:
    """Embed texts with a running service, a vector a line.

    \b
    trident embed sentences "How do I get a refund?"
    trident embed sentences - --output questions.npy < questions.txt
    """  # noqa: D301 - click's mark for lines that stay as they are
    with Client(address(url), timeout_s=timeout) as client:
        if output is not None:
            shape = _save(client, service, texts, output)
            answer = {"output": str(output), "shape": shape}
            print(json.dumps(answer) if as_json else f"wrote {output}: float32 {shape}")
            return
        for chunk in read_texts(texts):
            for text, vector in zip(chunk, client.embed(service, chunk).tolist(), strict=True):
                rounded = [float(f"{value:.{DIGITS}g}") for value in vector]
                print(json.dumps({"text": text, "embedding": rounded}, ensure_ascii=False) if as_json else rounded)
            sys.stdout.flush()


def _save(client: Client, service: str, texts: Sequence[str], output: Path) -> list[int]:
    """Write all vectors at once, and return their shape; the file is there when it is whole."""
    import numpy as np

    if output.suffix != ".npy":
        raise TridentError(f"--output is {output}; expected a name that ends in .npy, for numpy.load")
    if not output.parent.is_dir():
        raise TridentError(f"no folder {output.parent}; make it, or choose another --output")
    vectors = np.concatenate(
        [client.embed(service, chunk) for chunk in read_texts(texts)] or [client.embed(service, [])]
    )
    beside = output.with_name(f"{output.name}.part")
    try:
        with beside.open("wb") as file:
            np.save(file, vectors)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)
    return list(vectors.shape)
