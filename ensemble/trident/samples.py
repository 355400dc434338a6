"""Files of inputs that somebody gives to have an import compared on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from trident.errors import ServiceError
from trident.pipeline import Pipeline
from trident.savedmodel import Arrays, dtype_of
from trident.service import Service
from trident.stages.text.preprocess import Settings, TextPreprocessor

BATCH = 32


def read_sample(path: Path, service: Service, pipeline: Pipeline) -> Iterator[Arrays]:
    """Read inputs for a model.

    Args:
        path: a text a line for a service that tokenizes; else an .npz with an array for each input of the signature.
        service: the service folder.
        pipeline: what it consists of.

    Yields:
        The signature's input name → array.

    Raises:
        ServiceError: the file cannot be read or does not fit.
    """
    if not path.is_file():
        raise ServiceError(f"--sample {path} is no regular file; give one")
    stage = pipeline.preprocess
    if stage is not None and stage.kind == "text":
        yield from _texts(path, service, pipeline, stage.settings)
    else:
        yield _arrays(path, pipeline)


def _texts(path: Path, service: Service, pipeline: Pipeline, settings: dict[str, Any]) -> Iterator[Arrays]:
    try:
        texts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"--sample {path} cannot be read: {error}; expected a text a line, in UTF-8") from None
    if not texts:
        raise ServiceError(f"--sample {path} holds no text; expected one a line")
    stage = TextPreprocessor(service.tokenizer, Settings(**settings)) if service.tokenizer else None
    for start in range(0, len(texts), BATCH):
        chunk = texts[start : start + BATCH]
        tensors = (
            stage.tensors(chunk, pipeline.model_inputs)
            if stage
            else {"cleaned": np.array([text.encode() for text in chunk], object)}
        )
        yield {name: _fitted(tensors[part], pipeline, name) for part, name in pipeline.model_inputs.items()}


def _fitted(array: NDArray[Any], pipeline: Pipeline, name: str) -> NDArray[Any]:
    """In the signature's type; a column of texts in its shape."""
    spec = pipeline.model.signature.inputs[name]
    shape = (
        (len(array), 1) if array.dtype == object and spec.shape is not None and len(spec.shape) == 2 else array.shape
    )
    return array.astype(dtype_of(spec)).reshape(shape)


def _arrays(path: Path, pipeline: Pipeline) -> Arrays:
    specs = pipeline.model.signature.inputs
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # of an .npy this raises a TypeError
            arrays: dict[str, Any] = {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        reason = str(error) or type(error).__name__
        raise ServiceError(f"--sample {path} cannot be read: {reason}; write it with numpy.savez") from None
    if sorted(arrays) != sorted(specs):
        raise ServiceError(f"--sample {path} has {sorted(arrays)}; the signature takes {sorted(specs)}")
    return {name: _cast(path, name, array, dtype_of(specs[name])) for name, array in arrays.items()}


def _cast(path: Path, name: str, array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """An array in the signature's type, if that loses nothing but digits."""
    if not array.size:
        raise ServiceError(f"--sample {path}: '{name}' has the shape {list(array.shape)}; expected at least one row")
    if dtype is np.object_ and array.dtype.kind == "U":
        return np.array([text.encode() for text in array.ravel().tolist()], np.object_).reshape(array.shape)
    if dtype is np.object_ and array.dtype.kind == "S":
        return array.astype(np.object_)
    if dtype is np.object_ or not np.can_cast(array.dtype, dtype, "same_kind"):
        expected = "texts" if dtype is np.object_ else np.dtype(dtype).name
        raise ServiceError(f"--sample {path}: '{name}' is {array.dtype}; expected {expected}")
    return array.astype(dtype)
