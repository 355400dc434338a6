"""The two model families of `trident train`: a pretrained transformer with a head, and a small model from scratch.

Both are functions of `input_ids` alone; which of them are padding is found inside the graph, so that one
tensor travels. Axis letters: N texts, L tokens, D features, C classes.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from trident import progress
from trident.savedmodel import quiet_tensorflow
from trident.stages.text.preprocess import PAD_ID, pad

VOCABULARY = 20_000
UNKNOWN = "[UNK]"
EMBEDDING = 64
HIDDEN = 64
EMBED_BATCH = 64
TRAIN_BATCH = 64
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Labelled:
    """Token ids with class numbers, N of each."""

    ids: Sequence[Sequence[int]]
    classes: NDArray[np.int32]


@dataclass(frozen=True)
class FitOptions:
    """How the trainable part is fitted.

    Attributes:
        epochs: at most.
        patience: epochs without a better validation loss before it stops.
        class_weights: class → factor of its loss; None for none.
    """

    epochs: int
    patience: int
    class_weights: dict[int, float] | None


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes:
        logits: tensor int32 [N, L] → tensor float32 [N, C].
        epochs: how many it took.
        model: the same as a Keras model, where Keras alone can load it.
    """

    logits: Callable[[Any], Any]
    epochs: int
    model: Any = None


def load_tokenizer(weights: Path, max_length: int) -> Tokenizer:
    """The tokenizer of a pretrained encoder, without the fixed padding that its file asks for."""
    tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def train_tokenizer(texts: Sequence[str], max_length: int) -> Tokenizer:
    """A lower-cased word vocabulary of the training texts; `[PAD]` is 0 and `[UNK]` is 1."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", UNKNOWN]
    trainer = trainers.WordLevelTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_truncation(max_length)
    return tokenizer


def seed_everything(seed: int) -> None:
    """Make the training of this process repeatable."""
    progress.note("Loading TensorFlow")
    quiet_tensorflow()
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def fit_pretrained(weights: Path, train: Labelled, validation: Labelled, classes: int, options: FitOptions) -> Fitted:
    """Freeze a BERT-like encoder and train a linear head on its mean-pooled, normalized features.

    Args:
        weights: a Hugging Face folder.
        train: to fit.
        validation: to stop early by.
        classes: C.
        options: see `FitOptions`.
    """
    import keras

    encode = _encoder(weights)
    features = {}
    total = len(train.ids) + len(validation.ids)
    with progress.bar("Embedding texts", total) as advance:
        features["train"] = _embed(encode, train.ids, advance)
        features["validation"] = _embed(encode, validation.ids, lambda done: advance(len(train.ids) + done))
    head = keras.Sequential([keras.Input((features["train"].shape[1],)), keras.layers.Dense(classes, name="head")])
    # A linear head on unit vectors needs large weights, hence the faster rate.
    epochs = _fit(
        head, (features["train"], train.classes), (features["validation"], validation.classes), options, rate=1e-2
    )
    return Fitted(lambda ids: head(encode(ids)), epochs)


def fit_scratch(vocabulary: int, train: Labelled, validation: Labelled, classes: int, options: FitOptions) -> Fitted:
    """Train a small model: word embedding, mean and maximum over the text's words, one hidden layer.

    Args:
        vocabulary: number of token ids.
        train: to fit.
        validation: to stop early by.
        classes: C.
        options: see `FitOptions`.
    """
    import keras

    layers = keras.layers
    classifier = keras.Sequential(
        [
            keras.Input((2 * EMBEDDING,)),
            layers.Dropout(0.3),
            layers.Dense(HIDDEN, activation="relu"),
            layers.Dense(classes, name="head"),
        ]
    )
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    # Keras' own layers and no mask, so that every format can hold the model and Keras alone can load it.
    states = layers.Embedding(vocabulary, EMBEDDING, name="embedding")(ids)
    token = layers.Embedding(vocabulary, 1, trainable=False, name="token")  # 1, and 0 for padding
    tokens = token(ids)
    # Of one length, since the average is over the padding, too.
    mean = layers.UnitNormalization()(layers.GlobalAveragePooling1D()(layers.Multiply()([states, tokens])))
    mean = layers.Rescaling(EMBEDDING**0.5)(mean)
    floor = layers.Rescaling(1e9, offset=-1e9)(tokens)  # 0, and far below for padding
    maximum = layers.GlobalMaxPooling1D()(layers.Add()([states, floor]))
    token.set_weights([np.where(np.arange(vocabulary)[:, None] == PAD_ID, 0.0, 1.0)])
    model = keras.Model(ids, classifier(layers.Concatenate()([mean, maximum])))
    sets = [(pad(part.ids), part.classes) for part in (train, validation)]
    epochs = _fit(model, sets[0], sets[1], options, rate=LEARNING_RATE)
    return Fitted(lambda tensor: model(tensor, training=False), epochs, model)


def export(fitted: Fitted, folder: Path) -> None:
    """Write a SavedModel whose signature maps `input_ids` int32 [N, L] to `logits` float32 [N, C]."""
    import keras
    import tensorflow as tf

    # `track` is left out on purpose: the archive finds the variables that the endpoint uses by itself, and
    # with it Keras 3.15 saves every one of them twice.
    archive = keras.export.ExportArchive()
    signature = [tf.TensorSpec((None, None), tf.int32, name="input_ids")]
    archive.add_endpoint("serving_default", lambda input_ids: {"logits": fitted.logits(input_ids)}, signature)
    archive.write_out(str(folder), verbose=False)


def load_backbone(weights: Path) -> Any:
    """The pretrained transformer as keras-hub's backbone, frozen."""
    import keras_hub

    with _original_names(weights) as folder:
        backbone = keras_hub.models.BertBackbone.from_preset(str(folder))
    backbone.trainable = False
    for layer in backbone.layers:
        if isinstance(layer, keras_hub.layers.TransformerEncoder):
            # keras-hub 0.32 hard-codes the tanh approximation; these weights were trained with the exact GELU,
            # and differ from the original by 5e-3 without it.
            layer._feedforward_intermediate_dense.activation = _exact_gelu
    return backbone


def _encoder(weights: Path) -> Any:
    """A tf function: ids int32 [N, L] → unit vectors float32 [N, D]."""
    import keras
    import tensorflow as tf

    backbone = load_backbone(weights)

    def encode(ids: Any) -> Any:
        tokens = tf.cast(ids != PAD_ID, tf.int32)
        inputs = {"token_ids": ids, "segment_ids": tf.zeros_like(ids), "padding_mask": tokens}
        states = backbone(inputs, training=False)["sequence_output"]
        return keras.ops.normalize(_mean(states, tokens), axis=-1)

    return tf.function(encode, input_signature=[tf.TensorSpec((None, None), tf.int32)])


@contextmanager
def _original_names(weights: Path) -> Iterator[Path]:
    """A copy of a Hugging Face folder with the tensor names of the first BERT checkpoints.

    Every keras-hub reads those; before 0.32, and so on Python 3.10, it reads no others.
    Source: keras-hub 0.25.1 and 0.32.0, keras_hub/src/utils/transformers/convert_bert.py.
    """
    from safetensors.numpy import load_file, save_file

    tensors = {}
    for name, tensor in load_file(weights / "model.safetensors").items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        tensors[name if name.startswith("bert.") else f"bert.{name}"] = tensor
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(weights / "config.json", folder)
        save_file(tensors, Path(folder) / "model.safetensors")
        yield Path(folder)


def _exact_gelu(tensor: Any) -> Any:
    import keras

    return keras.ops.gelu(tensor, approximate=False)


def _embed(encode: Any, ids: Sequence[Sequence[int]], advance: Callable[[int], None]) -> NDArray[np.float32]:
    """Features [N, D]; texts of similar length share a batch, so that little is padded."""
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    rows: list[Any] = [None] * len(ids)
    for start in range(0, len(order), EMBED_BATCH):
        batch = order[start : start + EMBED_BATCH]
        for index, row in zip(batch, encode(pad([ids[index] for index in batch])).numpy(), strict=True):
            rows[index] = row
        advance(start + len(batch))
    return np.stack(rows)


def _fit(
    model: Any,
    train: tuple[NDArray[Any], NDArray[np.int32]],
    validation: tuple[NDArray[Any], NDArray[np.int32]],
    options: FitOptions,
    rate: float,
) -> int:
    """Fit with early stopping and keep the best weights; returns the number of epochs."""
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)
    stop = keras.callbacks.EarlyStopping(patience=options.patience, restore_best_weights=True)
    with progress.bar("Training (stops early)", options.epochs) as advance:
        step = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: advance(epoch + 1))
        history = model.fit(
            *train,
            validation_data=validation,
            epochs=options.epochs,
            batch_size=TRAIN_BATCH,
            class_weight=options.class_weights,
            callbacks=[stop, step],
            verbose=0,
        )
    return len(history.epoch)


def _mean(states: Any, tokens: Any) -> Any:
    """States [N, L, D] and tokens [N, L], 1 or 0 → the mean over the tokens [N, D]."""
    import keras

    ops = keras.ops
    weights = ops.expand_dims(ops.cast(tokens, states.dtype), -1)
    return ops.sum(states * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)
