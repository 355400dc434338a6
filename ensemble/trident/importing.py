"""A trained model's file → a service folder: looked at, loaded, exported, given its stages, and verified.

Nothing counts before the exported SavedModel was loaded again and agreed with the original; then the folder is put into
place as a whole.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from triton_tensorflow.signatures import TensorSpec

from trident import probing, savedmodel
from trident.drafting import check_options, draft
from trident.errors import ExportError, ServiceError, TridentError
from trident.keras_models import KerasModel
from trident.model_files import ModelFile, inspect_model
from trident.output import LONE_TEXTS
from trident.pipeline import Pipeline, design
from trident.progress import bar
from trident.samples import read_sample
from trident.savedmodel import Arrays, Call
from trident.service import Service, Spec, check_name, former_spec, load_service, write_spec
from trident.staging import staged

TOLERANCE = 1e-5
ROWS = (1, 3, 8)
STEPS = 5  # of the progress bar


@dataclass(frozen=True)
class ImportOptions:
    """What cannot be read from the model.

    Attributes:
        task: of `trident.service.TASKS`.
        tokenizer: Hugging Face's tokenizer.json, a vocab.txt, or the JSON of Keras' Tokenizer.
        labels: one a line, in the order of the model's outputs.
        features: features.json, which says how records become numbers.
        signature: of a SavedModel.
        inputs: part in the service → tensor of the signature, where it cannot be guessed.
        outputs: likewise.
        preprocess: keys of service.toml's [preprocess] that are set, but for `lowercase`, which is of a vocab.txt.
        postprocess: keys of its [postprocess] that are set.
        stages: `preprocess` or `postprocess` → file of a stage of the caller's own.
        requirements: what those stages import, as pip would be told.
        multi_label: any number of labels may be right.
        sample: file of inputs on which the export must agree too.
        allow_unsafe: run the Python code that the model holds.
        custom_objects: module with classes that the model needs.
    """

    task: str
    tokenizer: Path | None = None
    labels: Path | None = None
    features: Path | None = None
    signature: str = "serving_default"
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    postprocess: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Path] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    multi_label: bool = False
    sample: Path | None = None
    allow_unsafe: bool = False
    custom_objects: str | None = None


@dataclass(frozen=True)
class ImportReport:
    """What was imported.

    Attributes:
        service: the service folder.
        format: of the model's file.
        loader: what loaded the original.
        signature: of the SavedModel.
        inputs: part in the service, tensor, data type and shape of each.
        outputs: likewise.
        parameters: how many numbers the model has learnt.
        size_bytes: of the exported SavedModel.
        verified: batches on which original and export were compared.
        sampled: how many of them came from the sample.
        difference: the largest between them, relative to the value where that is larger than 1.
        notes: what was found out or chosen, a sentence each.
    """

    service: Path
    format: str
    loader: str
    signature: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    parameters: int
    size_bytes: int
    verified: int
    sampled: int
    difference: float
    notes: list[str]


def import_model(path: Path, name: str, services: Path, options: ImportOptions) -> ImportReport:
    """Turn a trained model into a service folder.

    A service folder of that name is replaced when the new one is complete; its description and its [serving] table
    are kept, of the latter what is no default if it was of another task.

    Args:
        path: .keras, .h5 or a SavedModel's folder, whatever its name.
        name: of the service.
        services: where service folders lie.
        options: see `ImportOptions`.

    Raises:
        ServiceError: the file is no such model, or it, the files beside it and the task do not fit together.
        ExportError: it does not load, or its export does not agree with it.
    """
    folder = services / check_name(name)
    former = former_spec(folder)
    check_options(options)
    file = inspect_model(path)
    _check_code(file, options)
    _check_place(file, services)
    with staged(folder) as staging:
        try:
            report = _import_into(staging, file, options, former)
        except TridentError as error:  # nobody can look into the folder that is gone by then
            raise type(error)(_in_callers_words(str(error), staging, options)) from error
    return replace(report, service=folder)


def _in_callers_words(text: str, staging: Path, options: ImportOptions) -> str:
    """An error that names the files that were given, not their copies in the folder that is gone."""
    given = {
        "labels.txt": options.labels,
        "features.json": options.features,
        "tokenizer.json": options.tokenizer,
        "keras_tokenizer.json": options.tokenizer,
    }
    for name, path in given.items():
        if path is not None:
            text = text.replace(f"{staging}/{name}", str(path))
    return text.replace(f"{staging}/", "")


def _import_into(staging: Path, file: ModelFile, options: ImportOptions, former: Spec | None) -> ImportReport:
    """Write the service folder and verify it."""
    with bar(f"Importing {file.path}", STEPS) as done:
        original, loader, parameters = _export(file, staging / "model.savedmodel", options)
        done(1)
        exported = savedmodel.load(staging / "model.savedmodel", _signature(staging / "model.savedmodel", options))
        done(2)
        notes = draft(staging, former, options, exported)
        service = load_service(staging)
        pipeline = design(service)
        repeats = _repeats(service, pipeline, (original, exported), options.sample)
        if not repeats:
            notes.append(
                "two calls with the same inputs give different answers: the model draws numbers or keeps state"
            )
        if repeats and pipeline.model.max_batch_size and _mixes_rows(service, pipeline, exported, options.sample):
            service = _without_batches(service)
            pipeline = design(service)
            notes.append("a row's answer depends on the others, so the first axis is no batch axis: max_batch_size = 0")
        done(3)
        ragged = probing.probe(service, pipeline, exported)
        if not ragged and probing.has_lengths(service, pipeline):
            notes.append(LONE_TEXTS)
        done(4)
        verified, sampled, difference = _verify(service, pipeline, (original, exported), options.sample)
        done(5)
    signature = pipeline.model.signature
    return ImportReport(
        service=staging,
        format=file.format,
        loader=loader,
        signature=signature.key,
        inputs=_described(pipeline.model_inputs, signature.inputs),
        outputs=_described(pipeline.model_outputs, signature.outputs),
        parameters=parameters,
        size_bytes=sum(entry.stat().st_size for entry in service.savedmodel.rglob("*") if entry.is_file()),
        verified=verified,
        sampled=sampled,
        difference=difference,
        notes=notes,
    )


def _mixes_rows(service: Service, pipeline: Pipeline, exported: Call, sample: Path | None) -> bool:
    """See `probing.mixes_rows`; nobody can tell of a model that refuses what was made up for it."""
    rows = probing.MIXED_ROWS
    if service.spec.task == "tensors" and sample is not None:
        arrays = {name: array[:rows] for name, array in next(read_sample(sample, service, pipeline)).items()}
    else:
        arguments = (pipeline.model, pipeline.model_inputs, pipeline.vocabulary, rows, probing.lengths(service)[-1])
        arrays = probing.specimen(*arguments, np.random.default_rng(3))
    try:
        return probing.mixes_rows(exported, arrays)
    except ExportError:
        return False


def _without_batches(service: Service) -> Service:
    """Write into service.toml that requests never share a batch."""
    if service.spec.task != "tensors":
        raise ServiceError(
            "a row's answer depends on the other rows of its batch, or not every row has one; answers of requests that "
            "meet in a batch would be wrong. Mend the model, or import it with --task tensors"
        )
    serving = service.spec.serving.model_copy(update={"max_batch_size": 0})
    write_spec(service.spec.model_copy(update={"serving": serving}), service.folder)
    return load_service(service.folder)


def _check_code(file: ModelFile, options: ImportOptions) -> None:
    only_objects = len(file.code) == len(file.custom_objects)
    if not file.code or options.allow_unsafe or (only_objects and options.custom_objects is not None):
        return
    what = "reaches beyond the model" if file.format == "savedmodel" else "holds or needs Python code"
    remedy = (
        "name a module that has its classes with --custom-objects MODULE"
        if only_objects
        else "run it with --allow-unsafe, if you trust where the file comes from"
    )
    raise ServiceError(f"{file.path} {what}: {'; '.join(file.code)}; {remedy}")


def _check_place(file: ModelFile, services: Path) -> None:
    """Refuse to copy a SavedModel into itself."""
    if file.format == "savedmodel" and services.resolve().is_relative_to(file.path.resolve()):
        raise ServiceError(
            f"the service folders of {services} would lie in the SavedModel {file.path} itself; run trident in another "
            "folder, or name one with --services"
        )


def _export(file: ModelFile, folder: Path, options: ImportOptions) -> tuple[Call, str, int]:
    """Write the SavedModel; returns the original as a function, what loaded it, and its number of parameters."""
    if file.format == "savedmodel":
        original = savedmodel.load(file.path, _signature(file.path, options))
        shutil.copytree(file.path, folder)
        return original, "TensorFlow", savedmodel.count_parameters(folder)
    model = KerasModel(file, options.allow_unsafe, options.custom_objects, folder.with_name("original"))
    model.export(folder)
    return model, model.loader, model.parameters


def _signature(folder: Path, options: ImportOptions) -> Any:
    return savedmodel.read_tensors(folder, options.signature, 1).signature


def _verify(
    service: Service, pipeline: Pipeline, models: tuple[Call, Call], sample: Path | None
) -> tuple[int, int, float]:
    """Compare original and export; returns the batches, how many were the sample's, and the largest difference."""
    original, exported = models
    batches = sampled = 0
    largest = 0.0
    for arrays, of_sample in _batches(service, pipeline, sample):
        try:
            expected, found = original(arrays), exported(arrays)
        except ExportError as error:
            if service.spec.task != "tensors" or sample is not None:
                raise
            names = sorted(pipeline.model.inputs)
            raise ServiceError(
                f"the model refuses inputs that were made up for it ({error}); give some that it takes with "
                f"--sample FILE.npz, arrays named {names}"
            ) from error
        largest = max([largest, *(_difference(expected[name], found[name]) for name in pipeline.model.outputs)])
        batches += 1
        sampled += of_sample
        if not largest <= TOLERANCE:
            raise ExportError(
                f"the export differs from the original by {largest:.2g}; expected at most {TOLERANCE}. Layers that "
                "draw random numbers when they serve do that; export the model yourself and import its SavedModel"
            )
    return batches, sampled, largest


def _repeats(service: Service, pipeline: Pipeline, models: tuple[Call, Call], sample: Path | None) -> bool:
    """Whether a second call with the same inputs gives the same answers; one that refuses them is taken to.

    Original and export are called alike, since both may count their calls.
    """
    arrays, _ = next(_batches(service, pipeline, sample))
    try:
        answers = [[model(arrays), model(arrays)] for model in models]
    except ExportError:  # verifying says more of it
        return True
    names = pipeline.model.outputs
    return all(_difference(first[name], second[name]) <= TOLERANCE for first, second in answers for name in names)


def _batches(service: Service, pipeline: Pipeline, sample: Path | None) -> Iterator[tuple[Arrays, bool]]:
    """Inputs, and whether they are the sample's; of tensors that nobody knows the meaning of, the sample's alone."""
    if sample is not None:
        yield from ((arrays, True) for arrays in read_sample(sample, service, pipeline))
        if service.spec.task == "tensors":
            return
    generator = np.random.default_rng(1)
    for rows in ROWS:
        for length in probing.lengths(service):
            arguments = (pipeline.model, pipeline.model_inputs, pipeline.vocabulary, rows, length)
            yield probing.specimen(*arguments, generator), False


def _difference(expected: Any, found: Any) -> float:
    """The largest difference; infinite if shapes, texts or the places of what is not finite differ."""
    if expected.shape != found.shape:
        return float("inf")
    if expected.dtype.kind in "OSU":
        return 0.0 if (expected == found).all() else float("inf")
    first, second = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
    finite = np.isfinite(first)
    if not np.array_equal(first[~finite], second[~finite], equal_nan=True) or not np.isfinite(second[finite]).all():
        return float("inf")
    first, second = first[finite], second[finite]
    return float(np.max(np.abs(first - second) / np.maximum(1.0, np.abs(first)), initial=0.0))


def _described(parts: Mapping[str, str], specs: Mapping[str, TensorSpec]) -> list[dict[str, Any]]:
    return [
        {
            "part": part,
            "tensor": name,
            "data_type": specs[name].data_type.removeprefix("TYPE_"),
            "shape": list(specs[name].shape or ()),
        }
        for part, name in parts.items()
    ]
