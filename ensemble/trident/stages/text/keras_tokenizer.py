"""Token ids as Keras' `Tokenizer` gives them, read from what its `to_json()` writes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Key of "config" → what Keras' constructor takes there, with the words for it.
_SETTINGS: dict[str, tuple[tuple[type, ...], str]] = {
    "num_words": ((int, float, type(None)), "a number or null"),
    "filters": ((str,), "a string"),
    "lower": ((bool,), "true or false"),
    "split": ((str, type(None)), "a string or null"),
    "char_level": ((bool,), "true or false"),
    "oov_token": ((str, type(None)), "a string or null"),
    "word_index": ((str,), "a string that holds a JSON object"),
}


class KerasTokenizer:
    """Words or characters of a text, looked up in a vocabulary; ids start at 1, and 0 is left for padding.

    Attributes:
        vocabulary_size: 1 + the largest id that `encode` can give: the rows of the embedding that takes them.

    Source: Keras 3.15.1, keras/src/legacy/preprocessing/text.py, Tokenizer.texts_to_sequences.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        """Check a tokenizer's settings and its vocabulary.

        Args:
            document: what `Tokenizer.to_json()` writes, parsed.

        Raises:
            ValueError: a key is missing or has a value that Keras' tokenizer cannot have, or no text has an id.
        """
        config = _checked(document)
        self._lower: bool = config["lower"]
        self._split: str | None = config["split"]
        self._char_level: bool = config["char_level"]
        self._separators: dict[int, str | None] = {ord(character): self._split for character in config["filters"]}
        index = _word_index(config["word_index"])
        self._unknown = _unknown_id(config["oov_token"], index)
        limit = config["num_words"]
        # A word beyond the limit is an unknown one. The unknown id itself is not bound by the limit.
        self._ids = {word: number for word, number in index.items() if not (limit and number >= limit)}
        given = [*self._ids.values(), *([] if self._unknown is None else [self._unknown])]
        if not given:
            raise ValueError(
                f"no word has an id: 'word_index' has {len(index)} words and 'num_words' is {json.dumps(limit)}; "
                "expected ids from 1 and below num_words; call fit_on_texts(texts) before to_json(), or raise num_words"
            )
        self.vocabulary_size = 1 + max(given)

    @classmethod
    def from_file(cls, path: Path) -> "KerasTokenizer":
        """Read a file that holds what `Tokenizer.to_json()` returns.

        Raises:
            ValueError: it is not UTF-8, not JSON, or not a tokenizer; see `__init__`.
        """
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def encode(self, text: str) -> list[int]:
        """Ids of a text, each in 1 … `vocabulary_size` - 1; the very list `texts_to_sequences([text])[0]` is.

        An unknown word has the id of `oov_token`, or is left out where there is none; so the list may be empty.
        """
        found = (self._ids.get(word, self._unknown) for word in self._words(text))
        return [number for number in found if number is not None]

    def _words(self, text: str) -> Iterable[str]:
        if self._lower:
            text = text.lower()
        if self._char_level:
            return text
        return filter(None, text.translate(self._separators).split(self._split))


def _checked(document: Any) -> dict[str, Any]:
    """The settings of a document, each of its type."""
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise ValueError("no object 'config'; expected what Keras' Tokenizer.to_json() returns")
    for key, (types, expected) in _SETTINGS.items():
        if key not in config:
            raise ValueError(f"'config' has no key '{key}'; expected what Keras' Tokenizer.to_json() returns")
        if not isinstance(config[key], types):
            raise ValueError(f"'{key}' is {_shown(config[key])}; expected {expected}; correct it and write it again")
    if config["split"] == "" and not config["char_level"]:
        raise ValueError("'split' is empty; expected what stands between words, as ' '; for characters set char_level")
    return config


def _word_index(text: str) -> dict[str, int]:
    """Word → id ≥ 1 of the setting `word_index`, which is JSON inside the JSON."""
    try:
        index = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'word_index' is not JSON ({error}); write the file again with Tokenizer.to_json()") from None
    if not isinstance(index, dict):
        raise ValueError(f"'word_index' holds {_shown(index)}; expected a JSON object of words and their ids")
    for word, number in index.items():
        if type(number) is not int or number < 1:  # `true` is an int, too
            raise ValueError(
                f"'word_index' gives the word {_shown(word)} the id {_shown(number)}; expected an integer from 1, "
                "for 0 is padding; correct or delete the word and write the file again with Tokenizer.to_json()"
            )
    return index


def _unknown_id(token: str | None, index: dict[str, int]) -> int | None:
    """The id of unknown words; None leaves them out."""
    if token is not None and token not in index:
        raise ValueError(
            f"'oov_token' is {_shown(token)}, which 'word_index' lacks; expected one of its words or null; "
            "set it before fit_on_texts(texts), so that it gets an id"
        )
    return None if token is None else index[token]


def _shown(value: Any) -> str:
    """A value as it stands in the file, cut to what a line can hold."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
