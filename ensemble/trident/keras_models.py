"""Keras models of versions 2 and 3: loaded as they are, called as they are, and exported as a SavedModel."""

import errno
import importlib
import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from triton_tensorflow.engines import first_line

from trident.errors import ExportError, ServiceError
from trident.model_files import ModelFile
from trident.savedmodel import Arrays, quiet_tensorflow

# TensorFlow raises errors of its own for them, with nothing but the text in them.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
MAX_REASON = 400
KERAS_2 = "pip install 'tf-keras==2.21.*'"
_UNTRACKED = (
    "it has state that does not belong to its layers, such as the seed of one that draws random numbers when it "
    "serves; leave that out, or export the model yourself and import its SavedModel"
)


class KerasModel:
    """A model that Keras loaded.

    Attributes:
        parameters: how many numbers it has learnt.
        loader: which Keras loaded it.
    """

    def __init__(self, file: ModelFile, allow_unsafe: bool, custom_objects: str | None, link: Path) -> None:
        """Load a .keras or .h5 file, uncompiled.

        Args:
            file: checked.
            allow_unsafe: run the Python code that it holds.
            custom_objects: importable module with the classes that it needs and Keras does not know.
            link: a path that does not exist; Keras tells the format by the name, so it gets one that fits.

        Raises:
            ServiceError: the custom objects cannot be had.
            ExportError: no Keras can load it.
        """
        quiet_tensorflow()
        self._path = file.path
        objects = _objects(file, custom_objects)
        link = link.with_suffix(f".{file.format}")
        link.symlink_to(file.path.resolve())
        try:
            self._model, self.loader = _load(file, link, allow_unsafe, objects)
        finally:
            link.unlink()
        self.parameters = int(self._model.count_params())
        self._inputs = _names(self._model, "input")
        self._outputs = _names(self._model, "output")

    def __call__(self, arrays: Arrays) -> Arrays:
        """Call the model itself, with the names of the exported signature.

        Raises:
            ExportError: it does not run.
        """
        try:
            outputs = self._call({name: arrays[name] for name in self._inputs})
        except Exception as error:  # the layers raise whatever they stumble over
            raise ExportError(f"{self._path} does not run: {_reason(error)}; train or save it again") from error
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def export(self, folder: Path) -> None:
        """Write a SavedModel whose signature `serving_default` has the names of the model's inputs and outputs.

        Raises:
            ExportError: it cannot be written.
            OSError: since the disk refuses.
        """
        import tensorflow as tf

        specs = {
            name: tf.TensorSpec((None, *tensor.shape[1:]), _carried(tensor.dtype), name=name)
            for name, tensor in zip(self._inputs, self._model.inputs, strict=True)
        }
        holder = tf.Module()
        try:
            serve = tf.function(lambda **arrays: self._call(arrays)).get_concrete_function(**specs)
            holder.model, holder.serve = self._model, serve
            tf.saved_model.save(holder, str(folder), signatures={"serving_default": serve})
        except Exception as error:  # tracing raises whatever the model's layers do
            refused = next((number for number in DISK_ERRORS if os.strerror(number) in str(error)), None)
            if refused:
                raise OSError(refused, os.strerror(refused), str(folder)) from error
            reason = _UNTRACKED if "captures tensor" in str(error) else _reason(error)
            raise ExportError(f"{self._path} cannot be written as a SavedModel: {reason}") from error

    def _call(self, tensors: dict[str, Any]) -> dict[str, Any]:
        import keras
        import tensorflow as tf

        values = [
            tf.cast(tensors[name], tensor.dtype) for name, tensor in zip(self._inputs, self._model.inputs, strict=True)
        ]
        outputs = keras.tree.flatten(self._model(self._structured(values), training=False))
        return {name: tf.cast(value, _carried(value.dtype)) for name, value in zip(self._outputs, outputs, strict=True)}

    def _structured(self, values: list[Any]) -> Any:
        """The inputs as the model was made to take them: one, or a structure of dicts and lists."""
        import keras

        if len(values) == 1 and not hasattr(self._model, "input"):  # a Sequential that was loaded
            return values[0]
        given = {id(tensor): value for tensor, value in zip(self._model.inputs, values, strict=True)}
        return keras.tree.map_structure(lambda tensor: given[id(tensor)], self._model.input)


def _carried(dtype: Any) -> Any:
    """The type in which a tensor travels: Triton's Python backend has no bfloat16, of which float32 loses nothing."""
    import tensorflow as tf

    return tf.float32 if dtype == "bfloat16" else tf.as_dtype(dtype)


def _objects(file: ModelFile, module_name: str | None) -> dict[str, Any]:
    if module_name is None:
        return {}
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` finds modules
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # it runs whatever it holds
        raise ServiceError(
            f"--custom-objects {module_name!r} cannot be imported ({type(error).__name__}: {first_line(error)}); give "
            "a module that Python finds and that imports without an error"
        ) from error
    missing = [name for name in file.custom_objects if not hasattr(module, name.rpartition(">")[2])]
    if missing:
        raise ServiceError(f"--custom-objects {module_name} has no {missing}; {file.path} needs them")
    return {name: getattr(module, name.rpartition(">")[2]) for name in file.custom_objects}


def _load(file: ModelFile, path: Path, allow_unsafe: bool, objects: dict[str, Any]) -> tuple[Any, str]:
    """Keras 3 first; what it refuses of Keras 2 goes to tf-keras."""
    import keras

    if _means_otherwise(file):
        return _load_2(file, path, allow_unsafe, objects, "it gives hard_sigmoid another meaning")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how the model was made, which is done
            model = keras.models.load_model(path, custom_objects=objects, compile=False, safe_mode=not allow_unsafe)
    except Exception as error:  # Keras raises whatever it stumbles over
        reason = _reason(error)
    else:
        return _finished(_built(file, model)), f"Keras {keras.__version__}"
    if file.format != "h5":
        raise ExportError(f"Keras {keras.__version__} cannot load {file.path}: {reason}; save it again with that Keras")
    return _load_2(file, path, allow_unsafe, objects, reason)


def _reason(error: Exception) -> str:
    """The line that says what went wrong, out of the frames and arguments that Keras and autograph put around it."""
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    inner = re.search(r"Exception encountered(?: when calling .*\n|:)\s*(\S.*)", text)
    if inner is not None:
        reason = inner[1]
    elif text.startswith("in user code:"):
        reason = text.strip().rpartition("\n")[2]
    else:
        reason = first_line(error)
        if reason.endswith(":"):  # and what it was stands below
            reason = " ".join(text[text.index(reason) :].split())
    return reason.strip()[:MAX_REASON]


def _means_otherwise(file: ModelFile) -> bool:
    """Whether Keras 3 would load a model of Keras 1 or 2 and compute something else: (x / 6 + .5) for (.2 x + .5)."""
    return str(file.keras_version or "3")[0] in "12" and "hard_sigmoid" in json.dumps(file.config)


def _load_2(file: ModelFile, path: Path, allow_unsafe: bool, objects: dict[str, Any], reason: str) -> tuple[Any, str]:
    import keras

    try:
        keras_2 = importlib.import_module("tf_keras")
    except ImportError:
        raise ExportError(
            f"Keras {keras.__version__} cannot load {file.path}: {reason}. It may be of Keras 2: {KERAS_2}"
        ) from None
    try:
        model = keras_2.models.load_model(path, custom_objects=objects, compile=False, safe_mode=not allow_unsafe)
    except Exception as error:
        second = f"tf-keras {keras_2.__version__}: {_reason(error)}"
        raise ExportError(f"cannot load {file.path}: Keras {keras.__version__}: {reason}; {second}") from error
    return _built(file, model), f"tf-keras {keras_2.__version__}"


def _finished(model: Any) -> Any:
    """The model of Keras 3, in which every Normalization knows the mean and variance that it learnt.

    The loader of .h5 files leaves one in a model inside at 0 and 1; to tell it twice harms nobody.
    Source: Keras 3.15, legacy/saving/legacy_h5_format.py.
    """
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return model


def _built(file: ModelFile, model: Any) -> Any:
    """The model, if it is one that says what it takes.

    Raises:
        ExportError: it does not.
    """
    if getattr(model, "inputs", None):
        return model
    if type(model).__name__ == "Sequential":
        raise ExportError(f"{file.path} was never built, so nobody knows its inputs; call it once and save it again")
    raise ExportError(
        f"{file.path} is a {type(model).__name__}, and a model with a call() of its own does not say what it takes; "
        "export it with model.export(FOLDER) and import that folder"
    )


def _names(model: Any, kind: str) -> list[str]:
    """A name for each tensor, in order: its key or its layer's name, or a number where it has none of its own.

    Signatures take Python's identifiers, so all else in a name becomes `_`.
    """
    import keras

    tensors = getattr(model, f"{kind}s")
    names = list(getattr(model, f"{kind}_names", None) or (tensor.name.partition(":")[0] for tensor in tensors))
    if isinstance(structure := getattr(model, kind, None), dict):
        names = ["_".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(structure)]
    names = [re.sub(r"[^A-Za-z0-9_]", "_", name).strip("_") for name in names]
    unnamed = any(not name or name[0].isdigit() or name.startswith("keras_tensor") for name in names)
    if len(set(names)) != len(tensors) or unnamed:
        return [f"{kind}_{number}" for number in range(len(tensors))]
    return names
