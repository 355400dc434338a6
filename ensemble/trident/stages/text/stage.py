"""The text stage: `text` BYTES [B, 1] → the token tensors that the configuration names, or the cleaned text."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .preprocess import InvalidInput, clean, decode, read_folder

__all__ = ["InvalidInput", "Stage"]

DTYPES = {"TYPE_INT32": np.int32, "TYPE_INT64": np.int64, "TYPE_FP32": np.float32}


class Stage:
    """Tokenizer and settings of one version."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        """Read the version folder."""
        self._settings, self._preprocess = read_folder(folder)
        self._dtypes = {entry["name"]: DTYPES.get(entry["data_type"]) for entry in config["output"]}

    def __call__(self, inputs: dict[str, NDArray[Any]], parameters: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Answer one request."""
        largest = self._settings.max_text_bytes
        texts = [decode(text, position, largest) for position, text in enumerate(inputs["text"].ravel())]
        if self._preprocess is None:
            if self._settings.clean:
                texts = [clean(text, self._settings.lowercase) for text in texts]
            return {"cleaned": np.array([text.encode() for text in texts], np.object_).reshape(-1, 1)}
        tensors = self._preprocess.tensors(texts, self._dtypes)
        return {name: tensors[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()}
