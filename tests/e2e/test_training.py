"""Training is repeatable, takes what it says it takes, and replaces a service folder only by a whole one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, RunTrident
from trident.savedmodel import load_model
from trident.service import load_service

IDS = np.array([[5, 9, 2, 0], [3, 0, 0, 0]], np.int32)


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hundreds of real messages."""
    lines = DATA.read_text(encoding="utf-8").splitlines()
    path = tmp_path_factory.mktemp("data") / "excerpt.tsv"
    path.write_text("\n".join(lines[:1] + lines[1::8]) + "\n", encoding="utf-8")
    return path


def _train(trident: RunTrident, file: Path, services: Path, name: str, *options: str) -> dict[str, object]:
    result = trident("train", file, "--name", name, "--services", services, "--encoder", "none", "--json", *options)
    assert result.returncode == 0, result.stderr
    metrics: dict[str, object] = json.loads(result.stdout)
    return metrics


def test_the_same_seed_gives_the_same_model(trident: RunTrident, excerpt: Path, tmp_path: Path) -> None:
    runs = [
        _train(trident, excerpt, tmp_path, name, "--seed", seed) for name, seed in (("a", "7"), ("b", "7"), ("c", "8"))
    ]
    logits = [load_model(load_service(tmp_path / name))({"input_ids": IDS})["logits"].tolist() for name in "abc"]
    assert logits[0] == logits[1] != logits[2]
    assert runs[0]["confusion_matrix"] == runs[1]["confusion_matrix"]
    tokenizers = [(tmp_path / name / "tokenizer.json").read_bytes() for name in "abc"]
    assert tokenizers[0] == tokenizers[1] != tokenizers[2]


def test_padding_changes_no_answer(tiny_service: Path) -> None:
    model = load_model(load_service(tiny_service))
    alone = model({"input_ids": IDS[1:, :1]})["logits"][0]
    padded = model({"input_ids": IDS})["logits"][1]
    assert padded.tolist() == pytest.approx(alone.tolist(), abs=1e-5)


def test_balanced_class_weights_find_more_of_the_rare_label(trident: RunTrident, excerpt: Path, tmp_path: Path) -> None:
    metrics = _train(trident, excerpt, tmp_path, "a", "--class-weights", "balanced", "--epochs", "3")
    assert metrics["class_weights"] == "balanced"
    assert metrics["epochs"] == 3


def test_csv_and_jsonl_with_other_column_names(trident: RunTrident, excerpt: Path, tmp_path: Path) -> None:
    rows = [line.split("\t", 1) for line in excerpt.read_text(encoding="utf-8").splitlines()[1:]]
    path = tmp_path / "messages.jsonl"
    path.write_text("".join(json.dumps({"kind": label, "body": text}) + "\n" for label, text in rows))
    options = ("--text-column", "body", "--label-column", "kind", "--epochs", "1")
    assert _train(trident, path, tmp_path, "a", *options)["data"]["rows"] == len(rows)  # type: ignore[index]


def test_broken_rows_are_named_by_line_and_can_be_skipped(trident: RunTrident, excerpt: Path, tmp_path: Path) -> None:
    lines = excerpt.read_bytes().splitlines()
    lines[3] = b"ham"
    lines[5] = b"spam\t\xff\xfe"
    lines[9] = b"\tno label"
    path = tmp_path / "broken.tsv"
    path.write_bytes(b"\n".join(lines) + b"\n")
    result = trident("train", path, "--name", "a", "--services", tmp_path, "--encoder", "none")
    assert result.returncode == 1
    assert "3 bad rows: line 4: 1 columns, expected 2; line 6: not UTF-8; line 10: the label is empty" in result.stderr
    assert not (tmp_path / "a").exists()
    metrics = _train(trident, path, tmp_path, "a", "--skip-bad-rows", "--epochs", "1")
    assert metrics["data"]["bad_rows"] == 3  # type: ignore[index]


def test_training_again_keeps_the_settings_for_serving(trident: RunTrident, excerpt: Path, tmp_path: Path) -> None:
    _train(trident, excerpt, tmp_path, "a", "--epochs", "1")
    path = tmp_path / "a" / "service.toml"
    path.write_text(path.read_text().replace("max_batch_size = 64", "max_batch_size = 17"))
    _train(trident, excerpt, tmp_path, "a", "--epochs", "1", "--max-length", "32")
    spec = load_service(tmp_path / "a").spec
    assert (spec.serving.max_batch_size, spec.preprocess.model_dump()["max_length"]) == (17, 32)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def _build(trident: RunTrident, service: Path, repository: Path) -> str:
    result = trident("build", service, "--model-repository", repository)
    assert result.returncode == 1, result.stdout
    (line,) = result.stderr.splitlines()
    return str(line)


@pytest.fixture
def copy(tiny_service: Path, tmp_path: Path) -> Path:
    """The tiny service, to be broken."""
    return Path(shutil.copytree(tiny_service, tmp_path / "tiny"))


def test_a_labels_file_that_is_one_line_short_is_refused(trident: RunTrident, copy: Path, tmp_path: Path) -> None:
    (copy / "labels.txt").write_text("ham\n")
    line = _build(trident, copy, tmp_path / "repository")
    assert "labels.txt has 1 labels and the model gives 2 classes" in line
    assert list((tmp_path / "repository").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("saved_model.pb", "saved_model.pb is no SavedModel, or a truncated one"),
        ("variables/variables.data-00000-of-00001", "model.savedmodel: Read less bytes than requested"),
    ],
)
def test_a_truncated_saved_model_is_refused(
    trident: RunTrident, copy: Path, tmp_path: Path, file: str, reason: str
) -> None:
    path = copy / "model.savedmodel" / file
    path.write_bytes(path.read_bytes()[:100])
    line = _build(trident, copy, tmp_path / "repository")
    assert reason in line
    assert "export it again" in line
    assert list((tmp_path / "repository").iterdir()) == []


def test_a_broken_tokenizer_is_refused(trident: RunTrident, copy: Path, tmp_path: Path) -> None:
    (copy / "tokenizer.json").write_text("{}")
    assert "tokenizer.json is JSON of something" in _build(trident, copy, tmp_path / "repository")
