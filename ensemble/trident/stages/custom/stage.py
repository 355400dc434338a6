"""A stage of the user's own: `run` of `user_stage.py` beside this file, called with the tensors by name."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .user_stage import InvalidInput, run

__all__ = ["InvalidInput", "Stage"]


class Stage:
    """The user's function."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        """Nothing to read."""
        self._outputs = {entry["name"] for entry in config["output"]}

    def __call__(self, inputs: dict[str, NDArray[Any]], parameters: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Answer one request.

        Raises:
            ValueError: the function gave other tensors than its OUTPUTS.
        """
        answer: dict[str, NDArray[Any]] = run(**inputs)
        if set(answer) != self._outputs:
            raise ValueError(f"run gave {sorted(answer)}; expected {sorted(self._outputs)}, as OUTPUTS says")
        return answer
