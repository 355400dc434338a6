"""A service's SavedModel: its tensors as Triton will see them, and what it does with inputs made up for the purpose.

Both go through the `tensorflow` backend's own modules, so that what is found out here is what will serve.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from triton_tensorflow import autofill
from triton_tensorflow.device import import_tensorflow
from triton_tensorflow.engines import Engine, first_line, load_saved_model
from triton_tensorflow.settings import Settings
from triton_tensorflow.signatures import DATA_TYPES, Signature, TensorSpec, read_signature

from trident.errors import ExportError, ServiceError
from trident.service import Service

Arrays = dict[str, NDArray[Any]]
Call = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class ModelTensors:
    """A SavedModel's tensors.

    Attributes:
        signature: that is served.
        max_batch_size: of config.pbtxt; 0 if the model has no batch axis.
        inputs: name → entry of config.pbtxt (name, data_type, dims, perhaps reshape), in the signature's order.
        outputs: likewise.
    """

    signature: Signature
    max_batch_size: int
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]


def read_tensors(folder: Path, signature: str, max_batch_size: int) -> ModelTensors:
    """Read a SavedModel's signature from its file, as the backend's autofill would.

    Args:
        folder: the SavedModel.
        signature: its name.
        max_batch_size: for a model that has a batch axis.

    Raises:
        ServiceError: it is damaged, has no such signature, or tensors that Triton cannot carry.
    """
    settings = Settings(signature=signature)
    config: dict[str, Any] = {"max_batch_size": 0, "input": [], "output": [], "default_model_filename": folder.name}
    try:
        found = read_signature(folder, settings.graph_tag, signature)
        autofill.complete(config, folder.parent, settings, max_batch_size)
    except ValueError as error:
        raise ServiceError(_told_of_export(str(error))) from None
    inputs, outputs = ({entry["name"]: entry for entry in config[kind]} for kind in ("input", "output"))
    return ModelTensors(found, config["max_batch_size"], inputs, outputs)


def _told_of_export(message: str) -> str:
    """What the backend says of a signature, with what helps where config.pbtxt is written by `trident build`."""
    remedies = {
        "rank unknown in the model; expected its dims in config.pbtxt": "rank unknown in the model; give it a shape in "
        "the signature (tf.TensorSpec([None, ...])) and export again",
        "expected its dims in config.pbtxt": "a service carries no scalars: give it the shape [1] in the signature and "
        "export again",
        "which Triton cannot carry": "which Triton cannot carry; cast it in the signature, with "
        "tf.cast(..., tf.float32), and export again",
    }
    found = next((text for text in remedies if text in message), "")
    return message.replace(found, remedies[found]) if found else message


def count_parameters(folder: Path) -> int:
    """How many numbers a SavedModel has learnt; what an optimizer kept is not counted."""
    quiet_tensorflow()
    import tensorflow as tf

    index = folder / "variables" / "variables.index"
    if not index.is_file():
        return 0
    shapes = tf.train.list_variables(str(folder / "variables" / "variables"))
    kept = [shape for name, shape in shapes if not name.startswith("_") and "/.OPTIMIZER_SLOT/" not in name]
    return sum(int(np.prod(shape)) for shape in kept)


def load_model(service: Service) -> Call:
    """Load a service's SavedModel, see `load`."""
    model = service.spec.model
    return load(service.savedmodel, read_tensors(service.savedmodel, model.signature, 1).signature)


def load(folder: Path, signature: Signature) -> Call:
    """Load a SavedModel as the backend does; returns it as a function from all inputs to all outputs.

    Raises:
        ExportError: it does not load; what the function raises when it does not run.
    """
    quiet_tensorflow()
    try:
        engine: Engine = load_saved_model(folder, signature, Settings(), ())
    except ValueError as error:
        raise ExportError(str(error)) from None

    def call(arrays: Arrays) -> Arrays:
        try:
            return engine(arrays, sorted(signature.outputs))
        except Exception as error:  # InvalidInput, Failure, and whatever the loader's function raises
            reason = f"does not run on {_shapes(arrays)}: {first_line(error)}"
            raise ExportError(f"the SavedModel {folder} {reason}; export or train it again") from error

    return call


def dtype_of(spec: TensorSpec) -> Any:
    """Numpy's type of a tensor."""
    return DATA_TYPES[spec.type_name].dtype


def _shapes(arrays: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in arrays.items())


def quiet_tensorflow() -> None:
    """Import TensorFlow without its start-up notices, which no setting keeps off stderr.

    They are written by C++ code before its logging is set up, so the descriptor itself is turned away; if
    the import fails, what was written is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        try:
            tensorflow = import_tensorflow()
        except Exception:
            notices.seek(0)
            os.write(kept, notices.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    tensorflow.get_logger().setLevel("ERROR")  # "is deprecated", which is nobody's business here
