"""What a service consists of: the tensors it takes and gives, its model, and the stages before and behind it.

Between the steps travel tensors with names of Trident's own (`input_ids`, `logits`); service.toml says which tensor of
the SavedModel each of them is. Design reads the signature from the file; nothing of TensorFlow is imported.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trident.errors import ServiceError
from trident.savedmodel import ModelTensors, read_tensors
from trident.service import (
    ClassificationPostprocess,
    EmbeddingPostprocess,
    ImagePreprocess,
    Section,
    Service,
    TabularPostprocess,
    TabularPreprocess,
    TextPreprocess,
    TokenPostprocess,
)
from trident.stages.tabular.features import read_features
from trident.tokenizer_files import read_tokenizer

TEXT = ("input_ids", "attention_mask", "token_type_ids")  # what the text stage can give a model
CUSTOM_FILE = "user_stage.py"


@dataclass(frozen=True)
class Tensor:
    """A tensor between two steps, or between the service and its callers.

    Attributes:
        name: Trident's, which is also the callers'.
        data_type: in config.pbtxt, `TYPE_FP32`.
        dims: without the batch axis if there is one, -1 where any size will do.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """A preprocess or postprocess model.

    Attributes:
        kind: its folder in `stages/`.
        inputs: what it takes.
        outputs: what it gives.
        settings: what its settings.json holds.
        files: name in the version folder → file, or its content.
    """

    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path | bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipeline:
    """A service.

    Attributes:
        inputs: what callers send.
        outputs: what they get.
        model: the SavedModel's tensors; `inputs` and `outputs` there have the signature's names.
        model_inputs: Trident's name → the signature's.
        model_outputs: Trident's name → the signature's.
        preprocess: the stage before the model, if any.
        postprocess: the stage behind it, if any.
        vocabulary: number of token ids that the tokenizer can give; 0 if there is none.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    model: ModelTensors
    model_inputs: dict[str, str]
    model_outputs: dict[str, str]
    preprocess: Stage | None
    postprocess: Stage | None
    vocabulary: int

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that there are, in order."""
        stages = (("preprocess", self.preprocess), ("model", self.model), ("postprocess", self.postprocess))
        return tuple(name for name, stage in stages if stage is not None)


def design(service: Service) -> Pipeline:
    """Lay out a service.

    Raises:
        ServiceError: service.toml, the signature and the files do not fit together.
    """
    spec = service.spec
    model = read_tensors(service.savedmodel, spec.model.signature, spec.serving.max_batch_size)
    _check_batches(service, model)
    inputs = dict(spec.model.inputs) or {name: name for name in model.inputs}
    outputs = dict(spec.model.outputs) or {name: name for name in model.outputs}
    _check_named(service, "inputs", inputs, model.inputs)
    _check_named(service, "outputs", outputs, model.outputs)
    unnamed = sorted(set(model.inputs) - set(inputs.values()))
    if unnamed:
        raise ServiceError(f"{_toml(service)}: model.inputs leaves out {unnamed}; the signature needs all its inputs")
    taken = {name: _tensor(name, model.inputs[own]) for name, own in inputs.items()}
    given = {name: _tensor(name, model.outputs[own]) for name, own in outputs.items()}
    postprocess = _postprocess(service, taken, given)
    vocabulary = 0
    if service.tokenizer is not None and not spec.custom.preprocess:
        vocabulary = read_tokenizer(service.tokenizer, None).vocabulary_size
    preprocess = _preprocess(service, taken, postprocess)
    first = preprocess.inputs if preprocess else tuple(taken.values())
    last = postprocess.outputs if postprocess else tuple(given.values())
    _check_flows(service, preprocess, postprocess, taken, given)
    return Pipeline(first, last, model, inputs, outputs, preprocess, postprocess, vocabulary)


def _check_batches(service: Service, model: ModelTensors) -> None:
    if model.max_batch_size or service.spec.task == "tensors":
        return
    specs = (*model.signature.inputs.values(), *model.signature.outputs.values())
    shapes = {spec.name: list(spec.shape or ()) for spec in specs}
    raise ServiceError(
        f"the SavedModel {service.savedmodel} has the shapes {shapes}; expected an open first axis of all. "
        "Export it again, or serve it with the task 'tensors'"
    )


def _toml(service: Service) -> Path:
    return service.folder / "service.toml"


def _check_named(service: Service, key: str, named: Mapping[str, str], known: Mapping[str, Any]) -> None:
    for name, own in named.items():
        if own not in known:
            found = f"model.{key}.{name} is '{own}'"
            raise ServiceError(f"{_toml(service)}: {found}; the signature has {sorted(known)}")


def _check_flows(
    service: Service,
    preprocess: Stage | None,
    postprocess: Stage | None,
    taken: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
) -> None:
    """Every tensor that a step takes must come from the callers or from a step before it."""
    known = {tensor.name for tensor in (*preprocess.inputs, *preprocess.outputs)} if preprocess else set(taken)
    missing = sorted(set(taken) - known)
    if missing:
        can = sorted(known - {tensor.name for tensor in preprocess.inputs}) if preprocess else []
        raise ServiceError(f"{_toml(service)}: model.inputs names {missing}; the preprocess stage gives {can}")
    known |= set(given)
    missing = sorted({tensor.name for tensor in postprocess.inputs} - known) if postprocess else []
    if missing:
        raise ServiceError(
            f"{_toml(service)}: the postprocess stage takes {missing}; model.outputs has {sorted(given)}"
        )


def _tensor(name: str, entry: Mapping[str, Any]) -> Tensor:
    return Tensor(name, entry["data_type"], tuple(int(size) for size in entry["dims"]))


# -- before the model ------------------------------------------------------------------------------------------------


def _preprocess(service: Service, taken: Mapping[str, Tensor], postprocess: Stage | None) -> Stage | None:
    spec = service.spec
    if spec.custom.preprocess:
        return _custom(service, spec.custom.preprocess)
    settings = spec.preprocess
    if isinstance(settings, TextPreprocess):
        return _text(service, settings, taken, postprocess)
    if isinstance(settings, ImagePreprocess):
        return _image(service, settings, taken)
    if isinstance(settings, TabularPreprocess):
        return _tabular(service, settings, taken)
    return None


def _text(service: Service, settings: TextPreprocess, taken: Mapping[str, Tensor], postprocess: Stage | None) -> Stage:
    text = Tensor("text", "TYPE_STRING", (1,))
    values = settings.model_dump(exclude={"tokenizer"})
    if service.tokenizer is None:
        _expect_model_inputs(service, taken, ("cleaned",), "without a tokenizer the model takes text")
        return Stage("text", (text,), (Tensor("cleaned", "TYPE_STRING", (1,)),), values)
    _expect_model_inputs(service, taken, TEXT, "the text stage gives")
    _check_lengths(service, settings, taken)
    file = read_tokenizer(service.tokenizer, None)
    outputs = dict(taken)
    wanted = {tensor.name for tensor in postprocess.inputs} if postprocess else set()
    length = settings.max_length if settings.padding != "longest" else -1
    for name, dims in (("attention_mask", (length,)), ("offsets", (length, 2)), ("word_ids", (length,))):
        if name in wanted and name not in outputs:
            outputs[name] = Tensor(name, "TYPE_INT32", dims)
    return Stage("text", (text,), tuple(outputs.values()), values, {file.file_name: file.content})


def _check_lengths(service: Service, settings: TextPreprocess, taken: Mapping[str, Tensor]) -> None:
    for tensor in taken.values():
        (length,) = tensor.dims if len(tensor.dims) == 1 else (0,)
        if length == -1 or (length == settings.max_length and settings.padding != "longest"):
            continue
        key = f"preprocess.max_length is {settings.max_length} with padding '{settings.padding}'"
        wants = f"the model's '{tensor.name}' has dims {list(tensor.dims)}"
        raise ServiceError(
            f"{_toml(service)}: {key}, and {wants}; set max_length = {length}, padding = 'pre' or 'post'"
        )


def _image(service: Service, settings: ImagePreprocess, taken: Mapping[str, Tensor]) -> Stage:
    _expect_model_inputs(service, taken, ("pixels",), "the image stage gives")
    wants = (settings.height, settings.width, settings.channels)
    pixels = taken["pixels"]
    if len(pixels.dims) != 3 or any(dim not in (-1, size) for dim, size in zip(pixels.dims, wants, strict=True)):
        found = f"preprocess gives {list(wants)} (height, width, channels)"
        raise ServiceError(f"{_toml(service)}: {found}, and the model takes {list(pixels.dims)}; make them the same")
    image = Tensor("image", "TYPE_STRING", (1,))
    return Stage("image", (image,), (Tensor("pixels", pixels.data_type, wants),), settings.model_dump())


def _tabular(service: Service, settings: TabularPreprocess, taken: Mapping[str, Tensor]) -> Stage:
    path = service.folder / settings.features
    try:
        features = read_features(path)
    except ValueError as error:
        raise ServiceError(str(error)) from None
    widths = features.widths()
    _expect_model_inputs(service, taken, tuple(widths), f"{path.name} makes")
    unmade = sorted(set(widths) - set(taken))
    if unmade:
        raise ServiceError(f"{path} makes {unmade}; model.inputs has {sorted(taken)}")
    for name, width in widths.items():
        if taken[name].dims not in ((width,), (-1,)):
            found = f"{path} makes {width} numbers for '{name}'"
            raise ServiceError(f"{found}, and the model takes {list(taken[name].dims)}; correct the columns")
    clashing = sorted(set(features.columns) & set(widths))
    if clashing:
        raise ServiceError(f"{path} names columns and tensors {clashing}; give its tensors names of their own")
    inputs = tuple(Tensor(name, data_type, (1,)) for name, data_type in features.inputs().items())
    outputs = tuple(Tensor(name, taken[name].data_type, (width,)) for name, width in widths.items())
    if settings.request == "record":
        inputs = (Tensor("record", "TYPE_STRING", (1,)),)
    return Stage("tabular", inputs, outputs, {}, {"features.json": path})


def _expect_model_inputs(service: Service, taken: Mapping[str, Tensor], known: tuple[str, ...], giver: str) -> None:
    strangers = sorted(set(taken) - set(known))
    if strangers or not taken:
        found = f"model.inputs has {sorted(taken)}"
        raise ServiceError(f"{_toml(service)}: {found}; {giver} {', '.join(known)}")


# -- behind the model ------------------------------------------------------------------------------------------------


def _postprocess(service: Service, taken: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Stage | None:
    spec = service.spec
    if spec.custom.postprocess:
        return _custom(service, spec.custom.postprocess)
    settings = spec.postprocess
    if isinstance(settings, ClassificationPostprocess):
        return _classification(service, settings, given)
    if isinstance(settings, TabularPostprocess):
        return _classification(service, settings, given) if settings.labels else _regression(service, settings, given)
    if isinstance(settings, TokenPostprocess):
        return _tokens(service, settings, given)
    if isinstance(settings, EmbeddingPostprocess):
        return _embedding(service, settings, taken, given)
    return None


def _classification(
    service: Service, settings: ClassificationPostprocess | TabularPostprocess, given: Mapping[str, Tensor]
) -> Stage:
    logits = _output(service, given, "logits")
    classes = logits.dims[-1]
    count = len(service.labels)
    if len(logits.dims) != 1 or classes not in (-1, count, *((1,) if count == 2 else ())):
        raise _wrong_labels(service, logits)
    names = ("activation", "top_k", "threshold")
    outputs = (Tensor("label", "TYPE_STRING", (-1,)), Tensor("score", "TYPE_FP32", (-1,)))
    files: dict[str, Path | bytes] = {"labels.txt": service.folder / settings.labels}
    return Stage("classification", (logits,), outputs, _chosen(settings, names), files)


def _tokens(service: Service, settings: TokenPostprocess, given: Mapping[str, Tensor]) -> Stage:
    logits = _output(service, given, "logits")
    if len(logits.dims) != 2 or logits.dims[1] not in (-1, len(service.labels)):
        raise _wrong_labels(service, logits)
    length = logits.dims[0]
    inputs = (
        Tensor("text", "TYPE_STRING", (1,)),
        Tensor("offsets", "TYPE_INT32", (length, 2)),
        Tensor("word_ids", "TYPE_INT32", (length,)),
        logits,
    )
    names = ("softmax", "aggregation", "outside", "threshold")
    files: dict[str, Path | bytes] = {"labels.txt": service.folder / settings.labels}
    return Stage(
        "token_classification", inputs, (Tensor("spans", "TYPE_STRING", (1,)),), _chosen(settings, names), files
    )


def _wrong_labels(service: Service, logits: Tensor) -> ServiceError:
    file = service.folder / service.spec.labels
    classes = f"{logits.dims[-1]} classes" if logits.dims[-1:] != (-1,) else f"dims {list(logits.dims)}"
    return ServiceError(
        f"{file} has {len(service.labels)} labels and the model gives {classes}; "
        "expected one label a class, in the order of the model's outputs"
    )


def _embedding(
    service: Service, settings: EmbeddingPostprocess, taken: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> Stage:
    states = given.get("states")
    if states is None:
        inputs: tuple[Tensor, ...] = (_output(service, given, "vector"),)
    else:
        mask = Tensor("attention_mask", "TYPE_INT32", states.dims[:1])
        inputs = (states, taken.get("attention_mask", mask))
    output = Tensor("embedding", "TYPE_FP32", inputs[0].dims[-1:])
    return Stage("embedding", inputs, (output,), settings.model_dump())


def _regression(service: Service, settings: TabularPostprocess, given: Mapping[str, Tensor]) -> Stage:
    output = _output(service, given, "output")
    return Stage("regression", (output,), (Tensor("value", "TYPE_FP32", (1,)),), _chosen(settings, ("mean", "scale")))


def _output(service: Service, given: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in given:
        raise ServiceError(f"{_toml(service)}: model.outputs has {sorted(given)}; the task needs '{name}'")
    return given[name]


def _chosen(settings: Section, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


# -- stages of the user's own ----------------------------------------------------------------------------------------


def _custom(service: Service, name: str) -> Stage:
    path = service.folder / name
    tensors = read_custom(path)
    return Stage("custom", tensors["INPUTS"], tensors["OUTPUTS"], {}, {CUSTOM_FILE: path})


def read_custom(path: Path) -> dict[str, tuple[Tensor, ...]]:
    """The `INPUTS` and `OUTPUTS` that a stage of the user's own declares; the file is read, not run.

    Raises:
        ServiceError: they are missing or no `{"name": ("FP32", [dims])}`.
    """
    example = '{"name": ("FP32", [-1])}'
    found: dict[str, tuple[Tensor, ...]] = {}
    try:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if name in ("INPUTS", "OUTPUTS"):
                    values = ast.literal_eval(node.value)
                    found[name] = tuple(
                        Tensor(key, f"TYPE_{kind}", tuple(dims)) for key, (kind, dims) in values.items()
                    )
    except (SyntaxError, ValueError, TypeError, AttributeError) as error:
        raise ServiceError(f"{path}: {error}; INPUTS and OUTPUTS must be written out as {example}") from None
    missing = sorted({"INPUTS", "OUTPUTS"} - set(found))
    if missing:
        raise ServiceError(f"{path} has no {' and no '.join(missing)}; add them as {example}")
    return found
