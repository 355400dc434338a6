"""A build that fails, or that would take what is not its own, leaves the repository byte for byte as it was."""

import errno
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from trident.errors import BuildError, ServiceError
from trident.repository import build
from trident.service import Service, load_service

SMALL_DISK = """
import resource, signal, sys
from pathlib import Path
from trident import probing, repository
from trident.errors import BuildError
from trident.service import load_service

probing.probe = lambda service, pipeline: True  # the real one loads TensorFlow
service = load_service(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    repository.build(service, Path(sys.argv[2]))
except BuildError as error:
    sys.exit(str(error))
"""

KILLED = """
import itertools, os, sys
from pathlib import Path
from trident import probing, repository
from trident.service import load_service

probing.probe = lambda service, pipeline: True  # the real one loads TensorFlow
service = load_service(Path(sys.argv[1]))
replace = os.replace
for killed in itertools.count():
    place = Path(sys.argv[2]) / str(killed)
    child = os.fork()
    if child == 0:
        numbers = itertools.count()
        os.replace = lambda *paths: os._exit(9) if next(numbers) == killed else replace(*paths)
        repository.build(service, place)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 9:  # it has no further moves
        sys.exit(status)
    repository.build(service, place)
"""


@pytest.fixture(autouse=True)
def _two_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one loads TensorFlow, and the fixture's SavedModel is none."""
    monkeypatch.setattr("trident.probing.probe", lambda service, pipeline: True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "model_repository"


@pytest.fixture
def service(service_folder: Path) -> Service:
    return load_service(service_folder)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with their bytes, folders with None."""
    paths = folder.rglob("*")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def prepare(start: str, service: Service, repository: Path) -> None:
    repository.mkdir()
    if start == "empty":
        return
    build(service, repository)
    if start == "clone":  # what is committed: no weights, no tokenizer
        for folder in ("spam/1", "spam_model/1"):
            shutil.rmtree(repository / folder)
        (repository / "spam_preprocess/1/tokenizer.json").unlink()
    elif start == "version 1":
        (service.folder / "labels.txt").write_text("ham\nscam\n")
    else:
        toml = service.folder / "service.toml"
        toml.write_text(toml.read_text() + "[serving]\nthreads = 2\n")


@pytest.mark.parametrize(("start", "moves"), [("empty", 4), ("clone", 2), ("version 1", 4), ("settings only", 1)])
def test_whichever_move_fails_the_repository_is_as_it_was(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, moves: int
) -> None:
    original = tmp_path / "original"
    prepare(start, service, original)
    damaged = []
    for failing in itertools.count():
        repository = tmp_path / f"repository{failing}"
        shutil.copytree(original, repository)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", refusing(failing))  # a full disk cannot be had at a chosen moment
            error = failure(service, repository)
        if error is None:
            break  # it has no further moves
        assert ": No space left on device; the model repository is as it was." in str(error)
        if snapshot(repository) != snapshot(original):
            damaged.append(failing)
    assert failing >= moves
    assert damaged == []


def failure(service: Service, repository: Path) -> BuildError | None:
    try:
        build(load_service(service.folder), repository)
    except BuildError as error:
        return error
    return None


def refusing(failing: int) -> Callable[[Path, Path], None]:
    """`os.replace`, but for one call."""
    replace, numbers = os.replace, itertools.count()

    def attempt(new: Path, place: Path) -> None:
        if next(numbers) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        replace(new, place)

    return attempt


@pytest.mark.parametrize("start", ["empty", "version 1"])
def test_a_file_that_cannot_be_written_leaves_the_repository_as_it_was(
    service: Service, repository: Path, start: str
) -> None:
    prepare(start, service, repository)
    before = snapshot(repository)
    (service.savedmodel / "variables" / "variables.data").write_bytes(bytes(200_000))
    command = [sys.executable, "-c", SMALL_DISK, str(service.folder), str(repository)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1, result.stderr
    assert "File too large; the model repository is as it was. Free space or mend the path.\n" in result.stderr
    assert snapshot(repository) == before
    assert f"cannot write {repository}" in result.stderr  # not the file that was read


def test_a_repository_that_is_a_file_is_refused(service: Service, repository: Path) -> None:
    repository.write_text("not a folder")
    with pytest.raises(BuildError) as caught:
        build(service, repository)
    reason = "File exists; the model repository is as it was. Free space or mend the path."
    assert str(caught.value) == f"cannot write {repository}: {reason}"
    assert repository.read_text() == "not a folder"


def test_what_a_killed_build_left_is_removed(service: Service, repository: Path) -> None:
    leftover = repository / ".build-killed" / "spam_model" / "1"
    leftover.mkdir(parents=True)
    (leftover / "half").write_bytes(b"half")
    build(service, repository)
    assert list(repository.glob(".*")) == []


def test_a_build_that_was_killed_at_any_move_can_be_repeated(service: Service, tmp_path: Path) -> None:
    build(service, tmp_path / "whole")
    command = [sys.executable, "-c", KILLED, str(service.folder), str(tmp_path / "killed")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    repositories = sorted((tmp_path / "killed").iterdir())
    whole = snapshot(tmp_path / "whole")
    assert len(repositories) > 4
    assert [path.name for path in repositories if snapshot(path) != whole] == []


CHANGED = "service 'spam' changed while it was built; the model repository is as it was. Build again"


def rewrite(variables: Path) -> None:
    variables.write_bytes(b"trained again")


@pytest.mark.parametrize("start", ["empty", "version 1"])
@pytest.mark.parametrize("change", [rewrite, Path.unlink], ids=["other bytes", "other files"])
def test_a_model_that_changes_between_its_digest_and_its_copy_is_refused(
    service: Service, repository: Path, monkeypatch: pytest.MonkeyPatch, start: str, change: Callable[[Path], None]
) -> None:
    """The labels would be of one training and the weights of the next, which takes its place as a whole."""
    prepare(start, service, repository)
    before = snapshot(repository)

    def probe(service: Service, pipeline: object) -> bool:
        change(service.savedmodel / "variables" / "variables.index")
        return True

    monkeypatch.setattr("trident.probing.probe", probe)
    assert str(failure(service, repository)) == CHANGED
    assert snapshot(repository) == before


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("labels.txt", "ham\nscam\n"),
        ("service.toml", 'name = "spam"\ntask = "text-classification"\n[preprocess]\nmax_length = 64\n'),
    ],
)
def test_a_service_that_changed_since_it_was_read_is_refused(
    service: Service, repository: Path, file: str, content: str
) -> None:
    """A build may wait long for another one."""
    (service.folder / file).write_text(content)
    with pytest.raises(BuildError) as caught:
        build(service, repository)
    assert str(caught.value) == CHANGED
    assert snapshot(repository) == {}


def refuse_foreign(service: Service, repository: Path, named: str) -> None:
    before = snapshot(repository)
    with pytest.raises(ServiceError) as caught:
        build(service, repository)
    expected = "is a model that no service 'spam' built; rename the service or move the model"
    assert str(caught.value) == f"{repository / named} {expected}"
    assert snapshot(repository) == before


@pytest.mark.parametrize(
    "config", [b'name: "spam" backend: "python"', b"", b"# sp\xe4m"], ids=["other", "none", "latin"]
)
@pytest.mark.parametrize("name", ["spam", "spam_model"])
def test_a_model_of_the_same_name_that_no_build_wrote_is_refused(
    service: Service, repository: Path, name: str, config: bytes
) -> None:
    (repository / name).mkdir(parents=True)
    (repository / name / "config.pbtxt").write_bytes(config)
    refuse_foreign(service, repository, name)


@pytest.mark.parametrize("name", ["spam", "spam_model"])
def test_a_bare_savedmodel_of_the_same_name_is_refused(service: Service, repository: Path, name: str) -> None:
    """Triton serves it without a config.pbtxt, so it is a model all the same, perhaps the only copy."""
    shutil.copytree(service.savedmodel, repository / name / "1" / "model.savedmodel")
    refuse_foreign(service, repository, name)
