"""The texts that are sent: short messages, and a mix in which every other text is like an e-mail."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SHORT_MEAN = 13.0  # tokens
LONGEST = 128  # tokens that count
FULL_SHARE = 0.9  # of the e-mails have at least LONGEST tokens, so 45 % of all texts
EMAIL_TOKENS = (50, 120)  # of the others
TEXTS = 512

Count = Callable[[str], int]


@dataclass(frozen=True)
class Texts:
    """What one load sends, again and again in this order.

    Attributes:
        texts: the texts.
        lengths: tokens of each, at most LONGEST.
        short: which of them are short messages.
    """

    texts: list[str]
    lengths: list[int]
    short: list[bool]

    @property
    def mean(self) -> float:
        """Tokens on average."""
        return sum(self.lengths) / len(self.lengths)

    @property
    def full(self) -> float:
        """The share of texts with LONGEST tokens."""
        return sum(length >= LONGEST for length in self.lengths) / len(self.lengths)


def short(messages: Sequence[str], count: Count, size: int = TEXTS) -> Texts:
    """The shorter messages, up to the length at which their mean is SHORT_MEAN tokens, in a random order.

    Args:
        messages: to choose from.
        count: tokens of a text.
        size: how many texts, at most.
    """
    ordered = sorted((count(text), text) for text in messages)
    total, kept = 0, 0
    while kept < len(ordered) and total + ordered[kept][0] <= SHORT_MEAN * (kept + 1):
        total += ordered[kept][0]
        kept += 1
    # Evenly spaced, so that few texts have the mean of all.
    step = max(1.0, kept / size)
    chosen = [ordered[int(number * step)] for number in range(min(size, kept))]
    random.Random(0).shuffle(chosen)
    return Texts([text for _, text in chosen], [min(tokens, LONGEST) for tokens, _ in chosen], [True] * len(chosen))


def mixed(messages: Sequence[str], count: Count, size: int = TEXTS) -> Texts:
    """Short messages and e-mails in turn; see FULL_SHARE.

    Args:
        messages: to choose and to join from.
        count: tokens of a text.
        size: how many texts.
    """
    brief, generator = short(messages, count), random.Random(1)
    texts, lengths = [], []
    for number in range(size):
        if number % 2 == 0:
            place = number // 2 % len(brief.texts)
            texts.append(brief.texts[place])
            lengths.append(brief.lengths[place])
        else:
            wanted = LONGEST if generator.random() < FULL_SHARE else generator.randint(*EMAIL_TOKENS)
            texts.append(_email(messages, count, wanted, generator))
            lengths.append(min(count(texts[-1]), LONGEST))
    return Texts(texts, lengths, [number % 2 == 0 for number in range(size)])


def _email(messages: Sequence[str], count: Count, tokens: int, generator: random.Random) -> str:
    """Messages joined until they have so many tokens; fewer than LONGEST stay fewer."""
    text = ""
    while count(text) < tokens:
        longer = f"{text} {generator.choice(messages)}".strip()
        if tokens < LONGEST <= count(longer):
            words = longer.split()
            while count(" ".join(words)) > tokens:
                words = words[:-1]
            return " ".join(words)
        text = longer
    return text
