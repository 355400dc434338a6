"""The versions of a service in a model repository: which are whole, which is released, and which may go."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trident import configs
from trident.errors import ServiceError
from trident.ownership import is_built
from trident.pins import Pin, Texts, named, read_pin
from trident.service import STEPS

RECORD = "build.json"  # in the ensemble's version folder: what the version was made of, and its configs


@contextmanager
def locked(repository: Path) -> Iterator[None]:
    """Let one build or release at a time into a repository; the kernel drops the lock of a process that dies."""
    descriptor = os.open(repository, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for leftover in repository.glob(".build-*"):  # of a process that was killed; ours is the only one running
            shutil.rmtree(leftover)
        yield
    finally:
        os.close(descriptor)


def find_service(name: str, repository: Path) -> list[str]:
    """The models of a service in a model repository, the ensemble first.

    Raises:
        ServiceError: there is none, or what has its name was not built by Trident.
    """
    check_not_foreign(repository, name)
    found = [model for model in _models(name) if (repository / model).exists()]
    if not found:
        raise ServiceError(f"no service '{name}' in {repository}; give its folder with --model-repository")
    return found


def check_not_foreign(repository: Path, name: str) -> None:
    """Refuse to touch models that stand where a service's go and that no build of it wrote.

    Raises:
        ServiceError: there is one.
    """
    for model in _models(name):
        folder = repository / model
        ours = is_built(folder) and (model != name or configs.is_ensemble_of(read_text(folder / "config.pbtxt"), name))
        if folder.exists() and not ours:
            raise ServiceError(
                f"{folder} is a model that no service '{name}' built; rename the service or move the model"
            )


def read_text(path: Path) -> str:
    """A file's text; empty if there is none."""
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""


def read_configs(repository: Path, name: str) -> dict[str, str]:
    """A service's configs as a server reads them, the ensemble last."""
    models = (*_models(name)[1:], name)
    texts = {model: read_text(repository / model / "config.pbtxt") for model in models}
    return {model: text for model, text in texts.items() if text}


def read_record(repository: Path, name: str, version: int) -> dict[str, Any]:
    """What `build` wrote down about a version; empty if that is missing or damaged, so that it is made anew."""
    try:
        record = json.loads((repository / name / str(version) / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def configs_of(repository: Path, name: str, version: int) -> Texts:
    """The configs that a version was built with; those of the service if it was built before they were kept."""
    texts = read_record(repository, name, version).get("configs")
    return texts if isinstance(texts, dict) and texts else read_configs(repository, name)


def whole_versions(repository: Path, name: str) -> set[int]:
    """Versions with all their files; in a fresh clone, or after a build that was killed, some lack weights."""
    versions = {int(folder.name) for folder in (repository / name).glob("*") if folder.name.isdigit()}
    return {version for version in versions if _is_whole(repository, read_record(repository, name, version))}


def released(repository: Path, name: str) -> Pin:
    """The versions that the service's configs name, as far as they are whole."""
    pin, whole = read_pin(read_text(repository / name / "config.pbtxt")), whole_versions(repository, name)
    if pin.version not in whole:
        return Pin()
    return pin if pin.before in whole else Pin(pin.version)


def bear_padding(repository: Path, name: str, versions: Iterable[int]) -> bool:
    """Whether padding leaves the answers of all these versions as they are."""
    return all(read_record(repository, name, version).get("ragged", True) for version in versions)


def prune(repository: Path, name: str, count: int) -> list[int]:
    """Remove versions: not those that are loaded, nor the newest `count` ones.

    Returns:
        What was removed; what cannot be removed now goes the next time.
    """
    kept = {*sorted(whole_versions(repository, name))[-count:], *released(repository, name).loaded}
    for text in read_configs(repository, name).values():  # after a release that was killed, these may be more
        kept |= named(text)
    removed = set()
    for model in _models(name):
        for path in (repository / model).glob("*"):
            if path.name.isdigit() and int(path.name) not in kept:
                shutil.rmtree(path, ignore_errors=True)
                removed.add(int(path.name))
    return sorted(removed)


def _models(name: str) -> tuple[str, ...]:
    return (name, *(f"{name}_{step}" for step in STEPS))


def _is_whole(repository: Path, record: dict[str, Any]) -> bool:
    files = record.get("files")
    return bool(files) and isinstance(files, list) and all((repository / str(file)).is_file() for file in files)
