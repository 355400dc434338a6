"""Ragged batching against batches of one shape: the same SavedModel, texts, callers and server."""

from statistics import median
from typing import Any

from trident_client import Client

from sections.common import (
    Figure,
    Options,
    Result,
    Tensors,
    at_least,
    metrics,
    minilm_config,
    put,
    row,
    say,
    send,
    serving,
    statistics_of,
)
from sections.overhead import add_stopwatch

LIMIT = 2
RAGGED, SAME, WHOLE = "ragged", "one_shape", "ragged_whole"
SHOWN = {
    RAGGED: "ragged, cut into sub-batches",
    SAME: "one shape a batch",
    WHOLE: "ragged, batches left whole",
}
NOTES = [
    "one request is one real text, tokenized beforehand; batches form as long as the instance is busy (no queue delay)",
    "one shape a batch: the same model without allow_ragged_batch, so Triton batches neighbours of equal length only",
    "batches left whole: the same backend with its `Executor.cost` taken away after the load",
]


def measure(options: Options) -> Result:
    """Texts a second of each variant, in interleaved rounds."""
    repository = options.work / "ragged"
    put(repository, RAGGED, options.savedmodel, _config(options, ragged=True))
    put(repository, SAME, options.savedmodel, _config(options, ragged=False))
    folder = put(repository, WHOLE, options.savedmodel, _config(options, ragged=True), backend="python")
    add_stopwatch(folder, options.work / "whole.json", cut=False)
    rates: dict[str, list[float]] = {name: [] for name in SHOWN}
    with serving(repository) as (server, client):
        for name in SHOWN:
            send(client, name, _requests(options, 0, 4 * options.callers), options.callers)
        before = {name: _counts(client, name, metrics(server, name)) for name in SHOWN}
        for number in range(options.rounds):
            chosen = _requests(options, number * options.texts, options.texts)
            for name in SHOWN:
                rates[name].append(len(chosen) / send(client, name, chosen, options.callers))
            shown = ", ".join(f"{name} {values[-1]:.0f}" for name, values in rates.items())
            say(f"  round {number + 1} of {options.rounds}, texts/s: {shown}")
        after = {name: _counts(client, name, metrics(server, name)) for name in SHOWN}
    counts = {name: {key: after[name][key] - before[name][key] for key in after[name]} for name in SHOWN}
    figures = [Figure(SHOWN[name], median(values), "texts/s") for name, values in rates.items()]
    figures += [
        at_least("ragged / one shape a batch", _ratio(rates, RAGGED, SAME), "×", LIMIT),
        Figure("ragged whole / one shape a batch", _ratio(rates, WHOLE, SAME), "×"),
    ]
    for name in SHOWN:
        figures += _of_counts(SHOWN[name], counts[name])
    return Result(figures, NOTES, {"texts/s": rates, "counts": counts})


def _requests(options: Options, start: int, count: int) -> list[Tensors]:
    return [{"input_ids": row(options.ids[number % len(options.ids)])} for number in range(start, start + count)]


def _config(options: Options, *, ragged: bool) -> dict[str, Any]:
    return minilm_config(options.threads, ragged=ragged, max_batch_size=64)


def _ratio(rates: dict[str, list[float]], above: str, below: str) -> float:
    return median(one / other for one, other in zip(rates[above], rates[below], strict=True))


def _counts(client: Client, name: str, found: dict[str, float]) -> dict[str, float]:
    wanted = ("tf_calls", "tf_call_seconds", "tf_batch_elements", "tf_padding_elements", "tf_extra_sub_batches")
    statistics = statistics_of(client, name)
    triton = {key: float(statistics[key]) for key in ("inference_count", "execution_count")}
    return {key: found.get(key, 0.0) for key in wanted} | triton


def _of_counts(name: str, counts: dict[str, float]) -> list[Figure]:
    elements, executions = counts["tf_batch_elements"], counts["execution_count"]
    return [
        Figure(f"{name}: texts a Triton batch", counts["inference_count"] / executions, ""),
        Figure(f"{name}: TensorFlow calls a Triton batch", counts["tf_calls"] / executions, ""),
        Figure(f"{name}: milliseconds a call", 1e3 * counts["tf_call_seconds"] / counts["tf_calls"], "ms"),
        Figure(f"{name}: extra sub-batches", counts["tf_extra_sub_batches"], ""),
        Figure(f"{name}: padded fraction", 100 * counts["tf_padding_elements"] / elements if elements else 0.0, "%"),
    ]
