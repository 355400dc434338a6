"""Answers nothing but an internal error."""

from typing import Any


class TritonPythonModel:
    """Raises."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Raise for every batch."""
        raise RuntimeError("this model always fails")
