"""Triton adapter of the classification postprocessor: `logits` FP32 [B, C] → `label`, `score` [B, K]."""

import json
import traceback
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from .postprocess import InvalidInput, postprocess, read_folder


class TritonPythonModel:
    """One instance of NAME_postprocess; everything it reads lies beside this file."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the labels and the settings of this version."""
        self.name = args["model_name"]
        self.labels, self.settings = read_folder(Path(__file__).parent)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own, so that a bad one harms no other."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            settings = self.settings.override(json.loads(request.parameters() or "{}"))
            logits = pb_utils.get_input_tensor_by_name(request, "logits").as_numpy()
            label, score = postprocess(logits, self.labels, settings)
            tensors = [pb_utils.Tensor("label", label), pb_utils.Tensor("score", score)]
        except InvalidInput as error:
            refusal = pb_utils.TritonError(f"Model '{self.name}': {error}", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        except Exception:
            pb_utils.Logger.log_error(f"Model '{self.name}': {traceback.format_exc()}")
            failure = pb_utils.TritonError(f"Model '{self.name}': failed; the server's log has the cause.")
            return pb_utils.InferenceResponse(error=failure)
        return pb_utils.InferenceResponse(output_tensors=tensors)
