"""Service folder → model repository: the models and the ensemble, as Triton reads them.

A version is written beside the repository's models and moved into place, so that a build that fails leaves
the repository as it was. The first version is released at once; a later one waits, with the configs that it was
built with, for `releasing.release`, and until then Triton reads nothing of it.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trident import configs, probing
from trident.custom_stages import check_requirements
from trident.errors import BuildError, ServiceError
from trident.layout import Stage
from trident.pins import Pin, check_common, pinned
from trident.pipeline import Pipeline, design
from trident.placement import Placement
from trident.service import Service, load_service
from trident.versions import (
    RECORD,
    bear_padding,
    check_not_foreign,
    configs_of,
    find_service,
    locked,
    prune,
    read_configs,
    read_record,
    read_text,
    released,
    whole_versions,
)

# Path below the repository, with {version} in it → a file to copy, or the content itself.
Plan = dict[str, Path | bytes]


@dataclass(frozen=True)
class BuildResult:
    """What `build` did.

    Attributes:
        name: the service, which is also the ensemble's name.
        version: the version that is made of the service folder.
        created: False if the newest version was already made of the same input.
        configured: whether its configs have changed.
        models: its models, the ensemble last.
        ragged: whether texts of different lengths share a batch; not if padding changes the model's answers. None if
            the service has no texts of different lengths.
        released: the version that servers serve.
        pending: whether releasing `version` would change what they serve.
    """

    name: str
    version: int
    created: bool
    configured: bool
    models: list[str]
    ragged: bool | None
    released: int
    pending: bool


def build(service: Service, repository: Path) -> BuildResult:
    """Write a service's next version into a model repository; release it if none is released.

    Args:
        service: a checked service folder.
        repository: the model repository; made if it is missing.

    Raises:
        ServiceError: labels and the model's outputs differ in number, a model of that name is not ours, the released
            version takes or gives other tensors, or a package that the service needs is missing.
        ExportError: the SavedModel does not load or run.
        BuildError: the disk refused, or the service folder changed meanwhile; the repository is as it was.
    """
    name = service.spec.name
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with locked(repository):
            check_not_foreign(repository, name)
            _check_unchanged(service)
            check_requirements(service.spec.custom.requirements)
            _check_accelerator(service)
            return _build(service, design(service), repository)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and service.folder in Path(str(error.filename)).parents:
            raise _changed(name) from error
        where = error.filename2 or error.filename or repository  # the target, if it was a copy
        raise BuildError(
            f"cannot write {where}: {error.strerror}; the model repository is as it was. Free space or mend the path."
        ) from error


def _check_unchanged(service: Service) -> None:
    """Another folder may have taken its place since it was read, while this build waited for another one."""
    now = load_service(service.folder)
    read, found = ((one.spec.model_dump(exclude={"serving"}), one.labels) for one in (service, now))
    if read != found:
        raise _changed(service.spec.name)


def _changed(name: str) -> BuildError:
    return BuildError(f"service '{name}' changed while it was built; the model repository is as it was. Build again")


def _check_accelerator(service: Service) -> None:
    """Without its package the backend would serve with TensorFlow, and only the log would tell."""
    if service.spec.serving.accelerator == "openvino" and find_spec("openvino") is None:
        raise ServiceError(
            f"{service.toml}: serving.accelerator is 'openvino', which is not installed; "
            "pip install '.[openvino]' in Trident's folder, or set accelerator = \"\""
        )


def _build(service: Service, pipeline: Pipeline, repository: Path) -> BuildResult:
    name, kept = service.spec.name, service.spec.serving.versions_kept
    plan = _plan(service, pipeline)
    digest = _digest(plan)
    newest = max(whole_versions(repository, name), default=0)
    former = read_record(repository, name, newest)
    created = newest == 0 or former.get("digest") != digest
    version = newest + 1 if created else newest
    ragged = probing.probe(service, pipeline) if created else bool(former.get("ragged", True))
    texts = configs.render(service, pipeline, version, [version], ragged=ragged)
    files = sorted(target.replace("{version}", str(version), 1) for target in plan)
    record = {"digest": digest, "ragged": ragged, "files": files, "versions_kept": kept, "configs": texts}
    pin, placed = released(repository, name), read_configs(repository, name)
    if pin.version:
        check_common(name, placed, texts)
    target = pin if version == pin.version else Pin(version, pin.version)
    shared = ragged and bear_padding(repository, name, {*target.loaded} - {version})
    wanted = pinned(texts, target, ragged=shared)
    first = not pin.version
    built = pinned(configs_of(repository, name, version) if not created else texts, target, ragged=shared)
    configured = placed != wanted if first else created or built != wanted or former.get("versions_kept", kept) != kept
    _write(repository, name, version, plan if created else {}, record, wanted if first else {})
    prune(repository, name, kept)
    told = shared if probing.has_lengths(service, pipeline) else None
    pending = not first and placed != wanted
    return BuildResult(name, version, created, configured, list(texts), told, pin.version or version, pending)


def remove(name: str, repository: Path) -> None:
    """Remove a service's models from a model repository, the ensemble first, so that no half of it is asked for.

    Raises:
        ServiceError: see `find_service`.
        BuildError: the disk refused.
    """
    try:
        with locked(repository), tempfile.TemporaryDirectory(prefix=".build-", dir=repository) as aside:
            for model in find_service(name, repository):
                (repository / model).rename(Path(aside) / model)
    except OSError as error:
        raise BuildError(f"cannot remove '{name}' from {repository}: {error.strerror}; mend its rights") from error


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


def _digest(plan: Mapping[str, Path | bytes]) -> str:
    total = hashlib.sha256()
    for target, source in sorted(plan.items()):
        content = hashlib.sha256(source.read_bytes() if isinstance(source, Path) else source).hexdigest()
        total.update(f"{target}\0{content}\n".encode())
    return total.hexdigest()


def _write(
    repository: Path, name: str, version: int, plan: Plan, record: dict[str, Any], texts: dict[str, str]
) -> None:
    """Stage everything that is new, then move it into place, the ensemble's config last; all or nothing.

    Args:
        repository: the model repository.
        name: of the service.
        version: which the plan and the record belong to.
        plan: the version's files; empty if they are there.
        record: what is written down about it, the digest of the files among it.
        texts: the configs, if the version is to be released with it.

    Raises:
        BuildError: the files are no longer those of the digest, since another service folder took the place of the one
            that was read, and the version would be of both.
    """
    with tempfile.TemporaryDirectory(prefix=".build-", dir=repository) as folder:
        staging = Path(folder)
        copies = {target: staging / target.replace("{version}", str(version), 1) for target in plan}
        for target, path in copies.items():
            source = plan[target]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source) if isinstance(source, bytes) else shutil.copyfile(source, path)
        if plan and _digest(copies) != record["digest"]:
            raise _changed(name)
        if read_record(repository, name, version) != record:
            path = staging / name / str(version) / RECORD
            path.parent.mkdir(parents=True)
            path.write_bytes(_json(record))
        for model, text in texts.items():
            if read_text(repository / model / "config.pbtxt") != text:
                (staging / model).mkdir(exist_ok=True)
                (staging / model / "config.pbtxt").write_text(text, encoding="utf-8")
        with Placement(staging / "replaced") as placement:
            for move in _moves(repository, staging, version, list(record["configs"]), bool(plan)):
                placement.place(staging / move, repository / move)


def _moves(repository: Path, staging: Path, version: int, models: list[str], created: bool) -> list[str]:
    """What is moved, in order: versions, then configs; a model that is new as one folder; the ensemble last."""
    known = [model for model in models if (repository / model).exists()]
    versions = [f"{model}/{version}" for model in known] if created else [f"{models[-1]}/{version}/{RECORD}"]
    configs_ = [f"{model}/config.pbtxt" if model in known else model for model in models]
    return [move for move in versions + configs_ if (staging / move).exists()]
