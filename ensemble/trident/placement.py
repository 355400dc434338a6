"""Moves files and folders into place together: all of them, or none."""

import ctypes
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

# Source: Linux, renameat2(2): the two paths change places, and neither is missing at any moment.
AT_FDCWD, RENAME_EXCHANGE = -100, 2


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
        """Move `new` to `place`, and what it replaces to `new` or aside.

        A file is missing at no moment, and a folder at none where the file system can exchange two.
        """
        old = self._aside / str(len(self._undo))
        if place.is_dir() or (new.is_dir() and os.path.lexists(place)):  # a link is moved itself, not what it leads to
            if _exchange(new, place):
                self._undo.append(lambda: _exchange(new, place))
                return
            place.rename(old)
            self._undo.append(lambda: _restore(old, place))
        elif place.exists():
            shutil.copyfile(place, old)
            self._undo.append(lambda: os.replace(old, place))
        os.replace(new, place)
        if not old.exists():
            self._undo.append(lambda: remove(place))


def _exchange(one: Path, other: Path) -> bool:
    """Whether two paths changed places; not all file systems (NFS), kernels or C libraries can do that."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    return renameat2 is not None and not renameat2(
        AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE
    )


def _restore(old: Path, place: Path) -> None:
    remove(place)
    old.rename(place)


def remove(path: Path) -> None:
    """Remove a folder with all that it holds, a file, a link itself, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
