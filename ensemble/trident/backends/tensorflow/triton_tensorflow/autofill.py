"""Complete a config.pbtxt that leaves out inputs, outputs or batching, from the SavedModel alone."""

from pathlib import Path
from typing import Any

from triton_tensorflow.savedmodel import DATA_TYPES, SIGNATURE

# Source: triton-inference-server/server r24.10, docs/user_guide/model_configuration.md, "Default Max Batch Size".
DEFAULT_MAX_BATCH_SIZE = 4


def complete(config: Any, version_folder: Path) -> Any:
    """Fill in what the configuration lacks.

    A configuration with inputs and outputs is returned as it is, so that TensorFlow is not imported for it.
    If no inputs are named and every first dim is open, the model is taken to batch along it.

    Args:
        config: Triton's ModelConfig wrapper.
        version_folder: where the SavedModel lies.

    Raises:
        ValueError: there is no SavedModel to read, or it has no usable signature.
    """
    known = config.as_dict()
    if known["input"] and known["output"]:
        return config
    signature = _read_signature(version_folder, known.get("default_model_filename") or "model.savedmodel")
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    if known["max_batch_size"] == 0 and not known["input"] and all(_batches(tensor) for tensor in tensors):
        config.set_max_batch_size(DEFAULT_MAX_BATCH_SIZE)
        config.set_dynamic_batching()
    skip = 1 if config.as_dict()["max_batch_size"] > 0 else 0
    if not known["input"]:
        for name, tensor in sorted(signature.inputs.items()):
            config.add_input(_entry(name, tensor, skip))
    if not known["output"]:
        for name, tensor in sorted(signature.outputs.items()):
            config.add_output(_entry(name, tensor, skip))
    return config


def _read_signature(version_folder: Path, filename: str) -> Any:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = version_folder / filename / "saved_model.pb"
    if not path.is_file():
        raise ValueError(f"no SavedModel at {path.parent}: expected a folder with saved_model.pb and variables/")
    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path} is no SavedModel, or a truncated one ({error}); export it again") from error
    for graph in message.meta_graphs:
        if SIGNATURE in graph.signature_def:
            return graph.signature_def[SIGNATURE]
    found = sorted(name for graph in message.meta_graphs for name in graph.signature_def)
    raise ValueError(f"the SavedModel {path.parent} has no signature '{SIGNATURE}'; it has {found}")


def _batches(tensor: Any) -> bool:
    shape = tensor.tensor_shape
    return not shape.unknown_rank and len(shape.dim) > 0 and shape.dim[0].size == -1


def _entry(name: str, tensor: Any, skip: int) -> dict[str, Any]:
    import tensorflow as tf

    data_type = DATA_TYPES.get(tf.dtypes.as_dtype(tensor.dtype).name)
    if data_type is None:
        raise ValueError(
            f"tensor '{name}' has dtype {tf.dtypes.as_dtype(tensor.dtype).name}, which Triton cannot carry"
        )
    dims = [dim.size for dim in tensor.tensor_shape.dim][skip:]
    return {"name": name, "data_type": data_type, "dims": dims}
