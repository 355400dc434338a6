"""Answers after a while, several requests at a time, whose rows may differ in length."""

import time
from typing import Any

import triton_python_backend_utils as pb_utils

DELAY_S = 0.5


class TritonPythonModel:
    """x → y, later."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Sleep, then copy x to y."""
        time.sleep(DELAY_S)
        inputs = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", array)]) for array in inputs]
