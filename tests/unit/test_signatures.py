"""SavedModels are read from their protobuf, without TensorFlow."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from triton_tensorflow.autofill import complete
from triton_tensorflow.graph_def import signature_of_graph
from triton_tensorflow.protobuf import messages
from triton_tensorflow.settings import Settings
from triton_tensorflow.signatures import read_signature

FLOAT, INVALID = 1, 0


def write(folder: Path, *keys: str, tags: tuple[str, ...] = ("serve",), op: str = "Identity") -> Path:
    """A SavedModel with signatures x [-1, 3] → y [-1, 3] around one operation."""
    message = messages().SavedModel()
    graph = message.meta_graphs.add()
    graph.meta_info_def.tags.extend(tags)
    graph.graph_def.node.add(name="x", op="Placeholder")
    graph.graph_def.node.add(name="call", op="PartitionedCall", input=["x"]).attr["f"].func.name = "body"
    graph.graph_def.node.add(name="restore", op="AssignVariableOp")
    graph.graph_def.library.function.add().signature.name = "body"
    graph.graph_def.library.function[0].node_def.add(name="inner", op=op)
    for key in keys:
        signature = graph.signature_def[key]
        for name, tensors in (("x", signature.inputs), ("y", signature.outputs)):
            tensors[name].name = "x:0" if name == "x" else "call:0"
            tensors[name].dtype = INVALID if key.startswith("__") else FLOAT
            for size in (-1, 3):
                tensors[name].tensor_shape.dim.add(size=size)
    folder.mkdir(exist_ok=True)
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def test_the_default_signature_is_preferred(tmp_path: Path) -> None:
    signature = read_signature(write(tmp_path, "a", "serving_default"), "serve", None)
    assert (signature.key, signature.note) == ("serving_default", None)
    assert signature.inputs["x"].shape == (-1, 3)
    assert signature.inputs["x"].data_type == "TYPE_FP32"
    assert signature.has_objects is False


def test_without_it_the_first_that_serves_is_taken_and_told(tmp_path: Path) -> None:
    signature = read_signature(write(tmp_path, "b", "a", "__saved_model_init_op"), "serve", None)
    assert signature.key == "a"
    assert "'a' of ['a', 'b'] is served; set TF_SIGNATURE_DEF" in str(signature.note)


def test_a_signature_that_was_named_must_be_there(tmp_path: Path) -> None:
    folder = write(tmp_path, "a", "__saved_model_init_op")
    assert read_signature(folder, "serve", "a").note is None
    with pytest.raises(ValueError, match=r"no signature 'b' \(TF_SIGNATURE_DEF\); it has \['a'\]"):
        read_signature(folder, "serve", "b")


def test_only_initial_operations_are_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no signature to serve"):
        read_signature(write(tmp_path, "__saved_model_init_op"), "serve", None)


def test_the_tags_must_be_the_one_asked_for(tmp_path: Path) -> None:
    folder = write(tmp_path, "a", tags=("serve", "gpu"))
    with pytest.raises(
        ValueError, match=r"no graph tagged \['serve'\] \(TF_GRAPH_TAG\); it has \[\['serve', 'gpu'\]\]"
    ):
        read_signature(folder, "serve", None)


@pytest.mark.parametrize(
    ("op", "stateful"),
    [("Identity", False), ("RandomUniform", False), ("ReadVariableOp", False), ("AssignAddVariableOp", True)],
)
def test_state_is_found_in_the_functions_that_a_signature_calls(tmp_path: Path, op: str, stateful: bool) -> None:
    assert read_signature(write(tmp_path, "a", op=op), "serve", None).stateful is stateful


def test_a_text_saved_model_is_read(tmp_path: Path) -> None:
    from google.protobuf import text_format

    folder = write(tmp_path, "a")
    message = messages().SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pbtxt").write_text(text_format.MessageToString(message), encoding="utf-8")
    assert read_signature(folder, "serve", None).key == "a"
    (folder / "saved_model.pbtxt").write_text("meta_graphs {", encoding="utf-8")
    with pytest.raises(ValueError, match="is no SavedModel, or a truncated one"):
        read_signature(folder, "serve", None)


def test_a_configuration_is_completed_without_tensorflow(tmp_path: Path) -> None:
    write(tmp_path / "model.savedmodel", "serving_default")
    script = """
import sys
from pathlib import Path
from triton_tensorflow.autofill import complete
from triton_tensorflow.graph_def import signature_of_graph
from triton_tensorflow.settings import Settings
config = {"input": [], "output": [], "max_batch_size": 0}
complete(config, Path(sys.argv[1]), Settings(), 4)
print(config["max_batch_size"], "dynamic_batching" in config, config["input"][0]["dims"], "tensorflow" in sys.modules)
"""
    backend = Path(__file__).parents[2] / "ensemble" / "trident" / "backends" / "tensorflow"
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=backend, check=True
    )
    assert result.stdout == "4 True [3] False\n"


def test_a_complete_configuration_is_not_even_compared(tmp_path: Path) -> None:
    entry = {"data_type": "TYPE_FP32", "dims": [3]}
    config: dict[str, Any] = {"input": [{"name": "x"} | entry], "output": [{"name": "y"} | entry], "max_batch_size": 2}
    complete(config, tmp_path / "nothing there", Settings(), 4)
    assert config["max_batch_size"] == 2


def test_autofill_may_be_told_not_to_batch(tmp_path: Path) -> None:
    write(tmp_path / "model.savedmodel", "serving_default")
    config: dict[str, Any] = {"input": [], "output": [], "max_batch_size": 0}
    complete(config, tmp_path, Settings(), 0)
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (0, [-1, 3])


@pytest.mark.parametrize(
    ("sizes", "ragged", "expected"),
    [((-1, -1), True, (-1, -1)), ((-1,), True, (-1,)), ((), True, None), (None, True, None), ((-1, -1), False, None)],
)
def test_the_shape_of_a_placeholder_counts_only_where_requests_are_ragged(
    sizes: tuple[int, ...] | None, ragged: bool, expected: tuple[int, ...] | None
) -> None:
    graph = messages().GraphDef()
    placeholder = graph.node.add(name="x", op="Placeholder")
    placeholder.attr["dtype"].type = FLOAT
    for size in sizes or ():
        placeholder.attr["shape"].shape.dim.add(size=size)
    if sizes == ():
        placeholder.attr["shape"].shape.SetInParent()
    graph.node.add(name="y", op="Identity", input=["x"])
    before = graph.SerializeToString(deterministic=True)
    config = {
        "input": [{"name": "x", "data_type": "TYPE_FP32", "allow_ragged_batch": ragged}],
        "output": [{"name": "y", "data_type": "TYPE_FP32"}],
    }
    assert signature_of_graph(graph, config).inputs["x"].shape == expected
    assert graph.SerializeToString(deterministic=True) == before, "looking for a shape left one in the graph"
