"""`trident infer`: the options, and what is printed."""

import json
import sys
from typing import Annotated

import typer
from trident_client import Client, Prediction
from trident_client.settings import DEFAULT_URL

from trident.options import Timeout, Url
from trident.output import print_predictions
from trident.texts import read_texts


def infer(
    service: Annotated[str, typer.Argument(help="Name of the service.")],
    texts: Annotated[list[str], typer.Argument(help="Texts; - reads stdin, a line a text.")],
    url: Url = DEFAULT_URL,
    top_k: Annotated[int | None, typer.Option(min=1, help="Labels per text.", show_default="the service's")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out labels below it.", show_default="the service's")
    ] = None,
    timeout: Timeout = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each text.")] = False,
) -> None:
    """Classify texts with a running service."""
    with Client(url, timeout_s=timeout) as client:
        for number, chunk in enumerate(read_texts(texts)):
            predictions = client.infer(service, chunk, top_k=top_k, threshold=threshold)
            if as_json:
                for text, prediction in zip(chunk, predictions, strict=True):
                    print(_as_json(text, prediction))
            else:
                print_predictions(chunk, predictions, header=number == 0)
            sys.stdout.flush()


def _as_json(text: str, prediction: Prediction) -> str:
    labels = [
        {"label": label, "score": round(score, 6)}
        for label, score in zip(prediction.labels, prediction.scores, strict=True)
    ]
    return json.dumps({"text": text, "labels": labels}, ensure_ascii=False)
