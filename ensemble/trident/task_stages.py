"""The stages of each task: what they take and give, checked against the model they stand beside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trident.custom_stages import read_custom
from trident.errors import ServiceError
from trident.layout import Stage, Tensor
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
    TokenPreprocess,
)
from trident.stages.tabular.features import read_features
from trident.stages.tabular.preprocess import TabularPreprocessor
from trident.tokenizer_files import read_tokenizer

NUMBERS = (
    *("TYPE_FP32", "TYPE_FP16", "TYPE_FP64"),
    *(f"TYPE_{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)),
)
TEXT = ("input_ids", "attention_mask", "token_type_ids")  # what the text stage can give a model
CUSTOM_FILE = "user_stage.py"


# -- before the model ------------------------------------------------------------------------------------------------


def lay_out_preprocess(service: Service, taken: Mapping[str, Tensor], postprocess: Stage | None) -> Stage | None:
    """The stage before the model.

    Args:
        service: the service folder.
        taken: what the model takes.
        postprocess: the stage behind it, which may want more of the text stage.

    Returns:
        None if the task has none.

    Raises:
        ServiceError: it cannot give what the model takes.
    """
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
    if settings.lowercase and not settings.clean:
        or_clean = "" if isinstance(settings, TokenPreprocess) else ", or clean = true"
        raise ServiceError(
            f"{service.toml}: preprocess.lowercase is true and clean is false, and only texts that are cleaned are "
            f"lower-cased; set lowercase = false{or_clean}"
        )
    text = Tensor("text", "TYPE_STRING", (1,))
    values = settings.model_dump(exclude={"tokenizer"})
    if service.tokenizer is None:
        _expect_model_inputs(service, taken, ("cleaned",), "without a tokenizer the model takes text")
        return Stage("text", (text,), (Tensor("cleaned", "TYPE_STRING", (1,)),), values)
    _expect_model_inputs(service, taken, TEXT, "the text stage gives")
    _check_lengths(service, settings, taken)
    file = read_tokenizer(service.tokenizer, None)
    if settings.pad_id >= file.vocabulary_size:
        raise ServiceError(
            f"{service.tokenizer} has {file.vocabulary_size} token ids and pads with {settings.pad_id}, which is none "
            "of them; correct preprocess.pad_id, or padding.pad_id in the tokenizer.json"
        )
    outputs = dict(taken)
    wanted = {tensor.name for tensor in postprocess.inputs} if postprocess else set()
    if wanted & {"offsets", "word_ids"}:
        _check_positions(service, settings, file.kind)
    _check_types(service, outputs, ("TYPE_INT32", "TYPE_INT64", "TYPE_FP32"))
    length = settings.max_length if settings.padding != "longest" else -1
    for name, dims in (("attention_mask", (length,)), ("offsets", (length, 2)), ("word_ids", (length,))):
        if name in wanted and name not in outputs:
            outputs[name] = Tensor(name, "TYPE_INT32", dims)
    return Stage("text", (text,), tuple(outputs.values()), values, {file.file_name: file.content}, file.vocabulary_size)


def _check_positions(service: Service, settings: TextPreprocess, kind: str) -> None:
    if kind == "keras":
        raise ServiceError(
            f"{service.tokenizer} is Keras', which does not tell where tokens stand; give a tokenizer.json"
        )
    if settings.clean:
        raise ServiceError(
            f"{service.toml}: preprocess.clean is true, so tokens would be placed in the cleaned text, and the "
            "postprocess stage takes their places in the text as it came; set clean = false"
        )


def _check_lengths(service: Service, settings: TextPreprocess, taken: Mapping[str, Tensor]) -> None:
    for tensor in taken.values():
        (length,) = tensor.dims if len(tensor.dims) == 1 else (0,)
        if length == -1 or (length == settings.max_length and settings.padding != "longest"):
            continue
        key = f"preprocess.max_length is {settings.max_length} with padding '{settings.padding}'"
        wants = f"the model's '{tensor.name}' has dims {list(tensor.dims)}"
        raise ServiceError(f"{service.toml}: {key}, and {wants}; set max_length = {length}, padding = 'pre' or 'post'")


def _check_types(service: Service, tensors: Mapping[str, Tensor], known: tuple[str, ...], does: str = "gives") -> None:
    for tensor in tensors.values():
        if tensor.data_type not in known:
            raise ServiceError(
                f"{service.savedmodel}: '{tensor.name}' is {tensor.data_type.removeprefix('TYPE_')}; the stage {does} "
                f"{', '.join(name.removeprefix('TYPE_') for name in known)}. Cast it in the model and export again"
            )


def _image(service: Service, settings: ImagePreprocess, taken: Mapping[str, Tensor]) -> Stage:
    _expect_model_inputs(service, taken, ("pixels",), "the image stage gives")
    wants = (settings.height, settings.width, settings.channels)
    pixels = taken["pixels"]
    if len(pixels.dims) != 3 or any(dim not in (-1, size) for dim, size in zip(pixels.dims, wants, strict=True)):
        found = f"preprocess gives {list(wants)} (height, width, channels)"
        raise ServiceError(f"{service.toml}: {found}, and the model takes {list(pixels.dims)}; make them the same")
    values = settings.model_dump()
    _check_types(service, taken, ("TYPE_FP32", "TYPE_FP16", "TYPE_UINT8"))
    _check_image(service, values, pixels.data_type)
    image = Tensor("image", "TYPE_STRING", (1,))
    return Stage("image", (image,), (Tensor("pixels", pixels.data_type, wants),), values)


def _check_image(service: Service, values: dict[str, Any], data_type: str) -> None:
    """What the stage itself would refuse when it is loaded."""
    from trident.stages.image import preprocess  # here, since it imports Pillow

    try:
        preprocess.output_dtype(data_type, preprocess.Settings(**values).scaling)
    except ValueError as error:
        raise ServiceError(f"{service.toml}: preprocess: {error}") from None


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
    data_types = {name: taken[name].data_type for name in widths}
    try:
        TabularPreprocessor(features, data_types)
    except ValueError as error:
        raise ServiceError(f"{path}: {error}") from None
    for name, width in widths.items():
        if taken[name].dims not in ((width,), (-1,)):
            found = f"{path} makes {width} numbers for '{name}'"
            raise ServiceError(f"{found}, and the model takes {list(taken[name].dims)}; correct the columns")
    clashing = sorted(set(features.columns) & set(widths)) if settings.request == "columns" else []
    if clashing:
        raise ServiceError(f"{path} names columns and tensors {clashing}; give its tensors names of their own")
    inputs = tuple(Tensor(name, data_type, (1,)) for name, data_type in features.inputs(data_types).items())
    outputs = tuple(Tensor(name, taken[name].data_type, (width,)) for name, width in widths.items())
    if settings.request == "record":
        inputs = (Tensor("record", "TYPE_STRING", (1,)),)
    return Stage("tabular", inputs, outputs, {}, {"features.json": path})


def _expect_model_inputs(service: Service, taken: Mapping[str, Tensor], known: tuple[str, ...], giver: str) -> None:
    strangers = sorted(set(taken) - set(known))
    if strangers or not taken:
        found = f"model.inputs has {sorted(taken)}"
        raise ServiceError(f"{service.toml}: {found}; {giver} {', '.join(known)}")


# -- behind the model ------------------------------------------------------------------------------------------------


def lay_out_postprocess(service: Service, taken: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Stage | None:
    """The stage behind the model.

    Args:
        service: the service folder.
        taken: what the model takes.
        given: what it gives.

    Returns:
        None if the task has none.

    Raises:
        ServiceError: the model does not give what it needs, or the labels are not as many as its classes.
    """
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
    _check_types(service, {logits.name: logits}, NUMBERS, "takes")
    classes = logits.dims[-1]
    count = len(service.labels)
    if len(logits.dims) != 1 or classes not in (-1, count, *((1,) if count == 2 else ())):
        raise _wrong_labels(service, logits)
    if classes == 1 and settings.activation == "softmax":
        raise ServiceError(
            f"{service.toml}: postprocess.activation is 'softmax', which makes 1 of every single score, and the model "
            "gives one; set it to 'sigmoid', or to 'none' if that is a probability"
        )
    names = ("activation", "top_k", "threshold")
    outputs = (Tensor("label", "TYPE_STRING", (-1,)), Tensor("score", "TYPE_FP32", (-1,)))
    files: dict[str, Path | bytes] = {"labels.txt": _labels(service)}
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
    files: dict[str, Path | bytes] = {"labels.txt": _labels(service)}
    return Stage(
        "token_classification", inputs, (Tensor("spans", "TYPE_STRING", (1,)),), _chosen(settings, names), files
    )


def _labels(service: Service) -> bytes:
    return ("\n".join(service.labels) + "\n").encode()


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
    if output.dims != (1,):
        raise ServiceError(f"{service.toml}: the model gives {list(output.dims)} for 'output'; a value is one number")
    return Stage("regression", (output,), (Tensor("value", "TYPE_FP32", (1,)),), _chosen(settings, ("mean", "scale")))


def _output(service: Service, given: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in given:
        raise ServiceError(f"{service.toml}: model.outputs has {sorted(given)}; the task needs '{name}'")
    return given[name]


def _chosen(settings: Section, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


# -- stages of the user's own ----------------------------------------------------------------------------------------


def _custom(service: Service, name: str) -> Stage:
    path = service.folder / name
    tensors = read_custom(path)
    return Stage("custom", tensors["INPUTS"], tensors["OUTPUTS"], {}, {CUSTOM_FILE: path})
