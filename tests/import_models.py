"""Models as people have them, for the tests of `trident import`: made by Keras in a process of its own, or fetched."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAINED_ON, TESTED_ON = 6_000, 500  # images; the first ones
TAGS = ("O", "B-NAME", "I-NAME")
NAMES = {"ada": 1, "lovelace": 2, "grace": 1, "hopper": 2}  # word → its tag
TOPICS = ("sport", "money", "law")
_FASHION = "dataset-fashion-mnist"  # a Debian package
_FASHION_FOLDER = "usr/share/datasets/fashion-mnist"


def write_all(folder: Path, fashion: Path) -> dict[str, Any]:
    """Write the models of `_write_models` into FOLDER; returns what is known of them, see there."""
    command = [sys.executable, __file__, str(folder), str(fashion)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    known: dict[str, Any] = json.loads((folder / "known.json").read_text(encoding="utf-8"))
    return known


def fetch_fashion(cache: Path) -> Path:
    """The folder of Fashion-MNIST's four files, out of Debian's package."""
    folder = cache / _FASHION
    if not (folder / _FASHION_FOLDER).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", _FASHION], cwd=folder, check=True, capture_output=True)
        (package,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
        package.unlink()
    return folder / _FASHION_FOLDER


def read_fashion(folder: Path, part: str, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The first images uint8 [count, 28, 28] and their classes [count]; part is `train` or `t10k`."""
    images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)[:count]
    return pixels, np.frombuffer(labels, np.uint8, offset=8)[:count]


def _write_models(folder: Path, fashion: Path) -> dict[str, Any]:
    """`cnn.keras`, `houses.keras`, `topics.keras`, `tagger.keras`, `words.keras`, `lambda.keras`, `reviews.h5`,
    `reviews_any.h5`, `houses_savedmodel`.

    Returns:
        What a direct call of some of them gives, for comparison.
    """
    import keras

    keras.utils.set_random_seed(3)
    known = {"cnn accuracy": _write_cnn(folder, fashion)}
    layers = keras.layers

    houses = keras.Sequential([keras.Input((3,), name="features"), layers.Dense(1, name="price")])
    houses.layers[-1].set_weights([np.array([[2.0], [10.0], [20.0]], np.float32), np.array([1.0], np.float32)])
    houses.save(folder / "houses.keras")
    houses.export(folder / "houses_savedmodel", verbose=False)

    counts = keras.Input((None,), dtype="int32", name="input_ids")
    weights = np.full((8, 3), -2.0, np.float32)
    weights[2], weights[3], weights[4] = (4, -2, -2), (-2, 4, -2), (4, 4, -2)
    embedding = layers.Embedding(8, 3, name="evidence")
    topics = keras.Model(counts, layers.Activation("sigmoid")(layers.GlobalMaxPooling1D()(embedding(counts))))
    embedding.set_weights([weights])
    topics.save(folder / "topics.keras")

    ids = keras.Input((None,), dtype="int32", name="input_ids")
    tags = layers.Embedding(8, 3, name="tags")
    tagger = keras.Model(ids, tags(ids))
    table = np.zeros((8, 3), np.float32)
    for number, tag in enumerate([0, 0, *NAMES.values()]):
        table[number, tag] = 6.0
    tags.set_weights([table])
    tagger.save(folder / "tagger.keras")

    vectorize = layers.TextVectorization(output_mode="multi_hot", vocabulary=["free", "prize", "hello"])
    text = keras.Input((1,), dtype="string", name="text")
    keras.Model(text, layers.Dense(2, name="head")(vectorize(text))).save(folder / "words.keras")

    doubled = keras.Sequential([keras.Input((2,)), layers.Lambda(lambda tensor: tensor * 2)])
    doubled.save(folder / "lambda.keras")

    return known | _write_reviews(folder)


def _write_reviews(folder: Path) -> dict[str, Any]:
    """The same network for 20 tokens and for any number; with its answers to padded sequences of many lengths."""
    import keras

    layers = keras.layers
    parts = [layers.Embedding(200, 8), layers.LSTM(8), layers.Dense(2, activation="softmax")]
    fixed, open_ = (keras.Sequential([keras.Input((length,)), *parts]) for length in (20, None))
    fixed.save(folder / "reviews.h5")
    open_.save(folder / "reviews_any.h5")
    generator = np.random.default_rng(1)
    rows = [generator.integers(1, 200, length).tolist() for length in (0, 1, 3, 19, 20, 21, 60, 100, 101, 130)]
    pad = keras.utils.pad_sequences
    answers = {
        "reviews": fixed.predict(pad(rows, 20), verbose=0),
        "reviews_post": open_.predict(pad(rows, 100, padding="post"), verbose=0),
    }
    return {"reviews rows": rows, "reviews answers": {name: array.tolist() for name, array in answers.items()}}


def _write_cnn(folder: Path, fashion: Path) -> float:
    """Train a small network on Fashion-MNIST; returns its accuracy on the images it is tested with."""
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, strides=2, activation="relu"),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, name="classes"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=loss, metrics=["accuracy"])
    images, classes = read_fashion(fashion, "train", TRAINED_ON)
    model.fit(images[..., None], classes, epochs=3, batch_size=64, verbose=0)
    model.save(folder / "cnn.keras")
    images, classes = read_fashion(fashion, "t10k", TESTED_ON)
    guessed = model.predict(images[..., None], verbose=0).argmax(axis=1)
    return float((guessed == classes).mean())


if __name__ == "__main__":
    target = Path(sys.argv[1])
    known = _write_models(target, Path(sys.argv[2]))
    (target / "known.json").write_text(json.dumps(known), encoding="utf-8")
