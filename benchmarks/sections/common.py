"""What several sections need: figures, models in a repository, servers, requests, Triton's metrics."""

import re
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format, text_format
from numpy.typing import NDArray
from trident.savedmodel import quiet_tensorflow
from trident.server.lifecycle import Server
from trident_client import Client
from triton_tensorflow.device import configure_process
from triton_tensorflow.settings import Settings
from tritonclient.grpc import model_config_pb2 as pb

Array = NDArray[Any]
Tensors = dict[str, Array]
FLUSH_S = 2.5  # the backend hands its counts to Triton once a second, and Triton polls every two


@dataclass(frozen=True)
class Options:
    """What the sections are run with.

    Attributes:
        savedmodel: of MiniLM with a head, `input_ids` INT32 [B, L] → `logits` FP32 [B, C].
        ids: token ids of real texts.
        work: an empty folder.
        threads: of TensorFlow and OpenVINO, in process and served.
        repetitions: of a call; medians are reported.
        rounds: of each variant, interleaved.
        texts: sent in a round of `ragged`.
        callers: at once, in `ragged`.
        requests: of `memory`.
    """

    savedmodel: Path
    ids: list[list[int]]
    work: Path
    threads: int
    repetitions: int
    rounds: int
    texts: int
    callers: int
    requests: int


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: what was measured.
        value: the figure.
        unit: its unit.
        goal: what issue 3 asks for, as text; empty if it asks nothing.
        met: whether the goal is met; None if there is none, or it cannot be judged here.
    """

    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Result:
    """What a section found.

    Attributes:
        figures: lines of the table.
        notes: what the figures hold and what they don't.
        details: for the JSON file and the picture.
    """

    figures: list[Figure]
    notes: list[str]
    details: dict[str, Any] = field(default_factory=dict)


def at_most(name: str, value: float, unit: str, limit: float) -> Figure:
    """A figure whose goal is an upper limit."""
    return Figure(name, value, unit, f"≤ {limit:g}", value <= limit)


def at_least(name: str, value: float, unit: str, limit: float) -> Figure:
    """A figure whose goal is a lower limit."""
    return Figure(name, value, unit, f"≥ {limit:g}", value >= limit)


def say(text: str) -> None:
    """Tell how far things are."""
    print(text, file=sys.stderr, flush=True)


def tensorflow(threads: int) -> Any:
    """TensorFlow in this process, with as many threads as the served models get."""
    quiet_tensorflow()
    import tensorflow as tf

    configure_process("CPU", 0, Settings(intra_threads=threads))
    return tf


def row(ids: Sequence[int]) -> Array:
    """One text as a request: int32 [1, L]."""
    return np.array([ids], np.int32)


def entry(name: str, data_type: str, *dims: int, ragged: bool = False) -> dict[str, Any]:
    """An input or output of `config`."""
    return {"name": name, "data_type": f"TYPE_{data_type}", "dims": list(dims)} | (
        {"allow_ragged_batch": True} if ragged else {}
    )


def config(
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    threads: int,
    *,
    max_batch_size: int = 32,
    batching: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Triton's model configuration: one CPU instance that batches."""
    return {
        "max_batch_size": max_batch_size,
        "input": inputs,
        "output": outputs,
        "dynamic_batching": batching or {},
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
        "parameters": {"TF_NUM_INTRA_THREADS": {"string_value": str(threads)}},
    }


def minilm_config(threads: int, *, ragged: bool, classes: int = 2, **options: Any) -> dict[str, Any]:
    """The configuration of the MiniLM classifier."""
    inputs = [entry("input_ids", "INT32", -1, ragged=ragged)]
    return config(inputs, [entry("logits", "FP32", classes)], threads, **options)


def put(repository: Path, name: str, savedmodel: Path, settings: dict[str, Any], backend: str = "tensorflow") -> Path:
    """Put a model into a repository.

    Returns:
        Its version folder.
    """
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.savedmodel").symlink_to(savedmodel.resolve())
    message = json_format.ParseDict(settings | {"backend": backend}, pb.ModelConfig())
    (repository / name / "config.pbtxt").write_text(text_format.MessageToString(message), encoding="utf-8")
    return folder


@contextmanager
def serving(repository: Path) -> Iterator[tuple[Server, Client]]:
    """A tritonserver with all models of a repository, and a gRPC client."""
    say(f"  starting tritonserver with {', '.join(sorted(path.name for path in repository.iterdir()))} ...")
    server = Server(repository, http_port=0, grpc_port=0, metrics_port=0)
    with server, Client(server.grpc_url, timeout_s=120) as client:
        yield server, client


def send(client: Client, model: str, requests: Sequence[Tensors], callers: int) -> float:
    """Send requests, `callers` at once; returns the seconds until all are answered."""
    with ThreadPoolExecutor(callers) as pool:
        started = time.perf_counter()
        for _ in pool.map(lambda tensors: client.infer_tensors(model, tensors), requests):
            pass
        return time.perf_counter() - started


def metrics(server: Server, model: str) -> dict[str, float]:
    """The backend's own metrics of a model, and Triton's, once they are up to date."""
    time.sleep(FLUSH_S)
    with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(rf'^(\w+){{[^}}]*model="{re.escape(model)}"[^}}]*}} (\S+)$', text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def statistics_of(client: Client, model: str) -> dict[str, Any]:
    """Triton's statistics of a model."""
    return dict(client.get_inference_statistics(model)["model_stats"][0])
