"""The regression stage: `output` FP32 [B, 1] or [B] → `value` FP32 [B, 1]."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .postprocess import InvalidInput, postprocess, read_folder

__all__ = ["InvalidInput", "Stage"]


class Stage:
    """Settings of one version."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        """Read the version folder."""
        self._settings = read_folder(folder)

    def __call__(self, inputs: dict[str, NDArray[Any]], parameters: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Answer one request."""
        return {"value": postprocess(inputs["output"], self._settings)}
