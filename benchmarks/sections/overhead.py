"""What a request costs inside `execute` beyond the TensorFlow call."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from trident.server.embedded import TENSORFLOW_BACKEND
from triton_tensorflow.executor import Request
from triton_tensorflow.loading import Model, load

from sections.common import (
    Figure,
    Options,
    Result,
    Tensors,
    at_most,
    config,
    entry,
    metrics,
    minilm_config,
    put,
    row,
    say,
    send,
    serving,
    statistics_of,
    tensorflow,
)

TINY_LIMIT_US = 150
BATCH_LIMIT = 5
BATCH = 32
LENGTH = 16
WARM_UP = 4
TINY_TIMES = 25  # a tiny call is repeated that much more often
NOTES = [
    "in process: Executor.check and Executor.run (merge, cut, split) minus the seconds around the engine's call, which",
    "  hold what turns numpy into TensorFlow's tensors and back; Triton's tensors to numpy and responses are not in it",
    "direct: the same batch, ready made, through tf.saved_model.load(...).signatures, in the same process",
    "in the stub: model.py's whole `execute` in a real server (pb_utils tensors and responses too) minus the calls",
    "compute_infer: Triton's own duration minus the calls; holds the way to the stub and back too (means, not medians)",
]
# A batch forms when it is full, so that each has the same size.
FULL = {"preferred_batch_size": [BATCH], "max_queue_delay_microseconds": 500_000}


def measure(options: Options) -> Result:
    """Measure in process, then in the stub of a real server."""
    repository = options.work / "overhead"
    tiny = _write_tiny(options)
    settings = {
        "tiny": config([entry("x", "FP32", 3)], [entry("y", "FP32", 3)], options.threads),
        "minilm": minilm_config(options.threads, ragged=True, batching=FULL),
    }
    sources = {"tiny": tiny, "minilm": options.savedmodel}
    for name, source in sources.items():
        put(repository, name, source, settings[name])
    lengthy = [ids for ids in options.ids if len(ids) >= LENGTH][:BATCH]
    cases: dict[str, tuple[str, list[Tensors]]] = {
        "one tensor, one row": ("tiny", [{"x": np.ones((1, 3), np.float32)}]),
        f"MiniLM, {BATCH} × {LENGTH} tokens": ("minilm", [{"input_ids": row(ids[:LENGTH])} for ids in lengthy]),
        f"MiniLM, {BATCH} real texts": ("minilm", [{"input_ids": row(ids)} for ids in options.ids[:BATCH]]),
    }
    details: dict[str, Any] = {}
    figures: list[Figure] = []
    models = {name: load(settings[name], _arguments(repository / name), {}) for name in sources}
    for case, (name, requests) in cases.items():
        say(f"  {case}, in process ...")
        times = _in_process(models[name], _direct(sources[name], options), requests, _count(name, options))
        details[f"{case}, in process"] = times
        figures += _figures(f"{case}, in process", name, times)
    for case, times in _served(options, sources, settings, cases).items():
        details[f"{case}, in the stub"] = times
        figures += _figures(f"{case}, in the stub", name=cases[case][0], times=times)
    return Result(figures, NOTES, details)


def _count(name: str, options: Options) -> int:
    return options.repetitions * (TINY_TIMES if name == "tiny" else 1)


def _write_tiny(options: Options) -> Path:
    tf = tensorflow(options.threads)
    folder = options.work / "tiny.savedmodel"
    module = tf.Module()
    module.scale = tf.Variable(2.0)
    spec = tf.TensorSpec((None, 3), tf.float32, "x")
    function = tf.function(lambda x: {"y": x * module.scale}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=function.get_concrete_function())
    return folder


def _arguments(folder: Path) -> dict[str, str]:
    """What Triton would give `initialize`."""
    return {
        "model_repository": str(folder),
        "model_version": "1",
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
    }


def _direct(savedmodel: Path, options: Options) -> Callable[[Tensors], object]:
    """The SavedModel as one would call it without a server."""
    tf = tensorflow(options.threads)
    loaded = tf.saved_model.load(str(savedmodel))
    signature = loaded.signatures["serving_default"]

    def call(tensors: Tensors) -> object:
        outputs = signature(**{name: tf.constant(array) for name, array in tensors.items()})
        return loaded, {name: output.numpy() for name, output in outputs.items()}

    return call


def _in_process(
    model: Model, direct: Callable[[Tensors], object], requests: Sequence[Tensors], repetitions: int
) -> dict[str, list[float]]:
    """Seconds of each repetition, the two ways in turn."""
    executor, counts = model.executor, model.executor.counts
    batch = _joined(requests)
    fetch = frozenset(executor._signature.outputs)  # what Triton's client asks for if it names none
    times: dict[str, list[float]] = {"execute": [], "call": [], "calls": [], "direct": []}
    for repetition in range(-WARM_UP, repetitions):
        start = perf_counter()
        direct(batch)
        direct_s = perf_counter() - start
        before, calls, start = counts.call_s, counts.calls, perf_counter()
        checked = []
        for index, feeds in enumerate(requests):
            executor.check(feeds)
            checked.append(Request(index, feeds, fetch))
        executor.run(checked, lambda done, more: None)
        execute_s = perf_counter() - start
        if repetition >= 0:
            values = (execute_s, counts.call_s - before, counts.calls - calls, direct_s)
            for key, value in zip(times, values, strict=True):
                times[key].append(value)
    return times


def _joined(requests: Sequence[Tensors]) -> Tensors:
    """The requests of a case as one batch, padded with 0."""
    joined = {}
    for name in requests[0]:
        arrays = [request[name] for request in requests]
        longest = max(array.shape[1] for array in arrays)
        joined[name] = np.concatenate([np.pad(array, ((0, 0), (0, longest - array.shape[1]))) for array in arrays])
    return joined


def _served(
    options: Options,
    sources: dict[str, Path],
    settings: dict[str, dict[str, Any]],
    cases: dict[str, tuple[str, list[Tensors]]],
) -> dict[str, dict[str, list[float]]]:
    """The same in a real server: a model for each case, and a stopwatch in its stub."""
    repository = options.work / "overhead_served"
    models = {case: f"case{number}" for number, case in enumerate(cases)}
    for case, (name, _) in cases.items():
        folder = put(repository, models[case], sources[name], settings[name], backend="python")
        add_stopwatch(folder, options.work / f"{models[case]}.json")
    spans = {}
    with serving(repository) as (server, client):
        for case, (name, requests) in cases.items():
            say(f"  {case}, served ...")
            batches = WARM_UP + _count(name, options)
            send(client, models[case], list(requests) * batches, callers=len(requests))
            statistics = statistics_of(client, models[case])
            call_s = metrics(server, models[case])["tf_call_seconds"]
            spans[case] = (statistics["inference_stats"]["compute_infer"], statistics["execution_count"], call_s)
    return {
        case: _read_times(options.work / f"{models[case]}.json", len(cases[case][1]), spans[case]) for case in cases
    }


def add_stopwatch(folder: Path, times: Path, *, cut: bool = True) -> None:
    """Put model.py with a stopwatch into a version folder."""
    shutil.copyfile(Path(__file__).with_name("timed_model.py"), folder / "model.py")
    settings = {"backend": str(TENSORFLOW_BACKEND), "times": str(times), "cut": cut}
    (folder / "timed.json").write_text(json.dumps(settings), encoding="utf-8")


def _read_times(file: Path, size: int, span: tuple[dict[str, int], int, float]) -> dict[str, list[float]]:
    rows = json.loads(file.read_text(encoding="utf-8"))
    full = [times for times in rows if times[0] == size][WARM_UP:]
    infer, executions, call_s = span
    beyond = (infer["ns"] * 1e-9 / infer["count"]) - call_s / executions
    return {
        "execute": [times[1] for times in full],
        "call": [times[2] for times in full],
        "calls": [times[3] for times in full],
        "compute_infer beyond": [beyond] if infer["count"] else [],
    }


def _figures(case: str, name: str, times: dict[str, list[float]]) -> list[Figure]:
    beyond_s = median(execute - call for execute, call in zip(times["execute"], times["call"], strict=True))
    call_s = median(times["call"])
    figures = [Figure(f"{case}: TensorFlow call", 1e3 * call_s, "ms")]
    if median(times["calls"]) > 1:
        figures.append(Figure(f"{case}: calls a batch is cut into", median(times["calls"]), ""))
    if name == "tiny":
        figures.append(at_most(f"{case}: beyond it", 1e6 * beyond_s, "µs", TINY_LIMIT_US))
    else:
        figures.append(Figure(f"{case}: beyond it", 1e6 * beyond_s, "µs"))
        figures.append(at_most(f"{case}: beyond it, of the call", 100 * beyond_s / call_s, "%", BATCH_LIMIT))
    if "direct" in times:
        difference = median(execute - call for execute, call in zip(times["execute"], times["direct"], strict=True))
        figures.append(Figure(f"{case}: direct call", 1e3 * median(times["direct"]), "ms"))
        figures.append(Figure(f"{case}: execute minus direct call", 1e6 * difference, "µs"))
    for beyond in times.get("compute_infer beyond", ()):
        figures.append(Figure(f"{case}: compute_infer beyond it", 1e6 * beyond, "µs"))
    return figures
