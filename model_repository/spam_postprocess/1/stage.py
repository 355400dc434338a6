"""The classification stage: `logits` [B, C], numbers of any data type, → `label` BYTES and `score` FP32 [B, K]."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .postprocess import InvalidInput, postprocess, read_folder

__all__ = ["InvalidInput", "Stage"]


class Stage:
    """Labels and settings of one version."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        """Read the version folder."""
        self._labels, self._settings = read_folder(folder)

    def __call__(self, inputs: dict[str, NDArray[Any]], parameters: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Answer one request; it may bring its own `top_k` and `threshold`."""
        label, score = postprocess(inputs["logits"], self._labels, self._settings.override(parameters))
        return {"label": label, "score": score}
