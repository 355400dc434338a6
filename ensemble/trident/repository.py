"""Service folder → model repository: the models and the ensemble, as Triton reads them.

A version is written beside the repository's models and moved into place, so that a build that fails leaves
the repository as it was. The ensemble's config.pbtxt, which pins the version, is replaced last.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from trident import configs, probing
from trident.custom_stages import check_requirements
from trident.errors import BuildError, ServiceError
from trident.layout import Stage
from trident.pipeline import Pipeline, design
from trident.placement import Placement
from trident.service import STEPS, Service

RECORD = "build.json"  # in the ensemble's version folder: what the version was made of

# Path below the repository, with {version} in it → a file to copy, or the content itself.
Plan = dict[str, Path | bytes]


@dataclass(frozen=True)
class BuildResult:
    """What `build` did.

    Attributes:
        name: the service, which is also the ensemble's name.
        version: the version that the ensemble now pins.
        created: False if the newest version was already made of the same input.
        configured: whether a config.pbtxt has changed.
        models: the models written, the ensemble last.
        ragged: whether texts of different lengths share a batch; not if padding changes the model's answers. None if
            the service has no texts of different lengths.
    """

    name: str
    version: int
    created: bool
    configured: bool
    models: list[str]
    ragged: bool | None


def build(service: Service, repository: Path) -> BuildResult:
    """Write a service's next version into a model repository and pin the ensemble to it.

    Args:
        service: a checked service folder.
        repository: the model repository; made if it is missing.

    Raises:
        ServiceError: labels and the model's outputs differ in number, or a model of that name is not ours.
        ExportError: the SavedModel does not load or run.
        BuildError: the disk refused; the repository is as it was.
    """
    name = service.spec.name
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with _locked(repository):
            _check_not_foreign(repository, name)
            check_requirements(service.spec.custom.requirements)
            pipeline = design(service)
            plan = _plan(service, pipeline)
            digest = _digest(plan)
            newest = _newest_version(repository, name)
            created = newest == 0 or _record(repository, name, newest).get("digest") != digest
            version = newest + 1 if created else newest
            oldest = version - service.spec.serving.versions_kept + 1
            kept = sorted({version, *(n for n in _whole_versions(repository, name) if n >= oldest)})
            older = [_record(repository, name, n).get("ragged", True) for n in kept if not (created and n == version)]
            ragged = all([*older, probing.probe(service, pipeline)] if created else older)
            texts = configs.render(service, pipeline, version, kept, ragged=ragged)
            configured = any(_read(repository / model / "config.pbtxt") != text for model, text in texts.items())
            if created or configured:
                files = sorted(target.replace("{version}", str(version), 1) for target in plan)
                record = {"digest": digest, "ragged": ragged, "files": files}
                _write(repository, name, version, plan if created else {}, record, texts)
            _prune(repository, name, kept)
    except OSError as error:
        where = error.filename2 or error.filename or repository  # the target, if it was a copy
        raise BuildError(
            f"cannot write {where}: {error.strerror}; the model repository is as it was. Free space or mend the path."
        ) from error
    told = ragged if probing.has_lengths(service, pipeline) else None
    return BuildResult(name, version, created, configured, list(texts), told)


def find_service(name: str, repository: Path) -> list[str]:
    """The models of a service in a model repository, the ensemble first.

    Raises:
        ServiceError: there is none, or what has its name was not built by Trident.
    """
    _check_not_foreign(repository, name)
    found = [model for model in (name, *(f"{name}_{step}" for step in STEPS)) if (repository / model).exists()]
    if not found:
        raise ServiceError(f"no service '{name}' in {repository}; give its folder with --model-repository")
    return found


def remove(name: str, repository: Path) -> None:
    """Remove a service's models from a model repository, the ensemble first, so that no half of it is asked for.

    Raises:
        ServiceError: see `find_service`.
        BuildError: the disk refused.
    """
    try:
        with _locked(repository), tempfile.TemporaryDirectory(prefix=".build-", dir=repository) as aside:
            for model in find_service(name, repository):
                (repository / model).rename(Path(aside) / model)
    except OSError as error:
        raise BuildError(f"cannot remove '{name}' from {repository}: {error.strerror}; mend its rights") from error


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""


@contextmanager
def _locked(repository: Path) -> Iterator[None]:
    """Let one build at a time into a repository; the kernel drops the lock of a build that dies."""
    descriptor = os.open(repository, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for leftover in repository.glob(".build-*"):  # of a build that was killed; ours is the only one running
            shutil.rmtree(leftover)
        yield
    finally:
        os.close(descriptor)


def _check_not_foreign(repository: Path, name: str) -> None:
    """Refuse to touch models that stand where ours go and that no build of this service wrote."""
    for model in (name, *(f"{name}_{step}" for step in STEPS)):
        text = _read(repository / model / "config.pbtxt")
        ours = text.startswith(configs.HEADER) and (model != name or configs.is_ensemble_of(text, name))
        if (repository / model).exists() and not ours:
            raise ServiceError(
                f"{repository / model} is a model that no service '{name}' built; rename the service or move the model"
            )


def _plan(service: Service, pipeline: Pipeline) -> Plan:
    """Everything that one version consists of."""
    name = service.spec.name
    plan: Plan = {}
    for file in sorted(service.savedmodel.rglob("*")):
        if file.is_file():
            plan[f"{name}_model/{{version}}/model.savedmodel/{file.relative_to(service.savedmodel).as_posix()}"] = file
    for step, stage in (("preprocess", pipeline.preprocess), ("postprocess", pipeline.postprocess)):
        if stage is not None:
            plan |= {f"{name}_{step}/{{version}}/{target}": source for target, source in _stage_files(stage).items()}
    return plan


def _stage_files(stage: Stage) -> Plan:
    """Name in the version folder → content: Triton's entry, the code of the stage's kind, its settings and files."""
    stages = resources.files("trident") / "stages"
    files: Plan = {name: (stages / name).read_bytes() for name in ("model.py", "gate.py")}
    for source in (stages / stage.kind).iterdir():
        if source.name.endswith((".py", ".txt")) and source.name != "__init__.py":
            files[source.name] = source.read_bytes()
    return files | {"settings.json": _json(stage.settings)} | stage.files


def _json(values: dict[str, object]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def _digest(plan: Plan) -> str:
    total = hashlib.sha256()
    for target, source in sorted(plan.items()):
        content = hashlib.sha256(source.read_bytes() if isinstance(source, Path) else source).hexdigest()
        total.update(f"{target}\0{content}\n".encode())
    return total.hexdigest()


def _newest_version(repository: Path, name: str) -> int:
    """The newest version that is whole; 0 if there is none."""
    return max(_whole_versions(repository, name), default=0)


def _whole_versions(repository: Path, name: str) -> set[int]:
    """Versions with all their files; in a fresh clone, or after a build that was killed, some lack weights."""
    versions = {int(folder.name) for folder in (repository / name).glob("*") if folder.name.isdigit()}
    return {version for version in versions if _is_whole(repository, _record(repository, name, version))}


def _is_whole(repository: Path, record: dict[str, Any]) -> bool:
    files = record.get("files")
    return bool(files) and isinstance(files, list) and all((repository / str(file)).is_file() for file in files)


def _record(repository: Path, name: str, version: int) -> dict[str, Any]:
    try:
        record = json.loads((repository / name / str(version) / RECORD).read_bytes())
    except (OSError, ValueError):  # missing or damaged: the version is made anew
        return {}
    return record if isinstance(record, dict) else {}


def _write(
    repository: Path, name: str, version: int, plan: Plan, record: dict[str, Any], texts: dict[str, str]
) -> None:
    """Stage everything, then move it into place, the ensemble's config last; all or nothing."""
    with tempfile.TemporaryDirectory(prefix=".build-", dir=repository) as folder:
        staging = Path(folder)
        for target, source in plan.items():
            path = staging / target.replace("{version}", str(version), 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source) if isinstance(source, bytes) else shutil.copyfile(source, path)
        if plan:
            path = staging / name / str(version) / RECORD
            path.parent.mkdir(parents=True)
            path.write_bytes(_json(record))
        for model, text in texts.items():
            (staging / model).mkdir(exist_ok=True)
            (staging / model / "config.pbtxt").write_text(text, encoding="utf-8")
        with Placement(staging / "replaced") as placement:
            for move in _moves(repository, version, list(texts), bool(plan)):
                placement.place(staging / move, repository / move)


def _moves(repository: Path, version: int, models: list[str], created: bool) -> list[str]:
    """What is moved, in order: versions, then configs; a model that is new as one folder; the ensemble last."""
    known = [model for model in models if (repository / model).exists()]
    versions = [f"{model}/{version}" for model in known if created]
    configs_ = [f"{model}/config.pbtxt" if model in known else model for model in models]
    return versions + configs_


def _prune(repository: Path, name: str, kept: list[int]) -> None:
    """Remove the versions that are no longer loaded; what cannot be removed now goes with the next build."""
    for model in (*(f"{name}_{step}" for step in STEPS), name):
        for path in (repository / model).glob("*"):
            if path.name.isdigit() and int(path.name) not in kept:
                shutil.rmtree(path, ignore_errors=True)
