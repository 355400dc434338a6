"""`make demo`: the whole way from labelled messages to answers, with what is already there left as it is."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident_client import Client

from trident.datasets import read_dataset, split
from trident.output import print_models, print_predictions
from trident.progress import bar
from trident.releasing import release
from trident.repository import build
from trident.server.lifecycle import Server
from trident.service import load_service
from trident.training import TrainOptions, train

NAME = "spam"
SHOWN = {"ham": 3, "spam": 2}


@dataclass(frozen=True)
class DemoReport:
    """What the demo did.

    Attributes:
        service: the service folder.
        trained: whether it was trained just now.
        accuracy: on the messages that were held out, in [0, 1].
        held_out: how many these are.
        version: that was served.
        built: whether it was built just now.
        start_s: seconds until the server was ready.
        answers: protocol → text, label and score of each message.
    """

    service: str
    trained: bool
    accuracy: float
    held_out: int
    version: int
    built: bool
    start_s: float
    answers: dict[str, list[dict[str, Any]]]


def run(data: Path, services: Path, model_repository: Path) -> DemoReport:
    """Train `spam` if it is not there, build it if it has changed, serve it, ask it over both protocols, stop.

    Args:
        data: labelled messages.
        services: where the service folder goes.
        model_repository: where the models go.
    """
    folder = services / NAME
    print("1. Train", flush=True)
    trained = not (folder / "service.toml").is_file()
    if trained:
        train(data, NAME, services, TrainOptions())
    service = load_service(folder)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    there = "" if trained else " (is there already)"
    print(f"   {folder}: held-out accuracy {metrics['accuracy']:.4f} on {metrics['data']['test']} messages{there}\n")

    print("2. Build", flush=True)
    result = build(service, model_repository)
    if result.released != result.version:
        release(NAME, model_repository)
    print(
        f"   {model_repository}: {NAME} version {result.version} {'built' if result.created else 'is there already'}\n"
    )

    start_s, answers = _serve(model_repository, _messages(data, metrics["seed"]))
    print("\nThe server is stopped. Go on with:")
    print("   .venv/bin/trident serve")
    print(f'   .venv/bin/trident infer {NAME} "You won a free prize, call now"')
    print("   .venv/bin/trident --help")
    return DemoReport(
        service=str(folder),
        trained=trained,
        accuracy=metrics["accuracy"],
        held_out=metrics["data"]["test"],
        version=result.version,
        built=result.created,
        start_s=round(start_s, 3),
        answers=answers,
    )


def _serve(model_repository: Path, messages: Sequence[str]) -> tuple[float, dict[str, list[dict[str, Any]]]]:
    """Start a server, ask it, stop it; returns the seconds of the start, and the answers."""
    print("3. Serve and infer", flush=True)
    models = [f"{NAME}_preprocess", f"{NAME}_model", f"{NAME}_postprocess", NAME]
    began = time.monotonic()
    with bar("   Loading models", total=len(models)) as update:
        server = Server(model_repository, models=models, http_port=0, grpc_port=0, metrics_port=0, on_progress=update)
        server.start()
    start_s, answers = time.monotonic() - began, {}
    try:
        print_models(server.model_status())
        for protocol, url in (("HTTP", server.http_url), ("gRPC", server.grpc_url)):
            print(f"\n   over {protocol}:")
            answers[protocol.lower()] = _infer(url, messages)
    finally:
        server.stop()
    return start_s, answers


def _messages(data: Path, seed: int) -> list[str]:
    """A few messages that were held out from training."""
    dataset = read_dataset(data, text_column="text", label_column="label", skip_bad_rows=True)
    held_out = split(dataset, seed).test
    return [
        text
        for label, count in SHOWN.items()
        for text in [example.text for example in held_out if example.label == label][:count]
    ]


def _infer(url: str, messages: Sequence[str]) -> list[dict[str, Any]]:
    with Client(url) as client:
        predictions = client.infer(NAME, messages)
    print_predictions(messages, predictions)
    return [
        {"text": text, "label": prediction.label, "score": round(prediction.score or 0.0, 6)}
        for text, prediction in zip(messages, predictions, strict=True)
    ]
