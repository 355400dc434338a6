"""`make demo`: the whole way from labelled messages to answers, with what is already there left as it is."""

import json
from collections.abc import Sequence
from pathlib import Path

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


def run(data: Path, services: Path, model_repository: Path) -> None:
    """Train `spam` if it is not there, build it if it has changed, serve it, ask it over both protocols, stop.

    Args:
        data: labelled messages.
        services: where the service folder goes.
        model_repository: where the models go.
    """
    folder = services / NAME
    print("1. Train", flush=True)
    there = " (is there already)"
    if not (folder / "service.toml").is_file():
        there = ""
        train(data, NAME, services, TrainOptions())
    service = load_service(folder)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    print(f"   {folder}: held-out accuracy {metrics['accuracy']:.4f} on {metrics['data']['test']} messages{there}\n")

    print("2. Build", flush=True)
    result = build(service, model_repository)
    if result.released != result.version:
        release(NAME, model_repository)
    print(
        f"   {model_repository}: {NAME} version {result.version} {'built' if result.created else 'is there already'}\n"
    )

    print("3. Serve and infer", flush=True)
    messages = _messages(data, metrics["seed"])
    models = [f"{NAME}_preprocess", f"{NAME}_model", f"{NAME}_postprocess", NAME]
    with bar("   Loading models", total=len(models)) as update:
        server = Server(model_repository, models=models, http_port=0, grpc_port=0, metrics_port=0, on_progress=update)
        server.start()
    try:
        print_models(server.model_status())
        for protocol, url in (("HTTP", server.http_url), ("gRPC", server.grpc_url)):
            print(f"\n   over {protocol}:")
            _infer(url, messages)
    finally:
        server.stop()
    print("\nThe server is stopped. Go on with:")
    print("   .venv/bin/trident serve")
    print(f'   .venv/bin/trident infer {NAME} "You won a free prize, call now"')
    print("   .venv/bin/trident --help")


def _messages(data: Path, seed: int) -> list[str]:
    """A few messages that were held out from training."""
    dataset = read_dataset(data, text_column="text", label_column="label", skip_bad_rows=True)
    held_out = split(dataset, seed).test
    return [
        text
        for label, count in SHOWN.items()
        for text in [example.text for example in held_out if example.label == label][:count]
    ]


def _infer(url: str, messages: Sequence[str]) -> None:
    with Client(url) as client:
        predictions = client.infer(NAME, messages)
    print_predictions(messages, predictions)
