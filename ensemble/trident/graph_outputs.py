"""Which operation of a SavedModel's graph makes an output: Softmax and Sigmoid make probabilities, MatMul does not."""

from pathlib import Path
from typing import Any

from triton_tensorflow.protobuf import messages

# They hand on what they are given.
_HANDING_ON = {"Identity", "IdentityN", "StopGradient", "Cast", "Reshape", "Squeeze", "ExpandDims", "EnsureShape"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_DEEPEST = 10_000  # nodes on the way; no graph of a model has more, and a damaged one may go in circles


def final_operation(folder: Path, signature: str, output: str) -> str:
    """The operation that computes an output; empty if it cannot be followed.

    Args:
        folder: a SavedModel whose saved_model.pb was read before.
        signature: its name.
        output: of the signature.
    """
    graph = folder / "saved_model.pb"
    if not graph.is_file():  # saved_model.pbtxt
        return ""
    message = messages().SavedModel.FromString(graph.read_bytes())
    for meta in message.meta_graphs:
        if signature in meta.signature_def and output in meta.signature_def[signature].outputs:
            return _Trace(meta.graph_def).follow(meta.signature_def[signature].outputs[output].name)
    return ""


class _Trace:
    """Follows tensors through a graph and the functions that it calls."""

    def __init__(self, graph: Any) -> None:
        self._functions = {function.signature.name: function for function in graph.library.function}
        self._scopes: list[tuple[dict[str, Any], Any, Any]] = [({node.name: node for node in graph.node}, None, None)]

    def follow(self, tensor: str) -> str:
        """The operation behind a tensor named NODE:INDEX (in a graph) or NODE:OUTPUT:INDEX (in a function)."""
        for _ in range(_DEEPEST):
            nodes, function, call = self._scopes[-1]
            name, _, place = tensor.partition(":")
            node = nodes.get(name)
            if node is None and call is not None:  # an argument of the function
                arguments = [argument.name for argument in function.signature.input_arg]
                if name not in arguments:
                    return ""
                self._scopes.pop()
                tensor = call.input[arguments.index(name)]
            elif node is None:
                return ""
            elif node.op in _CALLS:
                called = self._functions.get(node.attr["f"].func.name)
                if called is None:
                    return ""
                self._scopes.append(({inner.name: inner for inner in called.node_def}, called, node))
                tensor = called.ret[called.signature.output_arg[_index(place)].name]
            elif node.op in _HANDING_ON:
                tensor = node.input[_index(place) if node.op == "IdentityN" else 0]
            else:
                return str(node.op)
        return ""


def _index(place: str) -> int:
    last = place.rpartition(":")[2]
    return int(last) if last.isdigit() else 0
