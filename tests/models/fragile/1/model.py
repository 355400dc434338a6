"""Answers what it is asked, unless it is told to hang."""

import time
from typing import Any

import triton_python_backend_utils as pb_utils

HANGING_S = 300.0


class TritonPythonModel:
    """x → y."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Copy x to y, or sleep for long."""
        inputs = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        if any(b"hang" in array for array in inputs):
            time.sleep(HANGING_S)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", array)]) for array in inputs]
