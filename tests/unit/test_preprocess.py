"""Texts are cleaned, tokenized, truncated and padded the same way in training and in serving."""

import json
import time
import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, processors
from trident.encoders import train_tokenizer
from trident.stages.text.preprocess import InvalidInput, Settings, TextPreprocessor, clean, decode, pad, read_folder


def preprocessor(folder: Path, tokenizer: Tokenizer, max_length: int = 8, lowercase: bool = False) -> TextPreprocessor:
    tokenizer.save(str(folder / "tokenizer.json"))
    return TextPreprocessor(folder / "tokenizer.json", Settings(max_length, lowercase))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("free prize", "free prize"),
        ("", ""),
        ("  free \t\r\n  prize\v\f ", "free prize"),
        ("free\u00a0\u2003\u3000prize\u0085", "free prize"),
        ("fr\x00ee\x07 \x1bpr\x7fi\x9fze", "free prize"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u212b", "\u00c5"),
        ("👍🏽 👩‍👩‍👧", "👍🏽 👩‍👩‍👧"),
        ("שלום \u200fעולם", "שלום \u200fעולם"),
        ("Free PRIZE", "Free PRIZE"),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text, lowercase=False) == cleaned


def test_clean_lowercases_if_told() -> None:
    assert clean("Free STRASSE ÀÉ", lowercase=True) == "free strasse àé"


def test_a_cleaned_text_is_nfc_even_where_a_control_character_stood_between() -> None:
    assert clean("cafe\x00\u0301", lowercase=False) == "caf\u00e9"


def test_every_control_character_is_dropped_or_folded() -> None:
    controls = "".join(chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cc")
    assert len(controls) == 65
    assert clean(f"a{controls}b", lowercase=False) == "a b"


def test_decode_reads_utf8() -> None:
    assert decode("schön 👍".encode(), 0) == "schön 👍"


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"caf\xe9", "byte 0xe9 at offset 3"),
        (b"\xff", "byte 0xff at offset 0"),
        (b"\xed\xa0\x80", "byte 0xed at offset 0"),
    ],
)
def test_decode_names_the_text_the_byte_and_the_remedy(raw: bytes, found: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(raw, 4)
    assert str(caught.value) == f"text 4 is not UTF-8 ({found}); encode it with text.encode('utf-8')"


def test_a_text_of_too_many_bytes_is_refused_before_it_is_decoded() -> None:
    assert decode("é".encode(), 0, max_bytes=2) == "é"
    with pytest.raises(InvalidInput) as caught:
        decode(b"\xff" * 1_025, 3, max_bytes=1_024)
    expected = (
        "text 3 has 1,025 bytes, and 1,024 are taken; shorten it, or raise preprocess.max_text_bytes in service.toml"
    )
    assert str(caught.value) == expected


def test_words_become_ids_and_unknown_ones_the_unknown_id(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert preprocessor(tmp_path, tokenizer).encode(["free prize", "hello there"]) == [[2, 3], [4, 1]]


@pytest.mark.parametrize("text", ["", "   ", "\x00\x01"])
def test_an_empty_text_is_one_unknown_token(tmp_path: Path, tokenizer: Tokenizer, text: str) -> None:
    assert preprocessor(tmp_path, tokenizer).encode([text]) == [[1]]


def test_a_vocabulary_without_an_unknown_token_still_gives_one_token(tmp_path: Path, tokenizer: Tokenizer) -> None:
    document = json.loads(tokenizer.to_str())
    document["model"] = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [], "unk_token": None}
    bare = Tokenizer.from_str(json.dumps(document))
    assert preprocessor(tmp_path, bare).encode([""]) == [[1]]


def test_the_token_of_an_empty_text_is_one_of_the_vocabulary(tmp_path: Path) -> None:
    vocabulary = {"a": 0, "b": 1, "<|endoftext|>": 2}
    Tokenizer(models.BPE(vocabulary, [])).save(str(tmp_path / "tokenizer.json"))
    preprocess = TextPreprocessor(tmp_path / "tokenizer.json", Settings(pad_id=2))
    assert preprocess.encode([""]) == [[1]]


def test_a_text_is_cut_to_max_length(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert preprocessor(tmp_path, tokenizer, max_length=3).encode(["free free prize prize"]) == [[2, 2, 3]]


@pytest.mark.parametrize("max_length", [1, 2, 3])
def test_the_tokenizers_own_frame_counts_towards_max_length(
    tmp_path: Path, framing_tokenizer: Tokenizer, max_length: int
) -> None:
    (ids,) = preprocessor(tmp_path, framing_tokenizer, max_length).encode(["free prize hello free"])
    assert len(ids) == max_length


def test_padding_and_truncation_of_the_tokenizers_file_do_not_count(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.enable_padding(length=6)
    tokenizer.enable_truncation(1)
    assert preprocessor(tmp_path, tokenizer).encode(["free prize"]) == [[2, 3]]


def test_lowercase_is_applied_before_tokens_are_looked_up(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert preprocessor(tmp_path, tokenizer).encode(["FREE"]) == [[1]]
    assert preprocessor(tmp_path, tokenizer, lowercase=True).encode(["FREE"]) == [[2]]


def test_a_batch_is_padded_with_zeros_to_its_longest_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tensor = preprocessor(tmp_path, tokenizer)(["free", "free prize hello", "prize free"])
    assert tensor.dtype == "int32"
    assert tensor.tolist() == [[2, 0, 0], [2, 3, 4], [3, 2, 0]]


def test_a_text_alone_is_not_padded(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert preprocessor(tmp_path, tokenizer)(["free"]).tolist() == [[2]]


def test_the_padding_id_never_comes_from_a_text(tmp_path: Path) -> None:
    """The graph would take it for padding; a text of nothing else would have no token at all."""
    preprocess = preprocessor(tmp_path, train_tokenizer(["free prize"], 8))
    assert [ids.count(0) for ids in preprocess.encode(["[PAD]", "free [PAD] prize"])] == [0, 0]


@pytest.mark.parametrize("wanted", [["input_ids"], ["input_ids", "word_ids"]])
def test_a_padding_token_that_the_tokenizer_adds_itself_stays(
    tmp_path: Path, tokenizer: Tokenizer, wanted: list[str]
) -> None:
    tokenizer.add_special_tokens(["[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 6)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    preprocess = TextPreprocessor(tmp_path / "tokenizer.json", Settings(max_length=4, pad_id=6))
    ids = preprocess.tensors(["free prize", "free [SEP] prize free prize", ""], wanted)["input_ids"]
    assert ids.tolist() == [[2, 3, 6, 6], [2, 1, 3, 6], [6, 6, 6, 6]]


LARGE = ["free prize " * 100_000, "x" * 1_000_000, "x " * 500_000, " " * 1_000_000 + "x", "\x00 \u0301" * 300_000]


@pytest.mark.parametrize("text", LARGE)
def test_a_megabyte_holds_nobody_up(tmp_path: Path, tokenizer: Tokenizer, text: str) -> None:
    preprocess = preprocessor(tmp_path, tokenizer)
    started = time.perf_counter()
    (ids,) = preprocess.encode([text])
    assert time.perf_counter() - started < 0.5
    assert 1 <= len(ids) <= 8


def test_white_space_before_a_text_hides_nothing_of_it(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert preprocessor(tmp_path, tokenizer).encode([" " * 10_000 + "free prize"]) == [[2, 3]]


@pytest.mark.parametrize("truncation", ["pre", "post"])
@pytest.mark.parametrize("blank", [" ", "\n", "\u3000"])
def test_white_space_in_or_behind_a_text_hides_nothing_of_it(
    tmp_path: Path, tokenizer: Tokenizer, truncation: str, blank: str
) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    preprocess = TextPreprocessor(tmp_path / "tokenizer.json", Settings(max_length=8, truncation=truncation))
    gap = blank * 10_000
    assert preprocess.encode([f"free{gap}prize hello{gap}"]) == [[2, 3, 4]]


def test_a_version_folder_holds_all_that_it_needs(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "settings.json").write_text('{"max_length": 2, "lowercase": true}', encoding="utf-8")
    settings, preprocess = read_folder(tmp_path)
    assert settings == Settings(max_length=2, lowercase=True)
    assert preprocess is not None
    assert preprocess.encode(["FREE prize hello"]) == [[2, 3]]


def test_pad_keeps_rows_of_one_length_as_they_are() -> None:
    assert pad([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
