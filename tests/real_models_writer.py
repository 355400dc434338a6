"""Run by `real_models` in a process of its own: writes SavedModels with TensorFlow and Keras."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FRUIT = {"apple": 1.5, "pear": 2.0, "plum": 0.25}


def write_keras2(file: Path, target: Path) -> None:
    """Save a .h5 file of Keras 2 as its `model.save` did; tf.keras is tf_keras here, by TF_USE_LEGACY_KERAS."""
    import tensorflow as tf

    tf.keras.models.load_model(file, compile=False).save(target, save_format="tf")


def write_made(repository: Path) -> None:
    """Write `NAME/1/model.savedmodel` for `encoder`, `keras3` and `prices`."""
    writers: dict[str, Callable[[Path], None]] = {
        "encoder": write_encoder,
        "keras3": write_keras3,
        "prices": write_prices,
    }
    for name, write in writers.items():
        folder = repository / name / "1" / "model.savedmodel"
        folder.parent.mkdir(parents=True)
        write(folder)


def write_encoder(folder: Path) -> None:
    """Token ids and their mask to a vector of length 1: a keras-hub backbone with random weights in a tf.Module."""
    import keras
    import keras_hub
    import tensorflow as tf

    keras.utils.set_random_seed(7)
    module = tf.Module()
    module.backbone = keras_hub.models.BertBackbone(
        vocabulary_size=100, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=32
    )

    def encode(input_ids: Any, attention_mask: Any) -> dict[str, Any]:
        features = {"token_ids": input_ids, "padding_mask": attention_mask, "segment_ids": tf.zeros_like(input_ids)}
        states = module.backbone(features)["sequence_output"]
        mask = tf.cast(attention_mask, tf.float32)[:, :, tf.newaxis]
        mean = tf.reduce_sum(states * mask, axis=1) / tf.reduce_sum(mask, axis=1)
        return {"embedding": tf.math.l2_normalize(mean, axis=1)}

    specs = [tf.TensorSpec((None, None), tf.int32, name) for name in ("input_ids", "attention_mask")]
    module.encode = tf.function(encode, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.encode})


def write_keras3(folder: Path) -> None:
    """Two inputs, two outputs: `total` = left[0] + 2 left[1] + 3 right[0] + 0.5 and `share` = sigmoid(total)."""
    import keras

    left = keras.Input((2,), name="left")
    right = keras.Input((1,), name="right")
    dense = keras.layers.Dense(1, name="total")
    total = dense(keras.layers.Concatenate()([left, right]))
    share = keras.layers.Activation("sigmoid", name="share")(total)
    model = keras.Model({"left": left, "right": right}, {"total": total, "share": share})
    dense.set_weights([np.array([[1.0], [2.0], [3.0]]), np.array([0.5])])
    model.export(folder, verbose=False)


def write_prices(folder: Path) -> None:
    """The price of a fruit by its name, 0 if unknown; under the tag `sale` half of it. `names` is the way back."""
    import tensorflow.compat.v1 as tf

    vocabulary = folder.parent / "fruit.txt"
    vocabulary.write_text("".join(f"{name}\n" for name in FRUIT), encoding="utf-8")
    builder = tf.saved_model.Builder(str(folder))
    for tag, factor in (("serve", 1.0), ("sale", 0.5)):
        with tf.Graph().as_default(), tf.Session() as session:
            signatures = _price_signatures(vocabulary, factor)
            parts = {
                "tags": [tag],
                "signature_def_map": signatures,
                "assets_collection": tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS),
                "main_op": tf.tables_initializer(name="init_all_tables"),
            }
            if tag == "serve":
                session.run(tf.global_variables_initializer())
                builder.add_meta_graph_and_variables(session, **parts)
            else:
                builder.add_meta_graph(**parts)
    builder.save()
    vocabulary.unlink()


def _price_signatures(vocabulary: Path, factor: float) -> dict[str, Any]:
    import tensorflow.compat.v1 as tf
    from tensorflow.lookup import StaticHashTable, TextFileIndex, TextFileInitializer

    word, line = (tf.string, TextFileIndex.WHOLE_LINE), (tf.int64, TextFileIndex.LINE_NUMBER)
    ids = StaticHashTable(TextFileInitializer(str(vocabulary), *word, *line), len(FRUIT), name="ids")
    names = StaticHashTable(TextFileInitializer(str(vocabulary), *line, *word), "UNKNOWN", name="names")
    # A variable of TensorFlow 1, not a resource; its last row is for words outside the table.
    prices = tf.get_variable("prices", initializer=[*FRUIT.values(), 0.0], use_resource=False)
    fruit = tf.placeholder(tf.string, (None, 1), "fruit")
    key = tf.placeholder(tf.int64, (None, 1), "key")
    found = ids.lookup(fruit)
    predict = tf.saved_model.predict_signature_def
    return {
        "serving_default": predict({"fruit": fruit}, {"id": found, "price": factor * tf.gather(prices, found)}),
        "names": predict({"id": key}, {"fruit": names.lookup(key)}),
    }


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"keras2": write_keras2, "made": write_made}
    commands[sys.argv[1]](*map(Path, sys.argv[2:]))
