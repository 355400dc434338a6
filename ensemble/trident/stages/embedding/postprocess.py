"""States of tokens to one embedding a text: pool, normalize.

Axis letters: B texts of one request, L tokens of its longest text, N tokens of one text, D features.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class InvalidInput(Exception):
    """A text cannot be served; the message names its position in the request."""


# float32 [N, D] → [D]. float32 is too coarse to add up many tokens in.
POOLINGS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]] = {
    "mean": lambda tokens: tokens.mean(axis=0, dtype=np.float64),
    "cls": lambda tokens: tokens[0],
    "max": lambda tokens: tokens.max(axis=0),
}


@dataclass(frozen=True)
class Settings:
    """How states become an embedding.

    Attributes:
        pooling: what of a text's tokens is taken: their `mean`, the first one (`cls`), or the `max` of each feature.
        normalize: give embeddings a length (L2) of 1.

    Raises:
        ValueError: the pooling is none of these.
    """

    pooling: str = "mean"
    normalize: bool = True

    def __post_init__(self) -> None:
        """Check the pooling."""
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}; expected one of {', '.join(POOLINGS)}")


def read_folder(folder: Path) -> Settings:
    """The settings that lie in a version folder."""
    return Settings(**json.loads((folder / "settings.json").read_text(encoding="utf-8")))


def postprocess(states: NDArray[np.float32], mask: NDArray[np.int32], settings: Settings) -> NDArray[np.float32]:
    """Turn the model's output into embeddings.

    Args:
        states: float32 [B, ≥ L, D]; what lies beyond L is padding.
        mask: int32 [B, L], 1 for a token and 0 for padding, at either end.
        settings: see `Settings`.

    Returns:
        float32 [B, D].

    Raises:
        InvalidInput: a text has no token.
        ValueError: the tensors do not fit each other, a token's state is NaN or infinite, or a vector of zeros would
            have to be normalized.
    """
    length = mask.shape[1]
    if states.shape[1] < length:
        raise ValueError(f"the model gives states of {states.shape[1]} tokens and was given {length}")
    embeddings = np.empty((len(states), states.shape[2]), dtype=np.float32)
    for position, (row, tokens) in enumerate(zip(states[:, :length], mask.astype(bool), strict=True)):
        if not tokens.any():
            raise InvalidInput(f"text {position} has no token that the model knows; give a text with a known word")
        if not np.isfinite(own := row[tokens]).all():
            raise ValueError(f"the model gave NaN or infinite states for text {position}")
        vector = POOLINGS[settings.pooling](own).astype(np.float64)
        embeddings[position] = unit(vector) if settings.normalize else vector
    return embeddings


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """A vector of the same direction and of length 1.

    Args:
        vector: float64 [D] of values that float32 can hold, whose squares neither overflow nor vanish then.

    Raises:
        ValueError: it is zero, and has no direction.
    """
    length = np.linalg.norm(vector)
    if length == 0:
        raise ValueError("the model gave a vector of zeros, which has no direction; set normalize to false to serve it")
    scaled: NDArray[np.float64] = vector / length
    return scaled
