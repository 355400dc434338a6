"""Models, tokenizers and stages at the edge of what people have, for tests/e2e/test_import_odd.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HEIGHT, WIDTH = 6, 8
FIRST_ID = 2**24  # float32 has every second number from here
TAGS = ("O", "B-PLACE", "I-PLACE")
# What the taggers find in texts; tokenizers know all but the last as a whole.
PLACES = ("Tokyo", "東京", "Zürich", "Zu\u0308rich", "ירושלים", "القاهرة", "🗼", "👩🏽‍🚀", "🇯🇵", "Orléans", "🦕")
CORPUS = ("the night train to", "is late again and", "left for home", "was seen from", "मैं", "ก็", "שלום", "مرحبا")
VECTORS = {"[PAD]": (9, 9, 9), "[UNK]": (5, 5, 5), "red": (1, 0, 4), "green": (0, 2, -2), "blue": (-3, 4, 1)}

# Does to a request what its first text says.
MISBEHAVING_STAGE = """
import sys
import time

import numpy as np

INPUTS = {"text": ("STRING", [1])}
OUTPUTS = {"x": ("FP32", [2])}
GOOD = np.array([[2, -2]], np.float32)


class InvalidInput(Exception):
    pass


def _fail():
    raise ZeroDivisionError("the secret of a stage")


def _refuse():
    raise InvalidInput("this text is no order;\\nsend another")


def _recurse():
    return _recurse()


def _import():
    import no_such_package_at_all

    return no_such_package_at_all


def _print():
    for _ in range(2000):
        print("x" * 500)
        print("x" * 500, file=sys.stderr)
    return {"x": GOOD}


def _sleep():
    time.sleep(3)
    return {"x": GOOD}


class _Unlike:
    def __array__(self, *arguments, **keywords):
        raise RuntimeError("no array")


ORDERS = {
    "good": lambda: {"x": GOOD},
    "raise": _fail,
    "refuse": _refuse,
    "recurse": _recurse,
    "import": _import,
    "exit": lambda: sys.exit(3),
    "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
    "print": _print,
    "sleep": _sleep,
    "none": lambda: None,
    "list": lambda: [GOOD],
    "names": lambda: {"y": GOOD},
    "fewer": lambda: {},
    "more": lambda: {"x": GOOD, "y": GOOD},
    "numbers": lambda: {1: GOOD},
    "no array": lambda: {"x": [[2.0, -2.0]]},
    "unlike an array": lambda: {"x": _Unlike()},
    "no value": lambda: {"x": None},
    "float64": lambda: {"x": GOOD.astype(np.float64)},
    "int32": lambda: {"x": GOOD.astype(np.int32)},
    "texts": lambda: {"x": np.array([[b"2", b"-2"]], object)},
    "narrow": lambda: {"x": GOOD[:, :1]},
    "wide": lambda: {"x": np.zeros((1, 3), np.float32)},
    "flat": lambda: {"x": GOOD[0]},
    "deep": lambda: {"x": GOOD[None]},
    "two rows": lambda: {"x": np.concatenate([GOOD, GOOD])},
    "no rows": lambda: {"x": GOOD[:0]},
    "nan": lambda: {"x": GOOD * np.nan},
    "strided": lambda: {"x": np.repeat(GOOD, 2, axis=1)[:, ::2]},
    "str": lambda: {"x": np.array([["2", "-2"]], object)},
    "big-endian": lambda: {"x": GOOD.astype(">f4")},
}


def run(text):
    return ORDERS[text.ravel()[0].decode()]()
"""


def write_all(folder: Path) -> None:
    """Write `roberta`, `tagger`, `wordpiece_tagger`, `vectors`, `eye`, `sum`, `ids`, `scores` and the tokenizers."""
    import keras

    layers = keras.layers
    roberta = byte_level_tokenizer(folder / "roberta.json")
    wordpiece = wordpiece_tokenizer(folder / "vocab.txt")
    word_level_tokenizer(folder / "colours.json", list(VECTORS))

    # As RoBERTa does, it tells padding by the id 1 and takes no mask.
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    real = keras.ops.expand_dims(keras.ops.cast(keras.ops.not_equal(ids, 1), "float32"), -1)
    states = layers.Embedding(roberta.get_vocab_size(), 3, embeddings_initializer=_noise(keras, 1))(ids)
    mean = keras.ops.sum(states * real, axis=1) / keras.ops.sum(real, axis=1)
    keras.Model(ids, mean).save(folder / "roberta.keras")

    for name, tokenizer in (("tagger", roberta), ("wordpiece_tagger", wordpiece)):
        _lookup(keras, _tags(tokenizer)).save(folder / f"{name}.keras")

    _lookup(keras, np.array(list(VECTORS.values()), np.float32)).save(folder / "vectors.keras")

    pixels = keras.Input((HEIGHT, WIDTH, 3), name="pixels_in")
    keras.Model(pixels, layers.Flatten(name="pixels_seen")(pixels)).save(folder / "eye.keras")

    features = keras.Input((3,), name="features_in")
    total = layers.Dense(1, use_bias=False, kernel_initializer="ones", name="total")(features)
    keras.Model(features, total).save(folder / "sum.keras")

    number = keras.Input((1,), dtype="int64", name="id_in")
    keras.Model(number, keras.ops.cast(number - FIRST_ID, "float32")).save(folder / "ids.keras")

    x = keras.Input((2,), name="x")
    keras.Model(x, layers.Rescaling(1.0, name="scores")(x)).save(folder / "scores.keras")


def _tags(tokenizer: Tokenizer) -> NDArray[np.float32]:
    """Logits [V, 3] of each token: the first of a place begins a span, the others continue it."""
    table = np.tile(np.array([4, 0, 0], np.float32), (tokenizer.get_vocab_size(), 1))
    for place in PLACES:
        for text in (f"to {place}", place):
            encoding = tokenizer.encode(text)
            start = text.index(place)
            own = [
                number
                for number, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)
                if start <= begin < end
            ]
            for position, number in enumerate(own):
                table[number] = (0, 0, 9) if position else (0, 9, 0)
    return table


def _noise(keras: Any, seed: int) -> Any:
    return keras.initializers.RandomNormal(stddev=1.0, seed=seed)


def _lookup(keras: Any, table: NDArray[np.float32]) -> Any:
    """A model of token ids [B, L] → rows of the table [B, L, D]."""
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    embedding = keras.layers.Embedding(*table.shape, name="states")
    model = keras.Model(ids, embedding(ids))
    embedding.set_weights([table])
    return model


def byte_level_tokenizer(path: Path) -> Tokenizer:
    """As RoBERTa's: `<s>` is 0, `<pad>` 1, `</s>` 2; texts are cut into bytes, which are joined."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>", length=64)  # as an exporter leaves it in the file
    tokenizer.save(str(path))
    tokenizer.no_padding()
    return tokenizer


def wordpiece_tokenizer(path: Path) -> Tokenizer:
    """As uncased BERT's, which takes accents away and cuts Chinese characters apart; its vocab.txt is written."""
    letters = sorted({character for text in (*CORPUS, *PLACES) for character in text if not character.isspace()})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *PLACES, *letters]
    normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces = [*tokens[:4]]
    for token in tokens[4:]:
        normal = normalizer.normalize_str(token).strip()
        pieces += [piece for part in normal.split() for piece in (part, f"##{part}") if piece not in pieces]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return tokenizer


def word_level_tokenizer(path: Path, words: Sequence[str]) -> Tokenizer:
    """Words separated by blanks."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(path))
    return tokenizer


def _sentences() -> list[str]:
    return [f"{start} {place}" for start in CORPUS for place in PLACES[:-1]]
