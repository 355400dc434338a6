"""The `tensorflow` backend's CPU accelerator: OpenVINO answers as TensorFlow does, or TensorFlow answers."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import parity_models
import pytest
import real_models
from backend_server import BackendServer
from numpy.typing import NDArray
from triton_tensorflow.openvino_engine import OpenVinoEngine, Unsupported
from triton_tensorflow.settings import OpenVino, Settings
from triton_tensorflow.signatures import read_signature

# Relative to the largest answer.
F32_TOLERANCE = 1e-4
BF16_TOLERANCE = 2e-2
SHAPES = [(1, 1), (1, 7), (3, 12), (8, 32), (2, 5)]

ENCODER = """
max_batch_size: 16
dynamic_batching { max_queue_delay_microseconds: 50000 }
input [
  { name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true },
  { name: "attention_mask" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true }
]
output [ { name: "embedding" data_type: TYPE_FP32 dims: [ 8 ] } ]
"""
UNKNOWN_RANK = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""
CUSTOM_OPERATION = f'model_operations {{ op_library_filename: "{parity_models.operation_library()}" }}\n'
# Variables of one name, and two signatures neither of which is the default.
WRITE_TWINS = """
import sys
import tensorflow as tf
module = tf.Module()
module.twins = [tf.Variable(factor, name="twin") for factor in (2.0, 3.0, 5.0)]
spec = tf.TensorSpec((None, 2), tf.float32, "x")
first = tf.function(lambda x: {"y": x * module.twins[1]}, input_signature=[spec])
second = tf.function(lambda x: {"y": x * module.twins[2], "x": x}, input_signature=[spec])
module.first, module.second = first, second
tf.saved_model.save(module, sys.argv[1], signatures={"first": first, "second": second})
"""
LOAD = """
import json, sys
from triton_tensorflow.loading import load
name, repository = sys.argv[1:]
config = {
    "max_batch_size": 4,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["4"]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": ["4"]}],
    "optimization": {"execution_accelerators": {"cpu_execution_accelerator": [{"name": "openvino"}]}},
}
args = {"model_repository": repository, "model_version": "1", "model_instance_kind": "CPU",
        "model_instance_device_id": "0"}
model = load(config, args, {})
assert "loader OpenVINO" in model.summary, model.warnings
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def accelerator(**parameters: object) -> str:
    entries = " ".join(f'parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items())
    inner = f'cpu_execution_accelerator [ {{ name: "openvino" {entries} }} ]'
    return f"optimization {{ execution_accelerators {{ {inner} }} }}\n"


def error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    real_models.write_made(folder)
    return folder / "encoder" / "1" / "model.savedmodel"


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twins") / "model.savedmodel"
    subprocess.run([sys.executable, "-c", WRITE_TWINS, str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", F32_TOLERANCE), ("bf16", BF16_TOLERANCE)])
def test_an_encoder_answers_as_with_tensorflow(
    backend: BackendServer, encoder: Path, precision: str, tolerance: float
) -> None:
    rng = np.random.default_rng(5)
    with (
        backend.model("by_tensorflow", encoder, ENCODER) as reference,
        backend.model(f"encoder_{precision}", encoder, ENCODER + accelerator(PRECISION=precision)) as name,
    ):
        for rows, length in SHAPES:
            ids = rng.integers(1, 100, (rows, length), np.int32)
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            expected = backend.infer(reference, None, **inputs)["embedding"]
            assert error(backend.infer(name, None, **inputs)["embedding"], expected) < tolerance
        log = backend.log(name)
    assert "loader OpenVINO" in log
    assert f"precision {precision}" in log or ("PRECISION is bf16" in log and "precision f32" in log)


def test_ragged_requests_share_a_batch(backend: BackendServer, encoder: Path) -> None:
    def ask(length: int) -> NDArray[np.float32]:
        ids = np.arange(1, length + 1, dtype=np.int32)[None]
        return backend.infer(name, input_ids=ids, attention_mask=np.ones_like(ids))["embedding"]

    with backend.model("openvino_ragged", encoder, ENCODER + accelerator()) as name:
        alone = [ask(length) for length in range(1, 9)]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(ask, range(1, 9)))
        statistics = backend.client.get_inference_statistics(name)["model_stats"][0]
    assert int(statistics["execution_count"]) < int(statistics["inference_count"])
    assert max(map(error, together, alone)) < F32_TOLERANCE


def test_a_dense_layer_answers_as_with_tensorflow(backend: BackendServer, models: Path) -> None:
    rng = np.random.default_rng(6)
    with (
        backend.model("dense_by_tensorflow", models / "dense") as reference,
        backend.model("dense_by_openvino", models / "dense", accelerator()) as name,
    ):
        for rows in (1, 2, 4):
            x = rng.standard_normal((rows, 4), np.float32)
            expected = backend.infer(reference, x=x)["y"]
            assert error(backend.infer(name, x=x)["y"], expected) < F32_TOLERANCE


def test_only_requested_outputs_come_back(backend: BackendServer, models: Path) -> None:
    ids = np.array([[1, 2, 3], [4, 5, 9]], np.int32)
    with backend.model("openvino_subset", models / "ragged", accelerator()) as name:
        assert set(backend.infer(name, ids=ids)) == {"states", "total"}
        answer = backend.infer(name, outputs=["total"], ids=ids)
    assert {key: value.tolist() for key, value in answer.items()} == {"total": [[6], [18]]}


def test_the_log_says_what_serves(backend: BackendServer, models: Path) -> None:
    with backend.model("openvino_told", models / "dense", accelerator(NUM_THREADS=1)) as name:
        log = backend.log(name)
    assert "loader OpenVINO, precision f32, threads 1, calls at once 1, device CPU" in log
    assert "[?]" not in log
    assert "cannot serve" not in log


def test_ids_that_openvino_would_answer_are_warned_about(backend: BackendServer, models: Path) -> None:
    with backend.model("openvino_ids", models / "sums", accelerator()) as name:
        assert "if ['ids'] are ids, set parameter MAX_VALUE" in backend.log(name)
        far = np.array([[1, 10], [0, 0]], np.int32)  # the table has 10 rows of [2 i, 2 i + 1]
        assert backend.infer(name, ids=far)["total"].tolist() == [[2, 3], [0, 2]]


@pytest.mark.parametrize(
    ("source", "reason", "config", "inputs"),
    [
        ("upper", "'words' is TYPE_STRING", "", {"words": np.array([[b"a"]], object)}),
        ("counter", "its graph changes state", "", {"x": np.array([[1]], np.int32)}),
        ("defaults", "OpenVINO has 0 inputs for 'scale'", "", {"x": [[1, 2]], "scale": [[1]]}),
        ("unknown_rank", "dynamic rank", UNKNOWN_RANK, {"x": [[1, 2]]}),
        ("custom_operation", "need TensorFlow", CUSTOM_OPERATION, {"words": np.array([[b"A"]], object)}),
    ],
    ids=["strings", "state", "an input with a default", "unknown rank", "an operation library"],
)
def test_tensorflow_serves_what_openvino_cannot(
    backend: BackendServer, models: Path, source: str, reason: str, config: str, inputs: dict[str, object]
) -> None:
    with backend.model(f"fallback_{source}", models / source, accelerator() + config) as name:
        assert backend.infer(name, None, **inputs)
        log = backend.log(name)
    assert "cannot serve this model, TensorFlow does" in log
    assert reason in log
    assert "loader TensorFlow" in log


@pytest.mark.parametrize(("signature", "factor"), [("first", 3.0), ("second", 5.0)])
def test_any_signature_is_served_with_its_own_variables(
    backend: BackendServer, twins: Path, signature: str, factor: float
) -> None:
    config = accelerator() + f'parameters {{ key: "TF_SIGNATURE_DEF" value: {{ string_value: "{signature}" }} }}\n'
    with backend.model(f"openvino_{signature}", twins, config) as name:
        answer = backend.infer(name, x=[[1, 2]])
        assert "loader OpenVINO" in backend.log(name)
    assert answer["y"].tolist() == [[factor, 2 * factor]]


def test_a_precision_that_is_none_is_a_load_error(backend: BackendServer, models: Path) -> None:
    refusal = backend.refusal("openvino_f8", models / "dense", accelerator(PRECISION="f8"))
    assert "PRECISION is 'f8'; expected one of ['f32', 'bf16']" in refusal


def test_without_openvino_the_warning_says_how_to_install_it(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    folder = models / "dense"
    with pytest.raises(Unsupported, match="pip install openvino"):
        OpenVinoEngine(folder, read_signature(folder, "serve", None), Settings(openvino=OpenVino()))


def test_openvino_serves_without_tensorflow_and_reports_to_nobody(models: Path, tmp_path: Path) -> None:
    version = tmp_path / "1"
    version.mkdir()
    (version / "model.savedmodel").symlink_to(models / "dense")
    home = tmp_path / "home"
    home.mkdir()
    path = Path(__file__).parents[2] / "ensemble" / "trident" / "backends" / "tensorflow"
    result = subprocess.run(
        [sys.executable, "-c", LOAD, "dense", str(tmp_path)],
        env={"HOME": str(home), "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    modules = set(json.loads(result.stdout))
    assert "openvino" in modules
    assert "tensorflow" not in modules
    assert list(home.iterdir()) == []
