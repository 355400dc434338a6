"""Triton's entry into every stage: requests in, tensors through `stage.py` beside it, responses out.

`build` copies this file into the version folder of each preprocess and postprocess model, with the files of its kind.
Source: triton-inference-server/python_backend r24.10, README, "execute".
"""

import json
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance of NAME_preprocess or NAME_postprocess; everything it reads lies beside this file."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the stage with the files and settings of this version."""
        self.name = args["model_name"]
        config = json.loads(args["model_config"])
        self._inputs = [entry["name"] for entry in config["input"]]
        module = import_module(".stage", __package__)
        self._invalid = module.InvalidInput
        self._stage = module.Stage(Path(__file__).parent, config)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own, so that a bad one harms no other."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs}
            arrays = {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}
            answer = self._stage(arrays, json.loads(request.parameters() or "{}"))
            outputs = [pb_utils.Tensor(name, array) for name, array in answer.items()]
        except self._invalid as error:
            said = " ".join(str(error).splitlines())
            refusal = pb_utils.TritonError(f"Model '{self.name}': {said}", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        except BaseException:  # sys.exit() in a stage, or a panic of `tokenizers`: it would fail the whole batch
            pb_utils.Logger.log_error(f"Model '{self.name}': {traceback.format_exc()}")
            failure = pb_utils.TritonError(f"Model '{self.name}': failed; the server's log has the cause.")
            return pb_utils.InferenceResponse(error=failure)
        return pb_utils.InferenceResponse(output_tensors=outputs)
