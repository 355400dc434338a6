"""The CPU accelerator: the same SavedModel through OpenVINO, without TensorFlow.

A model that does not come through the conversion whole (a name, a data type, a variable) is refused, and TensorFlow
serves it. What OpenVINO's CPU plugin does differently in a model that comes through:

- An id past an embedding's end gives zeros and a negative one a row counted from the end, where TensorFlow refuses
  both; MAX_VALUE refuses them before they get here.
- It computes int64, uint64 and uint32 in 32 bits with a sign, float64 as float32, and 8 bits saturate instead of
  wrapping round. A request's integers beyond 32 bits are refused here; what a model makes inside is not looked at.
- It computes all outputs whatever is asked for.

Source: OpenVINO 2026.4.1, measured; src/frontends/tensorflow/src/variables_index.cpp and op/var_handle.cpp.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_tensorflow.engines import Failure, Feeds, InvalidInput, first_line
from triton_tensorflow.protobuf import messages
from triton_tensorflow.settings import OpenVino, Settings
from triton_tensorflow.signatures import DATA_TYPES, DEFAULT_SIGNATURE, Signature, TensorSpec

DEFAULT_TAG = "serve"  # the only one that OpenVINO looks for by itself
VARIABLE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
# Compiled primitives kept for shapes that were seen; a new shape costs milliseconds. A small encoder under 1024
# random shapes, two shared cores, one run: 1.1 GB resident and 4.5 ms a call after 6000 calls, 1.6 GB and 3.7 ms with
# OpenVINO's own 5000; with 0, after 3000 calls, 0.4 GB and 10.8 ms.
KEPT_PRIMITIVES = 1000
INT32 = np.iinfo(np.int32)
WIDE = ("DT_INT64", "DT_UINT64", "DT_UINT32")
# Lines of OpenVINO's messages that say where in its sources it failed, not why.
NO_REASON = ("Exception from", "Check '", "FrontEnd API", "Model wasn't fully converted", "Summary", "While validating")


class Unsupported(Exception):
    """OpenVINO cannot serve the model as it is; the message says why."""


class OpenVinoEngine:
    """A signature compiled by OpenVINO for the CPU.

    Attributes:
        precision: it computes in, `f32` or `bf16`.
        threads: it computes with.
        warnings: for the log.
    """

    loader = "OpenVINO"

    def __init__(self, folder: Path, signature: Signature, settings: Settings) -> None:
        """Convert a SavedModel, compile it and try it.

        Raises:
            Unsupported: the model cannot be had this way, or OpenVINO is not installed.
        """
        options = settings.openvino or OpenVino()
        _refuse(signature)
        openvino = _import()
        self.warnings = _caveats(signature, settings)
        try:
            core = openvino.Core()
            core.set_property({"ENABLE_MMAP": False})  # a file that is overwritten while it is mapped kills the process
            model = _read(core, folder, signature)
            self._inputs = _match("input", signature.inputs, model.inputs)
            self._outputs = _match("output", signature.outputs, model.outputs)
            compiled = core.compile_model(model, "CPU", self._properties(core, options, settings))
            self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
            hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
            self.precision = {"float32": "f32", "bfloat16": "bf16"}.get(hint, hint)
            self._idle: SimpleQueue[Any] = SimpleQueue()
            for _ in range(settings.parallel_calls):  # each call has one to itself
                self._idle.put(compiled.create_infer_request())
        except Unsupported:
            raise
        except Exception as error:  # OpenVINO raises RuntimeError and whatever else its parts stumble over
            raise Unsupported(_reason(error)) from error
        self._wide = [name for name, spec in signature.inputs.items() if spec.type_name in WIDE]
        self._try(signature)

    def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
        """See `Engine`."""
        missing = sorted(set(self._inputs) - set(feeds))
        if missing:
            raise InvalidInput(f"input '{missing[0]}' is missing; the model has no default for it")
        for name in self._wide:
            _check_fits(name, feeds[name])
        arrays = {self._inputs[name]: array for name, array in feeds.items()}
        request = self._idle.get()
        try:
            # Inputs are only read while the call lasts, so they are not copied; outputs outlive it, so they are.
            outputs = request.infer(arrays, share_inputs=True, share_outputs=False)
        except MemoryError as error:
            raise Failure(f"OpenVINO fails: {_reason(error)}") from error
        except (RuntimeError, TypeError, ValueError) as error:  # it has no codes; what fits no shape fails here
            raise InvalidInput(f"OpenVINO refuses the values: {_reason(error)}") from error
        finally:
            self._idle.put(request)
        return {name: outputs[self._outputs[name]] for name in fetch}

    def _properties(self, core: Any, options: OpenVino, settings: Settings) -> dict[str, Any]:
        precision = options.precision
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            name = core.get_property("CPU", "FULL_DEVICE_NAME")
            self.warnings.append(f"openvino's PRECISION is bf16 and this CPU ({name}) has none, so it computes in f32")
            precision = "f32"
        properties = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": settings.parallel_calls,
            "CPU_RUNTIME_CACHE_CAPACITY": KEPT_PRIMITIVES,
            "ENABLE_CPU_PINNING": False,  # every process would pin its threads to the same first cores
        }
        if options.threads or settings.cores:
            properties["INFERENCE_NUM_THREADS"] = settings.parallel_calls * (options.threads or settings.cores)
        return properties

    def _try(self, signature: Signature) -> None:
        """Run specimens: some models convert and compile, and fail at the first call, or at the second shape."""
        for size in (1, 2):
            feeds = {name: _specimen(spec, size) for name, spec in signature.inputs.items()}
            try:
                outputs = self(feeds, list(signature.outputs))
            except (InvalidInput, Failure) as error:
                raise Unsupported(f"it fails on a specimen: {error}") from error
            for name, spec in signature.outputs.items():
                _check_like(spec, outputs[name])


def _refuse(signature: Signature) -> None:
    if not signature.tag:
        raise Unsupported("it is a GraphDef; only SavedModels are converted")
    if signature.stateful:
        raise Unsupported("its graph changes state, which OpenVINO would forget")
    for spec in (*signature.inputs.values(), *signature.outputs.values()):
        if spec.type_name not in DATA_TYPES or spec.type_name == "DT_STRING":
            raise Unsupported(f"'{spec.name}' is {spec.data_type}")


def _import() -> Any:
    # Importing OpenVINO reports that to Google Analytics, unless this module, which it can do without, is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise Unsupported(f"OpenVINO cannot be imported ({first_line(error)}); pip install openvino") from error
    return openvino


def _caveats(signature: Signature, settings: Settings) -> list[str]:
    warnings = []
    without_effect = {
        "TF_NUM_INTRA_THREADS": settings.intra_threads,
        "TF_NUM_INTER_THREADS": settings.inter_threads,
        "TF_USE_PER_SESSION_THREADS": settings.per_session_threads,
        "optimization.graph.level": settings.xla_level,
        "auto_mixed_precision": settings.mixed_precision,
    }
    names = [name for name, value in without_effect.items() if value]
    if names:
        warnings.append(f"{names} have no effect with openvino; its own are PRECISION and NUM_THREADS")
    whole = sorted(name for name, spec in signature.inputs.items() if "INT" in spec.type_name)
    if whole and settings.max_value is None:
        effect = "OpenVINO answers ids outside an embedding where TensorFlow refuses them"
        warnings.append(f"{effect}; if {whole} are ids, set parameter MAX_VALUE")
    return warnings


def _read(core: Any, folder: Path, signature: Signature) -> Any:
    """The converted model.

    OpenVINO gets a copy of saved_model.pb with what it looks for by name: one graph, one signature, and variables
    called by their keys in the checkpoint. Left alone, it looks them up by names that need not be unique, and finds
    none at all if the checkpoint's object graph takes 16 KiB or more (it skips a length of two bytes, always).
    """
    message = messages().SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graph = next(graph for graph in message.meta_graphs if list(graph.meta_info_def.tags) == [signature.tag])
    definition = graph.signature_def[signature.key]
    keys = dict(_variable_keys(graph))
    if signature.has_objects:  # TensorFlow 1's names are those of the checkpoint
        lost = sorted(_handles(graph.graph_def, signature) - set(keys))
        if lost:
            raise Unsupported(f"the variables {lost} are not in the checkpoint")
    _rename(graph.graph_def, keys)
    copy = messages().SavedModel(saved_model_schema_version=message.saved_model_schema_version)
    only = copy.meta_graphs.add()
    only.meta_info_def.tags.append(DEFAULT_TAG)
    only.graph_def.CopyFrom(graph.graph_def)
    only.signature_def[DEFAULT_SIGNATURE].CopyFrom(definition)
    with TemporaryDirectory(prefix="openvino-") as scratch:
        (Path(scratch) / "saved_model.pb").write_bytes(copy.SerializeToString())
        for part in ("variables", "assets"):
            if (folder / part).is_dir():
                (Path(scratch) / part).symlink_to((folder / part).resolve())
        return core.read_model(scratch)


def _variable_keys(meta_graph: Any) -> Iterator[tuple[str, str]]:
    """Pairs of a variable's node in the graph and its key in the checkpoint, for a SavedModel of TensorFlow 2.

    A call of a function hands it the variables that the function captured, last and in order; the object graph
    lists the same as objects. A key is the path of an object from the root.
    """
    objects = meta_graph.object_graph_def
    keys = {_find(objects.nodes, key): key for key in _checkpoint_keys(meta_graph.graph_def)}
    for node in meta_graph.graph_def.node:
        function = objects.concrete_functions.get(node.attr["f"].func.name) if "f" in node.attr else None
        if function is None:
            continue
        inputs = [name for name in node.input if not name.startswith("^")]
        captured = inputs[len(inputs) - len(function.bound_inputs) :]
        for name, index in zip(captured, function.bound_inputs, strict=True):
            if index in keys:
                yield name, keys[index]


def _handles(graph: Any, signature: Signature) -> set[str]:
    """The variables that the outputs depend on, as nodes."""
    nodes = {node.name: node for node in graph.node}
    waiting = [spec.tensor for spec in signature.outputs.values()]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name not in seen:
            seen.add(name)
            waiting.extend(nodes[name].input)
    return {name for name in seen if nodes[name].op == "VarHandleOp"}


def _checkpoint_keys(graph: Any) -> Iterator[str]:
    """Keys of variables that the graph's own saver restores."""
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        constants = {node.name: node.attr["value"].tensor.string_val for node in nodes if node.op == "Const"}
        for node in nodes:
            if node.op == "RestoreV2":
                keys = [key.decode() for key in constants.get(node.input[1].partition(":")[0], ())]
                yield from (key for key in keys if key.endswith(VARIABLE_SUFFIX))


def _find(nodes: Any, key: str) -> int | None:
    """The object that a checkpoint's key leads to."""
    index = 0
    for part in key.removesuffix(VARIABLE_SUFFIX).split("/"):
        # Source: TensorFlow 2.21, python/checkpoint/trackable_utils.py, escape_local_name.
        names = {
            child.local_name.replace(".", "..").replace("/", ".S"): child.node_id for child in nodes[index].children
        }
        if part not in names:
            return None
        index = names[part]
    return index


def _rename(graph: Any, names: dict[str, str]) -> None:
    for node in graph.node:
        node.name = names.get(node.name, node.name)
        for place, tensor in enumerate(node.input):
            control, name = ("^", tensor[1:]) if tensor.startswith("^") else ("", tensor)
            if name in names:
                node.input[place] = control + names[name]


def _match(kind: str, specs: dict[str, TensorSpec], ports: Sequence[Any]) -> dict[str, int]:
    """Name → index among the ports; each port belongs to one name.

    An input with a default value, for one, becomes a constant in the conversion and would never be heard again.
    """
    found = {name: _port(kind, spec, ports) for name, spec in specs.items()}
    if sorted(found.values()) != list(range(len(ports))):
        raise Unsupported(f"OpenVINO has {len(ports)} {kind}s; expected {sorted(specs)}")
    return found


def _port(kind: str, spec: TensorSpec, ports: Sequence[Any]) -> int:
    # A node has one friendly name, and tensors that are passed through share theirs.
    found = [index for index, port in enumerate(ports) if port.get_node().get_friendly_name() == spec.name]
    if not found:
        found = [index for index, port in enumerate(ports) if port.get_names() & {spec.name, spec.tensor}]
    if len(found) != 1:
        raise Unsupported(f"OpenVINO has {len(found)} {kind}s for '{spec.name}'; expected one")
    (index,) = found
    dtype, rank = ports[index].get_element_type().to_dtype(), ports[index].get_partial_shape().rank
    same_rank = spec.shape is None or rank.is_dynamic or rank.get_length() == len(spec.shape)
    if np.dtype(dtype) != np.dtype(DATA_TYPES[spec.type_name].dtype) or not same_rank:
        raise Unsupported(f"{kind} '{spec.name}' is {np.dtype(dtype)} with rank {rank} after the conversion")
    return index


def _check_like(spec: TensorSpec, array: NDArray[Any]) -> None:
    dtype = np.dtype(DATA_TYPES[spec.type_name].dtype)
    fits = spec.shape is None or (
        len(spec.shape) == array.ndim
        and all(size in (-1, got) for size, got in zip(spec.shape, array.shape, strict=True))
    )
    if array.dtype != dtype or not fits:
        found = f"{array.dtype} {list(array.shape)}"
        raise Unsupported(f"output '{spec.name}' comes out as {found}; expected {dtype} {list(spec.shape or ())}")


def _check_fits(name: str, array: NDArray[Any]) -> None:
    if array.size and (array.max() > INT32.max or (array.dtype.kind == "i" and array.min() < INT32.min)):
        raise InvalidInput(f"input '{name}' holds integers beyond 32 bits, which OpenVINO cannot compute with")


def _specimen(spec: TensorSpec, size: int) -> NDArray[Any]:
    shape = [size if axis == -1 else axis for axis in spec.shape or ()]
    return np.ones(shape, DATA_TYPES[spec.type_name].dtype)


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line.removeprefix("-- ") for line in lines if not line.startswith(NO_REASON)), first_line(error))
