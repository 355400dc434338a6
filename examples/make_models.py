"""Makes a small model for each task of `trident import`, with the files that it needs, in a few seconds each.

    python examples/make_models.py FOLDER

They are trained on next to nothing; what matters is that they have the forms that people's models have.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

layers = keras.layers
DATA = Path(__file__).parent.parent / "data" / "sms_spam.tsv"
FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
LENGTH, WORDS = 60, 2000
SHAPES = ("circle", "square", "triangle")


def mail(folder: Path) -> None:
    """text-classification: a small network on padded sequences, saved as .h5, with the JSON of Keras' Tokenizer."""
    rows = [line.split("\t") for line in DATA.read_text(encoding="utf-8").splitlines()[1:]]
    texts = [text.lower().translate(str.maketrans(FILTERS, " " * len(FILTERS))).split() for _, text in rows]
    counts = Counter(word for text in texts for word in text)
    index = {"<OOV>": 1} | {word: number for number, (word, _) in enumerate(counts.most_common(), start=2)}
    ids = [[number if (number := index[word]) < WORDS else 1 for word in text] for text in texts]
    padded = keras.utils.pad_sequences(ids, LENGTH)
    spam = np.array([label == "spam" for label, _ in rows])
    model = keras.Sequential(
        [
            keras.Input((LENGTH,)),
            layers.Embedding(WORDS, 32),
            layers.Conv1D(32, 3, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy")
    model.fit(padded, spam, epochs=3, batch_size=64, verbose=0)
    model.save(folder / "mail.h5")
    config = {"num_words": WORDS, "filters": FILTERS, "lower": True, "split": " ", "char_level": False}
    config |= {"oov_token": "<OOV>", "word_index": json.dumps(index)}
    (folder / "mail_tokenizer.json").write_text(json.dumps({"class_name": "Tokenizer", "config": config}))
    (folder / "mail_labels.txt").write_text("ham\nspam\n")


def words(folder: Path) -> None:
    """text-embedding and token-classification: a vector and a tag for each word, with a tokenizer.json."""
    vocabulary = ["[PAD]", "[UNK]", "cat", "kitten", "dog", "bank", "money", "ada", "lovelace", "grace", "hopper"]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "words_tokenizer.json"))
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    for name, columns in (
        ("meanings", {"cat": (3, 0), "kitten": (3, 0.5), "dog": (2, 1), "bank": (0, 3), "money": (0, 2)}),
        ("tags", {"ada": (0, 9, 0), "lovelace": (0, 0, 9), "grace": (0, 9, 0), "hopper": (0, 0, 9)}),
    ):
        width = len(next(iter(columns.values())))
        other = np.eye(width)[0] * (9 if name == "tags" else 0.1)  # a word that is no name; one without much meaning
        table = np.array([columns.get(word, other) for word in vocabulary], np.float32)
        embedding = layers.Embedding(*table.shape, name=name)
        model = keras.Model(ids, embedding(ids))
        embedding.set_weights([table])
        model.save(folder / f"{name}.keras")
    (folder / "tags_labels.txt").write_text("O\nB-NAME\nI-NAME\n")


def shapes(folder: Path) -> None:
    """image-classification: a small convolutional network on drawn shapes."""
    generator = np.random.default_rng(0)
    places = generator.integers(4, 16, (900, 2)).tolist()
    pictures = [_draw(SHAPES[n % 3], left, top, 32) for n, (left, top) in enumerate(places)]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3), name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 5, strides=2, activation="relu"),
            layers.Conv2D(16, 5, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(pixels, np.arange(900) % 3, epochs=8, verbose=0)
    model.save(folder / "shapes.keras")
    (folder / "shapes_labels.txt").write_text("\n".join(SHAPES) + "\n")
    _draw("circle", 20, 20, 96).save(folder / "circle.jpg")


def _draw(shape: str, left: int, top: int, size: int) -> Image.Image:
    picture = Image.new("RGB", (size, size), "white")
    pen, right, bottom = ImageDraw.Draw(picture), left + size * 3 // 8, top + size * 3 // 8
    if shape == "circle":
        pen.ellipse((left, top, right, bottom), fill="navy")
    elif shape == "square":
        pen.rectangle((left, top, right, bottom), fill="navy")
    else:
        pen.polygon(((left, bottom), (right, bottom), ((left + right) // 2, top)), fill="navy")
    return picture


def houses(folder: Path) -> None:
    """tabular: a linear price, with features.json, which says how records become numbers."""
    model = keras.Sequential([keras.Input((3,), name="features"), layers.Dense(1, name="price")])
    model.layers[-1].set_weights([np.array([[40], [300], [500]], np.float32), np.array([100], np.float32)])
    model.save(folder / "houses.keras")
    columns = [
        {"name": "rooms", "type": "number", "mean": 3, "scale": 2},
        {"name": "city", "type": "category", "values": ["Rome", "Oslo"]},
    ]
    (folder / "houses_features.json").write_text(json.dumps({"columns": columns}, indent=2))


def distances(folder: Path) -> None:
    """tensors: a SavedModel without Keras, two inputs and one output."""
    module = tf.Module()
    point = tf.TensorSpec((None, 2), tf.float32)
    module.serve = tf.function(lambda start, end: {"distance": tf.norm(end - start, axis=1, keepdims=True)})
    signature = module.serve.get_concrete_function(start=point, end=point)
    tf.saved_model.save(module, str(folder / "distances"), signatures=signature)


def main() -> None:
    """Write all of them."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    for make in (mail, words, shapes, houses, distances):
        make(folder)
    print(f"wrote {', '.join(sorted(path.name for path in folder.iterdir()))} to {folder}")


if __name__ == "__main__":
    main()
