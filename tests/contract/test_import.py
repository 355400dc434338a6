"""`trident import` refuses what cannot be served, and leaves everything as it was."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import DATA, RunTrident
from tokenizers import Tokenizer, models, pre_tokenizers


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory: pytest.TempPathFactory, tiny_service: Path) -> Path:
    """`good.keras` (30 token ids → 2 classes), `lambda.keras`, and the files beside them."""
    import keras

    folder = tmp_path_factory.mktemp("keras_files")
    layers = keras.layers
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    states = layers.Embedding(30, 4)(ids)
    keras.Model(ids, layers.Dense(2)(layers.GlobalAveragePooling1D()(states))).save(folder / "good.keras")
    (folder / "my_layers.py").write_text(MY_LAYERS)
    models_of_own = "Sequential([Input((2,)), Doubled()]).save('own.keras'); Sequential([Input((2,)), Fickle()])"
    script = f"from keras import *; from my_layers import *; {models_of_own}.save('fickle.keras')"
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, capture_output=True)
    keras.Sequential([keras.Input((2,)), layers.Lambda(lambda tensor: tensor + 1)]).save(folder / "lambda.keras")
    for size in (30, 31):
        words = {"[PAD]": 0, "[UNK]": 1} | {f"word{number}": number for number in range(2, size)}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.save(str(folder / f"tokenizer{size}.json"))
    (folder / "two.txt").write_text("a\nb\n")
    (folder / "three.txt").write_text("a\nb\nc\n")
    return folder


MY_LAYERS = """
import keras
import tensorflow as tf


class Doubled(keras.layers.Layer):
    def call(self, tensor):
        return tensor * 2


class Fickle(keras.layers.Layer):
    \"\"\"Gives in a graph something else than when it is called.\"\"\"

    def call(self, tensor):
        return tensor + (0 if tf.executing_eagerly() else 1)
"""
TEXT = ("--task", "text-classification", "--name", "mine")


def failure(trident: RunTrident, folder: Path, *arguments: object) -> str:
    """The one line that a refused import prints; nothing may be left."""
    services = folder / "services"
    before = sorted(str(path) for path in services.rglob("*"))
    result = trident("import", *arguments, "--services", services)
    assert (result.returncode, result.stdout) == (1, ""), result.stdout
    assert sorted(str(path) for path in services.rglob("*")) == before
    lines = [line for line in result.stderr.splitlines() if not line.endswith(" ...")]
    assert len(lines) == 1, result.stderr
    return str(lines[0])


def test_a_tokenizer_with_more_ids_than_the_embedding_is_refused(
    trident: RunTrident, keras_files: Path, tmp_path: Path
) -> None:
    labels = ("--labels", keras_files / "two.txt")
    large = ("--tokenizer", keras_files / "tokenizer31.json")
    message = failure(trident, tmp_path, keras_files / "good.keras", *TEXT, *labels, *large)
    assert "tokenizer31.json has 31 token ids and the model's embedding 30" in message


def test_labels_that_do_not_fit_are_refused_and_the_service_stays(
    trident: RunTrident, keras_files: Path, tmp_path: Path
) -> None:
    files = (keras_files / "good.keras", *TEXT, "--tokenizer", keras_files / "tokenizer30.json")
    good = trident("import", *files, "--labels", keras_files / "two.txt", "--services", tmp_path / "services", "--json")
    assert good.returncode == 0, good.stderr
    report = json.loads(good.stdout)
    assert (report["verified"], report["format"], report["parameters"]) == (12, "keras", 130)
    toml = tmp_path / "services" / "mine" / "service.toml"
    toml.write_text(toml.read_text().replace("max_batch_size = 64", "max_batch_size = 17"))
    again = trident("import", *files, "--labels", keras_files / "two.txt", "--services", tmp_path / "services")
    assert again.returncode == 0, again.stderr
    assert "max_batch_size = 17" in toml.read_text()
    message = failure(trident, tmp_path, *files, "--labels", keras_files / "three.txt")
    assert f"{keras_files / 'three.txt'} has 3 labels and the model gives 2 classes" in message
    assert "give the tokenizer it was trained with" in failure(trident, tmp_path, keras_files / "good.keras", *TEXT)
    built = trident("build", tmp_path / "services" / "mine", "--model-repository", tmp_path / "repository")
    assert built.returncode == 0, built.stderr
    assert "padding changes this model's answers" in built.stderr


def test_code_in_a_file_runs_only_if_it_is_told_to(trident: RunTrident, keras_files: Path, tmp_path: Path) -> None:
    tensors = (keras_files / "lambda.keras", "--task", "tensors", "--name", "mine")
    assert "holds or needs Python code: Python bytecode in layer 'lambda" in failure(trident, tmp_path, *tensors)
    result = trident("import", *tensors, "--allow-unsafe", "--services", tmp_path / "services")
    assert result.returncode == 0, result.stderr


def test_classes_of_the_users_own_come_from_a_module_that_is_named(
    trident: RunTrident, keras_files: Path, tmp_path: Path
) -> None:
    tensors = (keras_files / "own.keras", "--task", "tensors", "--name", "mine")
    message = failure(trident, tmp_path, *tensors)
    assert "custom object 'Doubled'" in message
    assert message.endswith("name a module that has its classes with --custom-objects MODULE")
    services = ("--services", tmp_path / "services")
    result = trident("import", *tensors, "--custom-objects", "my_layers", *services, cwd=keras_files)
    assert result.returncode == 0, result.stderr


def test_an_export_that_differs_from_its_original_is_refused(
    trident: RunTrident, keras_files: Path, tmp_path: Path
) -> None:
    fickle = (keras_files / "fickle.keras", "--task", "tensors", "--name", "mine")
    services = ("--custom-objects", "my_layers", "--services", tmp_path / "services")
    result = trident("import", *fickle, *services, cwd=keras_files)
    assert (result.returncode, result.stdout) == (1, ""), result.stdout
    found = re.search(r"the export differs from the original by (\S+); expected at most 1e-05", result.stderr)
    assert found is not None, result.stderr
    assert 0.4 < float(found[1]) <= 1
    assert list((tmp_path / "services").iterdir()) == []


def test_a_sample_is_compared_too_and_the_report_says_so(
    trident: RunTrident, keras_files: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("word2 word3\nword4\n" * 20, encoding="utf-8")
    files = ("--tokenizer", keras_files / "tokenizer30.json", "--labels", keras_files / "two.txt")
    sample = ("--sample", tmp_path / "texts.txt", "--services", tmp_path / "services")
    result = trident("import", keras_files / "good.keras", *TEXT, *files, *sample)
    assert result.returncode == 0, result.stderr
    assert " on 14 batches, 2 of them from the sample" in result.stdout


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("model.keras", b"\x80\x04K\x01.", "is a pickle, which is never loaded"),
        ("model.h5", b"", "is empty (0 bytes)"),
        ("model.keras", DATA.read_bytes()[:500], "expected a .keras or .h5 file or a SavedModel folder"),
    ],
    ids=["pickle", "empty", "text"],
)
def test_what_is_no_model_is_refused(
    trident: RunTrident, tmp_path: Path, name: str, content: bytes, fault: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert fault in failure(trident, tmp_path, tmp_path / name, "--task", "tensors", "--name", "mine")


def test_an_archive_that_climbs_out_is_refused(trident: RunTrident, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("../outside.txt", "gotcha")
    message = failure(trident, tmp_path, tmp_path / "model.keras", "--task", "tensors", "--name", "mine")
    assert "../outside.txt" in message
    assert not (tmp_path.parent / "outside.txt").exists()
