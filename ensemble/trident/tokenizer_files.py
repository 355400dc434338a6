"""A tokenizer's file, of whichever of three formats, as the file that goes into a service folder.

The format is read from the content; names say little, since every tool has its own.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from trident.errors import ServiceError
from trident.stages.text.keras_tokenizer import KerasTokenizer

MAX_BYTES = 200_000_000
UNKNOWN, FIRST, LAST = "[UNK]", "[CLS]", "[SEP]"
BERT_TOKENS = ("[PAD]", UNKNOWN, FIRST, LAST, "[MASK]")
PAD_TOKENS = ("[PAD]", "<pad>", "<PAD>", "[pad]", "<|pad|>")
MAX_WORD = 100  # characters; BERT takes a longer word for an unknown one
UNSEEN = "ꙮ"  # a letter that hardly any vocabulary has

_EXPECTED = (
    "expected Hugging Face's tokenizer.json, BERT's vocab.txt, or a file of what Keras' Tokenizer.to_json() returns"
)
# How a binary file begins → what it is, and what to do instead.
_BINARIES = (
    (
        re.compile(rb"\x80[\x02-\x05]|ccopy_reg\n|\(dp"),
        "a pickle, which is never loaded, because it can run code; "
        "write what tokenizer.to_json() returns to a file instead",
    ),
    (
        # Field 1 of the file is a piece; its fields 1 and 2 are a string and a float.
        re.compile(rb"\n.\n.[^\n]{1,64}\x15", re.DOTALL),
        "a SentencePiece model, which holds no tokenizer.json; write one with transformers: "
        "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
    ),
)
_CONFIG_KEYS = {"tokenizer_class", "do_lower_case", "model_max_length"}
_BRACKETED = re.compile(r"\[.*\]|<.*>")


@dataclass(frozen=True)
class TokenizerFile:
    """A tokenizer as a service folder holds it.

    Attributes:
        kind: who reads it.
        file_name: its name in the service folder.
        content: its bytes, JSON in UTF-8.
        vocabulary_size: 1 + the largest id, those of added tokens among them.
        pad_id: the id of the padding token; None if it has none.
        pad_side: where it stands: before the text (`pre`) or behind it.
        special_tokens: how many tokens a text is framed with, ≥ 0.
    """

    kind: Literal["huggingface", "keras"]
    file_name: Literal["tokenizer.json", "keras_tokenizer.json"]
    content: bytes
    vocabulary_size: int
    pad_id: int | None
    pad_side: Literal["pre", "post"]
    special_tokens: int


def read_tokenizer(path: Path, lowercase: bool | None) -> TokenizerFile:
    """Read a tokenizer.json of Hugging Face, a WordPiece vocab.txt, or the JSON of Keras' `Tokenizer`.

    Args:
        path: the file, of any name.
        lowercase: whether a vocab.txt is of an uncased model; None: it is, if no word in it has an upper-case letter.
            The other two formats say it themselves.

    Raises:
        ServiceError: the file is none of these, or broken; says what it looks like. Or it says itself what it does with
            upper case, and `lowercase` is told.
    """
    text = _read_text(path)
    document = _parse(path, text)
    if document is None and UNKNOWN in _lines(text):
        return _huggingface(path, _from_vocabulary(_vocabulary(path, text), lowercase))
    if isinstance(document, str):  # json.dump(tokenizer.to_json(), file): JSON that holds JSON
        text, document = document, _parse(path, document)
    if isinstance(document, dict):
        is_huggingface = isinstance(document.get("model"), dict)
        is_keras = document.get("class_name") == "Tokenizer" or "word_index" in _object(document, "config")
        if lowercase is not None and (is_huggingface or is_keras):
            option = "--lowercase" if lowercase else "--no-lowercase"
            raise ServiceError(f"{path} says itself what becomes of upper case; leave out {option}")
        if is_huggingface:
            return _huggingface(path, text)
        if is_keras:
            return _keras(path, document)
    raise ServiceError(f"{path} is {_looks_like(document)}; {_EXPECTED}")


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise ServiceError(f"no file {path}; {_EXPECTED}")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ServiceError(f"{path} has {size} bytes; expected at most {MAX_BYTES}; is it the tokenizer's file?")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ServiceError(f"{path} cannot be read ({error.strerror}); {_EXPECTED}") from None
    for beginning, found in _BINARIES:
        if beginning.match(data):
            raise ServiceError(f"{path} is {found}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise ServiceError(f"{path} is not UTF-8 ({found}); {_EXPECTED}, saved as UTF-8") from None
    if not text.strip():
        raise ServiceError(f"{path} is empty; {_EXPECTED}")
    return text


def _parse(path: Path, text: str) -> Any:
    """What the text is as JSON; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{") and UNKNOWN not in _lines(text):
            raise ServiceError(f"{path} is broken JSON ({error}); write or download it again; {_EXPECTED}") from None
        return None


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _lines(text: str) -> list[str]:
    """The lines of a file of tokens, among which may be other line separators of Unicode."""
    return text.replace("\r\n", "\n").rstrip("\n").split("\n")


def _looks_like(document: Any) -> str:
    if document is None:
        return f"text without a line '{UNKNOWN}'"
    if not isinstance(document, dict):
        return f"JSON of something else ({type(document).__name__})"
    if document.keys() & _CONFIG_KEYS:
        return "a tokenizer_config.json, which holds settings but no vocabulary; give the file beside it"
    keys = ", ".join(repr(key[:20]) for key in list(document)[:3]) or "none"
    return f"JSON of something else (keys: {keys}{', …' if len(document) > 3 else ''})"


def _keras(path: Path, document: dict[str, Any]) -> TokenizerFile:
    try:
        tokenizer = KerasTokenizer(document)
    except ValueError as error:
        raise ServiceError(f"{path}: {error}") from None
    return TokenizerFile(
        kind="keras",
        file_name="keras_tokenizer.json",
        content=json.dumps(document).encode(),
        vocabulary_size=tokenizer.vocabulary_size,
        pad_id=0,  # which Keras never gives to a word
        pad_side="pre",  # as pad_sequences does
        special_tokens=0,
    )


def _huggingface(path: Path, text: str) -> TokenizerFile:
    with _refusing(f"{path} is a tokenizer.json that cannot be loaded", "download it again, or update `tokenizers`"):
        tokenizer = Tokenizer.from_str(text)
    pad_id = _pad_id(tokenizer)
    pads_left = tokenizer.padding is not None and tokenizer.padding["direction"] == "left"
    tokenizer.no_padding()
    # What fails here would fail in the server. And a frame names its ids itself; the vocabulary need not have them.
    with _refusing(f"{path} is a tokenizer.json that fails on texts", "correct its post_processor or its unk_token"):
        tried = [*tokenizer.encode("").ids, *tokenizer.encode(UNSEEN).ids]
    ids = [*tokenizer.get_vocab().values(), *tried]
    if not ids:
        raise ServiceError(f"{path} has no tokens; expected a trained tokenizer; download or train it again")
    return TokenizerFile(
        kind="huggingface",
        file_name="tokenizer.json",
        content=text.encode(),
        vocabulary_size=1 + max(ids),
        pad_id=pad_id,
        pad_side="pre" if pads_left else "post",
        special_tokens=tokenizer.num_special_tokens_to_add(False),
    )


@contextmanager
def _refusing(found: str, remedy: str) -> Iterator[None]:
    """Turn whatever the library raises into a refusal of the file."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        cause = " ".join(str(error).split())[:200]
        raise ServiceError(f"{found} ({cause}); {remedy}") from None


def _pad_id(tokenizer: Tokenizer) -> int | None:
    if tokenizer.padding:
        return int(tokenizer.padding["pad_id"])
    found = (tokenizer.token_to_id(token) for token in PAD_TOKENS)
    return next((number for number in found if number is not None), None)


def _vocabulary(path: Path, text: str) -> dict[str, int]:
    """Token → id of a vocab.txt, where a token's line is its id."""
    ids: dict[str, int] = {}
    if not _lines(text)[0]:
        raise ServiceError(
            f"{path}: line 1 is empty, as in the vocabulary of a TextVectorization layer, which is no tokenizer of "
            "BERT's; put that layer into the model, which then takes text, or write a stage of your own (--preprocess)"
        )
    for number, token in enumerate(_lines(text)):
        if token in ids:
            raise ServiceError(
                f"{path}: line {number + 1} repeats the token {token[:20]!r} of line {ids[token] + 1}; expected each "
                "token once, for its line is its id; take the vocab.txt that the model was trained with"
            )
        ids[token] = number
    return ids


def _from_vocabulary(ids: dict[str, int], lowercase: bool | None) -> str:
    """The tokenizer.json of a WordPiece vocabulary, with the steps of BERT's tokenizer."""
    if lowercase is None:
        lowercase = all(token == token.lower() for token in ids if not _BRACKETED.fullmatch(token))
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN, max_input_chars_per_word=MAX_WORD))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([token for token in BERT_TOKENS if token in ids])
    if FIRST in ids and LAST in ids:
        frame = [(token, ids[token]) for token in (FIRST, LAST)]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{FIRST} $A {LAST}", pair=f"{FIRST} $A {LAST} $B:1 {LAST}:1", special_tokens=frame
        )
    return tokenizer.to_str()
