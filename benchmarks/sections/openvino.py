"""OpenVINO against TensorFlow on the same SavedModel, in process, with the same threads."""

import importlib.util
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from trident.machine import bf16_flags
from triton_tensorflow.engines import Engine, load_saved_model
from triton_tensorflow.openvino_engine import OpenVinoEngine, Unsupported
from triton_tensorflow.settings import OpenVino, Settings
from triton_tensorflow.signatures import read_signature

from sections.common import Array, Figure, Options, Result, at_least, say, tensorflow

LIMIT = 1.5
SHAPES = ((1, 16), (32, 16), (32, 64))
BLOCK = 4  # calls of one engine in turn; the first of them is not counted, so that threads have come to rest


def measure(options: Options) -> Result:
    """Milliseconds a call, and the ratios; nothing where OpenVINO is not installed."""
    if importlib.util.find_spec("openvino") is None:
        return Result([], ["OpenVINO is not installed (pip install openvino)"])
    flags = bf16_flags()
    notes = [f"flags of this CPU for bf16: {', '.join(flags) or 'none'}"]
    engines, precisions = _engines(options, notes)
    times: dict[str, dict[str, list[float]]] = {}
    apart: dict[str, float] = {}
    for shape in SHAPES:
        ids = np.random.default_rng(0).integers(1000, 20000, shape).astype(np.int32)
        say(f"  {shape[0]} × {shape[1]} ...")
        times["{} × {}".format(*shape)] = _times(engines, ids, options)
        answers = {name: engine({"input_ids": ids}, ["logits"])["logits"] for name, engine in engines.items()}
        for name, answer in answers.items():
            apart[name] = max(apart.get(name, 0.0), float(np.abs(answer - answers["TensorFlow f32"]).max()))
    return Result(_figures(times, precisions, apart), notes, {"ms": times, "precisions": precisions, "flags": flags})


def _engines(options: Options, notes: list[str]) -> tuple[dict[str, Engine], dict[str, str]]:
    tensorflow(options.threads)
    signature = read_signature(options.savedmodel, "serve", None)
    settings = Settings(intra_threads=options.threads)
    engines: dict[str, Engine] = {"TensorFlow f32": load_saved_model(options.savedmodel, signature, settings, [])}
    precisions = {}
    for precision in ("f32", "bf16"):
        wanted = Settings(openvino=OpenVino(precision, options.threads), max_value=30_521)
        try:
            engine = OpenVinoEngine(options.savedmodel, signature, wanted)
        except Unsupported as error:
            notes.append(f"OpenVINO {precision} cannot serve the model: {error}")
            continue
        notes += engine.warnings
        engines[f"OpenVINO {precision}"] = engine
        precisions[f"OpenVINO {precision}"] = engine.precision
    return engines, precisions


def _times(engines: dict[str, Engine], ids: Array, options: Options) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in engines}
    blocks = max(2, options.repetitions // BLOCK)
    for block in range(blocks + 1):
        for name, engine in engines.items():
            taken = [_timed(lambda engine=engine: engine({"input_ids": ids}, ["logits"])) for _ in range(BLOCK)]  # type: ignore[misc]
            if block > 0:
                times[name] += taken[1:]
    return times


def _timed(call: Callable[[], Any]) -> float:
    start = perf_counter()
    call()
    return 1e3 * (perf_counter() - start)


def _figures(
    times: dict[str, dict[str, list[float]]], precisions: dict[str, str], apart: dict[str, float]
) -> list[Figure]:
    figures = []
    for shape, of_engines in times.items():
        medians = {name: median(values) for name, values in of_engines.items()}
        figures += [Figure(f"{shape}: {name}", value, "ms") for name, value in medians.items()]
        for name in precisions:
            ratio = medians["TensorFlow f32"] / medians[name]
            label = f"{shape}: {name} against TensorFlow"
            if precisions[name] == "bf16":
                figures.append(at_least(label, ratio, "×", LIMIT))
            else:
                real = "" if name.endswith(precisions[name]) else f" (computed in {precisions[name]})"
                figures.append(Figure(label + real, ratio, "×"))
    figures += [Figure(f"{name}: logits apart from TensorFlow's, largest", apart[name], "") for name in precisions]
    return figures
