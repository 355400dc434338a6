"""Reports what a user feels: start-up times and what a request costs beyond the TensorFlow call.

Run `make demo` first, then `make bench`; nothing here gates a test. `--json FILE` keeps the figures.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trident.datasets import read_dataset
from trident.machine import describe
from trident.savedmodel import load_model
from trident.server.lifecycle import Server
from trident.service import load_service
from trident.stages.text.preprocess import Settings, TextPreprocessor
from trident_client import Client

ROOT = Path(__file__).parent.parent
STARTS = 3
ROUNDS = 5
TEXTS = 40


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def command_s(*arguments: str) -> float:
    """Median seconds of a command."""
    command = [sys.executable, *arguments]
    return statistics.median(timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(7))


def start_and_stop_s(repository: Path) -> tuple[float, float]:
    """Median seconds until all models are READY, and until all is gone."""
    starts, stops = [], []
    for _ in range(STARTS):
        server = Server(repository, http_port=0, grpc_port=0, metrics_port=0)
        starts.append(timed(server.start))
        stops.append(timed(server.stop))
    return statistics.median(starts), statistics.median(stops)


def request_ms(service_folder: Path, repository: Path) -> dict[str, float]:
    """Median milliseconds for one text: in process, and through the ensemble; rounds interleaved."""
    dataset = read_dataset(
        ROOT / "data" / "sms_spam.tsv", text_column="text", label_column="label", skip_bad_rows=False
    )
    texts = [example.text for example in dataset.examples[:TEXTS]]
    service = load_service(service_folder)
    model = load_model(service)
    preprocess = TextPreprocessor(service_folder / "tokenizer.json", Settings())
    times: dict[str, list[float]] = {"in process": [], "HTTP": [], "gRPC": []}
    with (
        Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server,
        Client(server.http_url) as http,
        Client(server.grpc_url) as grpc,
    ):
        ways: dict[str, Callable[[str], object]] = {
            "in process": lambda text: model({"input_ids": preprocess([text])})["logits"],
            "HTTP": lambda text: http.infer(service.spec.name, [text]),
            "gRPC": lambda text: grpc.infer(service.spec.name, [text]),
        }
        for way in ways.values():
            way(texts[0])
        for _ in range(ROUNDS):
            for name, way in ways.items():
                times[name] += [timed(lambda way=way, text=text: way(text)) for text in texts]  # type: ignore[misc]
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


def report() -> dict[str, Any]:
    """All figures, with the machine and the versions."""
    services, repository = ROOT / "services", ROOT / "model_repository"
    start, stop = start_and_stop_s(repository)
    return describe() | {
        "trident --help, s": command_s("-m", "trident", "--help"),
        "import trident_client, s": command_s("-c", "import trident_client"),
        "start to READY, s": start,
        "stop, s": stop,
        "one text, ms": request_ms(services / "spam", repository),
    }


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures = report()
    for name, value in figures.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for key, figure in inner:
            shown = f"{figure:.2f}" if isinstance(figure, float) else str(figure)
            print(f"{name:<26} {key:<16} {shown}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
