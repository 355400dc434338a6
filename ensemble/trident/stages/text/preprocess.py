"""Texts to token ids: clean, tokenize, truncate, pad. Training calls the same code that serves.

Axis letters: B texts of one request, L tokens of its longest text.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from .keras_tokenizer import KerasTokenizer

PAD_ID = 0  # unless the settings name another
MAX_BYTES = 2**20  # likewise
FILE, KERAS_FILE = "tokenizer.json", "keras_tokenizer.json"
NO_WORD = -1  # in `word_ids`: padding, or a token that the tokenizer added
# Words average five characters a token, so what lies beyond max_length * CHARACTERS_PER_TOKEN would be truncated
# anyway; cutting there first keeps a text of a megabyte from holding up its neighbours.
CHARACTERS_PER_TOKEN = 64

_ADDED = re.compile(r"[\[<].*[\]>]")  # how tokenizers write the tokens that no text has
_SPACE = re.compile(r"\s+")
# Everything of Unicode category Cc that is no white space; white space is folded, not removed.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")


class InvalidInput(Exception):
    """A text cannot be served; the message names its position in the request."""


def clean(text: str, lowercase: bool) -> str:
    """Normalize a text: Unicode NFC, no control characters, single blanks, none at the ends."""
    text = unicodedata.normalize("NFC", _CONTROL.sub("", text))
    text = _SPACE.sub(" ", text).strip()
    return text.lower() if lowercase else text


def decode(raw: bytes, position: int, max_bytes: int = MAX_BYTES) -> str:
    """Decode one element of a BYTES tensor.

    Args:
        raw: the text in UTF-8.
        position: its place in the request, for the message.
        max_bytes: the largest text that is taken.

    Raises:
        InvalidInput: it is larger, or not UTF-8.
    """
    if len(raw) > max_bytes:
        raise InvalidInput(
            f"text {position} has {len(raw):,} bytes, and {max_bytes:,} are taken; shorten it, "
            "or raise preprocess.max_text_bytes in service.toml"
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise InvalidInput(f"text {position} is not UTF-8 ({found}); encode it with text.encode('utf-8')") from None


@dataclass(frozen=True)
class Settings:
    """How texts become token ids.

    Attributes:
        max_length: tokens of a text that count, ≥ 1.
        lowercase: lower-case texts before they are tokenized; needs `clean`.
        clean: normalize texts first, see `clean`.
        padding: `longest` fills up to the longest text of a request, `pre` and `post` to `max_length`, at that end.
        truncation: the end at which a text that is too long loses tokens, `pre` or `post`.
        pad_id: what fills up.
        max_text_bytes: largest text in UTF-8 that is taken, ≥ 1.
    """

    max_length: int = 128
    lowercase: bool = False
    clean: bool = True
    padding: str = "longest"
    truncation: str = "post"
    pad_id: int = PAD_ID
    max_text_bytes: int = MAX_BYTES


@dataclass(frozen=True)
class Tokens:
    """One text's tokens, at most `max_length`.

    Attributes:
        ids: of the vocabulary.
        offsets: where each begins and ends in the text as it came, in characters; (0, 0) for an added one.
        words: the word that each belongs to, counted from 0; -1 for an added one.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]
    words: list[int]


class TextPreprocessor:
    """A tokenizer with the settings of one service version."""

    def __init__(self, file: Path, settings: Settings) -> None:
        """Load a tokenizer.

        Args:
            file: a Hugging Face tokenizer.json, or Keras' as `keras_tokenizer.json`.
            settings: see `Settings`.
        """
        self.settings = settings
        self._keras = KerasTokenizer.from_file(file) if file.name == KERAS_FILE else None
        if self._keras is None:
            self.tokenizer = Tokenizer.from_file(str(file))
            # The file carries padding and truncation of its own, which would pad every text to a fixed length.
            self.tokenizer.no_padding()
            direction = "left" if settings.truncation == "pre" else "right"
            self.tokenizer.enable_truncation(settings.max_length, direction=direction)
            self.unknown_id = self._unknown_id()
            # Without a padding token that id is a token like any other, and the attention mask tells padding.
            token = self.tokenizer.id_to_token(settings.pad_id)
            self._pads_with_token = token is None or bool(_ADDED.fullmatch(token))

    def _unknown_id(self) -> int:
        model = json.loads(self.tokenizer.to_str())["model"]
        token = model.get("unk_token")
        found = self.tokenizer.token_to_id(token) if isinstance(token, str) else None
        if found is not None:
            return found
        # Byte-level vocabularies have no unknown token, and often pad with their last one.
        before, behind = self.settings.pad_id - 1, self.settings.pad_id + 1
        return before if before >= 0 and self.tokenizer.id_to_token(behind) is None else behind

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at most `max_length`; at least one, if the tokenizer knows unknown words."""
        return [tokens.ids for tokens in self._encode(texts, positions=False)]

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Encode texts as one tensor.

        Args:
            texts: B texts.

        Returns:
            int32 [B, L], padded as the settings say.
        """
        return self.tensors(texts, ["input_ids"])["input_ids"]

    def tensors(self, texts: Sequence[str], wanted: Collection[str]) -> dict[str, NDArray[np.int32]]:
        """Encode texts.

        Args:
            texts: B texts.
            wanted: names of tensors, of those below.

        Returns:
            `input_ids`, `attention_mask` (1 for a token, 0 for padding), `token_type_ids` (all 0) and `word_ids`, each
            int32 [B, L], and `offsets` int32 [B, L, 2], see `Tokens`; those that are wanted.
        """
        positions = "offsets" in wanted or "word_ids" in wanted
        rows = self._encode(texts, positions)
        makers: dict[str, Callable[[], NDArray[np.int32]]] = {
            "input_ids": lambda: self._pad([row.ids for row in rows], self.settings.pad_id),
            "attention_mask": lambda: self._pad([[1] * len(row.ids) for row in rows], 0),
            "token_type_ids": lambda: self._pad([[0] * len(row.ids) for row in rows], 0),
            "offsets": lambda: np.stack(
                [self._pad([[pair[end] for pair in row.offsets] for row in rows], 0) for end in (0, 1)], axis=-1
            ),
            "word_ids": lambda: self._pad([row.words for row in rows], NO_WORD),
        }
        return {name: makers[name]() for name in wanted}

    def _pad(self, rows: Sequence[Sequence[int]], value: int) -> NDArray[np.int32]:
        width = None if self.settings.padding == "longest" else self.settings.max_length
        return pad(rows, value, width, left=self.settings.padding == "pre")

    def _encode(self, texts: Sequence[str], positions: bool) -> list[Tokens]:
        if self.settings.clean:
            texts = [clean(self._fold(text), self.settings.lowercase) for text in texts]
        if self._keras is not None:
            keras = self._keras
            return [Tokens(self._limit(keras.encode(text)), [], []) for text in texts]
        parts = [self._cut(text) for text in texts]
        encode = self.tokenizer.encode_batch if positions else self.tokenizer.encode_batch_fast
        encodings = encode(parts)
        if not positions:
            return [Tokens(self._tokens(encoding), [], []) for encoding in encodings]
        shifts = [
            len(text) - len(part) if self.settings.truncation == "pre" else 0
            for text, part in zip(texts, parts, strict=True)
        ]
        return [self._positioned(encoding, shift) for encoding, shift in zip(encodings, shifts, strict=True)]

    def _fold(self, text: str) -> str:
        """A long text cut like `_cut` does, but as if `clean` had folded its white space; this is faster."""
        limit = self.settings.max_length * CHARACTERS_PER_TOKEN
        if self._keras is not None or len(text) <= limit:
            return text
        # So many words are at least so many characters.
        from_end = self.settings.truncation == "pre"
        words = text.rsplit(maxsplit=limit)[-limit:] if from_end else text.split(maxsplit=limit)[:limit]
        return self._cut(" ".join(words))

    def _cut(self, text: str) -> str:
        """The end of a text that its tokens can come from; Keras drops unknown words, so there it is all of it."""
        limit = self.settings.max_length * CHARACTERS_PER_TOKEN
        if self._keras is not None:
            return text
        return text[-limit:] if self.settings.truncation == "pre" else text[:limit]

    def _limit(self, tokens: list[Any]) -> list[Any]:
        # A tokenizer adds its special tokens however short it was told to cut.
        size = self.settings.max_length
        return tokens[-size:] if self.settings.truncation == "pre" else tokens[:size]

    def _tokens(self, encoding: Encoding) -> list[int]:
        ids, pad_id = encoding.ids, self.settings.pad_id
        # A text that spells out the padding token must not count as padding. What the tokenizer adds stays: there are
        # some that end every text with the token that they pad with.
        if self._pads_with_token and pad_id in ids:
            added = encoding.special_tokens_mask
            ids = [self.unknown_id if own == (pad_id, 0) else own[0] for own in zip(ids, added, strict=True)]
        return self._limit(ids) or [self.unknown_id]

    def _positioned(self, encoding: Encoding, shift: int) -> Tokens:
        words = [NO_WORD if word is None else word for word in encoding.word_ids]
        offsets = [
            (0, 0) if word == NO_WORD else (start + shift, end + shift)
            for (start, end), word in zip(encoding.offsets, words, strict=True)
        ]
        ids = self._tokens(encoding)
        return Tokens(ids, self._limit(offsets) or [(0, 0)], self._limit(words) or [NO_WORD])


def read_folder(folder: Path) -> tuple[Settings, TextPreprocessor | None]:
    """The settings in a version folder, and the tokenizer, if there is one: a model may take texts themselves."""
    settings = Settings(**json.loads((folder / "settings.json").read_text(encoding="utf-8")))
    file = next((folder / name for name in (FILE, KERAS_FILE) if (folder / name).is_file()), None)
    return settings, TextPreprocessor(file, settings) if file else None


def pad(
    rows: Sequence[Sequence[int]], value: int = PAD_ID, width: int | None = None, left: bool = False
) -> NDArray[np.int32]:
    """Rows of different lengths as int32 [B, L].

    Args:
        rows: B rows, none longer than `width`.
        value: what fills up.
        width: L; the longest row's if None, at least 1.
        left: fill up at the beginning.
    """
    size = width or max([1, *map(len, rows)])
    tensor = np.full((len(rows), size), value, dtype=np.int32)
    for row, values in enumerate(rows):
        tensor[row, size - len(values) if left else 0 :][: len(values)] = values
    return tensor
