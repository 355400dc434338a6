"""What is set once for the whole process, before TensorFlow makes its first tensor."""

from collections.abc import Mapping

THREAD_PARAMETERS = ("TF_NUM_INTRA_THREADS", "TF_NUM_INTER_THREADS")


def configure_process(kind: str, device_id: int, parameters: Mapping[str, str]) -> str | None:
    """Choose the device and the threads of this instance.

    Args:
        kind: Triton's `model_instance_kind`: GPU, CPU or MODEL.
        device_id: which GPU, for kind GPU.
        parameters: `parameters` of config.pbtxt; TF_NUM_INTRA_THREADS and TF_NUM_INTER_THREADS are threads
            per instance, 0 (the default) lets TensorFlow take all cores.

    Returns:
        A warning for the log, or None.

    Raises:
        ValueError: a parameter is no whole number ≥ 0.
    """
    intra, inter = (_threads(name, parameters.get(name, "0")) for name in THREAD_PARAMETERS)

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(intra)
    tf.config.threading.set_inter_op_parallelism_threads(inter)
    gpus = tf.config.list_physical_devices("GPU")
    visible = gpus[device_id : device_id + 1] if kind == "GPU" else gpus if kind == "MODEL" else []
    tf.config.set_visible_devices(visible, "GPU")
    for gpu in visible:  # several instances share a GPU, so none may take all its memory at the start
        tf.config.experimental.set_memory_growth(gpu, True)
    if kind == "GPU" and not visible:
        hint = "pip install tensorflow[and-cuda]"
        return f"the instance is of kind GPU and this TensorFlow sees none, so it runs on the CPU; {hint}"
    return None


def _threads(name: str, value: str) -> int:
    if not value.isdecimal():
        raise ValueError(f"parameter {name} is '{value}'; expected a whole number ≥ 0 (0: all cores)")
    return int(value)
