"""A frozen GraphDef as a signature: its placeholders are the inputs, any other node an output.

A GraphDef says nothing reliable of shapes and outputs, so these come from config.pbtxt, as with NVIDIA's backend. Only
where requests of several shapes are to share a batch must the placeholder say how: by its rank.
"""

from collections.abc import Mapping
from typing import Any

from triton_tensorflow.plan import control_entries
from triton_tensorflow.signatures import DATA_TYPES, Signature, TensorSpec, writes_state

TYPE_NAMES = {known.triton: type_name for type_name, known in DATA_TYPES.items()}


def signature_of_graph(graph: Any, config: Mapping[str, Any]) -> Signature:
    """The tensors that config.pbtxt names, looked up in the graph.

    Args:
        graph: GraphDef message.
        config: Triton's `model_config`, with inputs and outputs.

    Raises:
        ValueError: an input is no placeholder, or an output no node, of the graph.
    """
    from triton_tensorflow.protobuf import messages

    placeholders = {node.name: node for node in graph.node if node.op in ("Placeholder", "PlaceholderWithDefault")}
    nodes = {node.name for node in graph.node} - set(placeholders)
    targets = [
        {"name": name, "data_type": entry["data_type"]}
        for entry in config.get("batch_input") or ()
        for name in entry["target_name"]
    ]
    sources = {entry["source_input"][0] for entry in config.get("batch_input") or ()}
    inputs, outputs, faults = {}, {}, []
    for entry in [*config["input"], *control_entries(config), *targets]:
        name = entry["name"]
        if name not in placeholders:
            faults.append(f"input '{name}': expected one of the placeholders {sorted(placeholders)}")
            continue
        type_name = messages().type_name(placeholders[name].attr["dtype"].type)
        ragged = entry.get("allow_ragged_batch") or name in sources
        shape = _shape(placeholders[name]) if ragged else None
        inputs[name] = TensorSpec(name, f"{name}:0", type_name, shape)
    for entry in config["output"]:
        if entry["name"] not in nodes:
            shown = ", ".join(sorted(nodes)[-10:])
            faults.append(f"output '{entry['name']}': expected the name of a node, such as {shown}")
        type_name = TYPE_NAMES.get(entry["data_type"], entry["data_type"])
        outputs[entry["name"]] = TensorSpec(entry["name"], f"{entry['name']}:0", type_name, None)
    if not outputs:
        faults.append("no outputs: a GraphDef says nothing of them, so config.pbtxt must")
    if faults:
        raise ValueError("config.pbtxt and the GraphDef disagree:\n" + "\n".join(faults))
    stateful = writes_state(graph, [spec.tensor for spec in outputs.values()])
    return Signature("", "", inputs, outputs, has_objects=False, stateful=stateful)


def _shape(placeholder: Any) -> tuple[int, ...] | None:
    """A placeholder's shape if its rank is known; an empty one means in old graphs that it is not.

    Source: TensorFlow 2.21, core/ops/array_ops.cc, Placeholder.
    """
    if "shape" not in placeholder.attr:  # to look it up would add it
        return None
    return tuple(dim.size for dim in placeholder.attr["shape"].shape.dim) or None
