"""Keras models of every shape: whatever their inputs and outputs are called and however they are nested."""

import json
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TRIDENT
from trident import savedmodel
from trident.errors import ExportError, ServiceError
from trident.importing import ImportOptions, ImportReport, import_model
from trident.pipeline import design
from trident.service import load_service
from trident.tensorflow_reach import reaches_out
from triton_tensorflow.protobuf import messages

COLUMNS: list[dict[str, Any]] = [
    {"name": "age", "type": "number", "mean": 40, "scale": 10},
    {"name": "yearly income", "type": "number"},
    {"name": "city", "type": "category", "values": ["bonn", "rome", "oslo"]},
]


@pytest.fixture(scope="module")
def keras() -> Any:
    """Keras, which imports TensorFlow."""
    import keras

    return keras


def do_import(folder: Path, model: Any, **options: Any) -> ImportReport:
    """Save a model and import it."""
    model.save(folder / "model.keras")
    return import_model(
        folder / "model.keras", "mine", folder / "services", ImportOptions(**({"task": "tensors"} | options))
    )


def parts(entries: list[dict[str, Any]]) -> dict[str, tuple[str, list[int]]]:
    """Part → tensor and shape."""
    return {entry["part"]: (entry["tensor"], entry["shape"]) for entry in entries}


def test_names_that_a_signature_cannot_have_are_rewritten(tmp_path: Path, keras: Any) -> None:
    first, second = keras.Input((3,), name="a-b"), keras.Input((2,), name="größe x")
    model = keras.Model([first, second], keras.layers.Dense(2, name="y")(keras.layers.Concatenate()([first, second])))
    report = do_import(tmp_path, model)
    assert parts(report.inputs) == {"a_b": ("a_b", [-1, 3]), "gr__e_x": ("gr__e_x", [-1, 2])}
    assert parts(report.outputs) == {"y": ("y", [-1, 2])}
    assert report.verified == 12


def test_nested_inputs_and_outputs_are_named_by_their_place(tmp_path: Path, keras: Any) -> None:
    x, y, z = (keras.Input((width,), name=name) for width, name in ((2, "x"), (3, "y"), (4, "right")))
    dense = keras.layers.Dense
    model = keras.Model({"left": [x, y], "right": z}, {"pair": [dense(5)(x), dense(6)(y)], "one": dense(7)(z)})
    report = do_import(tmp_path, model)
    assert {part: shape for part, (_, shape) in parts(report.inputs).items()} == {
        "left_0": [-1, 2],
        "left_1": [-1, 3],
        "right": [-1, 4],
    }
    assert {part: shape for part, (_, shape) in parts(report.outputs).items()} == {
        "one": [-1, 7],
        "pair_0": [-1, 5],
        "pair_1": [-1, 6],
    }
    assert report.difference == 0


def test_bfloat16_leaves_as_float32(tmp_path: Path, keras: Any) -> None:
    layer = keras.layers.Dense(2, dtype="mixed_bfloat16", name="half")
    report = do_import(tmp_path, keras.Sequential([keras.Input((3,), name="x"), layer]))
    assert report.outputs[0]["data_type"] == "FP32"


def test_a_model_that_draws_numbers_when_it_serves_is_refused(tmp_path: Path, keras: Any) -> None:
    x = keras.Input((2,))
    with pytest.raises(ExportError, match="such as the seed of one that draws random numbers when it serves"):
        do_import(tmp_path, keras.Model(x, keras.layers.Dropout(0.5)(x, training=True)))
    assert list((tmp_path / "services").iterdir()) == []


def test_a_model_that_was_never_built_is_refused(tmp_path: Path, keras: Any) -> None:
    model = keras.Sequential([keras.layers.Dense(2)])
    with pytest.warns(UserWarning, match="not yet been built"):
        model.save(tmp_path / "model.keras")
    with pytest.raises(ExportError, match=r"model\.keras was never built, so nobody knows its inputs; call it once"):
        import_model(tmp_path / "model.keras", "mine", tmp_path / "services", ImportOptions(task="tensors"))


def test_a_layer_name_that_tensorflow_refuses_is_told_in_one_line(tmp_path: Path, keras: Any) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="out put")])
    with pytest.raises(ExportError) as caught:
        do_import(tmp_path, model)
    assert "cannot be written as a SavedModel: 'out put' is not a valid scope name" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_savedmodel_that_keeps_state_is_told_of(tmp_path: Path) -> None:
    import tensorflow as tf

    class Counter(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.calls = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> dict[str, Any]:
            return {"y": x + self.calls.assign_add(1.0)}

    counter = Counter()
    tf.saved_model.save(counter, str(tmp_path / "model"), signatures=counter.__call__)
    report = import_model(tmp_path / "model", "mine", tmp_path / "services", ImportOptions(task="tensors"))
    assert (
        "two calls with the same inputs give different answers: the model draws numbers or keeps state" in report.notes
    )


def test_a_savedmodel_that_writes_files_runs_only_if_it_is_told_to(tmp_path: Path) -> None:
    import tensorflow as tf

    class Writer(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> dict[str, Any]:
            tf.io.write_file(str(tmp_path / "written"), "x")
            return {"y": x * 2}

    writer = Writer()
    tf.saved_model.save(writer, str(tmp_path / "model"), signatures=writer.__call__)
    options = ImportOptions(task="tensors")
    with pytest.raises(ServiceError, match="reaches beyond the model: the operation WriteFile; run it with"):
        import_model(tmp_path / "model", "mine", tmp_path / "services", options)
    assert not (tmp_path / "written").exists()
    import_model(tmp_path / "model", "mine", tmp_path / "services", replace(options, allow_unsafe=True))
    assert (tmp_path / "written").exists()


REFUSED = """
CSVDataset CSVDatasetV2 CacheDataset CacheDatasetV2 CalibrationStatisticsSaver CreateSummaryDbWriter
CreateSummaryFileWriter DTensorRestoreV2 DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3
DataServiceDatasetV4 DatasetToTFRecord DebugIdentity DebugIdentityV2 DebugIdentityV3 DebugNanCount DebugNumericSummary
DistributedSave DumpTensor EagerPyFunc ExperimentalCSVDataset ExperimentalDatasetToTFRecord ExperimentalLMDBDataset
ExperimentalMatchingFilesDataset ExperimentalSqlDataset FileSystemSetConfiguration FixedLengthRecordDataset
FixedLengthRecordDatasetV2 FixedLengthRecordReader FixedLengthRecordReaderV2 GenerateVocabRemapping ImmutableConst
LMDBDataset LMDBReader ListSnapshotChunksDataset LoadAndRemapMatrix LoadDataset MatchingFiles MatchingFilesDataset
PyFunc PyFuncStateless ReadFile RecordInput RegisterDataset RegisterDatasetV2 RpcClient RpcServer SaveDataset
SaveDatasetV2 Skipgram SnapshotChunkDataset SnapshotDataset SnapshotDatasetReader SnapshotDatasetV2
SnapshotNestedDatasetReader SqlDataset TFRecordDataset TFRecordDatasetV2 TFRecordReader TFRecordReaderV2
TextLineDataset TextLineReader TextLineReaderV2 WholeFileReader WholeFileReaderV2 WriteFile
"""


def test_the_operations_that_are_refused_are_tensorflows() -> None:
    """A name that TensorFlow does not have would refuse nothing."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    registered = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    nodes = [messages().GraphDef().node.add(op=definition.name) for definition in registered.op]
    assert sorted(node.op for node in nodes if reaches_out(node)) == sorted(REFUSED.split())


# -- what loaders leave undone --------------------------------------------------------------------------------------


def test_an_h5_file_keeps_what_a_model_inside_has_learnt(tmp_path: Path, keras: Any) -> None:
    front = keras.Sequential([keras.Input((1,)), keras.layers.Normalization(axis=-1)])
    front.layers[0].adapt(np.array([[90.0], [110.0]]))
    model = keras.Sequential([keras.Input((1,), name="x"), front, keras.layers.Dense(1, name="y")])
    model.save(tmp_path / "model.h5")
    import_model(tmp_path / "model.h5", "mine", tmp_path / "services", ImportOptions(task="tensors"))
    folder = tmp_path / "services" / "mine" / "model.savedmodel"
    exported = savedmodel.load(folder, savedmodel.read_tensors(folder, "serving_default", 1).signature)
    given = np.array([[100.0], [120.0]], np.float32)
    (answer,) = exported({"x": given}).values()
    np.testing.assert_allclose(answer, model(given).numpy(), atol=1e-5)


# -- an input for each column ---------------------------------------------------------------------------------------


def columns_model(keras: Any) -> Any:
    inputs = [keras.Input((width,), name=name) for name, width in (("age", 1), ("yearly_income", 1), ("city", 3))]
    return keras.Model(inputs, keras.layers.Dense(2, name="y")(keras.layers.Concatenate()(inputs)))


def features(folder: Path, columns: list[dict[str, Any]], **more: Any) -> Path:
    path = folder / "given.json"
    path.write_text(json.dumps({"columns": columns} | more), encoding="utf-8")
    return path


def labels(folder: Path) -> Path:
    (folder / "two.txt").write_text("no\nyes\n")
    return folder / "two.txt"


def test_a_model_may_have_an_input_for_each_column(tmp_path: Path, keras: Any) -> None:
    given = {"task": "tabular", "features": features(tmp_path, COLUMNS), "labels": labels(tmp_path)}
    report = do_import(tmp_path, columns_model(keras), **given)
    assert parts(report.inputs)["yearly_income_values"] == ("yearly_income", [-1, 1])
    written = json.loads((report.service / "features.json").read_text(encoding="utf-8"))
    assert written["columns"] == COLUMNS
    assert written["tensors"]["yearly_income_values"] == ["yearly income"]


def test_a_model_may_encode_texts_itself(tmp_path: Path, keras: Any) -> None:
    layers = keras.layers
    years, town = keras.Input((1,), name="years"), keras.Input((1,), dtype="string", name="town")
    lookup = layers.StringLookup(vocabulary=["bonn", "rome"], output_mode="one_hot")
    model = keras.Model([years, town], layers.Dense(1, name="y")(layers.Concatenate()([years, lookup(town)])))
    columns: list[dict[str, Any]] = [
        {"name": "years", "type": "number"},
        {"name": "town", "type": "category", "values": ["bonn", "rome"]},
    ]
    with pytest.raises(ServiceError, match=r"'town' are no texts; expected columns of the type 'text'"):
        do_import(tmp_path, model, task="tabular", features=features(tmp_path, columns))
    columns[1] = {"name": "town", "type": "text"}
    report = do_import(tmp_path, model, task="tabular", features=features(tmp_path, columns))
    assert [entry["data_type"] for entry in report.inputs] == ["STRING", "FP32"]


def test_columns_that_are_not_the_models_inputs_are_refused(tmp_path: Path, keras: Any) -> None:
    given = {"task": "tabular", "features": features(tmp_path, COLUMNS[:2]), "labels": labels(tmp_path)}
    expected = r"takes \['age', 'city', 'yearly_income'\] and .* has the columns \['age', 'yearly income'\]; say in its"
    with pytest.raises(ServiceError, match=expected):
        do_import(tmp_path, columns_model(keras), **given)


def test_a_tensor_that_cannot_hold_its_columns_is_refused(tmp_path: Path, keras: Any) -> None:
    ids = keras.Input((5,), dtype="int32", name="x")
    model = keras.Model(ids, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Embedding(9, 2)(ids))))
    with pytest.raises(
        ServiceError, match=r"tensor 'features' is TYPE_INT32, and its columns 'age', 'city' are one-hot"
    ):
        do_import(tmp_path, model, task="tabular", features=features(tmp_path, COLUMNS), labels=labels(tmp_path))


# -- probabilities --------------------------------------------------------------------------------------------------


def test_scores_of_relu_are_no_probabilities(tmp_path: Path, keras: Any) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="relu", name="y")])
    model.layers[0].set_weights([np.array([[0.5, -0.5]], np.float32), np.zeros(2, np.float32)])
    number = [{"name": "x", "type": "number"}]
    given = {"task": "tabular", "features": features(tmp_path, number), "labels": labels(tmp_path)}
    assert "the model gives logits, of which softmax makes probabilities" in do_import(tmp_path, model, **given).notes


def test_softmax_of_a_single_score_is_refused(tmp_path: Path, keras: Any) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="y")])
    number = features(tmp_path, [{"name": "x", "type": "number"}])
    given = {"features": number, "labels": labels(tmp_path), "postprocess": {"activation": "softmax"}}
    with pytest.raises(ServiceError, match="softmax', which makes 1 of every single score"):
        do_import(tmp_path, model, task="tabular", **given)


@pytest.mark.parametrize(
    ("activation", "weight", "note"),
    [
        ("sigmoid", 1e6, "the model gives probabilities, which are taken as they are"),
        (None, 0.01, "the model gives logits, of each of which the logistic function makes a probability"),
    ],
    ids=["a sigmoid that gives zeros", "logits between 0 and 1"],
)
def test_the_graph_tells_probabilities_from_logits(
    tmp_path: Path, keras: Any, activation: str | None, weight: float, note: str
) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, activation=activation, name="y")])
    model.layers[0].set_weights([np.array([[weight]], np.float32), np.array([-weight / 2], np.float32)])
    if activation is None:
        model.layers[0].set_weights([np.array([[weight]], np.float32), np.array([0.4], np.float32)])
    given = {"features": features(tmp_path, [{"name": "x", "type": "number"}]), "labels": labels(tmp_path)}
    assert note in do_import(tmp_path, model, task="tabular", **given).notes


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, keras: Any) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="y")])
    model.layers[0].set_weights([np.array([[np.nan]], np.float32), np.zeros(1, np.float32)])
    with pytest.raises(ServiceError, match=r"that is not finite; its weights may be damaged"):
        do_import(tmp_path, model, task="tabular", features=features(tmp_path, [{"name": "x", "type": "number"}]))


# -- rows that depend on each other ---------------------------------------------------------------------------------


def test_rows_that_depend_on_each_other_never_share_a_batch(tmp_path: Path) -> None:
    import tensorflow as tf

    class Centred(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> dict[str, Any]:
            return {"y": x - tf.reduce_mean(x, axis=0, keepdims=True)}

    centred = Centred()
    tf.saved_model.save(centred, str(tmp_path / "model"), signatures=centred.__call__)
    report = import_model(tmp_path / "model", "mine", tmp_path / "services", ImportOptions(task="tensors"))
    assert any("the first axis is no batch axis: max_batch_size = 0" in note for note in report.notes)
    service = load_service(report.service)
    assert (service.spec.serving.max_batch_size, design(service).model.max_batch_size) == (0, 0)
    number = [{"name": "a", "type": "number"}, {"name": "b", "type": "number"}]
    options = ImportOptions(task="tabular", features=features(tmp_path, number), labels=labels(tmp_path))
    with pytest.raises(ServiceError, match="a row's answer depends on the other rows of its batch"):
        import_model(tmp_path / "model", "other", tmp_path / "services", options)


# -- ended in the middle --------------------------------------------------------------------------------------------


def test_sigterm_in_the_middle_leaves_nothing(tmp_path: Path, keras: Any) -> None:
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).save(tmp_path / "model.keras")
    arguments = ("import", "model.keras", "--task", "tensors", "--name", "mine")
    process = subprocess.Popen([TRIDENT, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    workshop = tmp_path / "services" / ".mine.new"
    deadline = time.monotonic() + 60
    while not workshop.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert list((tmp_path / "services").iterdir()) == []
    again = subprocess.run([TRIDENT, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert again.returncode == 0, again.stderr
