"""Service folders are made beside their place and take it when they are whole."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trident.errors import ServiceError
from trident.placement import Placement, remove


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` if the context ends well; else all is as it was.

    It lies in `.NAME.new` beside its place, as one that is made by one process at a time. What a killed process left
    there is removed by the next one.

    Args:
        folder: of a service; its parents are made.

    Raises:
        ServiceError: another process makes the same service, or the disk refused.
    """
    try:
        with _workshop(folder) as new:
            yield new
    except OSError as error:
        raise ServiceError(
            f"cannot make the service {folder}: {_said(error, folder)}; all is as it was. Free space or mend the path"
        ) from error


def _said(error: OSError, folder: Path) -> str:
    if isinstance(error, shutil.Error):  # of a whole tree: a list of what could not be copied, where to, and why
        return str(error.args[0][0][2])
    return f"{error.strerror}: '{error.filename2 or error.filename or folder}'"  # the target, if it was a copy


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    workshop = folder.with_name(f".{folder.name}.new")
    with _locked(workshop, folder):
        _clear(workshop, folder)
        try:
            new = workshop / folder.name
            new.mkdir()
            yield new
            with Placement(workshop / "replaced") as placement:
                placement.place(new, folder)
        finally:
            shutil.rmtree(workshop)


@contextmanager
def _locked(workshop: Path, folder: Path) -> Iterator[None]:
    """The lock is on the workshop itself; the kernel drops that of a process that dies."""
    descriptor = -1
    while descriptor < 0:
        workshop.mkdir(exist_ok=True)
        descriptor = _lock(workshop, folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(workshop: Path, folder: Path) -> int:
    """The locked folder's descriptor; -1 if its owner has just removed it."""
    try:
        descriptor = os.open(workshop, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ServiceError(
            f"another process is making {folder}; wait until it has ended, or choose another --name"
        ) from None
    if not _is(workshop, descriptor):
        os.close(descriptor)
        return -1
    return descriptor


def _is(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to what was opened, not to nothing or to one that was made anew."""
    return path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor))


def _clear(workshop: Path, folder: Path) -> None:
    """Remove what a killed process left, but first put back a service that it had moved aside."""
    replaced = workshop / "replaced" / "0"
    if os.path.lexists(replaced) and not os.path.lexists(folder):
        replaced.rename(folder)
    for entry in workshop.iterdir():
        remove(entry)
