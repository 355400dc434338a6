"""What a SavedModel or a GraphDef says of itself, read from its protobuf without TensorFlow."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triton_tensorflow.protobuf import messages

DEFAULT_SIGNATURE = "serving_default"
# Signatures of the exporters' own, never for serving. Source: TensorFlow 2.21, saved_model/constants.py.
RESERVED_SIGNATURES = {"__saved_model_init_op", "__saved_model_train_op"}


@dataclass(frozen=True)
class DataType:
    """One data type under its three names.

    Attributes:
        triton: in config.pbtxt, `TYPE_FP32`.
        dtype: numpy's.
    """

    triton: str
    dtype: Any


# Source: NVIDIA's backend r25.02, src/tensorflow_utils.cc, ConvertDataType.
DATA_TYPES = {
    "DT_BOOL": DataType("TYPE_BOOL", np.bool_),
    "DT_UINT8": DataType("TYPE_UINT8", np.uint8),
    "DT_UINT16": DataType("TYPE_UINT16", np.uint16),
    "DT_UINT32": DataType("TYPE_UINT32", np.uint32),
    "DT_UINT64": DataType("TYPE_UINT64", np.uint64),
    "DT_INT8": DataType("TYPE_INT8", np.int8),
    "DT_INT16": DataType("TYPE_INT16", np.int16),
    "DT_INT32": DataType("TYPE_INT32", np.int32),
    "DT_INT64": DataType("TYPE_INT64", np.int64),
    "DT_HALF": DataType("TYPE_FP16", np.float16),
    "DT_FLOAT": DataType("TYPE_FP32", np.float32),
    "DT_DOUBLE": DataType("TYPE_FP64", np.float64),
    "DT_STRING": DataType("TYPE_STRING", np.object_),
}

# Operations that change what a later call sees, by how their names begin; random ones are harmless to repeat.
# Source: TensorFlow 2.21, core/ops/{resource_variable,state,lookup,data_flow,script,training}_ops.cc.
WRITERS = (
    *("Assign", "ResourceScatter", "ResourceStridedSliceAssign", "ResourceApply", "ResourceSparseApply"),
    *("ResourceCountUpTo", "CountUpTo", "Scatter", "Apply", "SparseApply", "LookupTableInsert", "LookupTableRemove"),
    *("LookupTableImport", "Queue", "Stack", "Barrier", "Stage", "Unstage", "PyFunc", "EagerPyFunc"),
)
NO_WRITERS = ("ScatterNd", "ScatterNdNonAliasingAdd", "QueueSizeV2", "QueueIsClosedV2")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature.

    Attributes:
        name: as config.pbtxt and callers know it.
        tensor: as the graph knows it, `serving_default_x:0`; empty for an output that is not there.
        type_name: TensorFlow's `DT_FLOAT`.
        shape: with the batch axis, -1 where any size will do; None if not even the rank is known.
    """

    name: str
    tensor: str
    type_name: str
    shape: tuple[int, ...] | None

    @property
    def data_type(self) -> str:
        """As config.pbtxt names it; a type that Triton cannot carry keeps TensorFlow's name."""
        known = DATA_TYPES.get(self.type_name)
        return known.triton if known else self.type_name


@dataclass(frozen=True)
class Signature:
    """How to call a model.

    Attributes:
        key: the signature's name; empty for a GraphDef.
        tag: of the meta graph it belongs to; empty for a GraphDef.
        inputs: name → spec.
        outputs: name → spec.
        has_objects: whether TensorFlow 2 wrote it, so that its own loader may be needed.
        stateful: whether a call changes what a later one answers.
        note: what the log should know of how it was chosen, or None.
    """

    key: str
    tag: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    has_objects: bool
    stateful: bool
    note: str | None = None


def read_signature(folder: Path, tag: str, wanted: str | None) -> Signature:
    """Read one signature of a SavedModel.

    Args:
        folder: the SavedModel.
        tag: the meta graph's only tag.
        wanted: which signature must be there; None takes `serving_default`, else the first that serves.

    Raises:
        ValueError: there is no readable SavedModel, or no such tag or signature; the message lists those there are.
    """
    message = _read_saved_model(folder)
    graph = next((graph for graph in message.meta_graphs if list(graph.meta_info_def.tags) == [tag]), None)
    if graph is None:
        found = [list(graph.meta_info_def.tags) for graph in message.meta_graphs]
        raise ValueError(f"the SavedModel {folder} has no graph tagged ['{tag}'] (TF_GRAPH_TAG); it has {found}")
    key, note = _choose(folder, sorted(graph.signature_def), wanted)
    definition = graph.signature_def[key]
    inputs = {name: _spec(name, info) for name, info in sorted(definition.inputs.items())}
    outputs = {name: _spec(name, info) for name, info in sorted(definition.outputs.items())}
    if not outputs:
        raise ValueError(f"signature '{key}' of the SavedModel {folder} has no outputs; expected at least one")
    return Signature(
        key=key,
        tag=tag,
        inputs=inputs,
        outputs=outputs,
        has_objects=len(graph.object_graph_def.nodes) > 0,
        stateful=writes_state(graph.graph_def, [spec.tensor for spec in outputs.values()]),
        note=note,
    )


def _read_saved_model(folder: Path) -> Any:
    binary, text = folder / "saved_model.pb", folder / "saved_model.pbtxt"
    message = messages().SavedModel()
    if text.is_file() and not binary.is_file():
        from google.protobuf import text_format

        try:
            return text_format.Parse(text.read_text(encoding="utf-8"), message)
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise ValueError(f"{text} is no SavedModel, or a truncated one ({error}); export it again") from error
    if not binary.is_file():
        place = folder if folder.is_dir() else folder.parent
        found = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
        expected = "expected a folder with saved_model.pb and variables/"
        raise ValueError(f"no SavedModel at {folder}: {expected}; {place.name}/ holds {found}")
    _parse(message, binary, "SavedModel")
    if not message.meta_graphs:
        raise ValueError(f"{binary} holds no graph ({binary.stat().st_size} bytes); export it again")
    return message


def read_graph(file: Path) -> Any:
    """Read a frozen GraphDef; returns the protobuf message.

    Raises:
        ValueError: it is missing, empty or truncated.
    """
    if not file.is_file():
        raise ValueError(f"no GraphDef at {file}: expected a file with a frozen graph")
    message = messages().GraphDef()
    _parse(message, file, "GraphDef")
    if not message.node:
        raise ValueError(f"{file} holds no graph ({file.stat().st_size} bytes); export it again")
    return message


def _parse(message: Any, file: Path, kind: str) -> None:
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{file} is no {kind}, or a truncated one ({error}); export it again") from error


def _choose(folder: Path, keys: list[str], wanted: str | None) -> tuple[str, str | None]:
    serving = [key for key in keys if key not in RESERVED_SIGNATURES]
    if wanted is not None:
        if wanted in keys:
            return wanted, None
        raise ValueError(f"the SavedModel {folder} has no signature '{wanted}' (TF_SIGNATURE_DEF); it has {serving}")
    if DEFAULT_SIGNATURE in serving:
        return DEFAULT_SIGNATURE, None
    if not serving:
        raise ValueError(f"the SavedModel {folder} has no signature to serve; export it with signatures=")
    note = f"the SavedModel has no signature '{DEFAULT_SIGNATURE}', so '{serving[0]}' of {serving} is served"
    return serving[0], f"{note}; set TF_SIGNATURE_DEF to choose"


def _spec(name: str, info: Any) -> TensorSpec:
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(name, info.name, messages().type_name(info.dtype), shape)


def writes_state(graph: Any, outputs: Iterable[str]) -> bool:
    """Whether a node that the outputs depend on changes state, in the graph or in a function it calls."""
    return any(map(_is_writer, reached(graph, outputs)))


def reached(graph: Any, outputs: Iterable[str], functions: Iterable[str] = ()) -> Iterator[Any]:
    """The nodes that outputs depend on, in the graph and in the functions that are called; each once."""
    nodes = {node.name: node for node in graph.node}
    bodies = {function.signature.name: function.node_def for function in graph.library.function}
    waiting, called = [_node_name(tensor) for tensor in outputs], list(functions)
    while waiting or called:
        if waiting:
            node = nodes.pop(waiting.pop(), None)
            body = [] if node is None else [node]
            waiting += [_node_name(tensor) for node in body for tensor in node.input]
        else:
            body = bodies.pop(called.pop(), [])
        for node in body:
            yield node
            called += _callees(node)


def _is_writer(node: Any) -> bool:
    return node.op.startswith(WRITERS) and node.op not in NO_WRITERS


def _callees(node: Any) -> list[str]:
    values = node.attr.values()
    listed = [function.name for value in values for function in value.list.func]
    return [*listed, *(value.func.name for value in values if value.func.name), node.op]


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
