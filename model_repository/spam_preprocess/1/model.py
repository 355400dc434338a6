"""Triton's entry into every stage: requests in, tensors through `stage.py` beside it, responses out.

`build` copies this file and `gate.py` into the version folder of each preprocess and postprocess model, with the files
of its kind.
Source: triton-inference-server/python_backend r24.10, README, "execute".
"""

import json
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from .gate import Gate, Metrics, metrics_address


class TritonPythonModel:
    """One instance of NAME_preprocess or NAME_postprocess; everything it reads lies beside this file."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the stage with the files and settings of this version."""
        self.name = args["model_name"]
        config = json.loads(args["model_config"])
        batched = int(config["max_batch_size"]) > 0
        self._ranks = {entry["name"]: len(entry["dims"]) + batched for entry in config["input"]}
        module = import_module(".stage", __package__)
        self._invalid = module.InvalidInput
        self._stage = module.Stage(Path(__file__).parent, config)
        self._gate = self._make_gate(config)

    def _make_gate(self, config: dict[str, Any]) -> Gate | None:
        """What limits the requests that wait; None in a stage that is not the first, and where there is no limit."""
        parameters = {key: entry["string_value"] for key, entry in config.get("parameters", {}).items()}
        limit = int(parameters.get("MAX_WAITING", 0))
        address = metrics_address()
        if limit and address is None:
            pb_utils.Logger.log_warn(f"Model '{self.name}': max_queue_size has no effect, as there are no metrics.")
        if not limit or address is None:
            return None
        return Gate(limit, Metrics(address, self.name, parameters["WAITING_FOR"].split(",")))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own, so that a bad one harms no other."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        refusal = self._gate.refusal() if self._gate else None
        if refusal is not None:
            unavailable = pb_utils.TritonError(f"Model '{self.name}': {refusal}", pb_utils.TritonError.UNAVAILABLE)
            return pb_utils.InferenceResponse(error=unavailable)
        try:
            tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._ranks}
            arrays = {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}
            self._check(arrays)
            answer = self._stage(arrays, _parameters(request))
            outputs = [pb_utils.Tensor(name, array) for name, array in answer.items()]
        except self._invalid as error:
            said = " ".join(str(error).splitlines())
            invalid = pb_utils.TritonError(f"Model '{self.name}': {said}", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=invalid)
        except BaseException:  # sys.exit() in a stage, or a panic of `tokenizers`: it would fail the whole batch
            pb_utils.Logger.log_error(f"Model '{self.name}': {traceback.format_exc()}")
            failure = pb_utils.TritonError(f"Model '{self.name}': failed; the server's log has the cause.")
            return pb_utils.InferenceResponse(error=failure)
        return pb_utils.InferenceResponse(output_tensors=outputs)

    def _check(self, arrays: dict[str, Any]) -> None:
        """Triton takes the shape [0, 1] with the bytes of one row over gRPC, and hands it over without an axis."""
        for name, array in arrays.items():
            if array.ndim != self._ranks[name]:
                raise self._invalid(
                    f"input '{name}' has the shape {list(array.shape)}; expected {self._ranks[name]} axes"
                )


def _parameters(request: Any) -> dict[str, Any]:
    said = request.parameters()
    return json.loads(said) if said else {}
