"""Tensors and stages: the words in which a pipeline is laid out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tensor:
    """A tensor between two steps, or between the service and its callers.

    Attributes:
        name: Trident's, which is also the callers'.
        data_type: in config.pbtxt, `TYPE_FP32`.
        dims: without the batch axis if there is one, -1 where any size will do.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """A preprocess or postprocess model.

    Attributes:
        kind: its folder in `stages/`.
        inputs: what it takes.
        outputs: what it gives.
        settings: what its settings.json holds.
        files: name in the version folder → file, or its content.
        vocabulary: number of token ids that it can give; 0 if it gives none.
    """

    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path | bytes] = field(default_factory=dict)
    vocabulary: int = 0
