"""Texts to token ids: clean, tokenize, truncate, pad. Training calls the same code that serves.

Axis letters: B texts of one request, L tokens of its longest text.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

PAD_ID = 0  # the graph takes every other id for a token
# Words average five characters a token, so what lies beyond max_length * CHARACTERS_PER_TOKEN would be truncated
# anyway; cutting there first keeps a text of a megabyte from holding up its neighbours.
CHARACTERS_PER_TOKEN = 64

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


def decode(raw: bytes, position: int) -> str:
    """Decode one element of a BYTES tensor.

    Args:
        raw: the text in UTF-8.
        position: its place in the request, for the message.

    Raises:
        InvalidInput: it is not UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise InvalidInput(f"text {position} is not UTF-8 ({found}); encode it with text.encode('utf-8')") from None


class TextPreprocessor:
    """A tokenizer with the settings of one service version."""

    def __init__(self, folder: Path, max_length: int, lowercase: bool) -> None:
        """Load `tokenizer.json` from `folder`.

        Args:
            folder: a service folder or a version folder.
            max_length: tokens of a text that count, ≥ 1.
            lowercase: lower-case texts before they are tokenized.
        """
        self.max_length = max_length
        self.lowercase = lowercase
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The file carries padding and truncation of its own, which would pad every text to a fixed length.
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_length)
        self.unknown_id = self._unknown_id()

    @classmethod
    def from_version(cls, folder: Path) -> "TextPreprocessor":
        """Read a version folder: tokenizer.json and settings.json."""
        return cls(folder, **json.loads((folder / "settings.json").read_text(encoding="utf-8")))

    def _unknown_id(self) -> int:
        model = json.loads(self.tokenizer.to_str())["model"]
        token = model.get("unk_token")
        found = self.tokenizer.token_to_id(token) if token else None
        return PAD_ID + 1 if found is None else found

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at least one and at most `max_length`."""
        limit = self.max_length * CHARACTERS_PER_TOKEN
        cleaned = [clean(text.lstrip()[:limit], self.lowercase) for text in texts]
        return [self._tokens(encoding.ids) for encoding in self.tokenizer.encode_batch_fast(cleaned)]

    def _tokens(self, ids: list[int]) -> list[int]:
        # Sliced, since a tokenizer adds its special tokens however short it was told to cut; and a text that
        # spells out the padding token must not count as padding.
        tokens = [self.unknown_id if number == PAD_ID else number for number in ids[: self.max_length]]
        return tokens or [self.unknown_id]

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Encode texts as one tensor.

        Args:
            texts: B texts.

        Returns:
            int32 [B, L], padded with 0 at the end to the longest of these texts.
        """
        return pad(self.encode(texts))


def pad(ids: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """Rows of different lengths as int32 [B, L], filled up with `PAD_ID`."""
    tensor = np.full((len(ids), max(map(len, ids))), PAD_ID, dtype=np.int32)
    for row, values in enumerate(ids):
        tensor[row, : len(values)] = values
    return tensor
