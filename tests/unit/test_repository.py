"""`build` writes a version, and releases the first; what it cannot finish it leaves as it was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format
from tokenizers import Tokenizer
from trident.errors import ServiceError
from trident.releasing import release
from trident.repository import BuildResult, build
from trident.service import load_service
from tritonclient.grpc import model_config_pb2 as pb

MODELS = ["spam_preprocess", "spam_model", "spam_postprocess", "spam"]
Build = Callable[[], BuildResult]


@pytest.fixture(autouse=True)
def _two_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one loads TensorFlow, and the fixture's SavedModel is none."""
    monkeypatch.setattr("trident.probing.probe", lambda service, pipeline: True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "model_repository"


@pytest.fixture
def build_again(service_folder: Path, repository: Path) -> Build:
    return lambda: build(load_service(service_folder), repository)


def pinned(repository: Path) -> list[int]:
    ensemble = text_format.Parse((repository / "spam" / "config.pbtxt").read_text(), pb.ModelConfig())
    steps = ensemble.ensemble_scheduling.step
    return [*ensemble.version_policy.specific.versions, *(step.model_version for step in steps)]


def versions(repository: Path) -> list[list[str]]:
    return [sorted(path.name for path in (repository / model).iterdir() if path.is_dir()) for model in MODELS]


def config_texts(repository: Path) -> list[str]:
    return [(repository / model / "config.pbtxt").read_text() for model in MODELS]


def write_settings(folder: Path, text: str) -> None:
    path = folder / "service.toml"
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_the_first_build_is_version_1(repository: Path, build_again: Build) -> None:
    assert build_again() == BuildResult("spam", 1, True, True, MODELS, True, 1, False)
    assert sorted(path.name for path in repository.iterdir()) == sorted(MODELS)
    assert versions(repository) == [["1"]] * 4
    assert pinned(repository) == [1, 1, 1, 1]


def test_a_version_folder_holds_what_its_model_needs_and_nothing_else(repository: Path, build_again: Build) -> None:
    build_again()
    files = sorted(str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file())
    assert files == [
        "spam/1/build.json",
        "spam/config.pbtxt",
        "spam_model/1/model.savedmodel/saved_model.pb",
        "spam_model/1/model.savedmodel/variables/variables.index",
        "spam_model/config.pbtxt",
        "spam_postprocess/1/gate.py",
        "spam_postprocess/1/labels.txt",
        "spam_postprocess/1/model.py",
        "spam_postprocess/1/postprocess.py",
        "spam_postprocess/1/settings.json",
        "spam_postprocess/1/stage.py",
        "spam_postprocess/config.pbtxt",
        "spam_preprocess/1/gate.py",
        "spam_preprocess/1/keras_tokenizer.py",
        "spam_preprocess/1/model.py",
        "spam_preprocess/1/preprocess.py",
        "spam_preprocess/1/requirements.txt",
        "spam_preprocess/1/settings.json",
        "spam_preprocess/1/stage.py",
        "spam_preprocess/1/tokenizer.json",
        "spam_preprocess/config.pbtxt",
    ]


def test_the_services_files_are_copied_as_they_are(service_folder: Path, repository: Path, build_again: Build) -> None:
    build_again()
    for source, copy in [
        ("labels.txt", "spam_postprocess/1/labels.txt"),
        ("tokenizer.json", "spam_preprocess/1/tokenizer.json"),
        ("model.savedmodel/saved_model.pb", "spam_model/1/model.savedmodel/saved_model.pb"),
    ]:
        assert (repository / copy).read_bytes() == (service_folder / source).read_bytes()


def test_settings_go_to_the_step_that_uses_them(service_folder: Path, repository: Path, build_again: Build) -> None:
    write_settings(service_folder, "[preprocess]\nmax_length = 7\n[postprocess]\ntop_k = 2\n")
    build_again()
    settings = [json.loads((repository / model / "1" / "settings.json").read_text()) for model in MODELS[::2]]
    assert settings == [
        {
            "max_length": 7,
            "lowercase": False,
            "clean": True,
            "padding": "longest",
            "truncation": "post",
            "pad_id": 0,
            "max_text_bytes": 1_048_576,
        },
        {"activation": "softmax", "top_k": 2, "threshold": 0.0},
    ]


def test_a_file_of_the_savedmodel_may_have_any_name(service_folder: Path, repository: Path, build_again: Build) -> None:
    (service_folder / "model.savedmodel" / "vocabulary {en}.txt").write_text("free")
    build_again()
    assert (repository / "spam_model/1/model.savedmodel/vocabulary {en}.txt").read_text() == "free"


def test_the_same_input_builds_nothing(repository: Path, build_again: Build) -> None:
    build_again()
    before = {path: path.stat().st_ino for path in repository.glob("*/1/*")}
    assert build_again() == BuildResult("spam", 1, False, False, MODELS, True, 1, False)
    assert versions(repository) == [["1"]] * 4
    assert {path: path.stat().st_ino for path in repository.glob("*/1/*")} == before


@pytest.mark.parametrize("changed", ["labels.txt", "model.savedmodel/variables/variables.index", "service.toml"])
def test_changed_input_is_the_next_version(
    service_folder: Path, repository: Path, build_again: Build, changed: str
) -> None:
    build_again()
    new = {"labels.txt": "ham\nscam\n", "service.toml": "[preprocess]\nmax_length = 7\n"}.get(changed, "other graph")
    path = service_folder / changed
    path.write_text((path.read_text() if changed == "service.toml" else "") + new)
    configs = config_texts(repository)
    assert build_again() == BuildResult("spam", 2, True, True, MODELS, True, 1, True)
    assert versions(repository) == [["1", "2"]] * 4
    assert config_texts(repository) == configs, "what Triton reads waits for the release"


def test_a_changed_tokenizer_is_the_next_version(
    service_folder: Path, repository: Path, build_again: Build, framing_tokenizer: Tokenizer
) -> None:
    build_again()
    former = (repository / "spam_preprocess/1/tokenizer.json").read_bytes()
    framing_tokenizer.save(str(service_folder / "tokenizer.json"))
    assert build_again().version == 2
    assert (repository / "spam_preprocess/1/tokenizer.json").read_bytes() == former
    assert (repository / "spam_preprocess/2/tokenizer.json").read_bytes() != former


def test_serving_settings_make_no_version_and_wait_for_the_release(
    service_folder: Path, repository: Path, build_again: Build
) -> None:
    build_again()
    write_settings(service_folder, "[serving]\nmax_batch_size = 5\n")
    assert build_again() == BuildResult("spam", 1, False, True, MODELS, True, 1, True)
    assert versions(repository) == [["1"]] * 4
    assert all("max_batch_size: 64\n" in text for text in config_texts(repository))
    release("spam", repository)
    assert all("max_batch_size: 5\n" in text for text in config_texts(repository))
    assert build_again() == BuildResult("spam", 1, False, False, MODELS, True, 1, False)


@pytest.mark.parametrize(("kept", "left"), [(1, ["1", "4"]), (2, ["1", "3", "4"]), (9, ["1", "2", "3", "4"])])
def test_the_released_version_and_the_newest_ones_are_kept(
    service_folder: Path, repository: Path, build_again: Build, kept: int, left: list[str]
) -> None:
    write_settings(service_folder, f"[serving]\nversions_kept = {kept}\n")
    for number in range(4):
        (service_folder / "labels.txt").write_text(f"ham\nspam{number}\n")
        build_again()
    assert versions(repository) == [left] * 4


def test_a_clone_without_weights_is_completed_as_version_1(repository: Path, build_again: Build) -> None:
    build_again()
    built = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    for folder in ("spam/1", "spam_model/1"):  # what is not committed
        shutil.rmtree(repository / folder)
    (repository / "spam_preprocess/1/tokenizer.json").unlink()
    assert build_again() == BuildResult("spam", 1, True, False, MODELS, True, 1, False)
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == built


def test_services_share_a_repository(service_folder: Path, repository: Path, build_again: Build) -> None:
    build_again()
    toml = service_folder / "service.toml"
    toml.write_text(toml.read_text().replace("spam", "other"))
    assert build_again().version == 1
    assert len(list(repository.iterdir())) == 8
    assert pinned(repository) == [1, 1, 1, 1]


def test_labels_must_be_as_many_as_the_models_classes(
    service_folder: Path, repository: Path, build_again: Build
) -> None:
    (service_folder / "labels.txt").write_text("ham\nspam\nnews\n")
    with pytest.raises(ServiceError) as caught:
        build_again()
    expected = (
        "has 3 labels and the model gives 2 classes; expected one label a class, in the order of the model's outputs"
    )
    assert str(caught.value) == f"{service_folder / 'labels.txt'} {expected}"
    assert list(repository.iterdir()) == []


def test_a_later_version_without_weights_does_not_count_and_is_removed(
    service_folder: Path, repository: Path, build_again: Build
) -> None:
    build_again()
    (service_folder / "labels.txt").write_text("no\nyes\n", encoding="utf-8")
    assert build_again().version == 2
    for version in "12":  # as `make clean` leaves them
        shutil.rmtree(repository / "spam_model" / version / "model.savedmodel")
    assert build_again() == BuildResult("spam", 1, True, False, MODELS, True, 1, False)
    assert versions(repository) == [["1"]] * 4
    assert pinned(repository) == [1, 1, 1, 1]


def test_texts_of_different_lengths_share_no_batch_if_padding_changes_the_answers(
    service_folder: Path, repository: Path, build_again: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ragged() -> bool:
        config = text_format.Parse((repository / "spam_model" / "config.pbtxt").read_text(), pb.ModelConfig())
        return bool(config.input[0].allow_ragged_batch)

    monkeypatch.setattr("trident.probing.probe", lambda service, pipeline: False)
    assert (build_again().ragged, ragged()) == (False, False)
    write_settings(service_folder, "[serving]\nmax_batch_size = 8\n")  # the version stays, and so does what was found
    assert (build_again().created, ragged()) == (False, False)
    monkeypatch.setattr("trident.probing.probe", lambda service, pipeline: True)
    (service_folder / "labels.txt").write_text("good\nbad\n", encoding="utf-8")
    assert (build_again().ragged, ragged()) == (False, False), "the version before is still loaded"


def test_the_accelerator_must_be_installed_where_the_service_is_built(
    service_folder: Path, build_again: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_settings(service_folder, '\n[serving]\naccelerator = "openvino"\n')
    monkeypatch.setattr("trident.repository.find_spec", lambda name: None)
    with pytest.raises(ServiceError, match=r"serving.accelerator is 'openvino', which is not installed; .*pip install"):
        build_again()


def test_what_a_stage_needs_must_be_installed_where_it_is_built(
    service_folder: Path, repository: Path, build_again: Build
) -> None:
    build_again()
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    write_settings(service_folder, '\n[custom]\nrequirements = ["no-such-package-here"]\n')
    with pytest.raises(ServiceError, match="'no-such-package-here' is not installed; pip install"):
        build_again()
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
