"""`trident backend install`: the backend's folder comes whole into Triton's backend directory, or not at all."""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import RunTrident
from trident.backend_install import SOURCE, install
from trident.errors import InstallError

NVIDIAS = ["LICENSE", "libtensorflow_cc.so.2", "libtensorflow_framework.so.2", "libtriton_tensorflow.so"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A backend directory as Triton has it."""
    folder = tmp_path / "backends"
    (folder / "python").mkdir(parents=True)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder, without what Python compiled."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def fill(folder: Path, *names: str) -> None:
    """Files that hold their own names."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name, encoding="utf-8")


def assert_installed(directory: Path) -> None:
    assert files(directory / "tensorflow") == files(SOURCE)
    assert sorted(path.name for path in directory.iterdir()) == ["python", "tensorflow"]


def test_the_folder_is_copied_whole_and_readable_for_every_user(directory: Path) -> None:
    previous = os.umask(0o077)
    try:
        result = install(directory, force=False)
    finally:
        os.umask(previous)
    assert_installed(directory)
    assert {"model.py", "README.md", "requirements.txt"} <= set(files(result.path))
    assert (result.path, result.requirements) == (directory / "tensorflow", directory / "tensorflow/requirements.txt")
    assert (result.replaced, result.nvidias, result.unknown, result.link) == ((), (), (), None)
    for path in (result.path, *result.path.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_what_python_compiled_is_not_copied(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    shutil.copytree(SOURCE, source)
    for folder in (source, source / "triton_tensorflow"):
        fill(folder / "__pycache__", "a.cpython-311.pyc")
    monkeypatch.setattr("trident.backend_install.SOURCE", source)
    install(directory, force=False)
    assert list(directory.rglob("__pycache__")) == []


def test_an_earlier_one_of_ours_is_replaced(directory: Path) -> None:
    install(directory, force=False)
    (directory / "tensorflow/model.py").write_text("from triton_tensorflow import old\n", encoding="utf-8")
    fill(directory / "tensorflow/triton_tensorflow", "savedmodel.py")  # of an earlier version
    fill(directory / "tensorflow/__pycache__", "model.cpython-312.pyc")
    result = install(directory, force=False)
    assert_installed(directory)
    assert "model.py" in result.replaced
    assert (result.nvidias, result.unknown) == ((), ())


@pytest.mark.parametrize("beside_ours", [False, True])
def test_nvidias_backend_is_replaced_and_named(directory: Path, beside_ours: bool) -> None:
    if beside_ours:
        install(directory, force=False)
    fill(directory / "tensorflow", *NVIDIAS)
    result = install(directory, force=False)
    assert_installed(directory)
    assert list(result.nvidias) == NVIDIAS
    assert result.unknown == ()


@pytest.mark.parametrize("unknown", ["notes.txt", "model.py", "libother.so"])
def test_what_is_neither_ours_nor_nvidias_is_refused_unless_forced(directory: Path, unknown: str) -> None:
    fill(directory / "tensorflow", unknown, "libtriton_tensorflow.so")
    before = files(directory)
    with pytest.raises(InstallError, match=rf"tensorflow holds {unknown}; expected .* Move it away, .*--force"):
        install(directory, force=False)
    assert files(directory) == before
    result = install(directory, force=True)
    assert_installed(directory)
    assert (result.unknown, result.nvidias) == ((unknown,), ("libtriton_tensorflow.so",))


def test_a_file_in_the_place_is_refused_unless_forced(directory: Path) -> None:
    (directory / "tensorflow").write_text("mine")
    with pytest.raises(InstallError, match="tensorflow is a file; expected nothing"):
        install(directory, force=False)
    assert (directory / "tensorflow").read_text() == "mine"
    install(directory, force=True)
    assert_installed(directory)


def test_a_link_is_replaced_and_what_it_leads_to_stays(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    fill(target, *NVIDIAS)
    (directory / "tensorflow").symlink_to(target)
    result = install(directory, force=False)
    assert result.link == str(target)
    assert not (directory / "tensorflow").is_symlink()
    assert_installed(directory)
    assert sorted(files(target)) == NVIDIAS


def test_a_link_to_something_unknown_is_refused(directory: Path, tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "notes.txt")
    (directory / "tensorflow").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InstallError, match=r"holds notes\.txt"):
        install(directory, force=False)
    assert (directory / "tensorflow").is_symlink()


def test_a_link_that_leads_nowhere_is_replaced(directory: Path) -> None:
    (directory / "tensorflow").symlink_to("nowhere")
    assert install(directory, force=False).link == "nowhere"
    assert_installed(directory)


def test_the_backends_own_folder_may_be_linked(directory: Path) -> None:
    before = files(SOURCE)
    (directory / "tensorflow").symlink_to(SOURCE)
    install(directory, force=False)
    assert_installed(directory)
    assert files(SOURCE) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "missing does not exist; expected Triton's backend directory, which holds python/"),
        ("file", "file is a file; expected Triton's backend directory"),
        ("empty", "empty holds nothing; expected .* Give the directory that holds python/"),
        ("others", "others holds a, b, c, d, e and 1 more; expected"),
        ("triton", "triton holds backends; expected .* Did you mean .*triton/backends"),
        ("triton/backends/tensorflow", "tensorflow holds nothing; .* Did you mean .*triton/backends"),
    ],
)
def test_what_is_no_backend_directory_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    fill(tmp_path / "others", *"abcdef")
    for backend in ("python", "tensorflow"):
        (tmp_path / "triton/backends" / backend).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InstallError, match=message):
        install(tmp_path / name, force=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("failing", ["shutil.copyfile", "os.replace"])
@pytest.mark.parametrize("former", ["nothing", "NVIDIA's", "link"])
def test_a_failure_in_the_middle_leaves_things_as_before(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, former: str
) -> None:
    place = directory / "tensorflow"
    if former == "NVIDIA's":
        fill(place, *NVIDIAS)
    elif former == "link":
        fill(tmp_path / "elsewhere", *NVIDIAS)
        place.symlink_to(tmp_path / "elsewhere")
    before = (sorted(directory.rglob("*")), files(directory), place.is_symlink())

    def fail(source: object, target: object, **options: object) -> None:
        raise OSError(28, "No space left on device", str(target))

    with monkeypatch.context() as patch:
        patch.setattr(failing, fail)
        patch.setattr("trident.placement._exchange", lambda one, other: False)  # as on NFS
        with pytest.raises(InstallError, match=r"^cannot install .*No space left on device.*as it was"):
            install(directory, force=False)
    assert (sorted(directory.rglob("*")), files(directory), place.is_symlink()) == before
    install(directory, force=False)
    assert_installed(directory)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that everybody can reach; file modes bind the test, which may be root's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = os.geteuid() == 0
        yield Path(folder)
        if root:
            os.seteuid(0)


def test_a_read_only_directory_is_one_line_with_its_path(unprivileged: Path) -> None:
    directory = unprivileged / "backends"
    (directory / "python").mkdir(parents=True)
    directory.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(InstallError) as caught:
        install(directory, force=False)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"cannot install {directory / 'tensorflow'}: Permission denied ({directory}/")
    assert line.endswith(f"all is as it was. Free space, or run this as a user who may write to {directory}.")


def test_the_command_says_where_and_what_next(trident: RunTrident, directory: Path) -> None:
    fill(directory / "tensorflow", "libtriton_tensorflow.so", "notes.txt")
    refused = trident("backend", "install", directory)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "holds notes.txt" in refused.stderr
    result = trident("backend", "install", directory, "--force")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"installed the tensorflow backend in {directory}/tensorflow",
        "replaced NVIDIA's libtriton_tensorflow.so (Triton prefers its library to a model.py beside it)",
        "replaced, as --force asks: notes.txt",
        f"next: pip install -r {directory}/tensorflow/requirements.txt (for the Python that Triton's stub uses), "
        "then restart Triton",
    ]
    answer = json.loads(trident("backend", "install", directory, "--json").stdout)
    assert answer["path"] == f"{directory}/tensorflow"
    assert answer["requirements"] == f"{directory}/tensorflow/requirements.txt"
    assert answer["nvidias"] == []
    assert "model.py" in answer["replaced"]
