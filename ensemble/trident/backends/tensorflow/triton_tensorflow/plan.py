"""How the tensors of config.pbtxt meet those of the signature: checked once, at load.

Axis letters: B rows of a batch, N rows of one request; the others are the model's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_tensorflow.settings import FLAGS, PAD, Settings
from triton_tensorflow.signatures import DATA_TYPES, Signature, TensorSpec


@dataclass(frozen=True)
class Input:
    """An input that requests bring, a control of the sequence batcher included.

    Attributes:
        spec: of the signature.
        dtype: numpy's.
        flat: whether the requests of a batch are joined end to end, into one dimension.
        padded: whether they are padded to the longest of the batch.
        optional: whether a request may leave it out.
        control: whether the sequence batcher makes it.
        pad: what fills it up.
    """

    spec: TensorSpec
    dtype: Any
    flat: bool = False
    padded: bool = False
    optional: bool = False
    control: bool = False
    pad: Any = 0


@dataclass(frozen=True)
class BatchInput:
    """An input made of the shapes of a batch's requests.

    Attributes:
        kind: Triton's, BATCH_ELEMENT_COUNT and so on.
        targets: the inputs of the signature that get it.
        source: the request's input whose shapes count.
        dtype: numpy's.
    """

    kind: str
    targets: tuple[str, ...]
    source: str
    dtype: Any


@dataclass(frozen=True)
class BatchOutput:
    """An output, one dimension for the whole batch, that is dealt out by the shapes of a source input.

    Attributes:
        target: its name.
        source: the request's input whose shape replaces the open dims.
        shape: per request, with the batch axis if there is one; -1 where the source's size goes.
    """

    target: str
    source: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What becomes of requests.

    Attributes:
        batched: whether axis 0 is the batch.
        sequence: whether the sequence batcher forms the batches, so that their order matters.
        inputs: name → input.
        outputs: the names that requests can ask for.
        batch_inputs: to be computed.
        batch_outputs: name → how it is dealt out.
        ready: the control that tells which rows hold a request, or None.
    """

    batched: bool
    sequence: bool
    inputs: dict[str, Input]
    outputs: tuple[str, ...]
    batch_inputs: tuple[BatchInput, ...]
    batch_outputs: dict[str, BatchOutput]
    ready: str | None = None


def make_plan(config: Mapping[str, Any], signature: Signature, settings: Settings) -> Plan:
    """Compare the configuration with the signature.

    Args:
        config: Triton's `model_config`, completed.
        signature: of the model.
        settings: of the model.

    Raises:
        ValueError: they disagree; one line for each name, data type or shape that does.
    """
    batched = config["max_batch_size"] > 0
    batch_inputs = tuple(map(_batch_input, config.get("batch_input") or ()))
    scattered = {name: entry for entry in config.get("batch_output") or () for name in entry["target_name"]}
    checker = _Checker(signature, batched, {entry.source for entry in batch_inputs})
    controls = list(control_entries(config))
    inputs = {entry["name"]: checker.input(entry, settings) for entry in config["input"]}
    inputs |= {entry["name"]: checker.control(entry, settings) for entry in controls}
    ready = next((entry["name"] for entry in controls if entry["kind"] == "CONTROL_SEQUENCE_READY"), None)
    checker.sources(config, inputs)
    checker.empty_rows(config, settings, ready)
    checker.pad_values(settings, inputs)
    checker.no_more_inputs([*inputs, *(name for entry in batch_inputs for name in entry.targets)])
    for entry in config["output"]:
        checker.output(entry, scattered)
    if checker.faults:
        raise ValueError("config.pbtxt and the model's signature disagree:\n" + "\n".join(checker.faults))
    outputs = {entry["name"]: entry for entry in config["output"]}
    return Plan(
        batched=batched,
        sequence="sequence_batching" in config,
        inputs={name: entry for name, entry in inputs.items() if entry is not None},
        outputs=tuple(sorted(outputs)),
        batch_inputs=batch_inputs,
        batch_outputs={
            name: BatchOutput(name, entry["source_input"][0], tuple(full_dims(outputs[name], batched)))
            for name, entry in scattered.items()
            if name in outputs
        },
        ready=ready,
    )


def full_dims(entry: Mapping[str, Any], batched: bool) -> list[int]:
    """The shape that the model sees for an entry of config.pbtxt: `reshape` if it has one, behind the batch axis."""
    dims = entry["reshape"].get("shape", []) if entry.get("reshape") is not None else entry["dims"]
    return [*([-1] if batched else []), *map(int, dims)]


def _batch_input(entry: Mapping[str, Any]) -> BatchInput:
    dtype = np.float32 if entry["data_type"] == "TYPE_FP32" else np.int32
    return BatchInput(entry["kind"], tuple(entry["target_name"]), entry["source_input"][0], dtype)


def control_entries(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The sequence batcher's controls as entries of inputs."""
    for entry in (config.get("sequence_batching") or {}).get("control_input") or ():
        for control in entry["control"]:
            kinds = ("int32_false_true", "fp32_false_true", "bool_false_true")
            chosen = next((kind for kind in kinds if control.get(kind)), None)
            data_type = f"TYPE_{chosen.partition('_')[0].upper()}" if chosen else control["data_type"]
            yield {"name": entry["name"], "data_type": data_type, "dims": [1], "kind": control["kind"]}


class _Checker:
    """Collects what disagrees, a line each."""

    def __init__(self, signature: Signature, batched: bool, sources: set[str]) -> None:
        self._signature = signature
        self._batched = batched
        self._sources = sources
        self.faults: list[str] = []

    def input(self, entry: Mapping[str, Any], settings: Settings) -> Input | None:
        spec = self._find("input", self._signature.inputs, entry)
        if spec is None:
            return None
        dtype = DATA_TYPES[spec.type_name].dtype
        optional = bool(entry.get("optional"))
        dims = full_dims(entry, self._batched)
        ragged = bool(entry.get("allow_ragged_batch")) or entry["name"] in self._sources
        if self._batched and ragged and spec.shape == (-1,):
            return Input(spec, dtype, flat=True, optional=optional)
        if not self._fits("input", spec, dims, exact=False):
            return None
        padded = self._batched and bool(entry.get("allow_ragged_batch"))
        if padded and spec.shape is None:
            self.faults.append(f"input '{spec.name}': expected a known rank for allow_ragged_batch; found none")
            return None
        pad = _pad(settings, dtype, spec) if padded else 0
        return Input(spec, dtype, padded=padded, optional=optional, pad=pad)

    def control(self, entry: Mapping[str, Any], settings: Settings) -> Input | None:
        spec = self._find("sequence control", self._signature.inputs, entry)
        if spec is None or not self._fits("sequence control", spec, full_dims(entry, self._batched), exact=False):
            return None
        return Input(spec, DATA_TYPES[spec.type_name].dtype, control=True)

    def output(self, entry: Mapping[str, Any], scattered: Mapping[str, Any]) -> None:
        spec = self._find("output", self._signature.outputs, entry)
        if spec is not None and entry["name"] not in scattered:
            self._fits("output", spec, full_dims(entry, self._batched), exact=True)

    def sources(self, config: Mapping[str, Any], inputs: Mapping[str, Input | None]) -> None:
        """What cannot be put together from requests, or could be put together wrongly."""
        for entry in config.get("batch_input") or ():
            source = entry["source_input"][0]
            if not self._batched:
                self.faults.append(f"batch_input {entry['target_name']}: expected max_batch_size > 0; found 0")
            for name in entry["target_name"]:
                spec = self._signature.inputs.get(name)
                if spec is not None and spec.data_type != entry["data_type"]:
                    self.faults.append(f"batch_input '{name}': expected {spec.data_type}; found {entry['data_type']}")
            self._always_there("batch_input", source, inputs)
        for entry in config.get("batch_output") or ():
            source = entry["source_input"][0]
            self._always_there("batch_output", source, inputs)
            given = inputs.get(source)
            if given is not None and given.padded:
                self.faults.append(f"batch_output {entry['target_name']}: source '{source}' is padded; expected rank 1")
        if "sequence_batching" in config:
            for name, given in inputs.items():
                if given is not None and (given.optional or given.padded):
                    self.faults.append(f"input '{name}': expected neither optional nor padded in a sequence model")

    def pad_values(self, settings: Settings, inputs: Mapping[str, Input | None]) -> None:
        padded = sorted(name for name, given in inputs.items() if given is not None and given.padded)
        for name in sorted(set(settings.pad_values) - {""} - set(padded)):
            self.faults.append(f"parameter {PAD}.{name}: expected one of the padded inputs {padded}")

    def empty_rows(self, config: Mapping[str, Any], settings: Settings, ready: str | None) -> None:
        """The direct strategy fills rows without a request with whatever memory holds."""
        sequences = config.get("sequence_batching")
        direct = sequences is not None and sequences.get("oldest") is None  # Triton's default
        if direct and ready is None and settings.max_value is not None:
            self.faults.append("parameter MAX_VALUE: expected the control CONTROL_SEQUENCE_READY; found none")

    def _always_there(self, kind: str, source: str, inputs: Mapping[str, Input | None]) -> None:
        given = inputs.get(source)
        if given is not None and given.optional:
            self.faults.append(f"{kind} of '{source}': expected a source that no request leaves out; it is optional")

    def no_more_inputs(self, known: Sequence[str]) -> None:
        for name in known:
            if name not in self._signature.inputs and not any(f"'{name}'" in fault for fault in self.faults):
                self.faults.append(f"batch_input '{name}': expected one of {sorted(self._signature.inputs)}")
        for name in sorted(set(self._signature.inputs) - set(known)):
            self.faults.append(f"input '{name}': expected an entry, as the signature has it; found none")

    def _find(self, kind: str, specs: Mapping[str, TensorSpec], entry: Mapping[str, Any]) -> TensorSpec | None:
        spec = specs.get(entry["name"])
        if spec is None:
            self.faults.append(f"{kind} '{entry['name']}': expected one of {sorted(specs)}, as the signature has them")
        elif spec.type_name not in DATA_TYPES:
            self.faults.append(f"{kind} '{spec.name}': the model has {spec.type_name}, which Triton cannot carry")
        else:
            if spec.data_type != entry["data_type"]:
                self.faults.append(f"{kind} '{spec.name}': expected {spec.data_type}; found {entry['data_type']}")
            return spec
        return None

    def _fits(self, kind: str, spec: TensorSpec, dims: Sequence[int], exact: bool) -> bool:
        """Whether every shape that the configuration lets through (for outputs: promises) is the model's."""
        if spec.shape is None or _is_scalar(spec, dims, self._batched):
            return True
        same_rank = len(spec.shape) == len(dims)
        pairs = list(zip(spec.shape, dims, strict=True)) if same_rank else []
        if same_rank and all(size == dim or (size == -1 and not exact) for size, dim in pairs):
            return not self._batched or self._batches(kind, spec)
        batch = " with the batch axis, as max_batch_size > 0" if self._batched else ""
        self.faults.append(f"{kind} '{spec.name}': expected {list(spec.shape)}; found {list(dims)}{batch}")
        return False

    def _batches(self, kind: str, spec: TensorSpec) -> bool:
        if spec.shape is None or (spec.shape and spec.shape[0] == -1):
            return True
        hint = "expected an open first axis for batching, or max_batch_size: 0"
        self.faults.append(f"{kind} '{spec.name}': the model has {list(spec.shape)}; {hint}")
        return False


def _is_scalar(spec: TensorSpec, dims: Sequence[int], batched: bool) -> bool:
    """Triton has no scalars: outside they are [1]; the executor bridges that."""
    return not batched and spec.shape == () and list(dims) == [1]


def _pad(settings: Settings, dtype: Any, spec: TensorSpec) -> Any:
    own = spec.name in settings.pad_values
    value = settings.pad_values.get(spec.name if own else "")
    if dtype is np.object_:
        return (value or "").encode()
    try:
        if dtype is np.bool_:
            return FLAGS[(value or "0").lower()]
        with np.errstate(over="ignore"):
            number = dtype(0) if value is None else dtype(value)
    except (KeyError, ValueError, OverflowError):
        number = None
    whole = value is None or not np.issubdtype(dtype, np.integer) or (number is not None and int(value) == int(number))
    if number is None or not whole or not np.isfinite(number):  # 1e6 is infinite in FP16
        parameter = f"{PAD}.{spec.name}" if own else PAD
        raise ValueError(f"parameter {parameter} is '{value}'; expected a {spec.data_type} for input '{spec.name}'")
    return number
