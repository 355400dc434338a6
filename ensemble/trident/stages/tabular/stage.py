"""The tabular stage: one input a column (FP32, FP64 or BYTES [B, 1]), or `record` BYTES [B, 1] → tensors [B, F]."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .features import RECORD, read_features
from .preprocess import InvalidInput, TabularPreprocessor

__all__ = ["InvalidInput", "Stage"]


class Stage:
    """Columns and tensors of one version."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        """Read features.json in the version folder, and check that it suits the configuration.

        Raises:
            ValueError: it does not.
        """
        features = read_features(folder / "features.json")
        inputs, outputs = (
            {entry["name"]: entry["data_type"] for entry in config[side]} for side in ("input", "output")
        )
        self._preprocess = TabularPreprocessor(features, outputs)
        columns = features.inputs(outputs)
        if inputs not in ({RECORD: "TYPE_STRING"}, columns):
            raise ValueError(f"the inputs are {inputs}; expected {columns}, or {RECORD} alone as TYPE_STRING")
        self._takes_records = RECORD in inputs
        dims = {entry["name"]: entry["dims"] for entry in config["output"]}
        expected = {tensor: [width] for tensor, width in features.widths().items()}
        if dims != expected:
            raise ValueError(f"the outputs have the dims {dims}; features.json makes {expected}")

    def __call__(self, inputs: dict[str, NDArray[Any]], parameters: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Answer one request."""
        if self._takes_records:
            return self._preprocess(self._preprocess.read_records(inputs[RECORD].ravel().tolist()))
        return self._preprocess(self._preprocess.read_columns(inputs))
