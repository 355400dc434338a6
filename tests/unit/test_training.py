"""Training keeps what the user set by hand, and replaces a service only by a whole one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trident import encoders, training
from trident.datasets import Dataset
from trident.errors import DataError, ServiceError
from trident.service import TextClassification, load_service, load_spec, write_spec
from trident.service_edit import set_serving
from trident.training import TrainOptions, train

SETTINGS = """\
name = "spam"
task = "text-classification"
description = 'Messages: "free" or not'
[preprocess]
max_length = 7
lowercase = true
[postprocess]
top_k = 2
threshold = 0.25
[serving]
queue_delay_ms = 1.5
threads = 3
"""


def test_a_new_service_has_the_defaults_and_the_options() -> None:
    spec = training._spec("spam", TrainOptions(max_length=64), None)
    assert (spec.name, spec.preprocess.max_length, spec.serving.queue_delay_ms) == ("spam", 64, 0.0)


def test_training_again_keeps_what_is_set_by_hand(service_folder: Path) -> None:
    (service_folder / "service.toml").write_text(SETTINGS, encoding="utf-8")
    former = load_spec(service_folder)
    assert isinstance(former, TextClassification)
    spec = training._spec("spam", TrainOptions(max_length=64), former)
    assert spec.description == 'Messages: "free" or not'
    assert (spec.postprocess.top_k, spec.postprocess.threshold) == (2, 0.25)
    assert spec.serving == former.serving
    assert (spec.preprocess.max_length, spec.preprocess.lowercase) == (64, False)


def test_the_service_toml_that_is_written_reads_back(service_folder: Path) -> None:
    (service_folder / "service.toml").write_text(SETTINGS, encoding="utf-8")
    spec = load_service(service_folder).spec
    write_spec(spec, service_folder)
    assert load_service(service_folder).spec == spec


def test_balanced_weights_make_each_label_count_the_same() -> None:
    classes = np.array([0, 0, 0, 1], dtype=np.int32)
    weights = training._weights(classes, "balanced")
    assert weights == {0: pytest.approx(2 / 3), 1: 2.0}
    assert training._weights(classes, "none") is None


def test_the_vocabulary_is_learnt_from_the_texts_as_they_will_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word with a control character in it is served without, and would be unknown."""
    learnt: list[str] = []

    def train_tokenizer(texts: list[str], max_length: int) -> None:
        learnt.extend(texts)
        raise ServiceError("that is all")

    monkeypatch.setattr(encoders, "seed_everything", lambda seed: None)
    monkeypatch.setattr(encoders, "train_tokenizer", train_tokenizer)
    file = tmp_path / "data.tsv"
    rows = [f"{label}\tIt\x92s  cafe\u0301 {label}{number}\n" for label in ("ham", "spam") for number in range(5)]
    file.write_text("label\ttext\n" + "".join(rows), encoding="utf-8")
    with pytest.raises(ServiceError, match="that is all"):
        train(file, "spam", tmp_path / "services", TrainOptions(encoder="none"))
    assert {text[:8] for text in learnt} == {"Its café"}


def test_what_is_set_while_it_trains_is_kept(service_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `trident tune` may."""
    toml = service_folder / "service.toml"
    data = service_folder.parent / "data.tsv"
    rows = [f"{label}\t{label} {number}" for label in ("ham", "spam") for number in range(3)]
    data.write_text("\n".join(["label\ttext", *rows]), encoding="utf-8")

    def fit(folder: Path, dataset: Dataset, spec: TextClassification, options: TrainOptions) -> dict[str, Any]:
        write_spec(spec, folder)
        set_serving(toml, {"threads": 3})
        return {"data": {}}

    monkeypatch.setattr(training, "_train_into", fit)
    train(data, "spam", service_folder.parent, TrainOptions(max_length=64))
    spec = load_spec(service_folder)
    assert isinstance(spec, TextClassification)
    assert (spec.serving.threads, spec.preprocess.max_length) == (3, 64)


def test_a_name_that_cannot_be_served_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"^service name 'a/b' cannot name a Triton model; use letters"):
        train(tmp_path / "missing.tsv", "a/b", tmp_path / "services", TrainOptions())


def test_a_folder_that_is_no_service_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "services" / "spam"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(ServiceError) as caught:
        train(tmp_path / "missing.tsv", "spam", tmp_path / "services", TrainOptions())
    assert str(caught.value) == f"{folder} exists and is no service folder; choose another --name or --services"
    assert (folder / "thesis.txt").read_text() == "mine"


def test_data_that_cannot_be_used_leaves_the_service_as_it_was(service_folder: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in service_folder.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"^no file "):
        train(tmp_path / "missing.tsv", "spam", service_folder.parent, TrainOptions())
    assert {path: path.read_bytes() for path in service_folder.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("lacking", ["model.savedmodel/saved_model.pb", "tokenizer.json", "labels.txt"])
def test_a_service_that_lost_a_file_can_be_trained_again(service_folder: Path, tmp_path: Path, lacking: str) -> None:
    """As the message of `build` advises; only the missing data may stop it here."""
    (service_folder / lacking).unlink()
    with pytest.raises(DataError, match=r"^no file "):
        train(tmp_path / "missing.tsv", "spam", service_folder.parent, TrainOptions())
