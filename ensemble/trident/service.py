"""The service folder: everything that defines one service, checked before anything is built from it."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from tomlkit.exceptions import ParseError

from trident.errors import ServiceError
from trident.labels import read_labels

# A model's name is a folder's name and part of a URL; Triton itself would take blanks and fail later.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
STEPS = ("preprocess", "model", "postprocess")

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Size = Annotated[int, Field(ge=1, le=16384)]
Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, le=1e9)]


class Section(BaseModel):
    """A table of service.toml; a key that is not declared is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Model(Section):
    """The SavedModel and its signature; `inputs` and `outputs` say which tensor plays which part in the service."""

    savedmodel: str = "model.savedmodel"
    signature: str = "serving_default"
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}


class TextPreprocess(Section):
    """Text to token ids; with an empty `tokenizer` the model takes text, which is only cleaned."""

    tokenizer: str = "tokenizer.json"
    max_length: Annotated[int, Field(ge=1, le=8192)] = 128
    lowercase: bool = False
    clean: bool = True
    padding: Literal["longest", "pre", "post"] = "longest"
    truncation: Literal["pre", "post"] = "post"
    pad_id: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    max_text_bytes: Count = 2**20


class TokenPreprocess(TextPreprocess):
    """Of spans, which must be told in the text as it came."""

    clean: bool = False


class ImagePreprocess(Section):
    """Encoded images to pixels."""

    height: Size
    width: Size
    channels: Literal[1, 3] = 3
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    scaling: Literal["none", "unit", "tf", "caffe", "torch"] = "none"
    invert: bool = False
    max_pixels: Count = 50_000_000


class TabularPreprocess(Section):
    """Records to numbers."""

    features: str = "features.json"
    request: Literal["columns", "record"] = "columns"


class NoStage(Section):
    """There is no stage, so there is nothing to set."""


class ClassificationPostprocess(Section):
    """The model's outputs to labels."""

    labels: str = "labels.txt"
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    top_k: Count = 1
    threshold: Share = 0.0


class EmbeddingPostprocess(Section):
    """Token states to one vector."""

    pooling: Literal["mean", "cls", "max"] = "mean"
    normalize: bool = True


class TokenPostprocess(Section):
    """Labels of tokens to spans of text."""

    labels: str = "labels.txt"
    softmax: bool = True
    aggregation: Literal["none", "simple", "first", "average", "max"] = "first"
    outside: list[str] = ["O"]
    threshold: Share = 0.0


class TabularPostprocess(Section):
    """The model's outputs to labels or, with an empty `labels`, to a value."""

    labels: str = ""
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    top_k: Count = 1
    threshold: Share = 0.0
    mean: Finite = 0.0
    scale: Finite = 1.0


class Custom(Section):
    """Stages of the user's own, in place of the task's."""

    preprocess: str = ""
    postprocess: str = ""
    requirements: list[str] = []


class Serving(Section):
    """How Triton schedules the service; belongs to the models, not to one version of them."""

    max_batch_size: Annotated[int, Field(ge=0, le=4096)] = 64
    queue_delay_ms: Milliseconds = 0.0
    max_queue_size: Annotated[int, Field(ge=0, le=2**31 - 1)] = 512
    queue_timeout_ms: Milliseconds = 0.0
    priority_levels: Annotated[int, Field(ge=0, le=100)] = 0
    hang_timeout_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    model_instances: Count = 1
    preprocess_instances: Count = 1
    postprocess_instances: Count = 1
    parallel_calls: Annotated[int, Field(ge=0, le=256)] = 0
    threads: Annotated[int, Field(ge=0, le=4096)] = 0
    accelerator: Literal["", "openvino", "xla"] = ""
    precision: Literal["f32", "bf16"] = "f32"
    versions_kept: Count = 2


class LoneServing(Serving):
    """Of a model that no stage stands before: only Triton's own limit is left, which costs pauses (stages/gate.py)."""

    max_queue_size: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Spec(Section):
    """What the service.toml of every task has."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    task: str
    description: str = ""
    model: Model = Model()
    preprocess: Section = NoStage()
    postprocess: Section = NoStage()
    custom: Custom = Custom()
    serving: Serving = Serving()

    @property
    def labels(self) -> str:
        """The file of the labels; empty if the task has none."""
        return getattr(self.postprocess, "labels", "")


class TextClassification(Spec):
    """Texts to labels."""

    task: Literal["text-classification"] = "text-classification"
    preprocess: TextPreprocess = TextPreprocess()
    postprocess: ClassificationPostprocess = ClassificationPostprocess()


class TextEmbedding(Spec):
    """Texts to vectors."""

    task: Literal["text-embedding"] = "text-embedding"
    preprocess: TextPreprocess = TextPreprocess()
    postprocess: EmbeddingPostprocess = EmbeddingPostprocess()


class TokenClassification(Spec):
    """Texts to labelled spans."""

    task: Literal["token-classification"] = "token-classification"
    preprocess: TokenPreprocess = TokenPreprocess()
    postprocess: TokenPostprocess = TokenPostprocess()


class ImageClassification(Spec):
    """Images to labels."""

    task: Literal["image-classification"] = "image-classification"
    preprocess: ImagePreprocess
    postprocess: ClassificationPostprocess = ClassificationPostprocess()


class Tabular(Spec):
    """Records to labels or values."""

    task: Literal["tabular"] = "tabular"
    preprocess: TabularPreprocess = TabularPreprocess()
    postprocess: TabularPostprocess = TabularPostprocess()


class Tensors(Spec):
    """The SavedModel's own tensors."""

    task: Literal["tensors"] = "tensors"
    preprocess: NoStage = NoStage()
    postprocess: NoStage = NoStage()
    serving: LoneServing = LoneServing()


SPECS: tuple[type[Spec], ...] = (
    *(TextClassification, TextEmbedding, TokenClassification, ImageClassification, Tabular, Tensors),
)
TASKS: dict[str, type[Spec]] = {spec.model_fields["task"].default: spec for spec in SPECS}


@dataclass(frozen=True)
class Service:
    """A checked service folder.

    Attributes:
        folder: where it lies.
        spec: its service.toml.
        labels: one name a class, in the order of the model's outputs; empty if the task has none.
    """

    folder: Path
    spec: Spec
    labels: list[str]

    def with_serving(self, values: Mapping[str, Any]) -> "Service":
        """The same with other settings of `[serving]`; its service.toml stays.

        Raises:
            ValidationError: pydantic's; a value is not allowed.
        """
        serving = type(self.spec.serving).model_validate(self.spec.serving.model_dump() | {**values})
        return replace(self, spec=self.spec.model_copy(update={"serving": serving}))

    @property
    def toml(self) -> Path:
        """Its service.toml."""
        return self.folder / "service.toml"

    @property
    def savedmodel(self) -> Path:
        """The SavedModel's folder."""
        return self.folder / self.spec.model.savedmodel

    @property
    def tokenizer(self) -> Path | None:
        """The tokenizer's file, if there is one."""
        name = getattr(self.spec.preprocess, "tokenizer", "")
        return self.folder / name if name else None


def check_name(name: str) -> str:
    """A service name that Triton and URLs can take.

    Raises:
        ServiceError: it has other characters, or would collide with the models of another service.
    """
    taken = next((step for step in STEPS if name.endswith(f"_{step}")), None)
    if taken:
        raise ServiceError(f"service name '{name}' ends in '_{taken}', which names a model inside a service; rename it")
    try:
        Spec(name=name, task="")
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
        raise ServiceError(
            f"no service.toml in {folder}; `trident train FILE --name NAME` or `trident import` writes a service folder"
        )
    try:
        values = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except (ParseError, UnicodeDecodeError) as error:
        raise ServiceError(f"{path} is not TOML: {error}") from None
    try:
        spec = parse_spec(values)
    except ServiceError as error:
        raise ServiceError(f"{path}: {error}") from None
    check_name(spec.name)
    return spec


def parse_spec(values: dict[str, Any]) -> Spec:
    """Check the values of a service.toml.

    Raises:
        ServiceError: says which key, what was found and what is expected.
    """
    task = values.get("task", "")
    kind = TASKS.get(task) if isinstance(task, str) else None
    if kind is None:
        found = f"task is {task!r}" if "task" in values else "key 'task' is missing"
        raise ServiceError(f"{found}; expected one of {', '.join(TASKS)}")
    custom = values.get("custom", {})
    for step in ("preprocess", "postprocess"):
        if isinstance(custom, dict) and custom.get(step):  # then the task's own settings mean nothing
            kind = create_model(kind.__name__, __base__=kind, **{step: (NoStage, NoStage())})  # type: ignore[call-overload]
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ServiceError("; ".join(_explain(fault, kind) for fault in error.errors())) from None


def former_spec(folder: Path) -> Spec | None:
    """What stands in the place of a new service folder; its files may be missing, since they are made anew.

    Raises:
        ServiceError: something else stands there, or its service.toml cannot be read.
    """
    if not folder.exists():
        return None
    if not (folder / "service.toml").is_file():
        raise ServiceError(f"{folder} exists and is no service folder; choose another --name or --services")
    return load_spec(folder)


def write_spec(spec: Spec, folder: Path) -> None:
    """Write a service folder's service.toml, with every key."""
    document = tomlkit.document()
    document.add(tomlkit.comment("The service as `trident build` reads it; every key is explained in the README."))
    document.update(spec.model_dump())
    (folder / "service.toml").write_text(tomlkit.dumps(document), encoding="utf-8")


def load_service(folder: Path) -> Service:
    """Read and check a service folder (the SavedModel itself is checked by `build`).

    Args:
        folder: holds service.toml and the files that it names.

    Raises:
        ServiceError: says which file, which key, what was found and what is expected.
    """
    spec = load_spec(folder)
    labels = read_labels(folder / spec.labels) if spec.labels else []
    service = Service(folder, spec, labels)
    for key, file in _files(service).items():
        if not file.is_file():
            named = file.parent if file.name == "saved_model.pb" else file
            raise ServiceError(
                f"{folder / 'service.toml'}: {key} names {named}, which does not exist; "
                "train or import again, or correct the key"
            )
    return service


def _files(service: Service) -> dict[str, Path]:
    """Key of service.toml → the file that it names."""
    spec = service.spec
    files = {"model.savedmodel": service.savedmodel / "saved_model.pb"}
    if service.tokenizer is not None:
        files["preprocess.tokenizer"] = service.tokenizer
    if isinstance(spec.preprocess, TabularPreprocess):
        files["preprocess.features"] = service.folder / spec.preprocess.features
    for step in ("preprocess", "postprocess"):
        if name := getattr(spec.custom, step):
            files[f"custom.{step}"] = service.folder / name
    return files


def _explain(fault: Any, kind: type[Spec]) -> str:
    """One of pydantic's faults in our words: where, what was found, what is expected."""
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _fields(kind, fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        known_ones = f"known are {', '.join(known)}" if known else "there is nothing to set"
        return f"unknown key '{key}'; " + (f"did you mean '{close[0]}'?" if close else known_ones)
    if fault["type"] == "missing":
        return f"key '{key}' is missing"
    if key == "name":
        return f"name is {fault['input']!r}; use letters, digits, '_', '-' and '.', the first a letter or digit"
    return f"{key} is {fault['input']!r}; {fault['msg'][:1].lower()}{fault['msg'][1:]}"


def _fields(kind: type[Spec], path: tuple[Any, ...]) -> list[str]:
    section: type[BaseModel] = kind
    for part in path:
        annotation = section.model_fields[str(part)].annotation
        if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
            return []
        section = annotation
    return list(section.model_fields)
