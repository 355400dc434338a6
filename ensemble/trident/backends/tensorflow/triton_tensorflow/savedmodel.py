"""A SavedModel's signature as a function on numpy arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from triton_tensorflow.batching import Feeds, InvalidInput

SIGNATURE = "serving_default"

# Triton's data types by TensorFlow's names. Source: NVIDIA's backend r25.02, src/tensorflow_utils.cc, ConvertDataType.
DATA_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "string": "TYPE_STRING",
}


class Signature:
    """The serving signature of a loaded SavedModel.

    Attributes:
        inputs: name → tf.TensorSpec.
        outputs: name → tf.TensorSpec.
        open_axes: output name → axes after the batch axis whose size the signature leaves open.
    """

    def __init__(self, folder: Path) -> None:
        """Load `folder`.

        Raises:
            ValueError: there is no readable SavedModel, or it has no signature `serving_default`.
        """
        import tensorflow as tf

        self._tf = tf
        if not (folder / "saved_model.pb").is_file():
            raise ValueError(f"no SavedModel at {folder}: expected a folder with saved_model.pb and variables/")
        try:
            self._loaded = tf.saved_model.load(str(folder))
        except Exception as error:
            raise ValueError(f"cannot load the SavedModel {folder}: {_first_line(error)}; export it again") from error
        if SIGNATURE not in self._loaded.signatures:
            found = sorted(self._loaded.signatures)
            raise ValueError(f"the SavedModel {folder} has no signature '{SIGNATURE}'; it has {found}")
        self._function = self._loaded.signatures[SIGNATURE]
        self.inputs: dict[str, Any] = dict(self._function.structured_input_signature[1])
        self.outputs: dict[str, Any] = dict(self._function.structured_outputs)
        self.open_axes = {name: _open_axes(spec.shape) for name, spec in self.outputs.items()}
        self._pruned: dict[tuple[str, ...], Any] = {}

    def check(self, config: dict[str, Any]) -> None:
        """Compare the configuration's inputs and outputs with the signature.

        Raises:
            ValueError: they disagree; one line for each name or data type that does.
        """
        faults = [
            *_faults("input", config["input"], self.inputs),
            *_faults("output", config["output"], self.outputs),
            *(f"input '{name}' is missing in config.pbtxt" for name in _missing(config["input"], self.inputs)),
        ]
        if faults:
            raise ValueError("config.pbtxt and the SavedModel's signature disagree: " + "; ".join(faults))

    def check_feeds(self, feeds: Feeds) -> None:
        """Refuse inputs whose rank or fixed dims the signature cannot take.

        Raises:
            InvalidInput: names the input, the shape received and the one expected.
        """
        rows = {name: len(array) for name, array in feeds.items() if array.ndim}
        if len(set(rows.values())) > 1:
            raise InvalidInput(f"inputs have different numbers of rows: {rows}; send the same number for all")
        for name, array in feeds.items():
            expected = self.inputs[name].shape
            if not expected.is_compatible_with(array.shape):
                shape = [-1 if size is None else size for size in expected]
                raise InvalidInput(f"input '{name}' has shape {list(array.shape)}; expected {shape}")

    def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
        """Run the graph once, and of it only what the outputs in `fetch` need.

        Args:
            feeds: input name → array.
            fetch: output names.

        Returns:
            Output name → array.

        Raises:
            InvalidInput: TensorFlow refuses the values (an id outside the embedding, say).
        """
        tf = self._tf
        tensors = {name: tf.constant(array, self.inputs[name].dtype) for name, array in feeds.items()}
        try:
            outputs = self._prune(tuple(fetch))(**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise InvalidInput(f"TensorFlow refuses the values: {_first_line(error)}") from error
        return {name: np.asarray(outputs[name].numpy()) for name in fetch}

    def _prune(self, fetch: tuple[str, ...]) -> Any:
        """The signature as a concrete function that computes `fetch` only (and is faster to call)."""
        if fetch not in self._pruned:
            function = self._tf.function(lambda **feeds: {name: self._function(**feeds)[name] for name in fetch})
            self._pruned[fetch] = function.get_concrete_function(**self.inputs)
        return self._pruned[fetch]


def _open_axes(shape: Any) -> list[int]:
    if shape.rank is None:
        return []
    return [axis for axis, size in enumerate(shape.as_list()) if axis > 0 and size is None]


def _missing(entries: list[dict[str, Any]], specs: dict[str, Any]) -> list[str]:
    return sorted(set(specs) - {entry["name"] for entry in entries})


def _faults(kind: str, entries: list[dict[str, Any]], specs: dict[str, Any]) -> list[str]:
    faults = []
    for entry in entries:
        spec = specs.get(entry["name"])
        if spec is None:
            faults.append(f"{kind} '{entry['name']}' is not in the signature, which has {sorted(specs)}")
        elif entry["data_type"] != (found := DATA_TYPES.get(spec.dtype.name, spec.dtype.name)):
            faults.append(f"{kind} '{entry['name']}' is {entry['data_type']} in config.pbtxt and {found} in the model")
    return faults


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
