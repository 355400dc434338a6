"""The service folder: everything that defines one service, checked before anything is built from it."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tomlkit.exceptions import ParseError

from trident.errors import ServiceError

# A model's name is a folder's name and part of a URL; Triton itself would take blanks and fail later.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
STEPS = ("preprocess", "model", "postprocess")

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Milliseconds = Annotated[float, Field(ge=0, le=1e9)]


class Section(BaseModel):
    """A table of service.toml; a key that is not declared is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Model(Section):
    """The SavedModel: `input_ids` INT32 [B, L] → `logits` FP32 [B, C]."""

    savedmodel: str = "model.savedmodel"


class Preprocess(Section):
    """Text to token ids."""

    tokenizer: str = "tokenizer.json"
    max_length: Annotated[int, Field(ge=1, le=8192)] = 128
    lowercase: bool = False


class Postprocess(Section):
    """Logits to labels."""

    labels: str = "labels.txt"
    softmax: bool = True
    top_k: Count = 1
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0


class Serving(Section):
    """How Triton schedules the service; belongs to the models, not to one version of them."""

    max_batch_size: Annotated[int, Field(ge=1, le=4096)] = 64
    queue_delay_ms: Milliseconds = 0.0
    max_queue_size: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1024
    queue_timeout_ms: Milliseconds = 10_000.0
    model_instances: Count = 1
    preprocess_instances: Count = 1
    postprocess_instances: Count = 1
    threads: Annotated[int, Field(ge=0, le=4096)] = 0
    versions_kept: Count = 2


class Spec(Section):
    """All of service.toml."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    task: Literal["text-classification"]
    description: str = ""
    model: Model = Model()
    preprocess: Preprocess = Preprocess()
    postprocess: Postprocess = Postprocess()
    serving: Serving = Serving()


@dataclass(frozen=True)
class Service:
    """A checked service folder.

    Attributes:
        folder: where it lies.
        spec: its service.toml.
        labels: one name a class, in the order of the model's outputs.
    """

    folder: Path
    spec: Spec
    labels: list[str]

    @property
    def savedmodel(self) -> Path:
        """The SavedModel's folder."""
        return self.folder / self.spec.model.savedmodel

    @property
    def tokenizer(self) -> Path:
        """The Hugging Face tokenizer.json."""
        return self.folder / self.spec.preprocess.tokenizer


def check_name(name: str) -> str:
    """A service name that Triton and URLs can take.

    Raises:
        ServiceError: it has other characters, or would collide with the models of another service.
    """
    taken = next((step for step in STEPS if name.endswith(f"_{step}")), None)
    if taken:
        raise ServiceError(f"service name '{name}' ends in '_{taken}', which names a model inside a service; rename it")
    try:
        Spec(name=name, task="text-classification")
    except ValidationError:
        allowed = "letters, digits, '_', '-' and '.', the first a letter or digit, 64 at most"
        raise ServiceError(f"service name '{name}' cannot name a Triton model; use {allowed}") from None
    return name


def load_spec(folder: Path) -> Spec:
    """Read and check a service folder's service.toml, not the files that it names.

    Raises:
        ServiceError: says which key, what was found and what is expected.
    """
    path = folder / "service.toml"
    if not path.is_file():
        raise ServiceError(f"no service.toml in {folder}; `trident train FILE --name NAME` writes a service folder")
    try:
        spec = Spec.model_validate(tomlkit.parse(path.read_text(encoding="utf-8")).unwrap())
    except (ParseError, UnicodeDecodeError) as error:
        raise ServiceError(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        raise ServiceError(f"{path}: {'; '.join(_explain(fault) for fault in error.errors())}") from None
    check_name(spec.name)
    return spec


def load_service(folder: Path) -> Service:
    """Read and check a service folder (the SavedModel itself is checked by `build`).

    Args:
        folder: holds service.toml and the files that it names.

    Raises:
        ServiceError: says which file, which key, what was found and what is expected.
    """
    spec = load_spec(folder)
    service = Service(folder, spec, _read_labels(folder / spec.postprocess.labels))
    for key, file, good in (
        ("model.savedmodel", service.savedmodel, (service.savedmodel / "saved_model.pb").is_file()),
        ("preprocess.tokenizer", service.tokenizer, service.tokenizer.is_file()),
    ):
        if not good:
            raise ServiceError(
                f"{folder / 'service.toml'}: {key} names {file}, which does not exist; train again or correct the key"
            )
    return service


def _read_labels(path: Path) -> list[str]:
    if not path.is_file():
        raise ServiceError(f"no labels file {path}; write one label a line, in the order of the model's outputs")
    try:
        labels = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ServiceError(f"{path} is not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8") from None
    doubles = sorted({label for label in labels if labels.count(label) > 1})
    if doubles or "" in labels:
        fault = f"{doubles} more than once" if doubles else f"an empty line {labels.index('') + 1}"
        raise ServiceError(f"{path} has {fault}; expected one label a line, each once")
    return labels


def _explain(fault: Any) -> str:
    """One pydantic fault in our words: where, what was found, what is expected."""
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _fields(fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        return f"unknown key '{key}'; " + (f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}")
    if fault["type"] == "missing":
        return f"key '{key}' is missing"
    if key == "name":
        return f"name is {fault['input']!r}; use letters, digits, '_', '-' and '.', the first a letter or digit"
    return f"{key} is {fault['input']!r}; {fault['msg'][:1].lower()}{fault['msg'][1:]}"


def _fields(path: tuple[Any, ...]) -> list[str]:
    section: type[BaseModel] = Spec
    for part in path:
        annotation = section.model_fields[str(part)].annotation
        if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
            return []
        section = annotation
    return list(section.model_fields)
