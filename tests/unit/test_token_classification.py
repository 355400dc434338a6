"""Scores of tokens become labelled spans of the text, whatever the tag scheme, the tokens and the text are."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from trident.stages.token_classification.postprocess import (
    SCHEMES,
    InvalidInput,
    Settings,
    postprocess,
    read_folder,
    scheme,
)
from trident.stages.token_classification.stage import Stage

BIO = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]
BILOU = ["O", "B-PER", "I-PER", "L-PER", "U-PER", "B-ORG", "I-ORG", "L-ORG", "U-ORG"]
BIOES = ["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-ORG", "I-ORG", "E-ORG", "S-ORG"]
PLAIN = ["O", "PER", "ORG"]
SPECIAL = (0, 0, -1)

Token = tuple[int, int, int]  # start, end, word
Span = tuple[str, str]  # label, text


def settings(aggregation: str = "simple", threshold: float = 0.0) -> Settings:
    return Settings(softmax=False, aggregation=aggregation, threshold=threshold)


def answer(
    text: str, tokens: list[Token], shares: list[list[float]], labels: list[str], chosen: Settings
) -> list[dict[str, Any]]:
    """The spans of one text whose tokens have these probabilities."""
    table = np.array(tokens, np.int32).reshape(-1, 3)
    logits = np.array(shares, np.float32).reshape(1, -1, len(labels))
    (row,) = postprocess([text], table[None, :, :2], table[None, :, 2], logits, labels, chosen)
    return list(json.loads(row[0]))


def words(text: str) -> list[Token]:
    """A token a word."""
    tokens, end = [], 0
    for number, word in enumerate(text.split()):
        start = text.index(word, end)
        end = start + len(word)
        tokens.append((start, end, number))
    return tokens


def certain(tags: list[str], labels: list[str]) -> list[list[float]]:
    return [[float(label == tag) for label in labels] for tag in tags]


def spans(tags: str, labels: list[str], aggregation: str = "simple") -> list[Span]:
    """Label and text of the spans of a text `0 1 2 …` whose words have these tags."""
    names = tags.split()
    text = " ".join(map(str, range(len(names))))
    found = answer(text, words(text), certain(names, labels), labels, settings(aggregation))
    return [(span["label"], span["text"]) for span in found]


def tensors(
    text: bytes = b"Ada", logits: tuple[float, ...] = (0.0, 2.0, 0.0, 0.0, 0.0), word: int = 0
) -> dict[str, NDArray[Any]]:
    """A request of one text that is one token, with `BIO` for labels."""
    return {
        "text": np.array([[text]], dtype=object),
        "offsets": np.array([[[0, 3]]], np.int32),
        "word_ids": np.array([[word]], np.int32),
        "logits": np.array([[logits]], np.float32),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("\n".join(BIO) + "\n", encoding="utf-8")
    (tmp_path / "settings.json").write_text("{}", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (BIO, "BIO"),
        (BILOU, "BILOU"),
        (BIOES, "BIOES"),
        (PLAIN, "plain"),
        (["O", "I-PER", "I-ORG"], "BIO"),
        (["O", "B-PER", "I-PER", "X", "[CLS]", "-", "B-"], "BIO"),
        (["O", "B-PER", "E-PER"], "BIOES"),
        (["B-cell", "T-cell"], "plain"),
        (["S-bahn", "E-mail", "U-boot", "L-plate"], "plain"),
        (["O", "B-PER", "L-PER", "S-PER"], "plain"),
        (["Bob", "I", ""], "plain"),
        ([], "plain"),
    ],
)
def test_the_scheme_is_found_from_the_labels(labels: list[str], name: str) -> None:
    assert scheme(labels) == name


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O O", []),
        ("B-PER O B-ORG", [("PER", "0"), ("ORG", "2")]),
        ("B-PER I-PER I-PER O", [("PER", "0 1 2")]),
        ("B-PER B-PER I-PER", [("PER", "0"), ("PER", "1 2")]),
        ("B-PER I-PER B-ORG I-ORG", [("PER", "0 1"), ("ORG", "2 3")]),
        ("I-PER I-PER O I-PER", [("PER", "0 1"), ("PER", "3")]),
        ("B-PER I-ORG I-ORG", [("PER", "0"), ("ORG", "1 2")]),
        ("I-PER B-PER", [("PER", "0"), ("PER", "1")]),
    ],
)
def test_bio_and_its_looser_forms(tags: str, found: list[Span]) -> None:
    assert spans(tags, BIO) == found


@pytest.mark.parametrize(("labels", "last", "single"), [(BILOU, "L", "U"), (BIOES, "E", "S")])
@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-PER I-PER {last}-PER {single}-PER", [("PER", "0 1 2"), ("PER", "3")]),
        ("{single}-PER {single}-PER I-PER", [("PER", "0"), ("PER", "1"), ("PER", "2")]),
        ("{last}-PER {last}-PER", [("PER", "0"), ("PER", "1")]),
        ("B-PER {last}-PER I-PER {last}-PER", [("PER", "0 1"), ("PER", "2 3")]),
        ("B-PER {last}-ORG O", [("PER", "0"), ("ORG", "1")]),
        ("B-PER I-PER O I-ORG {single}-ORG", [("PER", "0 1"), ("ORG", "3"), ("ORG", "4")]),
    ],
)
def test_schemes_that_mark_ends_and_single_words(
    labels: list[str], last: str, single: str, tags: str, found: list[Span]
) -> None:
    assert spans(tags.format(last=last, single=single), labels) == found


@pytest.mark.parametrize("labels", [BIO, BILOU, BIOES], ids=SCHEMES)
def test_what_is_written_in_a_scheme_is_read_back(labels: list[str]) -> None:
    last, single = {"BILOU": ("L", "U"), "BIOES": ("E", "S")}.get(scheme(labels), ("I", "B"))
    drawn = random.Random(7)
    for _ in range(50):
        tags: list[str] = []
        expected = []
        for _ in range(8):
            label, length = drawn.choice(["PER", "ORG", "O"]), drawn.randint(1, 4)
            numbers = map(str, range(len(tags), len(tags) + length))
            prefixes = single if length == 1 else f"B{'I' * (length - 2)}{last}"
            tags += ["O"] * length if label == "O" else [f"{prefix}-{label}" for prefix in prefixes]
            expected += [] if label == "O" else [(label, " ".join(numbers))]
        assert spans(" ".join(tags), labels) == expected


def test_plain_labels_group_neighbours_of_the_same_label() -> None:
    assert spans("PER PER ORG O ORG ORG", PLAIN) == [("PER", "0 1"), ("ORG", "2"), ("ORG", "4 5")]


def test_plain_labels_keep_what_only_looks_like_a_prefix() -> None:
    assert spans("B-cell B-cell T-cell", ["O", "B-cell", "T-cell"]) == [("B-cell", "0 1"), ("T-cell", "2")]


def test_among_prefixed_labels_one_without_a_prefix_is_whole() -> None:
    assert spans("X X B-PER X", [*BIO, "X"]) == [("X", "0 1"), ("PER", "2"), ("X", "3")]


def test_without_aggregation_each_token_is_a_span() -> None:
    assert spans("B-PER I-PER O I-ORG", BIO, "none") == [("PER", "0"), ("PER", "1"), ("ORG", "3")]


@pytest.mark.parametrize("aggregation", ["none", "simple", "first", "average", "max"])
def test_outside_may_be_other_labels(aggregation: str) -> None:
    labels = ["B-PER", "I-PER", "NONE", "PER"]
    chosen = Settings(False, aggregation, ["NONE", "PER"])
    text = "a b c d"
    found = answer(text, words(text), certain(["NONE", "I-PER", "PER", "I-PER"], labels), labels, chosen)
    assert [(span["label"], span["text"]) for span in found] == [("PER", "b"), ("PER", "d")]


# `Ada Love##lace`: the last word has two tokens, which disagree.
SPLIT = "Ada Lovelace"
SPLIT_TOKENS: list[Token] = [SPECIAL, (0, 3, 0), (4, 8, 1), (8, 12, 1), SPECIAL]
SPLIT_SHARES = [
    [1.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 0.75, 0.25, 0.0, 0.0],
    [0.125, 0.25, 0.5, 0.125, 0.0],
    [0.0, 0.0, 0.0, 0.25, 0.75],
    [1.0, 0.0, 0.0, 0.0, 0.0],
]


@pytest.mark.parametrize(
    ("aggregation", "found"),
    [
        ("none", [("PER", 0.75, "Ada"), ("PER", 0.5, "Love"), ("ORG", 0.75, "lace")]),
        ("simple", [("PER", 0.625, "Ada Love"), ("ORG", 0.75, "lace")]),
        ("first", [("PER", 0.625, "Ada Lovelace")]),
        ("average", [("PER", 0.75, "Ada"), ("ORG", 0.375, "Lovelace")]),
        ("max", [("PER", 0.75, "Ada"), ("ORG", 0.75, "Lovelace")]),
    ],
)
def test_how_the_tokens_of_a_word_agree(aggregation: str, found: list[tuple[str, float, str]]) -> None:
    given = answer(SPLIT, SPLIT_TOKENS, SPLIT_SHARES, BIO, settings(aggregation))
    assert [(span["label"], span["score"], span["text"]) for span in given] == found


@pytest.mark.parametrize("aggregation", ["first", "max"])
def test_of_equally_certain_tokens_the_first_decides(aggregation: str) -> None:
    shares = certain(["B-ORG", "B-PER", "B-PER"], BIO)
    found = answer("abc", [(0, 1, 0), (1, 2, 0), (2, 3, 0)], shares, BIO, settings(aggregation))
    assert [(span["label"], span["text"]) for span in found] == [("ORG", "abc")]


@pytest.mark.parametrize("aggregation", ["first", "average", "max"])
def test_words_agree_as_a_slow_reference_says(aggregation: str) -> None:
    pick: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
        "first": lambda own: own[0],
        "average": lambda own: own.mean(axis=0),
        "max": lambda own: max(own, key=max),
    }
    labels = ["O", "B-W", "B-X", "B-Y", "B-Z"]  # each word a span
    drawn = np.random.default_rng(3)
    numbers = np.repeat(np.arange(40), drawn.integers(1, 5, 40)).tolist()
    shares = drawn.dirichlet(np.ones(len(labels)), len(numbers)).astype(np.float32)
    expected = []
    for number in range(40):
        places = [place for place, own in enumerate(numbers) if own == number]
        best = pick[aggregation](shares[places].astype(np.float64))
        if best.argmax() > 0:
            expected.append((labels[best.argmax()][2:], pytest.approx(best.max(), abs=1e-6), places[0], places[-1] + 1))
    tokens = [(place, place + 1, number) for place, number in enumerate(numbers)]
    found = answer("x" * len(numbers), tokens, shares.tolist(), labels, settings(aggregation))
    assert [(span["label"], span["score"], span["start"], span["end"]) for span in found] == expected


def test_a_span_says_label_score_place_and_text() -> None:
    found = answer("Ada ran", words("Ada ran"), [[0.2, 0.8, 0, 0, 0], [1, 0, 0, 0, 0]], BIO, settings())
    assert found == [{"label": "PER", "score": 0.8, "start": 0, "end": 3, "text": "Ada"}]


def test_a_score_has_six_digits() -> None:
    (span,) = answer("Ada", words("Ada"), [[0.1, 1 / 3, 0, 0, 0]], BIO, settings())
    assert span["score"] == 0.333333


def test_spans_come_in_the_order_of_the_text() -> None:
    found = answer("a b c", [(4, 5, 0), (0, 1, 1), (2, 3, 2)], certain(["B-PER"] * 3, BIO), BIO, settings())
    assert [span["start"] for span in found] == [0, 2, 4]


@pytest.mark.parametrize("text", ["Zoë 李小龙 👩‍👩‍👧 𝔘𝔫𝔦", "שלום עולם", 'a"b\\c \x00 \u2028 e\u0301'])
def test_places_count_characters_of_any_text(text: str) -> None:
    tokens = words(text)
    found = answer(text, tokens, certain(["B-PER"] * len(tokens), BIO), BIO, settings())
    assert [span["text"] for span in found] == text.split()
    assert [(span["start"], span["end"]) for span in found] == [token[:2] for token in tokens]


def test_a_blank_that_the_tokenizer_counts_to_a_word_is_not_part_of_a_span() -> None:
    text = "in  Par is\n"
    tokens: list[Token] = [(0, 2, 0), (2, 7, 1), (7, 11, 1)]
    (found,) = answer(text, tokens, certain(["O", "B-ORG", "I-ORG"], BIO), BIO, settings())
    assert (found["text"], found["start"], found["end"]) == ("Par is", 4, 10)


def test_a_span_of_nothing_but_blanks_is_left_out() -> None:
    assert answer("a  b", [(1, 3, 0), (2, 2, 1)], certain(["B-ORG", "B-ORG"], BIO), BIO, settings()) == []


def test_a_token_of_no_characters_decides_but_has_no_place() -> None:
    """Some tokenizers split a word into a mark, which is the word's first token, and its letters."""
    tokens: list[Token] = [(0, 0, 0), (4, 7, 0)]
    found = answer("Hi, Ada", tokens, certain(["B-PER", "O"], BIO), BIO, settings("first"))
    assert [(span["label"], span["start"], span["text"]) for span in found] == [("PER", 4, "Ada")]


def test_tokens_of_the_same_character_are_one_place() -> None:
    """A byte-level tokenizer splits an emoji."""
    found = answer("👍", [(0, 1, 0), (0, 1, 0), (0, 1, 0)], certain(["B-PER", "I-PER", "I-PER"], BIO), BIO, settings())
    assert [(span["start"], span["end"], span["text"]) for span in found] == [(0, 1, "👍")]


def test_what_stands_for_special_tokens_and_padding_does_not_count() -> None:
    tokens: list[Token] = [SPECIAL, (0, 1, 0), SPECIAL, (2, 3, 1), SPECIAL]
    shares = certain(["B-ORG", "B-PER", "B-ORG", "I-PER", "B-ORG"], BIO)
    shares[0][0] = shares[4][2] = float("nan")
    found = answer("a b", tokens, shares, BIO, settings())
    assert [(span["label"], span["text"]) for span in found] == [("PER", "a b")]


@pytest.mark.parametrize("text", ["", "   "])
@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("aggregation", ["none", "average", "max"])
def test_a_text_without_tokens_has_no_spans(text: str, count: int, aggregation: str) -> None:
    assert answer(text, [SPECIAL] * count, certain(["B-PER"] * count, BIO), BIO, settings(aggregation)) == []


def test_texts_of_different_lengths_and_padded_logits() -> None:
    offsets = np.array([[[0, 3], [4, 7]], [[0, 2], [0, 0]]], np.int32)
    word_ids = np.array([[0, 1], [0, -1]], np.int32)
    logits = np.full((2, 5, 5), np.nan, np.float32)
    logits[:, :2] = certain(["B-PER", "B-ORG"], BIO)
    found = postprocess(["Ada IBM", "Bo"], offsets, word_ids, logits, BIO, settings())
    assert found.shape == (2, 1)
    assert [[span["text"] for span in json.loads(raw)] for raw in found[:, 0]] == [["Ada", "IBM"], ["Bo"]]


def test_the_threshold_is_of_spans_and_what_equals_it_is_given() -> None:
    shares = np.zeros((4, 5))
    shares[range(4), [1, 2, 0, 3]] = 0.9, 0.5, 1.0, 0.69
    for threshold, expected in [(0.0, ["a b", "d"]), (0.69, ["a b", "d"]), (0.7, ["a b"]), (0.700001, []), (1.0, [])]:
        found = answer("a b c d", words("a b c d"), shares.tolist(), BIO, settings("simple", threshold))
        assert [span["text"] for span in found] == expected


def test_a_threshold_finer_than_scores_are_still_lets_equals_pass() -> None:
    assert len(answer("a", words("a"), [[0, 0.5000002, 0, 0, 0]], BIO, settings("simple", 0.5000002))) == 1


@pytest.mark.parametrize("size", [1e3, 3e38])
def test_softmax_is_applied_if_the_model_gives_logits_and_does_not_overflow(size: float) -> None:
    logits = [[-size, size, -size, -size, size], [-size] * 5]
    found = answer("a b", words("a b"), logits, BIO, Settings(outside=()))
    assert [(span["label"], span["score"]) for span in found] == [("PER", 0.5), ("O", 0.2)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_token_that_has_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"^the model gave NaN or infinite logits$"):
        answer("a", words("a"), [[0.0, value, 0.0, 0.0, 0.0]], BIO, settings())


@pytest.mark.parametrize("classes", [4, 6])
def test_a_model_with_another_number_of_classes_is_refused(classes: int) -> None:
    logits = np.zeros((1, 1, classes), np.float32)
    with pytest.raises(ValueError, match=rf"^the model gives {classes} classes and labels\.txt has 5 lines$"):
        postprocess(["a"], np.zeros((1, 1, 2), np.int32), np.zeros((1, 1), np.int32), logits, BIO, settings())


def test_fewer_logits_than_tokens_are_refused() -> None:
    logits = np.zeros((1, 2, 5), np.float32)
    with pytest.raises(ValueError, match=r"^the model gives logits of 2 tokens and was given 3$"):
        postprocess(["a"], np.zeros((1, 3, 2), np.int32), np.zeros((1, 3), np.int32), logits, BIO, settings())


@pytest.mark.parametrize("place", [(0, 4, 0), (-1, 2, 0), (2**31 - 1, 2**31 - 1, 0)])
def test_an_offset_beyond_the_text_is_refused_without_telling_it(place: Token) -> None:
    with pytest.raises(ValueError, match=r"^an offset of a token lies beyond text 0, which has 3 characters$"):
        answer("Ada", [place], certain(["B-PER"], BIO), BIO, settings())


def test_without_parameters_the_services_own_settings_hold() -> None:
    assert settings("max", 0.5).override({}) == settings("max", 0.5)


def test_a_request_may_have_settings_of_its_own() -> None:
    own = {"aggregation": "average", "threshold": 1, "outside": "x", "softmax": True, "other": None}
    assert settings("max", 0.5).override(own) == settings("average", 1)


@pytest.mark.parametrize("value", ["", "FIRST", "first ", 1, True, None, ["first"], {}])
def test_a_wrong_aggregation_is_refused_with_the_value(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings().override({"aggregation": value})
    expected = "expected one of none, simple, first, average, max"
    assert str(caught.value) == f"parameter aggregation is {value!r}; {expected}"


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), 2**70, "0.5", True, None, [0.5]])
def test_a_wrong_threshold_is_refused_with_the_value(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings().override({"threshold": value})
    assert str(caught.value) == f"parameter threshold is {value!r}; expected a number from 0 to 1"


@pytest.mark.parametrize("name", ["aggregation", "threshold"])
def test_of_a_huge_parameter_a_short_value_is_told(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings().override({name: "x" * 1_000_000})
    assert len(str(caught.value)) < 120


def test_wrong_settings_of_a_service_are_refused_when_it_is_loaded(folder: Path) -> None:
    (folder / "settings.json").write_text('{"aggregation": "last"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"^aggregation is 'last'; expected one of none, simple"):
        Stage(folder, {})


def test_a_version_folder_is_read(folder: Path) -> None:
    (folder / "labels.txt").write_text("O\nB-Tätigkeit\n", encoding="utf-8")
    document = {"softmax": False, "aggregation": "max", "outside": ["O", "X"], "threshold": 0.25}
    (folder / "settings.json").write_text(json.dumps(document), encoding="utf-8")
    assert read_folder(folder) == (["O", "B-Tätigkeit"], Settings(False, "max", ["O", "X"], 0.25))


def test_settings_have_defaults(folder: Path) -> None:
    assert read_folder(folder) == (BIO, Settings(True, "first", ("O",), 0.0))


def test_the_stage_answers_a_request_with_its_own_settings(folder: Path) -> None:
    stage = Stage(folder, {})
    spans = stage(tensors(), {})["spans"]
    assert spans.shape == (1, 1)
    share = round(float(np.exp(2) / (np.exp(2) + 4)), 6)
    assert json.loads(spans[0, 0]) == [{"label": "PER", "score": share, "start": 0, "end": 3, "text": "Ada"}]
    assert stage(tensors(), {"threshold": 0.9})["spans"][0, 0] == b"[]"


def test_the_stage_keeps_letters_beyond_ascii_as_they_are(folder: Path) -> None:
    assert "Zoë".encode() in Stage(folder, {})(tensors("Zoë".encode()), {})["spans"][0, 0]


def test_the_stage_refuses_what_is_not_utf8(folder: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        Stage(folder, {})(tensors(b"Zo\xeb"), {})
    message = "text 0 is not UTF-8 (byte 0xeb at offset 2); encode it with text.encode('utf-8')"
    assert str(caught.value) == message
