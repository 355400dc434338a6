"""The token classification stage: `text`, `offsets`, `word_ids` and `logits` → `spans` BYTES [B, 1]."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .postprocess import InvalidInput, decode, postprocess, read_folder

__all__ = ["InvalidInput", "Stage"]


class Stage:
    """Labels and settings of one version."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        """Read the version folder."""
        self._labels, self._settings = read_folder(folder)

    def __call__(self, inputs: dict[str, NDArray[Any]], parameters: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Answer one request; it may bring its own `threshold` and `aggregation`."""
        settings = self._settings.override(parameters)
        texts = [decode(text, position) for position, text in enumerate(inputs["text"].ravel())]
        offsets, word_ids, logits = (inputs[name] for name in ("offsets", "word_ids", "logits"))
        return {"spans": postprocess(texts, offsets, word_ids, logits, self._labels, settings)}
