"""Writes the SavedModels of the contract tests; runs TensorFlow in a process of its own."""

import subprocess
import sys
from pathlib import Path

NAMES = ("bare", "ragged", "two_outputs", "upper", "unbatched")


def write_all(repository: Path) -> None:
    """Write `NAME/1/model.savedmodel` for each of `NAMES`, and a config.pbtxt for those that have one."""
    subprocess.run([sys.executable, __file__, str(repository)], check=True, capture_output=True)
    for name, text in CONFIGS.items():
        (repository / name / "config.pbtxt").write_text(text, encoding="utf-8")


CONFIGS = {
    # As NVIDIA's backend was configured.
    "upper": """
        platform: "tensorflow_savedmodel"
        max_batch_size: 8
        input { name: "words" data_type: TYPE_STRING dims: 2 }
        output { name: "upper" data_type: TYPE_STRING dims: 2 }
    """,
    "ragged": """
        backend: "tensorflow"
        max_batch_size: 16
        input { name: "ids" data_type: TYPE_INT32 dims: -1 allow_ragged_batch: true }
        output { name: "states" data_type: TYPE_FP32 dims: [ -1, 2 ] }
        output { name: "total" data_type: TYPE_INT32 dims: 1 }
        dynamic_batching { max_queue_delay_microseconds: 100000 }
        instance_group { kind: KIND_CPU count: 1 }
    """,
    "two_outputs": """
        backend: "tensorflow"
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: 1 }
        output { name: "good" data_type: TYPE_FP32 dims: 1 }
        output { name: "bad" data_type: TYPE_FP32 dims: 1 }
        instance_group { kind: KIND_CPU count: 1 }
    """,
    "unbatched": """
        backend: "tensorflow"
        max_batch_size: 0
        input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }
        output { name: "norm" data_type: TYPE_FP32 dims: [ 1 ] }
        instance_group { kind: KIND_CPU count: 1 }
    """,
}


def _write(repository: Path) -> None:
    import tensorflow as tf

    table = tf.Variable(tf.reshape(tf.range(20.0), (10, 2)))

    def bare(x):  # type: ignore[no-untyped-def]
        return {"doubled": x * 2.0}

    def ragged(ids):  # type: ignore[no-untyped-def]
        # Ids above 9 are outside the table: TensorFlow refuses the whole call.
        return {"states": tf.gather(table, ids), "total": tf.reduce_sum(ids, axis=1, keepdims=True)}

    def two_outputs(x):  # type: ignore[no-untyped-def]
        # Whoever computes `bad` looks up a row that the table has not, which TensorFlow refuses.
        return {"good": x + 1.0, "bad": tf.gather(table, tf.cast(x, tf.int32) + 1000)[..., 0]}

    def upper(words):  # type: ignore[no-untyped-def]
        return {"upper": tf.strings.upper(words, encoding="utf-8")}

    def unbatched(x):  # type: ignore[no-untyped-def]
        return {"norm": tf.reshape(tf.norm(x), (1,))}

    specs = {
        bare: tf.TensorSpec((None, 3), tf.float32, "x"),
        ragged: tf.TensorSpec((None, None), tf.int32, "ids"),
        two_outputs: tf.TensorSpec((None, 1), tf.float32, "x"),
        upper: tf.TensorSpec((None, 2), tf.string, "words"),
        unbatched: tf.TensorSpec((None,), tf.float32, "x"),
    }
    for function, spec in specs.items():
        module = tf.Module()
        module.table = table
        module.serve = tf.function(function, input_signature=[spec])
        folder = repository / function.__name__ / "1" / "model.savedmodel"
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
