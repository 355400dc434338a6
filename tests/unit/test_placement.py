"""What is put into place together stands together, or not at all."""

from pathlib import Path

import pytest
from trident.placement import Placement


@pytest.fixture(params=["exchanges", "renames"], autouse=True)
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can exchange two folders, and one that cannot, as NFS."""
    if request.param == "renames":
        monkeypatch.setattr("trident.placement._exchange", lambda one, other: False)


@pytest.mark.parametrize("former", [True, False])
def test_a_whole_folder_takes_the_place_of_the_former(tmp_path: Path, former: bool) -> None:
    new, place, aside = tmp_path / "new", tmp_path / "place", tmp_path / "aside"
    new.mkdir()
    (new / "a").write_text("new")
    if former:
        place.mkdir()
        (place / "b").write_text("old")
    with Placement(aside) as placement:
        placement.place(new, place)
    assert {path.name for path in tmp_path.iterdir()} <= {"place", "aside", "new"}
    assert [path.name for path in place.iterdir()] == ["a"]


def test_the_former_comes_back_if_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "b").write_text("old")
    with pytest.raises(FileNotFoundError), Placement(tmp_path / "aside") as placement:
        placement.place(tmp_path / "missing", place)
    assert {path.name for path in tmp_path.iterdir()} == {"place", "aside"}
    assert [path.name for path in place.iterdir()] == ["b"]
    assert (place / "b").read_text() == "old"


@pytest.mark.parametrize("former", ["file", "link", "dangling link"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_folder_takes_the_place_of_a_file_or_a_link(tmp_path: Path, former: str, fails: bool) -> None:
    new, place, target = tmp_path / "new", tmp_path / "place", tmp_path / "target"
    new.mkdir()
    if former == "file":
        place.write_text("old")
    else:
        place.symlink_to("target")
    if former == "link":
        target.mkdir()
        (target / "kept").touch()
    if fails:
        with pytest.raises(FileNotFoundError):
            _place_all(tmp_path, {"new": "place", "missing": "other"})
        assert place.is_symlink() == (former != "file")
        assert former != "file" or place.read_text() == "old"
    else:
        _place_all(tmp_path, {"new": "place"})
        assert (place.is_dir(), place.is_symlink()) == (True, False)
    assert former != "link" or (target / "kept").exists()


def test_what_was_placed_before_a_failure_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("old")
    for name in ("new config", "new file"):
        (tmp_path / name).write_text("new")
    with pytest.raises(FileNotFoundError):
        _place_all(tmp_path, {"new config": "config", "new file": "file", "missing": "third"})
    assert (tmp_path / "config").read_text() == "old"
    assert not (tmp_path / "file").exists()


def _place_all(folder: Path, moves: dict[str, str]) -> None:
    with Placement(folder / "aside") as placement:
        for new, place in moves.items():
            placement.place(folder / new, folder / place)
