"""A model file is known by its content, what it holds of code is named, and what may do harm is refused unopened."""

import io
import json
import os
import pickle
import re
import socket
import stat
import struct
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from google.protobuf import text_format
from tokenizers import Tokenizer
from trident.errors import ServiceError
from trident.model_code import find_code
from trident.model_files import MAX_CONFIG_BYTES, ModelFile, inspect_model
from triton_tensorflow.protobuf import messages

Json = dict[str, Any]

BYTECODE = ["4wEAAAAAAAAA\n", None, None]
GRAPH = b"\x08\x01\x12\x05graph"
INDEX, SHARD = "variables/variables.index", "variables/variables.data-00000-of-00001"


def layer(kind: str, **settings: Any) -> Json:
    """A layer as Keras 3 describes it."""
    return {"module": "keras.layers", "class_name": kind, "config": settings, "registered_name": None}


def old_layer(kind: str, **settings: Any) -> Json:
    """A layer as Keras 1 and 2 describe it in an .h5 file."""
    return {"class_name": kind, "config": settings}


def model(*layers: Json, **more: Any) -> Json:
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": [*layers]}, **more}


CONFIG = model(layer("Dense", name="head", units=2, activation="relu"))


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def members(config: Any = CONFIG) -> dict[str, bytes]:
    """What a .keras file consists of; `config` may be bytes, to be written as they are."""
    raw = config if isinstance(config, bytes) else json.dumps(config).encode()
    metadata = json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-31@10:00:00"}).encode()
    return {"metadata.json": metadata, "config.json": raw, "model.weights.h5": b"\x89HDF\r\n\x1a\n"}


def write_keras(path: Path, config: Any = CONFIG) -> Path:
    return write_zip(path, members(config))


def write_h5(path: Path, config: Any = CONFIG, version: Any = "2.15.0") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config) if isinstance(config, dict) else config
        file.attrs["keras_version"] = version
        file.create_dataset("model_weights/head/kernel:0", data=np.zeros((3, 2), np.float32))
    return path


def write_savedmodel(folder: Path, **content: bytes) -> Path:
    files = {"saved_model.pb": GRAPH, INDEX: b"index", SHARD: b"data"} | content
    for name, raw in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    return folder


def refusal(path: Path) -> str:
    """Why a path is refused: one line, which names it."""
    with pytest.raises(ServiceError) as caught:
        inspect_model(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message.replace(str(path), "PATH")


def refused_bytes(folder: Path, raw: bytes, name: str = "model.keras") -> str:
    (folder / name).write_bytes(raw)
    return refusal(folder / name)


# What it says of a model.


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.pkl", "model", "schönes Modell"])
def test_a_keras_file_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    path = write_keras(tmp_path / name)
    assert inspect_model(path) == ModelFile(path, "keras", "3.15.1", (), (), path.stat().st_size, CONFIG)


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "model.onnx"])
def test_an_h5_file_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    path = write_h5(tmp_path / name)
    assert inspect_model(path) == ModelFile(path, "h5", "2.15.0", (), (), path.stat().st_size, CONFIG)


@pytest.mark.parametrize("raw", [json.dumps(CONFIG).encode(), np.bytes_(json.dumps(CONFIG))])
def test_old_h5_files_hold_their_config_and_version_as_bytes(tmp_path: Path, raw: bytes) -> None:
    found = inspect_model(write_h5(tmp_path / "model.h5", raw, b"2.2.4-tf"))
    assert (found.keras_version, found.config) == ("2.2.4-tf", CONFIG)


def test_the_list_of_layers_of_keras_1_is_read(tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": [old_layer("Convolution2D", inner_activation="hard_sigmoid")]}
    found = inspect_model(write_h5(tmp_path / "model.h5", config, "1.2.2"))
    assert (found.format, found.keras_version, found.code) == ("h5", "1.2.2", ())


def test_a_savedmodel_is_a_folder(tmp_path: Path) -> None:
    folder = write_savedmodel(tmp_path / "1", **{"assets/words.txt": b"free prize"})
    size = len(GRAPH) + len(b"index") + len(b"data") + len(b"free prize")
    assert inspect_model(folder) == ModelFile(folder, "savedmodel", None, (), (), size, None)


def test_a_savedmodel_may_be_text_and_without_variables(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_text("saved_model_schema_version: 1", encoding="utf-8")
    assert inspect_model(tmp_path).format == "savedmodel"


@pytest.mark.parametrize("text", [False, True])
def test_operations_that_reach_beyond_a_savedmodel_are_named(tmp_path: Path, text: bool) -> None:
    message = messages().SavedModel()
    graph = message.meta_graphs.add().graph_def
    graph.node.add(name="a", op="MatMul")
    graph.node.add(name="b", op="ReadFile")
    graph.library.function.add().node_def.add(name="c", op="WriteFile")
    if text:
        (tmp_path / "saved_model.pbtxt").write_text(text_format.MessageToString(message), encoding="utf-8")
    else:
        message.saved_model_schema_version = 1
        write_savedmodel(tmp_path, **{"saved_model.pb": message.SerializeToString()})
    assert inspect_model(tmp_path).code == ("the operation ReadFile", "the operation WriteFile")


@pytest.mark.parametrize(
    ("op", "name", "value", "found"),
    [
        ("PrintV2", "output_stream", b"stderr", False),
        ("PrintV2", "output_stream", b"file:///etc/passwd", True),
        ("PrintV2", "output_stream", None, True),
        ("PrintV2", "end", b"file://", False),
        ("FixedUnigramCandidateSampler", "vocab_file", b"", False),
        ("FixedUnigramCandidateSampler", "vocab_file", b"\n", True),
        ("DecodeProtoV2", "descriptor_source", b"local://", False),
        ("EncodeProto", "descriptor_source", b"/etc/passwd", True),
    ],
)
def test_an_operation_may_reach_out_by_an_attribute(
    tmp_path: Path, op: str, name: str, value: bytes | None, found: bool
) -> None:
    """Without a value it is for those who call the function to give."""
    message = messages().SavedModel(saved_model_schema_version=1)
    node = message.meta_graphs.add().graph_def.library.function.add().node_def.add(name="a", op=op)
    if value is None:
        node.attr[name].placeholder = "chosen"
    else:
        node.attr[name].s = value
    write_savedmodel(tmp_path, **{"saved_model.pb": message.SerializeToString()})
    assert bool(inspect_model(tmp_path).code) is found


@pytest.mark.parametrize("op", ["SaveV2", "MergeV2Checkpoints", "RestoreV2", "SaveSlices"])
@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("saver", False),
        ("output", True),
        ("sparse output", True),
        ("composite output", True),
        ("start", True),
        ("object", True),
        ("restore", True),
    ],
)
def test_checkpoints_are_for_the_saver_alone(tmp_path: Path, op: str, place: str, found: bool) -> None:
    message = messages().SavedModel(saved_model_schema_version=1)
    meta = message.meta_graphs.add()
    body = meta.graph_def.library.function.add()
    body.signature.name = "body"
    body.node_def.add(name="a", op=op)
    meta.graph_def.node.add(name="call", op="StatefulPartitionedCall").attr["f"].func.name = "body"
    meta.graph_def.node.add(name="end", op="Identity", input=["x", "^call"])
    output = meta.signature_def["serving_default"].outputs["y"]
    if place == "saver":
        meta.saver_def.save_tensor_name = "end:0"
    elif place == "output":
        output.name = "end:0"
    elif place == "sparse output":
        output.coo_sparse.values_tensor_name = "end:0"
    elif place == "composite output":
        output.composite_tensor.components.add().name = "end:0"
    elif place == "start":
        meta.collection_def["saved_model_main_op"].node_list.value.append("end")
    elif place == "object":
        meta.object_graph_def.concrete_functions["body"].SetInParent()
    else:
        meta.saver_def.restore_op_name = "end"
        found = op != "RestoreV2"
    write_savedmodel(tmp_path, **{"saved_model.pb": message.SerializeToString()})
    assert inspect_model(tmp_path).code == ((f"the operation {op}",) if found else ())


def test_a_savedmodel_may_have_several_shards(tmp_path: Path) -> None:
    folder = write_savedmodel(tmp_path / "1")
    (folder / SHARD).unlink()
    for number in range(3):
        (folder / f"variables/variables.data-0000{number}-of-00003").write_bytes(b"part")
    assert inspect_model(folder).size_bytes == len(GRAPH) + len(b"index") + 3 * len(b"part")


def test_a_link_to_a_model_is_followed(tmp_path: Path) -> None:
    for name, target in (("a", write_keras(tmp_path / "model.keras")), ("b", write_savedmodel(tmp_path / "1"))):
        (tmp_path / name).symlink_to(target)
        assert inspect_model(tmp_path / name).size_bytes == inspect_model(target).size_bytes


@pytest.mark.parametrize("version", [None, 3, ["3.0"]])
def test_a_version_that_is_no_text_is_none(tmp_path: Path, version: Any) -> None:
    content = members() | {"metadata.json": json.dumps({"keras_version": version}).encode()}
    assert inspect_model(write_zip(tmp_path / "model.keras", content)).keras_version is None


def test_metadata_may_be_missing(tmp_path: Path) -> None:
    content = members()
    del content["metadata.json"]
    assert inspect_model(write_zip(tmp_path / "model.keras", content)).keras_version is None


def test_a_large_file_that_somebody_compressed_is_read(tmp_path: Path) -> None:
    content = members() | {"model.weights.h5": os.urandom(2**20)}
    assert inspect_model(write_zip(tmp_path / "model.keras", content, zipfile.ZIP_DEFLATED)).format == "keras"


def test_the_config_stays_out_of_the_log(tmp_path: Path) -> None:
    assert "head" not in repr(inspect_model(write_keras(tmp_path / "model.keras")))


def test_neither_keras_nor_tensorflow_is_loaded(tmp_path: Path) -> None:
    paths = [str(write_keras(tmp_path / "a.keras")), str(write_h5(tmp_path / "b.h5", model(old_layer("Mine"))))]
    script = (
        "import sys; from pathlib import Path; from trident.model_files import inspect_model\n"
        "for path in sys.argv[1:]: inspect_model(Path(path))\n"
        "print(sorted({'keras', 'tensorflow', 'tf_keras'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, timeout=60)
    assert result.stdout == "[]\n", result.stderr


def test_nothing_is_written(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "model.keras", model(layer("Lambda", name="f", function=BYTECODE)))
    before = path.read_bytes()
    inspect_model(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.keras"]
    assert path.read_bytes() == before


# Code in a config.

LAMBDA = {"class_name": "__lambda__", "config": {"code": "4wEA", "defaults": None, "closure": None}}


def function(name: str, module: Any = "builtins") -> Json:
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


@pytest.mark.parametrize(
    "config",
    [
        model(layer("Lambda", name="f", function=LAMBDA)),
        model(layer("Lambda", name="f", function=function("relu"), output_shape=LAMBDA)),
        model(layer("Lambda", name="f", function=BYTECODE, function_type="lambda", module="__main__")),
        model(old_layer("Lambda", name="f", function=BYTECODE)),
        model(old_layer("Lambda", name="f", function="relu", output_shape=BYTECODE, output_shape_type="lambda")),
        model(old_layer("Lambda", name="f", function="relu", mask=BYTECODE, mask_type="lambda")),
        model(old_layer("ResidualWrapper", name="f", residual_function=BYTECODE, residual_function_type="lambda")),
        model(layer("Dense", name="f", activation=LAMBDA)),
        model(layer("Bidirectional", name="g", layer=layer("LSTM", name="f", activation=LAMBDA))),
        model(model(layer("Lambda", name="f", function=LAMBDA))),
        model(layer("Lambda", name="f", function=LAMBDA), layer("Lambda", name="f", function=BYTECODE)),
    ],
)
@pytest.mark.parametrize("write", [write_keras, write_h5])
def test_bytecode_is_found_and_its_layer_named(tmp_path: Path, config: Json, write: Any) -> None:
    found = inspect_model(write(tmp_path / "model", config))
    assert found.code == ("Python bytecode in layer 'f'",)
    assert found.custom_objects == ()


def test_the_bytecode_of_a_merge_layer_of_keras_1_is_found(tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": [old_layer("Merge", name="m", mode=BYTECODE, mode_type="lambda")]}
    found = inspect_model(write_h5(tmp_path / "model.h5", config))
    assert found.code == ("Python bytecode in layer 'm'", "custom object 'Merge'")


@pytest.mark.parametrize("kind", ["TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"])
def test_layers_of_keras_that_run_other_code_are_found(tmp_path: Path, kind: str) -> None:
    found = inspect_model(write_keras(tmp_path / "model", model(layer(kind, name="f"))))
    assert found.code == (f"{kind} layer 'f'",)


@pytest.mark.parametrize(
    ("node", "called"),
    [
        *(
            (old_layer(kind, name="f", function=name), repr(name))
            for kind in ("TFOpLambda", "SlicingOpLambda")
            for name in (
                *("io.gfile.rmtree", "io.write_file", "io.read_file", "io.decode_proto", "load_op_library", "print"),
                *("raw_ops.WriteFile", "compat.v1.gfile.DeleteRecursively", "keras.utils.get_file", "keras.losses.get"),
                *("random.fixed_unigram_candidate_sampler", "quantization.experimental.quantize_saved_model"),
                *("math.add.x", "x.math.add", "math.Add", ""),
            )
        ),
        (old_layer("TFOpLambda", name="f"), "'None'"),
        (old_layer("TFOpLambda", name="f", function="x" * 10**6), f"'{'x' * 76}..."),
        (
            old_layer("ClassMethod", name="f", cls_symbol="io.TFRecordWriter", method_name="from_row_splits"),
            "'io.TFRecordWriter.from_row_splits'",
        ),
        (old_layer("ClassMethod", name="f", cls_symbol="RaggedTensor", method_name="mro"), "'RaggedTensor.mro'"),
        (old_layer("InstanceMethod", name="f", attr_name="tofile"), "'tofile'"),
        (old_layer("TensorFlowOpLayer", name="f", node_def={"name": "o", "op": "WriteFile"}), "'WriteFile'"),
        (old_layer("TensorFlowOpLayer", name="f", node_def="\n\x01o\x12\x09WriteFile"), "'WriteFile'"),
        (old_layer("TensorFlowOpLayer", name="f", node_def={"op": 7}), "'an operation that cannot be read'"),
        (old_layer("TensorFlowOpLayer", name="f", node_def="\x12\x7f"), "'an operation that cannot be read'"),
    ],
)
def test_a_layer_of_keras_2_that_calls_more_than_functions_on_tensors_is_found(
    tmp_path: Path, node: Json, called: str
) -> None:
    """Keras 2 calls them while it loads the model, with values out of the config."""
    found = inspect_model(write_h5(tmp_path / "model", model(node)))
    assert (found.code, found.custom_objects) == ((f"{called} called by layer 'f'",), ())


@pytest.mark.parametrize(
    ("node", "name", "phrase"),
    [
        (
            {"module": "mine.layers", "class_name": "Twice", "config": {}, "registered_name": "mine>Twice"},
            "mine>Twice",
            "custom object 'mine>Twice' of module 'mine.layers'",
        ),
        (
            {"module": None, "class_name": "Bare", "config": {}, "registered_name": "Bare"},
            "Bare",
            "custom object 'Bare' of module '__main__'",
        ),
        (
            {"module": "keras_hub.src.layers", "class_name": "Rope", "config": {}, "registered_name": "keras_hub>Rope"},
            "keras_hub>Rope",
            "custom object 'keras_hub>Rope' of module 'keras_hub.src.layers'",
        ),
        (
            {"module": "keras_tuner", "class_name": "Dense", "config": {}, "registered_name": None},
            "Dense",
            "custom object 'Dense' of module 'keras_tuner'",
        ),
        (old_layer("Attention2"), "Attention2", "custom object 'Attention2'"),
        (old_layer("Custom>Crf"), "Custom>Crf", "custom object 'Custom>Crf'"),
        (layer("Dense", activation=function("mine>act")), "mine>act", "custom object 'mine>act'"),
        (layer("Dense", activation=function("system", "os")), "system", "custom object 'system' of module 'os'"),
        (layer("Lambda", function=function("eval")), "eval", "custom object 'eval'"),
        (layer("Lambda", function=function("deserialize")), "deserialize", "custom object 'deserialize'"),
        (
            layer("Lambda", function=function("get", "keras.losses")),
            "get",
            "custom object 'get' of module 'keras.losses'",
        ),
        (
            layer("Lambda", function=function("get_file", "keras.utils")),
            "get_file",
            "custom object 'get_file' of module 'keras.utils'",
        ),
        (
            layer("Lambda", function={"module": "keras.utils", "class_name": "get_file", "config": {}}),
            "get_file",
            "custom object 'get_file' of module 'keras.utils'",
        ),
        (
            old_layer("Lambda", function="scale", function_type="function", module="train"),
            "scale",
            "custom object 'scale' of module 'train'",
        ),
        (old_layer("Dense", activation="my_relu"), "my_relu", "custom object 'my_relu'"),
        (old_layer("LSTM", recurrent_activation="<lambda>"), "<lambda>", "custom object '<lambda>'"),
        (old_layer("größe\n"), "größe\n", "custom object 'größe\\n'"),
    ],
)
def test_what_keras_does_not_know_is_named(tmp_path: Path, node: Json, name: str, phrase: str) -> None:
    found = inspect_model(write_keras(tmp_path / "model", model(node, node)))
    assert found.custom_objects == (name,)
    assert found.code == (phrase,)


def test_findings_are_in_the_order_of_the_model(tmp_path: Path) -> None:
    config = model(old_layer("B"), layer("Lambda", name="f", function=LAMBDA), old_layer("A"), old_layer("B"))
    found = inspect_model(write_keras(tmp_path / "model", config))
    assert found.code == ("custom object 'B'", "Python bytecode in layer 'f'", "custom object 'A'")
    assert found.custom_objects == ("B", "A")


@pytest.mark.parametrize(
    "node",
    [
        layer("Dense", dtype={"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}),
        layer("Lambda", name="f", function=function("relu")),
        layer("Lambda", name="f", function=function("relu", "keras.ops")),
        layer("Dense", kernel_initializer={"module": "keras.initializers", "class_name": "Zeros", "config": {}}),
        {"module": "tf_keras.src.engine.functional", "class_name": "Functional", "config": {"name": "m", "layers": []}},
        {"module": "keras.src.ops.numpy", "class_name": "Sum", "config": {}, "registered_name": "Sum"},
        *(
            old_layer("TFOpLambda", name=name, function=name)
            for name in (
                *("math.add", "nn.relu", "linalg.matmul", "concat", "cast", "expand_dims", "where", "random.normal"),
                *("compat.v1.transpose", "image.resize", "io.decode_jpeg", "strings.lower", "keras.backend.sum"),
            )
        ),
        old_layer("SlicingOpLambda", name="tf.getitem", function="__operators__.getitem"),
        old_layer("ClassMethod", name="m", cls_symbol="RaggedTensor", method_name="from_row_splits"),
        old_layer("InstanceMethod", name="m", attr_name="to_tensor"),
        old_layer("TensorFlowOpLayer", name="o", node_def={"name": "o", "op": "AddV2", "input": ["a", "b"]}),
        old_layer("TensorFlowOpLayer", name="o", node_def="\n\x01o\x12\x05AddV2"),
        old_layer("Bidirectional", layer=old_layer("CuDNNLSTM", kernel_initializer=old_layer("VarianceScaling"))),
        {"class_name": "TensorShape", "items": [None, 3]},
        {"class_name": "__tuple__", "items": [1, 2]},
        {"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float32"}},
        {"class_name": 7, "config": {}},
        {"class_name": "Dense", "config": None},
        {"class_name": "function", "config": {"not": "a name"}, "module": "builtins"},
    ],
)
def test_what_keras_knows_is_no_finding(tmp_path: Path, node: Json) -> None:
    found = inspect_model(write_keras(tmp_path / "model", model(node)))
    assert (found.code, found.custom_objects) == ((), ())


def test_every_layer_of_the_installed_keras_is_known(tmp_path: Path) -> None:
    listing = Path(str(distribution("keras").locate_file("keras/layers/__init__.py"))).read_text(encoding="utf-8")
    kinds = sorted(set(re.findall(r" as ([A-Z]\w+)", listing)))
    assert {"Dense", "Conv2D", "MultiHeadAttention", "StringLookup"} <= set(kinds)
    found = inspect_model(write_h5(tmp_path / "model.h5", model(*(old_layer(kind, name=kind) for kind in kinds))))
    assert found.custom_objects == ()


def test_how_a_model_was_trained_does_not_count(tmp_path: Path) -> None:
    found = inspect_model(write_keras(tmp_path / "model", CONFIG | {"compile_config": {"loss": function("mine")}}))
    assert found.code == ()


def test_how_a_model_inside_was_trained_does(tmp_path: Path) -> None:
    """Keras compiles it when it loads the one around it."""
    inner = CONFIG | {"compile_config": {"loss": function("mine"), "metrics": [function("mean_absolute_error")]}}
    assert inspect_model(write_keras(tmp_path / "model", model(inner))).custom_objects == ("mine",)


def test_a_finding_is_short_however_long_its_name(tmp_path: Path) -> None:
    (phrase,) = inspect_model(write_keras(tmp_path / "model", model(old_layer("x" * 10**6)))).code
    assert len(phrase) < 120


def test_a_config_is_searched_to_its_end_however_deep() -> None:
    node: Json = layer("Lambda", name="deep", function=LAMBDA)
    for _ in range(100_000):
        node = {"config": [node]}
    assert find_code(node) == (("Python bytecode in layer 'deep'",), ())


# Configs that cannot be read.


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "is not JSON in UTF-8 (Expecting value: line 1 column 1 (char 0))"),
        (b"not json", "is not JSON in UTF-8"),
        (b'{"class_name": "caf\xe9"}', "is not JSON in UTF-8"),
        (b"\xff\xfe{", "is not JSON in UTF-8"),
        (b'{"class_name": "Sequential"', "is not JSON in UTF-8"),
        pytest.param(b'{"class_name": ' + b"9" * 10_000 + b"}", "is not JSON in UTF-8", id="number"),
        pytest.param(b"[" * 500_000, "is nested too deeply for a model", id="lists"),
        pytest.param(b'{"config":' * 200_000, "is nested too deeply for a model", id="objects"),
        (b"[]", "holds a list; expected a JSON object"),
        (b"null", "holds a NoneType; expected a JSON object"),
        pytest.param(b" " * (MAX_CONFIG_BYTES + 1), f"has more than {MAX_CONFIG_BYTES} bytes", id="huge"),
    ],
)
@pytest.mark.parametrize(("write", "part"), [(write_keras, "config.json"), (write_h5, "model_config")])
def test_a_config_that_is_no_json_is_refused(tmp_path: Path, raw: bytes, why: str, write: Any, part: str) -> None:
    assert refusal(write(tmp_path / "model", raw)).startswith(f"{part} of PATH {why}")


@pytest.mark.parametrize("write", [write_keras, write_h5])
@pytest.mark.parametrize("config", [{}, {"class_name": "Sequential"}, {"hidden_size": 384, "model_type": "bert"}])
def test_a_config_of_something_else_is_refused(tmp_path: Path, write: Any, config: Json) -> None:
    keys = ", ".join(map(repr, config)) or "nothing"
    assert refusal(write(tmp_path / "model", config)).startswith(f"PATH describes no Keras model (its keys are {keys})")


def test_metadata_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "model.keras", members() | {"metadata.json": b"\x00"})
    assert refusal(path).startswith("metadata.json of PATH is not JSON")


# Archives that are none of Keras', or that attack.


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_an_archive_lacks_nothing(tmp_path: Path, name: str) -> None:
    content = members()
    del content[name]
    held = ", ".join(map(repr, sorted(content)))
    assert refusal(write_zip(tmp_path / "a.keras", content)).startswith(
        f"PATH is a zip archive without {name} (it holds {held}); expected a .keras"
    )


def test_an_empty_archive_is_refused(tmp_path: Path) -> None:
    assert "without config.json (it holds nothing)" in refusal(write_zip(tmp_path / "a.keras", {}))


@pytest.mark.parametrize("size", [4, 40, 200, -1])
def test_a_truncated_archive_is_refused(tmp_path: Path, size: int) -> None:
    raw = write_keras(tmp_path / "whole").read_bytes()[:size]
    assert refused_bytes(tmp_path, raw).startswith("PATH is a damaged zip archive (")


@pytest.mark.parametrize("text", [b"Sequential", b"keras_version"])
def test_an_archive_with_changed_bytes_is_refused(tmp_path: Path, text: bytes) -> None:
    raw = write_keras(tmp_path / "whole").read_bytes().replace(text, text[::-1])
    assert "Bad CRC-32" in refused_bytes(tmp_path, raw)


@pytest.mark.parametrize(
    "name",
    ["../x", "assets/../../x", "/etc/passwd", "\\windows\\x", "C:\\x", "c:x", "assets\\..\\x", ".."],
)
def test_a_member_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "a.keras", members() | {name: b"x"})
    assert f"the member {name!r} leads out of the archive" in refusal(path)


@pytest.mark.parametrize("name", ["assets/words..txt", "assets/wörter.txt", "assets/", "a/b:c"])
def test_other_names_of_members_are_allowed(tmp_path: Path, name: str) -> None:
    assert inspect_model(write_zip(tmp_path / "a.keras", members() | {name: b""})).format == "keras"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_device_in_an_archive_is_refused(tmp_path: Path, kind: int) -> None:
    path = write_keras(tmp_path / "a.keras")
    link = zipfile.ZipInfo("assets/words.txt")
    link.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "the member 'assets/words.txt' is a link or a device" in refusal(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    raw = bytearray(write_keras(tmp_path / "whole").read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        raw[raw.index(signature) + offset] |= 1
    assert "the member 'metadata.json' is encrypted" in refused_bytes(tmp_path, bytes(raw))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_in_another_compression_is_refused(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "a.keras", members(), method)
    assert f"is compressed by method {method}, not 0 or 8" in refusal(path)


@pytest.mark.parametrize("names", [["config.json"], [f"assets/{number}" for number in range(16)]])
def test_a_zip_bomb_is_refused_in_one_piece_or_many(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            with archive.open(name, "w") as file:
                for _ in range(272 // len(names)):
                    file.write(bytes(2**20))
    assert refusal(path).startswith(f"PATH would unpack from {path.stat().st_size} to {272 * 2**20} bytes")


def patched(path: Path, member: str, offset: int, value: int) -> bytes:
    """An archive whose central directory says something else of a member, at an offset of its entry."""
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        position = archive.start_dir
        for info in archive.infolist():
            if info.filename == member:
                break
            position += 46 + len(info.filename) + len(info.extra)
    assert raw[position : position + 4] == b"PK\1\2"
    raw[position + offset : position + offset + 4] = struct.pack("<I", value)
    return bytes(raw)


def test_a_directory_that_lies_about_what_is_stored_is_refused(tmp_path: Path) -> None:
    """Else a bomb would seem to grow less than it does."""
    path = write_keras(tmp_path / "whole")
    assert "and its members claim" in refused_bytes(tmp_path, patched(path, "config.json", 20, 10**8))


def test_a_directory_that_lies_about_the_size_inside_is_refused(tmp_path: Path) -> None:
    config = json.dumps(CONFIG).encode() + b" " * 10**5
    path = write_zip(tmp_path / "whole", members(config), zipfile.ZIP_DEFLATED)
    assert "damaged zip archive (Bad CRC-32" in refused_bytes(tmp_path, patched(path, "config.json", 24, 5000))


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "whole")
    raw = patched(path, "model.weights.h5", 42, 0)
    assert "damaged zip archive" in refused_bytes(tmp_path, raw)


PICKLES = {
    "assets/words.bin": pickle.dumps({"a": 1}, protocol=4),
    "assets/two.bin": pickle.dumps([1], protocol=2),
    "assets/encoder.pkl": b"(lp0\n.",
    "assets/scaler.joblib": b"x\x9c",
}


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_pickle_in_an_archive_is_refused(tmp_path: Path, name: str, compression: int) -> None:
    path = write_zip(tmp_path / "a.keras", members() | {name: PICKLES[name]}, compression)
    assert f"the member {name!r} is a pickle, which is never loaded because it can run code" in refusal(path)


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [object, [("a", "f4"), ("b", "O")]])
def test_a_numpy_array_of_objects_is_a_pickle(tmp_path: Path, dtype: Any) -> None:
    raw = npy(np.zeros(2, dtype))
    assert "is a pickle" in refusal(write_zip(tmp_path / "a.keras", members() | {"assets/a.npy": raw}))
    assert refused_bytes(tmp_path, raw, "a.npy").startswith("PATH is a pickle")


def test_a_numpy_array_of_numbers_is_none(tmp_path: Path) -> None:
    raw = npy(np.zeros(2))
    assert inspect_model(write_zip(tmp_path / "a.keras", members() | {"assets/a.npy": raw})).format == "keras"
    assert refused_bytes(tmp_path, raw, "a.npy").startswith("PATH is a numpy array; expected")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("archive/data.pkl", "is a PyTorch model: its data.pkl is a pickle, which is never loaded"),
        ("export/1/saved_model.pb", "is a packed SavedModel; unpack it and name the folder"),
    ],
)
def test_archives_of_others_are_known(tmp_path: Path, name: str, why: str) -> None:
    assert refusal(write_zip(tmp_path / "model.pt", {name: b"\x80\x02}q\x00."})).startswith(f"PATH {why}")


def test_an_archive_of_many_members_is_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.keras", members() | {f"assets/{number}": b"" for number in range(3000)})
    assert inspect_model(path).format == "keras"


# HDF5 files that are no model.


@pytest.mark.parametrize("groups", [["layers", "vars"], ["_layer_checkpoint_dependencies", "optimizer", "vars"]])
def test_weights_alone_are_refused(tmp_path: Path, groups: list[str]) -> None:
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        for group in groups:
            file.create_group(group)
    message = refusal(tmp_path / "model.weights.h5")
    assert message.startswith("PATH holds weights without the architecture; save the whole model with model.save(")
    assert "model.export(" in message


def test_weights_of_keras_2_alone_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file.create_group("dense")
    assert refusal(tmp_path / "weights.h5").startswith("PATH holds weights without the architecture")


@pytest.mark.parametrize("config", [7, [1, 2], np.zeros(3), h5py.Empty("S1")])
def test_an_h5_file_of_something_else_is_refused(tmp_path: Path, config: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["model_config"] = config
        file.create_dataset("images", data=np.zeros(3))
    assert refusal(tmp_path / "a.h5").startswith("PATH is an HDF5 file without model_config (it holds 'images')")


@pytest.mark.parametrize("size", [8, 100, 1000])
def test_a_truncated_h5_file_is_refused(tmp_path: Path, size: int) -> None:
    raw = write_h5(tmp_path / "whole").read_bytes()[:size]
    assert refused_bytes(tmp_path, raw).startswith("PATH is a damaged HDF5 file (")


def test_an_h5_file_that_hangs_libhdf5_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of a group's tree that is its own neighbour is walked for ever."""
    monkeypatch.setattr("trident.hdf5_head.TIMEOUT_S", 2)
    raw = bytearray(write_h5(tmp_path / "whole").read_bytes())
    node = raw.index(b"TREE")
    raw[node + 16 : node + 24] = node.to_bytes(8, "little")
    message = refused_bytes(tmp_path, bytes(raw))
    assert message.startswith("PATH is a damaged HDF5 file ('reading its structure took more than 2 s')")


def test_an_h5_file_that_would_unpack_without_measure_is_refused(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        file.create_dataset("model_weights/bomb", (2**36,), "f4", chunks=(2**20,), compression="gzip")
    assert refusal(path).startswith(f"PATH would unpack from {path.stat().st_size} to 2748779")


def write_stray(path: Path, kind: str) -> Path:
    """An .h5 file one of whose weights is read from another file."""
    write_h5(path)
    with h5py.File(path, "a") as file:
        weights = file["model_weights"]
        if kind == "link":
            weights["stray"] = h5py.ExternalLink("/etc/other.h5", "/x")
        elif kind == "external":
            weights.create_dataset("stray", (8,), "u1", external=[("/etc/hostname", 0, 8)])
        else:
            layout = h5py.VirtualLayout((8,), "u1")
            layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (8,))
            weights.create_virtual_dataset("stray", layout)
    return path


@pytest.mark.parametrize("kind", ["link", "external", "virtual"])
def test_weights_that_lie_in_another_file_are_refused(tmp_path: Path, kind: str) -> None:
    """Whoever loads the model would read a file of the machine into it."""
    message = refusal(write_stray(tmp_path / "model.h5", kind))
    assert message.startswith("PATH: 'model_weights/stray' lies in another file")


# SavedModels with something missing, or leading elsewhere.


@pytest.mark.parametrize(
    ("gone", "missing"),
    [(INDEX, "variables.index"), (SHARD, "variables.data-00000-of-00001")],
)
def test_a_savedmodel_with_half_of_its_variables_is_refused(tmp_path: Path, gone: str, missing: str) -> None:
    folder = write_savedmodel(tmp_path / "1")
    (folder / gone).unlink()
    assert refusal(folder).startswith(f"PATH/variables lacks {missing}; copy the whole SavedModel")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_savedmodel(tmp_path / "1")
    (folder / SHARD).rename(folder / "variables/variables.data-00000-of-00002")
    assert "PATH/variables lacks variables.data-00001-of-00002" in refusal(folder)


def test_an_empty_index_is_refused(tmp_path: Path) -> None:
    assert "variables.index is empty (0 bytes)" in refusal(write_savedmodel(tmp_path / "1", **{INDEX: b""}))


@pytest.mark.parametrize(
    ("raw", "found"),
    [(b"", "is empty (0 bytes)"), (b"\xff\xd8\xff\xe0", r"begins with b'\xff\xd8\xff\xe0'"), (b"{}", "begins with")],
)
def test_a_graph_that_is_none_is_refused(tmp_path: Path, raw: bytes, found: str) -> None:
    folder = write_savedmodel(tmp_path / "1", **{"saved_model.pb": raw})
    assert refusal(folder).startswith(f"PATH/saved_model.pb {found}")


@pytest.mark.parametrize("name", ["saved_model.pb", SHARD, "assets/words.txt"])
def test_a_link_out_of_a_savedmodel_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_savedmodel(tmp_path / "1", **{"assets/words.txt": b"free"})
    (tmp_path / "elsewhere").write_bytes(GRAPH)
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert refusal(folder).startswith(f"PATH: '{Path(name).name}' is a link to ")


@pytest.mark.parametrize("target", ["/etc", "../..", ".", "../variables", "nowhere", "itself"])
def test_links_to_folders_and_to_nothing_are_refused(tmp_path: Path, target: str) -> None:
    """A folder that leads to itself would be copied without end."""
    folder = write_savedmodel(tmp_path / "1")
    (folder / "variables/itself").symlink_to(target)
    assert refusal(folder).startswith(f"PATH: 'itself' is a link to {target!r}; expected a file inside the SavedModel")


def test_a_link_inside_a_savedmodel_is_allowed(tmp_path: Path) -> None:
    folder = write_savedmodel(tmp_path / "1")
    (folder / "assets").mkdir()
    (folder / "assets/copy.index").symlink_to("../variables/variables.index")
    assert inspect_model(folder).format == "savedmodel"


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unbound:
        unbound.bind(str(path))


@pytest.mark.parametrize(("make", "kind"), [(os.mkfifo, "FIFO"), (make_socket, "socket")])
def test_what_is_no_file_is_refused_unopened(tmp_path: Path, make: Any, kind: str) -> None:
    make(tmp_path / "model.keras")
    assert refusal(tmp_path / "model.keras").startswith(f"PATH is a {kind}; expected")
    folder = write_savedmodel(tmp_path / "1")
    (folder / "saved_model.pb").unlink()
    make(folder / "saved_model.pb")
    assert refusal(folder).startswith(f"PATH/saved_model.pb is a {kind}; expected")


def test_a_device_is_refused_unopened() -> None:
    assert refusal(Path("/dev/zero")).startswith("PATH is a device; expected")


# Folders without a SavedModel.


@pytest.mark.parametrize("below", ["1", "spam/1", "export"])
def test_the_savedmodel_below_is_suggested(tmp_path: Path, below: str) -> None:
    write_savedmodel(tmp_path / below)
    assert refusal(tmp_path) == f"PATH is no SavedModel itself; did you mean PATH/{below}?"


def test_the_keras_files_in_a_folder_are_suggested(tmp_path: Path) -> None:
    for name in ("a.h5", "b.keras", "c.weights.h5", "notes.txt"):
        (tmp_path / name).touch()
    assert refusal(tmp_path) == "PATH is no SavedModel itself; did you mean PATH/a.h5 or PATH/b.keras?"


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], "has no saved_model.pb (it holds nothing); expected"),
        (["notes.txt", "labels.txt"], "has no saved_model.pb (it holds 'labels.txt', 'notes.txt'); expected"),
        (["a\nb"], r"has no saved_model.pb (it holds 'a\nb'); expected"),
        (["checkpoint", "model.index"], "holds a TensorFlow checkpoint, which holds weights without the architecture"),
        (["ckpt-1.data-00000-of-00001"], "holds a TensorFlow checkpoint"),
        (["config.json", "metadata.json", "model.weights.h5"], "is an unpacked Keras model; save the whole model"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, names: list[str], why: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert refusal(tmp_path).startswith(f"PATH {why}")


# Files that are no model.


@pytest.mark.parametrize("name", ["model.keras", "model.keras/model.h5", "ä\x01"])
def test_a_missing_path_is_refused(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name).startswith("no model at PATH; expected a .keras or .h5 file or a SavedModel folder")


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    assert refusal(write_keras(tmp_path / "a.keras") / "1").startswith("no model at PATH")


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.h5").symlink_to("gone.h5")
    assert refusal(tmp_path / "model.h5").startswith("PATH is a link to gone.h5, which does not exist")


def test_the_prefix_of_a_checkpoint_is_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "ckpt-1.index").touch()
    assert refusal(tmp_path / "ckpt-1").startswith("PATH is a TensorFlow checkpoint, which holds weights without")


def test_paths_that_cannot_be_are_refused(tmp_path: Path) -> None:
    assert "File name too long" in refusal(tmp_path / ("x" * 300))
    (tmp_path / "loop").symlink_to("loop")
    assert "Too many levels of symbolic links" in refusal(tmp_path / "loop")
    with pytest.raises(ServiceError, match=r"'a\\x00b' holds a zero byte"):
        inspect_model(Path("a\0b"))


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    raw = pickle.dumps({"weights": [1.0]}, protocol)
    assert refused_bytes(tmp_path, raw, "model.pkl").startswith("PATH is a pickle, which is never loaded because")


def test_a_pickle_is_known_whatever_its_name(tmp_path: Path) -> None:
    assert refused_bytes(tmp_path, pickle.dumps([1]), "model.h5").startswith("PATH is a pickle")


def test_a_tokenizer_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert refusal(tmp_path / "tokenizer.json").startswith("PATH is a tokenizer")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "is empty (0 bytes); copy or save it again"),
        (b"\x1c\0\0\0TFL3\x14\0", "is a TensorFlow Lite model"),
        (b"\x08\x08\x12\x07pytorch\x1a\x051.9.0:", "is an ONNX model"),
        (GRAPH, "is the graph of a SavedModel; name the folder"),
        (b"\x0a\x2f\x0a\x01x\x12\x0bPlaceholder", "is a frozen GraphDef; serve it as platform tensorflow_graphdef"),
        (b"\x0a\xc2\x01\x0a\x08conv/w_1\x12\x05Const", "is a frozen GraphDef"),
        (b'{"format": "layers-model", "modelTopology": {"class_name": "Model"}}', "is a TensorFlow.js model"),
        (json.dumps(CONFIG).encode(), "holds an architecture without weights; save the whole model"),
        (b'model_checkpoint_path: "model.ckpt-7"\n', "names a TensorFlow checkpoint, which holds weights without"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a JPEG picture; expected"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG picture; expected"),
        (b"\x1f\x8b\x08\0", "is compressed; unpack it"),
        (b"free prize\n", "begins with b'free pri'; expected"),
        (b"\n", r"begins with b'\n'; expected"),
        pytest.param(bytes(5000), r"begins with b'\x00\x00\x00", id="zeros"),
        pytest.param(b"{" * 5000, "begins with b'{{{{{{{{'; expected", id="braces"),
        ("schön".encode(), r"begins with b'sch\xc3\xb6n'"),
    ],
)
def test_files_that_are_no_model_are_refused(tmp_path: Path, raw: bytes, why: str) -> None:
    assert refused_bytes(tmp_path, raw, "model.keras").startswith(f"PATH {why}")


@pytest.mark.parametrize("name", ["ckpt-1.index", "ckpt-1.data-00000-of-00002"])
def test_parts_of_a_checkpoint_are_refused(tmp_path: Path, name: str) -> None:
    assert refused_bytes(tmp_path, b"\0\1\2", name).startswith("PATH belongs to a TensorFlow checkpoint, which holds")
