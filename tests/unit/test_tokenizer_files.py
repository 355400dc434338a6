"""A tokenizer's file is known by its content; what cannot be served is refused with what it looks like."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, processors
from trident.errors import ServiceError
from trident.stages.text.keras_tokenizer import KerasTokenizer
from trident.tokenizer_files import MAX_BYTES, TokenizerFile, read_tokenizer

EXPECTED = (
    "expected Hugging Face's tokenizer.json, BERT's vocab.txt, or a file of what Keras' Tokenizer.to_json() returns"
)
BERT = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "free", "prize", "##s", "!", "cafe", "你"]


def write(folder: Path, content: bytes | str, name: str = "some.file") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, content: bytes | str, lowercase: bool | None = None) -> TokenizerFile:
    return read_tokenizer(write(folder, content), lowercase)


def refusal(folder: Path, content: bytes | str) -> str:
    """The message without the path, which begins it; one line."""
    path = write(folder, content)
    with pytest.raises(ServiceError) as caught:
        read_tokenizer(path, None)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path)).removeprefix(":").removeprefix(" is").strip()


def vocabulary(tokens: list[str]) -> str:
    return "".join(f"{token}\n" for token in tokens)


def keras_json(word_index: Any, /, **settings: Any) -> str:
    config = {
        "num_words": None,
        "filters": "!.",
        "lower": True,
        "split": " ",
        "char_level": False,
        "oov_token": None,
        "document_count": 2,
        "word_counts": "{}",
        "index_word": "{}",
        "word_index": json.dumps(word_index),
    }
    return json.dumps({"class_name": "Tokenizer", "config": config | settings})


def encode(file: TokenizerFile, text: str) -> list[int]:
    return Tokenizer.from_str(file.content.decode()).encode(text).ids


def with_keys(tokenizer: Tokenizer, **keys: Any) -> str:
    return json.dumps(json.loads(tokenizer.to_str()) | keys)


# Hugging Face


def test_a_tokenizer_json_is_taken_as_it_is(tmp_path: Path, tokenizer: Tokenizer) -> None:
    text = tokenizer.to_str(pretty=True)
    assert read(tmp_path, text) == TokenizerFile("huggingface", "tokenizer.json", text.encode(), 7, 0, "post", 0)


def test_the_frame_of_a_text_is_counted(tmp_path: Path, framing_tokenizer: Tokenizer) -> None:
    assert read(tmp_path, framing_tokenizer.to_str()).special_tokens == 2


def test_added_tokens_count_in_the_vocabulary(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens(["new", "newer"])
    assert read(tmp_path, tokenizer.to_str()).vocabulary_size == 9


def test_an_id_that_only_the_frame_has_counts_in_the_vocabulary(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(single="[X] $A", special_tokens=[("[X]", 99)])
    file = read(tmp_path, tokenizer.to_str())
    assert (file.vocabulary_size, file.special_tokens) == (100, 1)


@pytest.mark.parametrize(
    ("vocab", "pad_id"),
    [
        ({"<s>": 0, "<pad>": 1, "<unk>": 2}, 1),
        ({"<unk>": 0, "[PAD]": 7}, 7),
        ({"<unk>": 0, "pad": 1, "<PADDING>": 2}, None),
    ],
)
def test_the_padding_token_is_found_by_its_name(tmp_path: Path, vocab: dict[str, int], pad_id: int | None) -> None:
    made = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    assert read(tmp_path, made.to_str()).pad_id == pad_id


def test_the_padding_token_may_be_an_added_one(tmp_path: Path) -> None:
    made = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    made.add_special_tokens(["<pad>"])
    assert read(tmp_path, made.to_str()).pad_id == 1


def test_the_padding_section_comes_first_and_pads_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.enable_padding(pad_id=50, pad_token="[PAD]", length=10**6)
    file = read(tmp_path, tokenizer.to_str())
    assert (file.pad_id, file.vocabulary_size, file.special_tokens) == (50, 7, 0)


def test_a_byte_order_mark_and_a_json_string_around_the_json_are_taken_off(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    text = tokenizer.to_str()
    for wrapped in (b"\xef\xbb\xbf" + text.encode(), json.dumps(text)):
        assert read(tmp_path, wrapped).content == text.encode()


def test_a_broken_tokenizer_json_is_refused_with_the_cause(tmp_path: Path, tokenizer: Tokenizer) -> None:
    message = refusal(tmp_path, with_keys(tokenizer, model={"type": "WordPiece"}))
    assert message.startswith("a tokenizer.json that cannot be loaded (missing field `")
    assert message.endswith("); download it again, or update `tokenizers`")
    assert "cannot be loaded (Unknown tokenizer version '9'" in refusal(tmp_path, with_keys(tokenizer, version="9"))


def test_a_file_at_which_the_library_panics_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    broken = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    message = refusal(tmp_path, with_keys(tokenizer, normalizer=broken))
    assert message.startswith("a tokenizer.json that cannot be loaded (")


def test_a_frame_of_unknown_tokens_is_refused(tmp_path: Path, framing_tokenizer: Tokenizer) -> None:
    frame = json.loads(framing_tokenizer.to_str())["post_processor"] | {"special_tokens": {}}
    message = refusal(tmp_path, with_keys(framing_tokenizer, post_processor=frame))
    assert message.startswith("a tokenizer.json that fails on texts (")


def test_a_tokenizer_that_fails_on_unknown_words_is_refused(tmp_path: Path) -> None:
    made = Tokenizer(models.WordLevel({"free": 0}, unk_token="[UNK]"))
    message = refusal(tmp_path, made.to_str())
    assert message.startswith("a tokenizer.json that fails on texts (WordLevel error: Missing [UNK] token")


def test_a_tokenizer_without_tokens_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, Tokenizer(models.BPE()).to_str())
    assert message == "has no tokens; expected a trained tokenizer; download or train it again"


# vocab.txt


def test_a_vocabulary_becomes_the_tokenizer_of_bert(tmp_path: Path) -> None:
    file = read(tmp_path, vocabulary(BERT))
    document = json.loads(file.content)
    assert file == TokenizerFile("huggingface", "tokenizer.json", file.content, len(BERT), 0, "post", 2)
    assert document["model"] == {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {token: number for number, token in enumerate(BERT)},
    }
    assert document["normalizer"] == {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    assert document["pre_tokenizer"] == {"type": "BertPreTokenizer"}
    assert [token["content"] for token in document["added_tokens"]] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [3, 4]),
        ("Free PRIZES!", [3, 6, 7, 8, 9, 4]),
        ("café\x00 [MASK]", [3, 10, 5, 4]),
        ("你你 unknown", [3, 11, 11, 2, 4]),
        ("free" + "s" * 96, [3, 6, *[8] * 96, 4]),
        ("free" + "s" * 97, [3, 2, 4]),
    ],
)
def test_texts_are_tokenized_as_bert_does(tmp_path: Path, text: str, ids: list[int]) -> None:
    assert encode(read(tmp_path, vocabulary(BERT)), text) == ids


@pytest.mark.parametrize(
    ("more", "lowercase", "lowered"),
    [
        ([], None, True),
        (["Free"], None, False),
        (["É"], None, False),
        (["[NEW]", "<S>", "##я", "[Unused1]"], None, True),
        (["Free"], True, True),
        ([], False, False),
    ],
)
def test_upper_case_words_make_a_cased_vocabulary(
    tmp_path: Path, more: list[str], lowercase: bool | None, lowered: bool
) -> None:
    file = read(tmp_path, vocabulary([*BERT, *more]), lowercase)
    assert json.loads(file.content)["normalizer"]["lowercase"] is lowered
    assert (encode(file, "FREE") == [3, 6, 4]) is lowered


@pytest.mark.parametrize("lacking", ["[CLS]", "[SEP]"])
def test_without_both_ends_there_is_no_frame(tmp_path: Path, lacking: str) -> None:
    file = read(tmp_path, vocabulary([token for token in BERT if token != lacking]))
    assert file.special_tokens == 0
    assert encode(file, "free prize") == [5, 6]


def test_a_vocabulary_of_the_unknown_token_alone_gives_it_for_every_word(tmp_path: Path) -> None:
    file = read(tmp_path, "[UNK]")
    assert (file.vocabulary_size, file.pad_id, file.special_tokens) == (1, None, 0)
    assert encode(file, "free prize") == [0, 0]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("end", [0, 1, 3])
def test_line_endings_do_not_belong_to_tokens(tmp_path: Path, ending: str, end: int) -> None:
    file = read(tmp_path, ("\ufeff" + ending.join(BERT) + ending * end).encode())
    assert file.vocabulary_size == len(BERT)
    assert encode(file, "free") == [3, 6, 4]


def test_a_line_is_an_id_whatever_it_holds(tmp_path: Path) -> None:
    """Vocabularies of many languages have blanks and separators of Unicode among their tokens."""
    file = read(tmp_path, vocabulary(["[UNK]", "", "\u2028", "\x85", "a\u2028b", " ", "{", '"', "free"]))
    assert file.vocabulary_size == 9
    assert encode(file, 'free { "') == [8, 6, 7]


@pytest.mark.parametrize(
    ("repeated", "first", "shown"), [("free", 7, "'free'"), ("[PAD]", 1, "'[PAD]'"), ("x" * 500, 13, f"'{'x' * 20}'")]
)
def test_a_token_twice_is_refused(tmp_path: Path, repeated: str, first: int, shown: str) -> None:
    message = refusal(tmp_path, vocabulary([*BERT, "x" * 500, repeated]))
    assert message.startswith(f"line 14 repeats the token {shown} of line {first}; expected each token once, ")


# Keras


def test_the_json_of_keras_is_taken(tmp_path: Path) -> None:
    text = keras_json({"<OOV>": 1, "free": 2, "café": 9}, oov_token="<OOV>")
    file = read(tmp_path, text)
    assert file == TokenizerFile("keras", "keras_tokenizer.json", file.content, 10, 0, "pre", 0)
    written = write(tmp_path, file.content, file.file_name)
    assert KerasTokenizer.from_file(written).encode("Free CAFÉ prize") == [2, 9, 1]
    assert read_tokenizer(written, None) == file


def test_a_json_string_around_the_json_of_keras_is_taken_off(tmp_path: Path) -> None:
    """`json.dump(tokenizer.to_json(), file)` is how many tutorials write it."""
    text = keras_json({"free": 1})
    assert read(tmp_path, json.dumps(text)) == read(tmp_path, text)


def test_num_words_bounds_the_vocabulary_of_keras(tmp_path: Path) -> None:
    index = {f"w{number}": number for number in range(1, 100)}
    assert read(tmp_path, keras_json(index, num_words=20)).vocabulary_size == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (keras_json({"free": 0}), "'word_index' gives the word \"free\" the id 0; expected an integer from 1, "),
        (keras_json({"free": "1"}), '\'word_index\' gives the word "free" the id "1"; expected an integer '),
        (keras_json({}), "no word has an id: "),
        (keras_json([]), "'word_index' holds []; expected a JSON object"),
        (keras_json({"free": 1}, word_index="{"), "'word_index' is not JSON ("),
        (keras_json({"free": 1}, split=""), "'split' is empty; "),
        ('{"class_name": "Tokenizer"}', "no object 'config'; expected what Keras' "),
        ('{"class_name": "Tokenizer", "config": {}}', "'config' has no key 'num_words'; expected what Keras' "),
        ('{"config": {"word_index": "{}"}}', "'config' has no key 'num_words'; expected what Keras' "),
    ],
)
def test_a_broken_json_of_keras_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text).startswith(message)


# Neither


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_named_and_never_loaded(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(_Trap(tmp_path / "loaded"), protocol)
    message = refusal(tmp_path, content)
    assert not (tmp_path / "loaded").exists()
    assert message == (
        "a pickle, which is never loaded, because it can run code; "
        "write what tokenizer.to_json() returns to a file instead"
    )


class _Trap:
    """Leaves a file behind where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["path"]).touch()


@pytest.mark.parametrize("piece", [b"<unk>", b"<pad>", "▁a".encode()])
def test_a_sentencepiece_model_is_named(tmp_path: Path, piece: bytes) -> None:
    fields = b"\n" + bytes([len(piece)]) + piece + b"\x15\x00\x00\x00\x00\x18\x02"
    message = refusal(tmp_path, b"\n" + bytes([len(fields)]) + fields)
    assert message.startswith("a SentencePiece model, which holds no tokenizer.json; write one with transformers: ")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (b" \r\n\t\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"caf\xe9\n[UNK]\n", "not UTF-8 (byte 0xe9 at offset 3)"),
        ("[UNK]\nfree\n".encode("utf-16"), "not UTF-8 (byte 0xff at offset 0)"),
        (b"\x89HDF\r\n\x1a\n", "not UTF-8 (byte 0x89 at offset 0)"),
        ("ham\nspam\n", "text without a line '[UNK]'"),
        ("free [UNK] prize", "text without a line '[UNK]'"),
        ("[" * 100_000, "text without a line '[UNK]'"),
        (
            '{"tokenizer_class": "BertTokenizer", "model": "bert"}',
            "a tokenizer_config.json, which holds settings but no vocabulary; give the file beside it",
        ),
        (
            '{"do_lower_case": true}',
            "a tokenizer_config.json, which holds settings but no vocabulary; give the file beside it",
        ),
        ('{"the": 0, "of": 1, "a": 2}', "JSON of something else (keys: 'the', 'of', 'a')"),
        ('{"class_name": "Functional", "config": {}}', "JSON of something else (keys: 'class_name', 'config')"),
        (
            json.dumps({"x" * 100: 0, "b": 1, "c": 2, "d": 3}),
            f"JSON of something else (keys: '{'x' * 20}', 'b', 'c', …)",
        ),
        ("{}", "JSON of something else (keys: none)"),
        ("[1, 2]", "JSON of something else (list)"),
        ("17", "JSON of something else (int)"),
        ('"[UNK]"', "text without a line '[UNK]'"),
        ('"\\ud800"', "text without a line '[UNK]'"),
        (
            '{"model": {"vocab"',
            "broken JSON (Expecting ':' delimiter: line 1 column 19 (char 18)); write or download it again",
        ),
        (json.dumps('{"a": '), "broken JSON (Expecting value: line 1 column 7 (char 6)); write or download it again"),
    ],
)
def test_what_is_neither_is_refused_with_what_it_looks_like(tmp_path: Path, content: bytes | str, found: str) -> None:
    message = refusal(tmp_path, content)
    assert message.removesuffix(", saved as UTF-8") == f"{found}; {EXPECTED}"


def test_a_wrapped_text_that_no_file_can_hold_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Half a surrogate pair can be spelled out in JSON, but not written as UTF-8."""
    broken = tokenizer.to_str().replace("hello", "\ud800")
    assert "surrogates not allowed" in refusal(tmp_path, json.dumps(broken))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ServiceError, match="has 200000001 bytes; expected at most 200000000; is it"):
        read_tokenizer(path, None)


@pytest.mark.parametrize("name", [".", "absent.json", "/dev/zero"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ServiceError) as caught:
        read_tokenizer(tmp_path / name, None)
    assert str(caught.value) == f"no file {tmp_path / name}; {EXPECTED}"


def test_a_file_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ServiceError, match=r"^/proc/self/mem cannot be read \(Input/output error\); expected "):
        read_tokenizer(Path("/proc/self/mem"), None)


def test_the_vocabulary_of_a_text_vectorization_layer_is_no_vocab_txt(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n[UNK]\nfree\nprize\n", encoding="utf-8")
    with pytest.raises(ServiceError, match="line 1 is empty, as in the vocabulary of a TextVectorization layer"):
        read_tokenizer(tmp_path / "vocab.txt", None)
