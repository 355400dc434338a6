"""Writes the SavedModels and graphs of the backend's parity tests; runs TensorFlow in a process of its own."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

DTYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
    "string": "STRING",
}  # fmt: skip
BATCH_KINDS = {
    "counts": "BATCH_ELEMENT_COUNT",
    "ends": "BATCH_ACCUMULATED_ELEMENT_COUNT",
    "bounds": "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO",
    "widest": "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
    "items": "BATCH_ITEM_SHAPE",
    "flat_items": "BATCH_ITEM_SHAPE_FLATTEN",
}


def write_all(folder: Path) -> None:
    """Write `FOLDER/NAME` for each model below: a SavedModel's folder, or `NAME.graphdef`."""
    subprocess.run([sys.executable, __file__, str(folder)], check=True, capture_output=True)


def operation_library() -> str:
    """A real library of custom operations, as `model_operations.op_library_filename` takes it."""
    spec = importlib.util.find_spec("tensorflow_text")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "python" / "ops" / "_normalize_ops.so")


def _write(folder: Path) -> None:
    import tensorflow as tf

    def spec(name: str, shape: Any, dtype: Any = tf.float32) -> Any:
        return tf.TensorSpec(shape, dtype, name)

    def save(name: str, function: Any, *specs: Any, **members: Any) -> None:
        module = tf.Module()
        for key, value in members.items():
            setattr(module, key, value)
        module.serve = tf.function(function, input_signature=list(specs))
        tf.saved_model.save(module, str(folder / name), signatures={"serving_default": module.serve})

    def dtypes(**tensors: Any) -> Any:
        return {f"{name}_out": tf.identity(tensor) for name, tensor in tensors.items()}

    module = tf.Module()
    kinds = {name: spec(name, (None, 2), tf.dtypes.as_dtype(name)) for name in DTYPES}
    module.serve = tf.function(dtypes).get_concrete_function(**kinds)
    tf.saved_model.save(module, str(folder / "dtypes"), signatures={"serving_default": module.serve})

    save("complex", lambda x: {"y": tf.cast(x, tf.complex64)}, spec("x", (None, 2)))
    save("doubled", lambda x: {"y": x * 2.0}, spec("x", (None, 3)))
    save("tripled", lambda x: {"y": x * 3.0}, spec("x", (None, 3)))
    save("rank1", lambda x: {"y": x + 1.0}, spec("x", (None,)))
    save("rank0", lambda x: {"y": x + 1.0}, spec("x", ()))
    save("rank0_output", lambda x: {"y": tf.reduce_sum(x)}, spec("x", (None,)))
    save("fixed", lambda x: {"y": x + 1.0}, spec("x", (4, 2)))
    save("unknown_rank", lambda x: {"y": tf.cast(tf.shape(x), tf.float32)}, spec("x", None))
    save("matrix", lambda x: {"y": tf.transpose(x, [0, 2, 1])}, spec("x", (None, 2, 3)))
    save(
        "odd_names",
        lambda user, item, share: {"y-1": user * 100.0 + item * 10.0 + share},
        spec("user-id", (None, 1)),
        spec("0", (None, 1)),
        spec("mobilenet_1.00_input", (None, 1)),
    )
    weights = tf.Variable(tf.reshape(tf.range(16.0), (4, 4)))
    save(
        "dense",
        lambda x: {"y": tf.nn.relu(x @ weights + 1.0)},
        spec("x", (None, 4)),
        weights=weights,
    )
    save("no_rows", lambda x: {"y": tf.reduce_sum(x, axis=0)}, spec("x", (None, None)))
    save("upper", lambda words: {"y": tf.strings.upper(words)}, spec("words", (None, None), tf.string))

    table = tf.Variable(tf.reshape(tf.range(20.0), (10, 2)))
    save(
        "ragged",
        lambda ids: {"states": tf.gather(table, ids), "total": tf.reduce_sum(ids, axis=1, keepdims=True)},
        spec("ids", (None, None), tf.int32),
        table=table,
    )
    save(
        "sums",
        lambda ids: {"total": tf.reduce_sum(tf.gather(table, ids), axis=1)},
        spec("ids", (None, None), tf.int32),
        table=table,
    )
    # Dear enough a position that cutting a batch pays; an answer tells how long the rows of its call were.
    wide = tf.Variable(tf.ones((256, 256)))

    def attentive(ids: Any) -> Any:
        known = tf.gather(tf.constant([0.0, 1.0]), ids)  # refuses negative ids
        states = known[..., None] * wide[0]
        for _ in range(4):
            states = states @ wide / 256.0
        longest = tf.fill((tf.shape(ids)[0], 1), tf.shape(ids)[1])
        return {"total": tf.reduce_sum(states[..., :1], axis=1), "longest": longest}

    save("attentive", attentive, spec("ids", (None, None), tf.int32), wide=wide)

    # A text classifier that padding misleads: the mean counts it.
    save(
        "mean",
        lambda input_ids: {"logits": tf.reduce_mean(tf.gather(table, input_ids % 10), axis=1)},
        spec("input_ids", (None, None), tf.int32),
        table=table,
    )

    counter = tf.Variable(0, dtype=tf.int32)
    save(
        "counter",
        lambda x: {"count": counter.assign_add(1) + 0 * x, "row": tf.gather(table, x)[..., 0]},
        spec("x", (None, 1), tf.int32),
        counter=counter,
        table=table,
    )

    def batch_inputs(values: Any, counts: Any, ends: Any, bounds: Any, widest: Any, items: Any, flat_items: Any) -> Any:
        rows = tf.shape(items)[0]

        def told(tensor: Any) -> Any:
            return tf.tile(tf.reshape(tf.cast(tensor, tf.float32), (1, -1)), (rows, 1))

        return {
            "values_out": told(values),
            "doubled": values * 2.0,
            "counts_out": told(counts),
            "ends_out": told(ends),
            "bounds_out": told(bounds),
            "widest_out": told(tf.shape(widest)[0]),
            "items_out": told(items),
            "flat_items_out": told(flat_items),
        }

    save(
        "batch_inputs",
        batch_inputs,
        spec("values", (None,)),
        spec("counts", (None,)),
        spec("ends", (None,), tf.int32),
        spec("bounds", (None,), tf.int32),
        spec("widest", (None,), tf.int32),
        spec("items", (None, None), tf.int32),
        spec("flat_items", (None,), tf.int32),
    )

    by_slot, by_id = tf.Variable(tf.zeros((4, 1))), tf.Variable(tf.zeros((16, 1)))

    def sequence(x: Any, start: Any, end: Any, ready: Any, corrid: Any) -> Any:
        """Sums of each sequence so far, told apart by the row (direct) or by the id (oldest)."""

        def add(total: Any, key: Any) -> Any:
            key = tf.cast(key, tf.int32)
            kept = tf.where(start > 0, 0.0, 1.0) * tf.gather(total, key) + tf.cast(x, tf.float32) * here
            return tf.compat.v1.scatter_update(total, key, kept), kept

        here = tf.cast(ready, tf.float32)
        slots, in_slot = add(by_slot, tf.range(tf.shape(x)[0]))
        ids, in_id = add(by_id, corrid[:, 0] % 16)
        with tf.control_dependencies([slots, ids]):
            told = [tf.cast(start, tf.float32), end, here, tf.cast(corrid, tf.float32)]
            return {"total": tf.identity(in_slot), "by_id": tf.identity(in_id), "controls": tf.concat(told, axis=1)}

    save(
        "sequence",
        sequence,
        spec("x", (None, 1), tf.int32),
        spec("start", (None, 1), tf.int32),
        spec("end", (None, 1)),
        spec("ready", (None, 1), tf.bool),
        spec("corrid", (None, 1), tf.uint64),
        by_slot=by_slot,
        by_id=by_id,
    )

    operations = tf.load_op_library(operation_library())
    save("custom_operation", lambda words: {"y": operations.case_fold_utf8(words)}, spec("words", (None, 1), tf.string))
    _write_graphs(folder)


def _write_graphs(folder: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 2), "x")
        tf.identity(x * 2.0, "y")
        (folder / "plain.graphdef").write_bytes(graph.as_graph_def().SerializeToString())
    with tf.Graph().as_default() as graph:
        x, flat = v1.placeholder(tf.float32, (None, None), "x"), v1.placeholder(tf.float32, (None,), "flat")
        tf.reduce_sum(x, axis=1, keepdims=True, name="total")
        tf.tile(flat[None], (tf.shape(x)[0], 1), name="joined")
        (folder / "ragged.graphdef").write_bytes(graph.as_graph_def().SerializeToString())
    with tf.Graph().as_default() as graph, v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 2), "x")
        scale = v1.placeholder_with_default(tf.constant(10.0, shape=(1,)), (None,), "scale")
        offset = v1.get_variable("offset", initializer=0.0, use_resource=True)
        offset.assign(100.0, name="set_offset")
        y = tf.identity(x * scale + offset, "y")
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.build_signature_def(
            {"x": v1.saved_model.build_tensor_info(x), "scale": v1.saved_model.build_tensor_info(scale)},
            {"y": v1.saved_model.build_tensor_info(y)},
            "tensorflow/serving/predict",
        )
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder / "defaults"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
