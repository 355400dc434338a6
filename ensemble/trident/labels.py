"""labels.txt: the names of a model's classes."""

import unicodedata
from collections import Counter
from pathlib import Path

from trident.errors import ServiceError

CONTROLS = ("Cc", "Cf", "Zl", "Zp", "Cs")  # of Unicode's categories
JOINERS = "\u200c\u200d"


def read_labels(path: Path) -> list[str]:
    """Read a file of labels.

    Args:
        path: one label a line, in the order of the model's outputs, in UTF-8.

    Raises:
        ServiceError: it cannot be read, or a label is empty, there twice, or would do something to a terminal.
    """
    if not path.is_file():
        raise ServiceError(f"no labels file {path}; write one label a line, in the order of the model's outputs")
    try:
        labels = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().split("\n")]
    except UnicodeDecodeError as error:
        raise ServiceError(f"{path} is not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8") from None
    strange = [label for label in labels if has_control(label)]
    if strange:
        raise ServiceError(f"{path} has {strange[0]!r}, with a control character in it; write labels as plain text")
    doubles = sorted(label for label, count in Counter(labels).items() if count > 1)
    if doubles or "" in labels:
        fault = f"{doubles} more than once" if doubles else f"an empty line {labels.index('') + 1}"
        raise ServiceError(f"{path} has {fault}; expected one label a line, each once")
    return labels


def has_control(label: str) -> bool:
    """Whether a character of it does something to a terminal or a line; those that join emoji do not."""
    return any(unicodedata.category(character) in CONTROLS and character not in JOINERS for character in label)
