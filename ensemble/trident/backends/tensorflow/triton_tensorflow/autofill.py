"""Complete a config.pbtxt that leaves out inputs, outputs or batching, from the SavedModel's protobuf alone.

The rules are those of NVIDIA's backend r25.02, src/tensorflow.cc, AutoCompleteHelper. A GraphDef says nothing of
data types and shapes, so it is never completed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triton_tensorflow.settings import Settings
from triton_tensorflow.signatures import DATA_TYPES, Signature, TensorSpec, read_signature

SCHEDULERS = ("dynamic_batching", "sequence_batching", "ensemble_scheduling")


def complete(config: dict[str, Any], version_folder: Path, settings: Settings, default_max_batch_size: int) -> None:
    """Fill in what the configuration lacks, in place.

    Args:
        config: Triton's `model_config`.
        version_folder: where the model lies.
        settings: of the model.
        default_max_batch_size: for a model that can batch and does not say how much.

    Raises:
        ValueError: there is no SavedModel to read, or its shapes contradict the configuration.
    """
    if is_graph_def(config) or (_is_complete(config) and config["max_batch_size"] > 0):
        return
    folder = version_folder / (config.get("default_model_filename") or "model.savedmodel")
    signature = read_signature(folder, settings.graph_tag, settings.signature)
    batched = _batching(config, signature) and (config["max_batch_size"] > 0 or default_max_batch_size > 0)
    if batched:
        config["max_batch_size"] = config["max_batch_size"] or default_max_batch_size
        if config["max_batch_size"] > 1 and not any(key in config for key in SCHEDULERS):
            config["dynamic_batching"] = {}
    _fill("input", config["input"], signature.inputs, batched, _taken(config), add=True)
    _fill("output", config["output"], signature.outputs, batched, set(), add=not config["output"])


def is_graph_def(config: Mapping[str, Any]) -> bool:
    """Whether the model is a frozen graph instead of a SavedModel."""
    return config.get("platform") == "tensorflow_graphdef" or config.get("default_model_filename") == "model.graphdef"


def _is_complete(config: Mapping[str, Any]) -> bool:
    entries = [*config["input"], *config["output"]]
    whole = all(entry.get("dims") and entry.get("data_type", "TYPE_INVALID") != "TYPE_INVALID" for entry in entries)
    return bool(config["input"] and config["output"] and whole)


def _taken(config: Mapping[str, Any]) -> set[str]:
    """Inputs of the signature that Triton makes, so that no request brings them."""
    controls = (config.get("sequence_batching") or {}).get("control_input") or ()
    targets = {name for entry in config.get("batch_input") or () for name in entry["target_name"]}
    return targets | {entry["name"] for entry in controls}


def _batching(config: Mapping[str, Any], signature: Signature) -> bool:
    """Whether the first axis is the batch: the signature must allow it, and the entries that are given must agree."""
    wanted = config["max_batch_size"] > 0
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    if not all(not spec.shape or spec.shape[0] == -1 for spec in specs):
        if wanted:
            shapes = {spec.name: list(spec.shape or ()) for spec in specs}
            expected = "expected an open first axis of every input and output, or max_batch_size: 0"
            raise ValueError(f"max_batch_size is {config['max_batch_size']} and the signature has {shapes}; {expected}")
        return False
    votes = list(_votes(config, signature))
    if len(set(votes)) > 1:
        found = "some dims in config.pbtxt leave out the batch axis and some have it"
        raise ValueError(f"{found}; expected all of one kind, as max_batch_size > 0 or 0 says")
    return votes[0] if votes else wanted or not (config["input"] or config["output"])


def _votes(config: Mapping[str, Any], signature: Signature) -> Any:
    """For each entry that tells, whether it leaves the batch axis out."""
    for entries, specs in ((config["input"], signature.inputs), (config["output"], signature.outputs)):
        for entry in entries:
            spec = specs.get(entry["name"])
            if entry.get("allow_ragged_batch"):
                yield True
                return
            given = entry["reshape"].get("shape", []) if entry.get("reshape") is not None else entry.get("dims")
            if spec is None or not spec.shape or given is None or (not given and not entry.get("reshape")):
                continue
            yield len(given) == len(spec.shape) - 1


def _fill(
    kind: str, entries: list[dict[str, Any]], specs: Mapping[str, TensorSpec], batched: bool, taken: set[str], add: bool
) -> None:
    for entry in entries:
        if entry["name"] in specs:
            _fill_entry(kind, entry, specs[entry["name"]], batched)
    known = taken | {entry["name"] for entry in entries}
    for name in sorted(set(specs) - known) if add else ():
        entry = {"name": name}
        _fill_entry(kind, entry, specs[name], batched)
        entries.append(entry)


def _fill_entry(kind: str, entry: dict[str, Any], spec: TensorSpec, batched: bool) -> None:
    if entry.get("data_type", "TYPE_INVALID") == "TYPE_INVALID":
        if spec.type_name not in DATA_TYPES:
            raise ValueError(f"{kind} '{spec.name}' is of type {spec.type_name}, which Triton cannot carry")
        entry["data_type"] = spec.data_type
    if entry.get("dims"):
        return
    if not spec.shape:
        rank = "unknown" if spec.shape is None else "0"
        raise ValueError(f"{kind} '{spec.name}' has rank {rank} in the model; expected its dims in config.pbtxt")
    dims = list(spec.shape[1:] if batched else spec.shape)
    entry["dims"] = dims or [1]
    if not dims:  # Triton has no empty dims; the model sees [B]
        entry["reshape"] = {"shape": []}
