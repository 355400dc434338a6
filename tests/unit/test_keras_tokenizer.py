"""Ids are the very ones that Keras' own tokenizer gives; a file that Keras could not have written is refused."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import DATA
from trident.stages.text.keras_tokenizer import KerasTokenizer

DEFAULT_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
HOSTILE = [
    "",
    "   \t\n ",
    DEFAULT_FILTERS,
    "<OOV> free [UNK] oov",
    "İstanbul STRASSE ΑΣ ΑΣΑ ǅ ﬀ Ⅷ",
    "cafe\u0301 café CAFÉ",
    "free\u00a0prize\u2003now\u3000!\u0085\u2028end\x00\x1f",
    "👍🏽 👩‍👩‍👧 \U0010ffff \ud800",
    "שלום \u200fעולם مرحبا 你好，世界",
    "a" * 10_000 + " free" * 10_000,
    "free--prize__now  the--",
]


def document(word_index: Any, **settings: Any) -> dict[str, Any]:
    """What `to_json()` writes, parsed; `word_index` is put in as it is unless it is an object."""
    config: dict[str, Any] = {
        "num_words": None,
        "filters": DEFAULT_FILTERS,
        "lower": True,
        "split": " ",
        "char_level": False,
        "oov_token": None,
        "word_index": json.dumps(word_index) if isinstance(word_index, dict) else word_index,
    }
    return {"class_name": "Tokenizer", "config": config | settings}


def encode(text: str, word_index: dict[str, int], **settings: Any) -> list[int]:
    return KerasTokenizer(document(word_index, **settings)).encode(text)


@pytest.fixture(scope="module")
def keras_text() -> ModuleType:
    """Keras' module of text preprocessing; it needs of Keras only a decorator, and Keras would start TensorFlow."""
    spec = importlib.util.find_spec("keras")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "src" / "legacy" / "preprocessing" / "text.py"
    export = ModuleType("keras.src.api_export")
    export.keras_export = lambda name: lambda exported: exported  # type: ignore[attr-defined]
    text_spec = importlib.util.spec_from_file_location("keras_text", path)
    assert text_spec is not None
    assert text_spec.loader is not None
    module = importlib.util.module_from_spec(text_spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("keras", "keras.src"):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setitem(sys.modules, export.__name__, export)
        text_spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def messages() -> list[str]:
    lines = DATA.read_text(encoding="utf-8").splitlines()
    return [line.partition("\t")[2] for line in lines]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"oov_token": "<OOV>"},
        {"num_words": 100},
        {"num_words": 1000, "oov_token": "<OOV>"},
        {"num_words": 1, "oov_token": "<OOV>"},
        {"num_words": 1e3},
        {"num_words": 0},
        {"num_words": -5, "oov_token": "<OOV>"},
        {"num_words": 100, "oov_token": "prize"},  # a word of the texts, whose own id replaces that of the token
        {"char_level": True},
        {"char_level": True, "lower": False, "num_words": 30, "oov_token": "?"},
        {"lower": False},
        {"lower": False, "filters": "", "oov_token": ""},
        {"filters": "aeiou", "split": "--"},
        {"filters": " .,-", "split": "-"},
        {"filters": "A-", "split": "a"},
        {"split": None},
    ],
    ids=json.dumps,
)
def test_ids_are_those_of_keras(keras_text: ModuleType, messages: list[str], settings: dict[str, Any]) -> None:
    reference = keras_text.Tokenizer(**settings)
    reference.fit_on_texts([*messages[::2], *HOSTILE[::2]])
    tokenizer = KerasTokenizer(json.loads(reference.to_json()))
    texts = [*messages, *HOSTILE]
    expected = reference.texts_to_sequences(texts)
    assert [tokenizer.encode(text) for text in texts] == expected
    assert tokenizer.vocabulary_size == 1 + max(number for ids in expected for number in ids)


@pytest.mark.parametrize(
    ("text", "settings", "ids"),
    [
        ("Free prize, FREE!", {}, [2, 3, 2]),
        ("hello free stranger prize", {}, [2, 3]),
        ("hello free", {"oov_token": "<OOV>"}, [1, 2]),
        ("free prize now", {"num_words": 4}, [2, 3]),
        ("free prize now", {"num_words": 3, "oov_token": "<OOV>"}, [2, 1, 1]),
        ("free prize now", {"num_words": 3, "oov_token": "now"}, [2, 4, 4]),
        ("Free free", {"lower": False}, [2]),
        ("free.prize", {"filters": ""}, []),
        ("free||prize", {"split": "||", "filters": ""}, [2, 3]),
        ("free\u00a0prize now", {"split": None, "filters": "w"}, [2, 3]),
        ("naN", {"char_level": True}, [5, 6, 5]),
        ("", {"oov_token": "<OOV>"}, []),
    ],
)
def test_ids_by_hand(text: str, settings: dict[str, Any], ids: list[int]) -> None:
    index = {"<OOV>": 1, "free": 2, "prize": 3, "now": 4, "n": 5, "a": 6}
    assert encode(text, index, **settings) == ids


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 8),
        ({"num_words": 5}, 3),
        ({"num_words": 100}, 8),
        ({"num_words": 2, "oov_token": "rare"}, 8),
        ({"num_words": 3, "oov_token": "free"}, 3),
    ],
)
def test_vocabulary_size_is_one_more_than_the_largest_id_that_is_given(settings: dict[str, Any], size: int) -> None:
    """The id of `oov_token` is given even if it is beyond `num_words`; ids may have gaps."""
    index = {"free": 1, "prize": 2, "rare": 7}
    assert KerasTokenizer(document(index, **settings)).vocabulary_size == size


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "keras_tokenizer.json"
    path.write_text(json.dumps(document({"café": 1, "👍": 2})), encoding="utf-8")
    assert KerasTokenizer.from_file(path).encode("CAFÉ 👍") == [1, 2]


def test_a_megabyte_is_a_matter_of_milliseconds() -> None:
    started = time.perf_counter()
    assert len(encode("free prize " * 100_000, {"free": 1, "prize": 2})) == 200_000
    assert encode("x" * 1_000_000, {"free": 1}) == []
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("key", ["num_words", "filters", "lower", "split", "char_level", "oov_token", "word_index"])
def test_a_missing_key_is_named(key: str) -> None:
    broken = document({"free": 1})
    del broken["config"][key]
    with pytest.raises(ValueError, match=f"^'config' has no key '{key}'; expected what Keras'"):
        KerasTokenizer(broken)


@pytest.mark.parametrize("broken", [None, [], "text", 7, {}, {"config": None}, {"config": []}])
def test_a_document_without_settings_is_refused(broken: Any) -> None:
    with pytest.raises(ValueError, match=r"^no object 'config'; expected what Keras'"):
        KerasTokenizer(broken)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_words", "100", "'num_words' is \"100\"; expected a number or null; "),
        ("filters", None, "'filters' is null; expected a string; "),
        ("filters", ["!"], "'filters' is [\"!\"]; expected a string; "),
        ("lower", 1, "'lower' is 1; expected true or false; "),
        ("split", 3, "'split' is 3; expected a string or null; "),
        ("split", "", "'split' is empty; expected what stands between words, as ' '; "),
        ("char_level", "no", "'char_level' is \"no\"; expected true or false; "),
        ("oov_token", True, "'oov_token' is true; expected a string or null; "),
        ("oov_token", "<OOV>", "'oov_token' is \"<OOV>\", which 'word_index' lacks; "),
        ("num_words", 1, "no word has an id: 'word_index' has 1 words and 'num_words' is 1; "),
    ],
)
def test_a_setting_that_keras_cannot_have_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match="; expected") as caught:
        KerasTokenizer(document({"free": 1}, **{key: value}))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"free": 0}, 'gives the word "free" the id 0; expected an integer from 1, for 0 is padding; '),
        ({"free": -1}, 'gives the word "free" the id -1; '),
        ({"free": 1.0}, 'gives the word "free" the id 1.0; '),
        ({"free": True}, 'gives the word "free" the id true; '),
        ({"free": float("nan")}, 'gives the word "free" the id NaN; '),
        ({"x" * 100: "2"}, f'gives the word "{"x" * 39}… the id "2"; '),
        ({"free": None}, 'gives the word "free" the id null; '),
    ],
)
def test_an_id_that_keras_cannot_have_is_refused(index: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^'word_index' ") as caught:
        KerasTokenizer(document({"prize": 1} | index))
    assert str(caught.value).startswith(f"'word_index' {message}")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", "'word_index' is not JSON (Expecting value: "),
        ("{'free': 1}", "'word_index' is not JSON (Expecting property name "),
        ("[" * 100_000, "'word_index' is not JSON (maximum recursion depth exceeded"),
        ("[1]", "'word_index' holds [1]; expected a JSON object"),
        ("null", "'word_index' holds null; expected a JSON object"),
        ("{}", "no word has an id: 'word_index' has 0 words and 'num_words' is null; "),
        (None, "'word_index' is null; expected a string that holds a JSON object"),
        (["free"], "'word_index' is [\"free\"]; expected a string that holds a JSON object"),
    ],
)
def test_a_broken_word_index_is_refused(index: Any, message: str) -> None:
    with pytest.raises(ValueError, match="word_index") as caught:
        KerasTokenizer(document(index))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
