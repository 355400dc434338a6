"""Logits of tokens to labelled spans: decode, join into words, group, filter.

Axis letters: B texts of one request, L tokens of its longest text, C classes, N tokens of one text, M units of one
text: tokens or whole words, whichever takes one tag.
"""

import json
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

AGGREGATIONS = ("none", "simple", "first", "average", "max")
# What a label may begin with, before a hyphen: begin, inside, and two names for the same, last or end, unit or single.
SCHEMES = {"BIO": frozenset("BI"), "BILOU": frozenset("BILU"), "BIOES": frozenset("BIES")}
OUTSIDE = "O"
BEGINS, ENDS = frozenset("BUS" + OUTSIDE), frozenset("LEUS" + OUTSIDE)  # no span goes on with it; none after it
DIGITS = 6  # of a score, after the point


class InvalidInput(Exception):
    """A request cannot be served; the message names the text or the parameter."""


class Tag(NamedTuple):
    """A label taken apart: `B-PER` is `B` and `PER`; one without a prefix is whole, behind `I`, or `O` if outside."""

    prefix: str
    label: str


class Unit(NamedTuple):
    """A token or a whole word: its tag, the probability of that, its first token and the one after its last."""

    tag: Tag
    score: float
    start: int
    stop: int


@dataclass(frozen=True)
class Settings:
    """How logits become spans.

    Attributes:
        softmax: the model gives logits; if False it gives probabilities.
        aggregation: `none`: each token is a span. `simple`: neighbouring tokens are grouped by their own tags. `first`,
            `average`, `max`: so are neighbouring words, each by the probabilities of its first token, the mean of its
            tokens', or those of its most certain token.
        outside: lines of labels.txt that belong to no span.
        threshold: lowest score of a span that is answered, in [0, 1].

    Raises:
        ValueError: aggregation or threshold is of the wrong type or out of its range.
    """

    softmax: bool = True
    aggregation: str = "first"
    outside: Sequence[str] = ("O",)
    threshold: float = 0.0

    def __post_init__(self) -> None:
        """Check what a request may bring itself."""
        if self.aggregation not in AGGREGATIONS:
            found = reprlib.repr(self.aggregation)
            raise ValueError(f"aggregation is {found}; expected one of {', '.join(AGGREGATIONS)}")
        number = isinstance(self.threshold, int | float) and not isinstance(self.threshold, bool)
        if not number or not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {reprlib.repr(self.threshold)}; expected a number from 0 to 1")

    def override(self, parameters: dict[str, Any]) -> "Settings":
        """These settings with a request's own `aggregation` and `threshold`.

        Raises:
            InvalidInput: a value is of the wrong type or out of its range.
        """
        own = {name: parameters[name] for name in ("aggregation", "threshold") if name in parameters}
        try:
            return replace(self, **own)
        except ValueError as error:
            raise InvalidInput(f"parameter {error}") from None


def read_folder(folder: Path) -> tuple[list[str], Settings]:
    """The labels, one a class, and the settings that lie in a version folder."""
    lines = (folder / "labels.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    return lines, Settings(**json.loads((folder / "settings.json").read_text(encoding="utf-8")))


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


def scheme(labels: Sequence[str]) -> str:
    """The scheme that labels are written in: a key of `SCHEMES`, or `plain` for labels without a prefix.

    Letters count as prefixes only if all of them are of one scheme and one begins or continues a span: `B-cell` and
    `T-cell` are plain labels.
    """
    found = {label[0] for label in labels if len(label) > 2 and label[1] == "-"}
    fitting = (name for name, prefixes in SCHEMES.items() if found <= prefixes)
    return next(fitting, "plain") if found & SCHEMES["BIO"] else "plain"


def parse(labels: Sequence[str], outside: Sequence[str]) -> list[Tag]:
    """The tag of each class."""
    prefixes = SCHEMES.get(scheme(labels), frozenset())

    def tag(label: str) -> Tag:
        if label in outside:
            return Tag(OUTSIDE, label)
        return Tag(label[0], label[2:]) if label[1:2] == "-" and label[0] in prefixes else Tag("I", label)

    return [tag(label) for label in labels]


def postprocess(
    texts: Sequence[str],
    offsets: NDArray[np.int32],
    word_ids: NDArray[np.int32],
    logits: NDArray[np.float32],
    labels: Sequence[str],
    settings: Settings,
) -> NDArray[np.object_]:
    """Turn the model's output into labelled spans.

    Args:
        texts: B texts, as the caller sent them.
        offsets: int32 [B, L, 2], start and end of each token in characters of its text.
        word_ids: int32 [B, L], the word that a token belongs to; below 0 for special tokens and padding.
        logits: float32 [B, ≥ L, C]; what lies beyond L is padding.
        labels: C labels.
        settings: see `Settings`.

    Returns:
        object [B, 1]: JSON in UTF-8, a list of {label, score, start, end, text} in order of start; text is
        text[start:end], without white space at its ends, and never empty.

    Raises:
        ValueError: the tensors do not fit each other, the labels or the texts, or a token's logit is NaN or infinite.
    """
    if logits.shape[2] != len(labels):
        raise ValueError(f"the model gives {logits.shape[2]} classes and labels.txt has {len(labels)} lines")
    if logits.shape[1] < word_ids.shape[1]:
        raise ValueError(f"the model gives logits of {logits.shape[1]} tokens and was given {word_ids.shape[1]}")
    tags = parse(labels, settings.outside)
    answers = np.empty((len(texts), 1), dtype=object)
    for position, (text, places, words, row) in enumerate(zip(texts, offsets, word_ids, logits, strict=True)):
        own = np.flatnonzero(words >= 0)
        if len(own) and not 0 <= places[own].min() <= places[own].max() <= len(text):
            raise ValueError(f"an offset of a token lies beyond text {position}, which has {len(text)} characters")
        answers[position, 0] = answer(text, places[own], words[own], row[own], tags, settings)
    return answers


def answer(
    text: str,
    offsets: NDArray[np.int32],
    words: NDArray[np.int32],
    logits: NDArray[np.float32],
    tags: Sequence[Tag],
    settings: Settings,
) -> bytes:
    """The answer to one text, from its N tokens; see `postprocess`."""
    shares = probabilities(logits, settings.softmax)
    groups = group(units(shares, words, tags, settings.aggregation), settings.aggregation)
    return dump([span(text, offsets, members) for members in groups], settings.threshold)


def probabilities(logits: NDArray[np.float32], softmax: bool) -> NDArray[np.float64]:
    """Probabilities [N, C] of logits [N, C], or of what are probabilities already.

    Raises:
        ValueError: one is NaN or infinite.
    """
    if not np.isfinite(logits).all():
        raise ValueError("the model gave NaN or infinite logits")
    values: NDArray[np.float64] = logits.astype(np.float64)
    if softmax:
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    return values


def units(shares: NDArray[np.float64], words: NDArray[np.int32], tags: Sequence[Tag], aggregation: str) -> list[Unit]:
    """Decide on a tag for each token, or for each word if the aggregation joins tokens into words.

    Args:
        shares: probabilities [N, C].
        words: int32 [N], the word of each token; neighbours of one word belong together.
        tags: of C classes.
        aggregation: see `Settings`.

    Returns:
        M units in the order of their tokens.
    """
    starts = np.arange(len(words))
    if aggregation not in ("none", "simple"):
        starts = np.flatnonzero(np.diff(words, prepend=-1))
        shares = word_shares(shares, starts, aggregation)
    chosen = [tags[index] for index in shares.argmax(axis=1)]
    bounds = [*starts.tolist(), len(words)]
    return [Unit(*unit) for unit in zip(chosen, shares.max(axis=1).tolist(), bounds[:-1], bounds[1:], strict=True)]


def word_shares(shares: NDArray[np.float64], starts: NDArray[np.intp], aggregation: str) -> NDArray[np.float64]:
    """Probabilities [M, C] of words whose first tokens are `starts` [M], from those of their tokens [N, C]."""
    if aggregation == "first":
        return shares[starts]
    lengths = np.diff(starts, append=len(shares))
    if aggregation == "average":
        mean: NDArray[np.float64] = np.add.reduceat(shares, starts, axis=0) / lengths[:, None]
        return mean
    # Sorted by word, and within one by certainty: the most certain token then stands where the word starts.
    order = np.lexsort((-shares.max(axis=1), np.repeat(np.arange(len(starts)), lengths)))
    highest: NDArray[np.float64] = shares[order[starts]]
    return highest


def group(units: Sequence[Unit], aggregation: str) -> list[list[Unit]]:
    """Units that form a span, in their order; those outside of every span are left out.

    Neighbours of one label are parted only where one ends or begins a span, so that a span whose begin or end the
    model missed is one all the same.
    """
    groups: list[list[Unit]] = []
    last = Tag(OUTSIDE, "")
    for unit in units:
        if aggregation != "none" and continues(last, unit.tag):
            groups[-1].append(unit)
        elif unit.tag.prefix != OUTSIDE:
            groups.append([unit])
        last = unit.tag
    return groups


def continues(last: Tag, tag: Tag) -> bool:
    """Whether a unit belongs to the same span as its left neighbour."""
    return last.prefix not in ENDS and tag.prefix not in BEGINS and last.label == tag.label


def span(text: str, offsets: NDArray[np.int32], members: Sequence[Unit]) -> dict[str, Any]:
    """What is answered for a group of units; its text is empty if there is none but white space."""
    places = offsets[members[0].start : members[-1].stop]
    places = places[places[:, 0] < places[:, 1]]  # a token of no characters may lie anywhere
    start, end = (int(places[0, 0]), int(places[-1, 1])) if len(places) else (0, 0)
    # Many tokenizers count the blank before a word as part of it.
    found = text[start:end]
    start += len(found) - len(found.lstrip())
    score = sum(unit.score for unit in members) / len(members)
    found = found.strip()
    return {
        "label": members[0].tag.label,
        "score": round(score, DIGITS),
        "start": start,
        "end": start + len(found),
        "text": found,
    }


def dump(spans: Sequence[dict[str, Any]], threshold: float) -> bytes:
    """The spans with a text and a sufficient score, as JSON."""
    # Rounded as the scores are, so that a score as high as the threshold is always given.
    least = round(threshold, DIGITS)
    given = [found for found in spans if found["text"] and found["score"] >= least]
    return json.dumps(sorted(given, key=lambda found: found["start"]), ensure_ascii=False).encode()
