"""Moves files and folders into place together: all of them, or none."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


class Placement:
    """A context in which things are put into place; if it is left by an exception, all is put back.

    Everything must lie on one file system, so that each move is a rename.
    """

    def __init__(self, aside: Path) -> None:
        """Keep what is replaced in `aside`, which the caller removes afterwards."""
        self._aside = aside
        self._undo: list[Callable[[], object]] = []

    def __enter__(self) -> "Placement":
        """Begin."""
        self._aside.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put everything back if something went wrong."""
        if kind is not None:
            for step in reversed(self._undo):
                step()

    def place(self, new: Path, place: Path) -> None:
        """Move `new` to `place`; a file that a file replaces is missing at no moment."""
        old = self._aside / str(len(self._undo))
        if place.is_dir() or (new.is_dir() and os.path.lexists(place)):  # a link is moved itself, not what it leads to
            place.rename(old)
            self._undo.append(lambda: _restore(old, place))
        elif place.exists():
            shutil.copyfile(place, old)
            self._undo.append(lambda: os.replace(old, place))
        os.replace(new, place)
        if not old.exists():
            self._undo.append(lambda: _remove(place))


def _restore(old: Path, place: Path) -> None:
    _remove(place)
    old.rename(place)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
