"""What is set once for the whole process, before TensorFlow makes its first tensor."""

import os
import sys
from typing import Any

from triton_tensorflow.engines import first_line
from triton_tensorflow.settings import Settings


def import_tensorflow() -> Any:
    """TensorFlow without Keras, which it imports to register optimizers that no SavedModel needs.

    That saves a fifth of the time that the import takes, and 46 MB. Afterwards Keras can be imported as ever.
    """
    hidden = "keras" not in sys.modules
    if hidden:
        sys.modules["keras"] = None  # type: ignore[assignment]  # an import of it fails, which TensorFlow bears
    try:
        import tensorflow
    finally:
        if hidden:
            del sys.modules["keras"]
    return tensorflow


def configure_process(kind: str, device_id: int, settings: Settings) -> tuple[str, list[str]]:
    """Choose the device, the threads and the optimizers of this instance, and load its operation libraries.

    Args:
        kind: Triton's `model_instance_kind`: GPU, CPU or MODEL.
        device_id: which GPU, for kind GPU.
        settings: of the model.

    Returns:
        The device as the log names it, and warnings.

    Raises:
        ValueError: an operation library does not load.
    """
    if settings.xla_level:  # XLA clusters for the CPU only if told to, and reads its flags when it is imported
        flags = f"--tf_xla_auto_jit={settings.xla_level} --tf_xla_cpu_global_jit"
        os.environ["TF_XLA_FLAGS"] = f"{os.environ.get('TF_XLA_FLAGS', '')} {flags}".strip()

    tf = import_tensorflow()
    tf.config.threading.set_intra_op_parallelism_threads(settings.intra_threads or settings.cores)
    tf.config.threading.set_inter_op_parallelism_threads(settings.inter_threads)
    tf.config.set_soft_device_placement(settings.soft_placement)
    gpus = tf.config.list_physical_devices("GPU")
    visible = gpus[device_id : device_id + 1] if kind == "GPU" else gpus if kind == "MODEL" else []
    tf.config.set_visible_devices(visible, "GPU")
    for gpu in visible:  # several instances share a GPU, so none may take all its memory at the start
        tf.config.experimental.set_memory_growth(gpu, True)
    if settings.mixed_precision:
        option = "auto_mixed_precision" if visible else "auto_mixed_precision_onednn_bfloat16"
        tf.config.optimizer.set_experimental_options({option: True})
    for library in settings.op_libraries:
        _load_operations(library)
    warnings = []
    if kind == "GPU" and not visible:
        hint = "pip install tensorflow[and-cuda]"
        warnings.append(f"the instance is of kind GPU and this TensorFlow sees none, so it runs on the CPU; {hint}")
    return ", ".join(gpu.name.removeprefix("/physical_device:") for gpu in visible) or "CPU", warnings


def _load_operations(library: str) -> None:
    import tensorflow as tf

    try:
        tf.load_op_library(library)
    except Exception as error:  # tf.errors.NotFoundError and what the library's own constructors raise
        reason = f"cannot load the operation library '{library}' (model_operations.op_library_filename)"
        raise ValueError(f"{reason}: {first_line(error)}; build it for TensorFlow {tf.__version__}") from error


def to_host(tensor: Any) -> Any:
    """A tensor of Triton's in GPU memory as a numpy array."""
    import tensorflow as tf

    return tf.experimental.dlpack.from_dlpack(tensor.to_dlpack()).numpy()
