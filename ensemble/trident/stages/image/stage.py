"""The image stage: `image` BYTES [B, 1] → `pixels` FP32, FP16 or UINT8 [B, H, W, C]."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .preprocess import InvalidInput, output_dtype, preprocess, read_folder

__all__ = ["InvalidInput", "Stage"]


class Stage:
    """Settings of one version."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        """Read the version folder and the data type of `pixels` that the configuration names."""
        self._settings = read_folder(folder)
        self._dtype = output_dtype(config["output"][0]["data_type"], self._settings.scaling)

    def __call__(self, inputs: dict[str, NDArray[Any]], parameters: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Answer one request."""
        return {"pixels": preprocess(inputs["image"].ravel().tolist(), self._settings, self._dtype)}
