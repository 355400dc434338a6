"""Puts the `tensorflow` backend into the backend directory of a Triton, whole or not at all."""

import shutil
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from trident.errors import InstallError
from trident.placement import Placement

NAME = "tensorflow"
SOURCE = Path(__file__).resolve().parent / "backends" / NAME
PACKAGE = "triton_tensorflow"  # what a model.py of ours imports, in every version
LIBRARY = "libtriton_tensorflow*.so*"
# What NVIDIA put beside its library. Source: triton-inference-server/tensorflow_backend r21.02 to r25.02,
# CMakeLists.txt, install(FILES ...) and the links after it.
NVIDIAS = (LIBRARY, "libtensorflow*.so*", "libiomp5.so", "libmklml_intel.so", "LICENSE*", "NOTICE*")
CONTAINERS = "/opt/tritonserver/backends"  # in NVIDIA's images
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class InstallResult:
    """What `install` did.

    Attributes:
        path: where the backend lies now.
        requirements: the packages it needs, for pip.
        replaced: names that lay there before, sorted.
        nvidias: of these, the parts of NVIDIA's backend; Triton prefers its library to a model.py beside it.
        unknown: of these, what was neither NVIDIA's nor ours; only with `force`.
        link: where a symbolic link led that stood in this place, or None; its target is left as it was.
    """

    path: Path
    requirements: Path
    replaced: tuple[str, ...]
    nvidias: tuple[str, ...]
    unknown: tuple[str, ...]
    link: str | None


def install(directory: Path, force: bool) -> InstallResult:
    """Copy the backend to DIRECTORY/tensorflow; an earlier one of ours, or NVIDIA's, is replaced.

    Args:
        directory: Triton's backend directory, which has `python/`.
        force: replace what is neither ours nor NVIDIA's, too.

    Raises:
        InstallError: it is no backend directory, something unknown is in the place, or the disk refuses.
    """
    place = directory / NAME
    try:
        _check_directory(directory)
        link = str(place.readlink()) if place.is_symlink() else None
        replaced = _entries(place)
        nvidias = tuple(name for name in replaced if any(fnmatch(name, pattern) for pattern in NVIDIAS))
        unknown = tuple(name for name in replaced if name not in nvidias and not _is_ours(place, name))
        if unknown and not force:
            found = f"holds {_listed(unknown)}" if place.is_dir() else "is a file"
            expected = "expected nothing, or an earlier backend of Trident's or NVIDIA's"
            raise InstallError(f"{place} {found}; {expected}. Move it away, or replace it with --force.")
        _replace(directory, place)
    except OSError as error:
        reason = f"{error.strerror or error} ({error.filename or directory})"
        hint = f"Free space, or run this as a user who may write to {directory}."
        raise InstallError(f"cannot install {place}: {reason}; all is as it was. {hint}") from error
    return InstallResult(place, place / "requirements.txt", replaced, nvidias, unknown, link)


def _check_directory(directory: Path) -> None:
    expected = f"expected Triton's backend directory, which holds python/, such as {CONTAINERS}"
    if not directory.is_dir():
        found = "is a file" if directory.exists() else "does not exist"
        raise InstallError(f"{directory} {found}; {expected}. Give the one that tritonserver reads.")
    if (directory / "python").is_dir():
        return
    near = (directory / "backends", directory.resolve().parent)
    other = next((folder for folder in near if (folder / "python").is_dir()), None)
    hint = (
        f"Did you mean {other}?"
        if other
        else "Give the directory that holds python/, such as /opt/tritonserver/backends."
    )
    names = sorted(path.name for path in directory.iterdir())
    raise InstallError(f"{directory} holds {_listed(names) if names else 'nothing'}; {expected}. {hint}")


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _entries(place: Path) -> tuple[str, ...]:
    """What is in the place: names in the folder, or the name of the file that stands there instead."""
    if place.is_dir():
        return tuple(sorted(path.name for path in place.iterdir()))
    return (place.name,) if place.exists() else ()


def _is_ours(place: Path, name: str) -> bool:
    """Whether a former version of this backend, or Python while it ran, put it there."""
    if name == "model.py":
        path = place / name
        return path.is_file() and PACKAGE in path.read_text(encoding="utf-8", errors="replace")
    return name == "__pycache__" or (place.is_dir() and (SOURCE / name).exists())


def _replace(directory: Path, place: Path) -> None:
    """Stage beside the place, on the same file system, and swap by renaming."""
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=directory, ignore_cleanup_errors=True) as folder:
        staged = Path(folder) / NAME
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SOURCE, staged, ignore=ignore, copy_function=shutil.copyfile)
        for path in (staged, *staged.rglob("*")):  # Triton often runs as another user
            path.chmod(0o755 if path.is_dir() else 0o644)
        with Placement(Path(folder) / "replaced") as placement:
            placement.place(staged, place)
