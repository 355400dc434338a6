"""`release` and `rollback` change what a repository says is served, all or nothing; what may still be served stays."""

import errno
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf import text_format
from protobuf_savedmodel import TEXT_INPUTS, write_savedmodel
from trident.cli import app
from trident.errors import BuildError, ServiceError, TridentError
from trident.pins import Pin, named, read_pin
from trident.releasing import ReleaseResult, release, rollback
from trident.repository import build
from trident.service import load_service
from trident.serving import ServedService
from trident.versions import RECORD, prune
from trident_client import Client, ConnectError, InvalidRequest
from tritonclient.grpc import model_config_pb2 as pb
from typer.testing import CliRunner

MODELS = ["spam_preprocess", "spam_model", "spam_postprocess", "spam"]
BuildNext = Callable[..., int]

KILLED = """
import itertools, os, sys
from pathlib import Path
from trident.releasing import release

release_of, replace = Path(sys.argv[1]), os.replace
for killed in itertools.count():
    child = os.fork()
    if child == 0:
        numbers = itertools.count()
        os.replace = lambda *paths: os._exit(9) if next(numbers) == killed else replace(*paths)
        release("spam", release_of / str(killed))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 9:  # it has no further moves
        sys.exit(status)
"""


@pytest.fixture(autouse=True)
def _bears_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one loads TensorFlow, and the fixture's SavedModel is none."""
    monkeypatch.setattr("trident.probing.probe", lambda service, pipeline: True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "model_repository"


@pytest.fixture
def build_next(service_folder: Path, repository: Path) -> BuildNext:
    """Builds a version that differs from all others, with these lines in [serving]."""
    toml, numbers = service_folder / "service.toml", itertools.count()
    text = toml.read_text(encoding="utf-8")

    def build_it(serving: str = "") -> int:
        toml.write_text(f"{text}[serving]\n{serving}\n", encoding="utf-8")
        (service_folder / "labels.txt").write_text(f"ham\nspam{next(numbers)}\n", encoding="utf-8")
        return build(load_service(service_folder), repository).version

    return build_it


def configs(repository: Path) -> list[Any]:
    return [text_format.Parse((repository / model / "config.pbtxt").read_text(), pb.ModelConfig()) for model in MODELS]


def served(repository: Path) -> tuple[list[int], int]:
    """The versions that each step loads, and those that the ensemble pins; each alike."""
    *steps, ensemble = configs(repository)
    pins = [*ensemble.version_policy.specific.versions]
    pins += [step.model_version for step in ensemble.ensemble_scheduling.step]
    loaded = {tuple(step.version_policy.specific.versions) for step in steps}
    assert len({*pins}) == len(loaded) == 1
    return list(loaded.pop()), pins[0]


def pin(repository: Path) -> Pin:
    return read_pin((repository / "spam" / "config.pbtxt").read_text())


def there(repository: Path) -> list[str]:
    found = [sorted(path.name for path in (repository / model).iterdir() if path.is_dir()) for model in MODELS]
    assert all(names == found[0] for names in found)
    return found[0]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_release_pins_the_newest_version_and_keeps_the_one_before(repository: Path, build_next: BuildNext) -> None:
    build_next()
    build_next()
    assert served(repository) == ([1], 1)
    result = release("spam", repository)
    assert (result.version, result.before, result.servers, result.removed) == (2, 1, [], [])
    assert served(repository) == ([1, 2], 2)
    assert pin(repository) == Pin(2, 1)


def test_a_release_of_what_is_released_changes_nothing(repository: Path, build_next: BuildNext) -> None:
    build_next()
    build_next()
    release("spam", repository)
    before = snapshot(repository)
    assert release("spam", repository).before == 1
    assert snapshot(repository) == before


def test_a_rollback_serves_the_version_before_alone_and_can_be_taken_back(
    repository: Path, build_next: BuildNext
) -> None:
    build_next()
    build_next()
    release("spam", repository)
    assert (rollback("spam", repository).version, served(repository)) == (1, ([1], 1))
    assert there(repository) == ["1", "2"]
    with pytest.raises(ServiceError) as caught:
        rollback("spam", repository)
    reason = "no version of spam is kept as the one released before version 1; other versions: 2"
    assert str(caught.value) == f"{reason} (trident release spam VERSION)"
    assert (release("spam", repository).version, served(repository)) == (2, ([1, 2], 2))


def test_a_version_that_was_never_released_can_be_left_out(repository: Path, build_next: BuildNext) -> None:
    for _ in range(3):
        build_next()
    assert release("spam", repository, 3).before == 1
    assert release("spam", repository, 2).before == 3


@pytest.mark.parametrize("version", [3, 99])
def test_a_version_that_is_not_there_is_named(repository: Path, build_next: BuildNext, version: int) -> None:
    build_next()
    build_next()
    with pytest.raises(ServiceError) as caught:
        release("spam", repository, version)
    assert str(caught.value) == f"spam has no version {version} in {repository}; there is 1, 2"


def test_a_version_that_has_lost_its_weights_cannot_be_released(repository: Path, build_next: BuildNext) -> None:
    build_next()
    build_next()
    (repository / "spam_model/2/model.savedmodel/saved_model.pb").unlink()
    with pytest.raises(ServiceError, match=r"there is 1$"):
        release("spam", repository, 2)
    assert release("spam", repository).version == 1


@pytest.mark.parametrize("name", ["spam", "nobody"])
def test_a_service_that_is_not_there_is_named(repository: Path, name: str) -> None:
    with pytest.raises(ServiceError, match="no model repository"):
        release(name, repository)
    repository.mkdir()
    with pytest.raises(ServiceError, match=f"no service '{name}' in {repository}"):
        rollback(name, repository)


def test_each_version_brings_its_own_settings(repository: Path, build_next: BuildNext) -> None:
    build_next("max_batch_size = 32")
    build_next("max_batch_size = 8")
    sizes = [{config.max_batch_size for config in configs(repository)}]
    for step in (release, rollback):
        step("spam", repository)
        sizes.append({config.max_batch_size for config in configs(repository)})
    assert sizes == [{32}, {8}, {32}]


@pytest.mark.parametrize(
    ("kept", "released", "left", "loaded"),
    [
        (1, 4, ["4"], [4]),
        (2, 4, ["1", "3", "4"], [1, 4]),
        (2, 3, ["1", "3", "4"], [1, 3]),
        (3, 4, ["1", "2", "3", "4"], [1, 4]),
    ],
)
def test_what_is_kept_is_released_was_released_before_or_is_new(
    repository: Path, build_next: BuildNext, kept: int, released: int, left: list[str], loaded: list[int]
) -> None:
    for _ in range(4):
        build_next(f"versions_kept = {kept}")
    release("spam", repository, released)
    assert there(repository) == left
    assert served(repository) == (loaded, released)


def test_versions_are_removed_after_the_release_that_makes_them_old(repository: Path, build_next: BuildNext) -> None:
    removed = []
    for _ in range(4):
        build_next()
        removed.append(release("spam", repository).removed)
    assert removed == [[], [], [1], [2]]
    assert there(repository) == ["3", "4"]


def test_neither_the_released_version_nor_the_one_before_is_ever_removed(
    repository: Path, build_next: BuildNext
) -> None:
    for _ in range(2):
        build_next()
    release("spam", repository)
    for _ in range(4):
        build_next()
    assert there(repository) == ["1", "2", "5", "6"]
    assert prune(repository, "spam", 1) == [5]
    assert there(repository) == ["1", "2", "6"]


def test_padding_is_shared_only_if_all_loaded_versions_bear_it(
    repository: Path, build_next: BuildNext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ragged() -> list[object]:
        _, model, _, ensemble = configs(repository)
        return [model.input[0].allow_ragged_batch, ensemble.max_batch_size]

    build_next()
    monkeypatch.setattr("trident.probing.probe", lambda service, pipeline: False)
    build_next()
    found = [ragged()]
    for step in (release, rollback):
        step("spam", repository)
        found.append(ragged())
    assert found == [[True, 64], [False, 1], [False, 1]], "a rollback is served while the other still is"
    release("spam", repository, 1)
    assert ragged() == [True, 64]


def test_a_version_built_before_configs_were_written_down_is_released(repository: Path, build_next: BuildNext) -> None:
    build_next()
    build_next()
    path = repository / "spam" / "2" / RECORD
    record = json.loads(path.read_text())
    del record["configs"], record["versions_kept"]
    path.write_text(json.dumps(record))
    release("spam", repository)
    assert (served(repository), pin(repository)) == (([1, 2], 2), Pin(2, 1))


# -- other tensors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("labels", "spam_model: output 'logits' is FP32 [3], and in the released version FP32 [2]"),
        ("length", "spam_model: input 'input_ids' is INT32 [60], and in the released version INT32 [-1]"),
        ("signature", "spam_model: TF_SIGNATURE_DEF is score, and in the released version missing"),
        ("pad", "spam_model: PAD_VALUE.input_ids is 3, and in the released version missing"),
    ],
)
def test_what_all_versions_share_cannot_change(
    service_folder: Path, repository: Path, build_next: BuildNext, change: str, said: str
) -> None:
    build_next()
    before = snapshot(repository)
    toml = service_folder / "service.toml"
    inputs, classes, signature = TEXT_INPUTS, 2, "serving_default"
    if change == "labels":
        classes = 3
        (service_folder / "labels.txt").write_text("ham\nspam\nnews\n")
    elif change == "length":
        inputs = {"input_ids": ("INT32", [-1, 60])}
        toml.write_text(toml.read_text() + '[preprocess]\nmax_length = 60\npadding = "post"\n')
    elif change == "signature":
        signature = "score"
        toml.write_text(toml.read_text() + '[model]\nsignature = "score"\n')
    else:
        toml.write_text(toml.read_text() + "[preprocess]\npad_id = 3\n")
    write_savedmodel(service_folder / "model.savedmodel", inputs, {"logits": ("FP32", [-1, classes])}, signature)
    with pytest.raises(ServiceError) as caught:
        build(load_service(service_folder), repository)
    assert str(caught.value).startswith(f"{said}; all versions of a service take and give the same tensors.")
    assert str(caught.value).endswith("or begin anew: trident models remove spam")
    assert snapshot(repository) == before


@pytest.mark.parametrize("bears", [True, False])
def test_one_version_may_bear_padding_and_another_not(
    repository: Path, build_next: BuildNext, monkeypatch: pytest.MonkeyPatch, bears: bool
) -> None:
    """Only what is padded has a padding id in its config."""
    for borne in (bears, not bears):
        monkeypatch.setattr("trident.probing.probe", lambda service, pipeline, borne=borne: borne)
        build_next("[preprocess]\npad_id = 3")
    release("spam", repository)
    assert pin(repository) == Pin(2, 1)


# -- interrupted -----------------------------------------------------------------------------------------------------


def test_whichever_move_fails_the_repository_is_as_it_was(
    repository: Path, build_next: BuildNext, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_next()
    build_next()
    before = snapshot(repository)
    for failing in range(len(MODELS)):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", refusing(failing))
            with pytest.raises(BuildError, match="No space left on device; nothing is released"):
                release("spam", repository)
        assert snapshot(repository) == before
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refusing(len(MODELS)))
        release("spam", repository)
    assert pin(repository) == Pin(2, 1)


class Obedient:
    """The client of a server that does what it is told, until it goes."""

    url, timeout_s = "grpc://127.0.0.1:18001", 1.0

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._loaded: dict[str, set[str]] = {}
        self.answers_left: float = math.inf
        for model in MODELS:
            self.load_model(model)

    def load_model(self, model: str, config: str = "") -> None:
        text = (self._repository / model / "config.pbtxt").read_text()
        told = json.loads(config)["version_policy"]["specific"]["versions"] if config else map(str, named(text))
        self._loaded[model] = {*told}

    def is_model_ready(self, model: str, version: str) -> bool:
        return version in self._loaded[model]

    def infer_tensors(self, model: str, inputs: dict[str, Any], **options: Any) -> dict[str, Any]:
        raise InvalidRequest("'hello' is refused, which says nothing of the version")

    def get_model_repository_index(self) -> list[dict[str, str]]:
        self.answers_left -= 1
        if self.answers_left < 0:
            raise ConnectError("nobody is there")
        found = [(model, version) for model, versions in self._loaded.items() for version in versions]
        return [{"name": model, "version": version, "state": "READY"} for model, version in found]


@pytest.fixture
def server(repository: Path, build_next: BuildNext) -> Obedient:
    """Serves version 1 of two."""
    build_next()
    build_next()
    return Obedient(repository)


def release_on(server: Obedient, repository: Path, version: int | None = None) -> ReleaseResult:
    """Release a version, the newest if None."""
    return release("spam", repository, version, [ServedService(cast(Client, server), "spam", repository)])


LEFT = "what is no longer served is not removed yet: {}; the next release does that, or: trident release spam {}"


@pytest.mark.parametrize("step", range(len(MODELS) - 1))
def test_when_servers_have_changed_over_the_disk_cannot_undo_the_release(
    server: Obedient, repository: Path, build_next: BuildNext, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    assert release_on(server, repository).left == ""
    build_next()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refusing(len(MODELS) + step))
        result = release_on(server, repository)
    assert (result.version, result.servers, result.removed) == (3, [server.url], [])
    config = repository / MODELS[step] / "config.pbtxt"
    assert result.left == LEFT.format(f"cannot write {config}: No space left on device", 3)
    assert served(repository) == ([1, 2, 3], 3)
    result = release_on(server, repository, 3)
    assert (result.removed, result.left, served(repository)) == ([1], "", ([2, 3], 3))


def test_a_server_that_goes_when_it_has_changed_over_does_not_undo_the_release(
    server: Obedient, repository: Path
) -> None:
    server.answers_left = 1  # that it serves the service
    result = release_on(server, repository)
    assert (result.version, result.servers, result.removed) == (2, [server.url], [])
    assert result.left == LEFT.format(f"{server.url} did not unload it", 2)
    assert served(repository) == ([1, 2], 2)


def refusing(failing: int) -> Callable[[Path, Path], None]:
    """`os.replace`, but for one call."""
    replace, numbers = os.replace, itertools.count()

    def attempt(new: Path, place: Path) -> None:
        if next(numbers) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        replace(new, place)

    return attempt


def test_a_release_that_was_killed_at_any_move_leaves_one_version_served_and_can_be_repeated(
    repository: Path, build_next: BuildNext, tmp_path: Path
) -> None:
    build_next()
    build_next()
    killed = tmp_path / "killed"
    for number in range(len(MODELS) + 1):
        shutil.copytree(repository, killed / str(number))
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(killed)], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    release("spam", repository)
    whole = snapshot(repository)
    for number in range(len(MODELS)):
        interrupted = killed / str(number)
        *steps, _ = configs(interrupted)
        assert pin(interrupted) == Pin(1), "the ensemble's config is the last"
        assert all(1 in step.version_policy.specific.versions for step in steps)
        release("spam", interrupted)
        assert snapshot(interrupted) == whole
    assert pin(killed / str(len(MODELS))) == Pin(2, 1)


@pytest.mark.parametrize("answer", ["", "n\n"])
def test_who_cannot_be_asked_is_told_of_yes(repository: Path, build_next: BuildNext, answer: str) -> None:
    build_next()
    before = snapshot(repository)
    line = ["models", "remove", "spam", "--model-repository", str(repository)]
    result = CliRunner().invoke(app, line, input=answer)
    assert isinstance(result.exception, TridentError)
    assert str(result.exception).endswith("there is no terminal to ask at, and nobody said yes; give --yes")
    assert snapshot(repository) == before
    assert CliRunner().invoke(app, [*line, "--yes"]).exit_code == 0
    assert snapshot(repository) == {}
