"""Triton adapter of the text preprocessor: `text` BYTES [B, 1] → `input_ids` INT32 [B, L]."""

import traceback
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from .preprocess import InvalidInput, TextPreprocessor, decode


class TritonPythonModel:
    """One instance of NAME_preprocess; everything it reads lies beside this file."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer and the settings of this version."""
        self.name = args["model_name"]
        self.preprocess = TextPreprocessor.from_version(Path(__file__).parent)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own, so that a bad one harms no other."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            raw = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
            texts = [decode(text, position) for position, text in enumerate(raw.ravel())]
            tensor = pb_utils.Tensor("input_ids", self.preprocess(texts))
        except InvalidInput as error:
            refusal = pb_utils.TritonError(f"Model '{self.name}': {error}", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        except Exception:
            pb_utils.Logger.log_error(f"Model '{self.name}': {traceback.format_exc()}")
            failure = pb_utils.TritonError(f"Model '{self.name}': failed; the server's log has the cause.")
            return pb_utils.InferenceResponse(error=failure)
        return pb_utils.InferenceResponse(output_tensors=[tensor])
