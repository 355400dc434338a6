"""The model's output to values: undo the scaling of the target.

Axis letters: B items of one request.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class InvalidInput(Exception):
    """A request cannot be served; a regression has no settings of a request, so none is refused here."""


@dataclass(frozen=True)
class Settings:
    """How the model was taught the target: as (value - mean) / scale.

    Attributes:
        mean: the value for which the model gives 0.
        scale: the difference for which the model gives 1.
    """

    mean: float = 0.0
    scale: float = 1.0


def read_folder(folder: Path) -> Settings:
    """The settings that lie in a version folder."""
    return Settings(**json.loads((folder / "settings.json").read_text(encoding="utf-8")))


def postprocess(output: NDArray[np.float32], settings: Settings) -> NDArray[np.float32]:
    """Turn the model's output into values in the unit of the target.

    Args:
        output: float32 [B, 1] or [B].
        settings: see `Settings`.

    Returns:
        float32 [B, 1].

    Raises:
        ValueError: the output has another shape, or a value is NaN, infinite or too large for float32.
    """
    if output.shape not in ((len(output),), (len(output), 1)):
        raise ValueError(f"the model gives the shape {list(output.shape)}; expected [B, 1] or [B], one number an item")
    with np.errstate(over="ignore", invalid="ignore"):
        values = (output.astype(np.float64) * settings.scale + settings.mean).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"the model gave NaN or infinite values (× scale {settings.scale} + mean {settings.mean})")
    return values.reshape(-1, 1)
