"""Triton's entry into the `tensorflow` backend: requests in, responses out.

This folder is a Python-based backend. Triton picks it up for `backend: "tensorflow"`, for
`platform: "tensorflow_savedmodel"` and for a bare `NAME/1/model.savedmodel`. It imports nothing of
Trident, so that the folder can be copied alone into a stock Triton.

Source: triton-inference-server/python_backend r24.10, README "Model Config File", "execute".
"""

import json
import traceback
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from triton_tensorflow import autofill
from triton_tensorflow.batching import Feeds, InvalidInput, merge, split
from triton_tensorflow.device import configure_process
from triton_tensorflow.savedmodel import Signature


class TritonPythonModel:
    """One instance of one version of a SavedModel, in a process of its own."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Fill in inputs, outputs and batching that config.pbtxt leaves out, from the SavedModel."""
        return autofill.complete(config, Path(pb_utils.get_model_dir()))

    def initialize(self, args: dict[str, str]) -> None:
        """Load the SavedModel and check it against the configuration.

        Args:
            args: Triton's strings; `model_config` is JSON.

        Raises:
            Exception: any; Triton reports its text as the reason why the load failed.
        """
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        warning = configure_process(args["model_instance_kind"], int(args["model_instance_device_id"]), parameters)
        if warning:
            pb_utils.Logger.log_warn(f"Model '{args['model_name']}': {warning}")
        self.name = args["model_name"]
        self.batched = config["max_batch_size"] > 0
        self.signature = Signature(savedmodel_folder(config, args))
        self.signature.check(config)
        self.input_names = [entry["name"] for entry in config["input"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch with one TensorFlow call; a request with a bad input fails alone."""
        responses: list[Any] = [None] * len(requests)
        rows: list[tuple[int, Feeds]] = []
        for index, request in enumerate(requests):
            try:
                rows.append((index, self._read(request)))
            except InvalidInput as error:
                responses[index] = self._refuse(error)
        groups = [rows] if self.batched else [[row] for row in rows]
        for group in groups:
            if group:
                self._answer(requests, group, responses)
        return responses

    def _read(self, request: Any) -> Feeds:
        feeds = {}
        for name in self.input_names:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                raise InvalidInput(f"input '{name}' is missing; send all of {self.input_names}")
            feeds[name] = tensor.as_numpy()
        self.signature.check_feeds(feeds)
        return feeds

    def _answer(self, requests: list[Any], group: list[tuple[int, Feeds]], responses: list[Any]) -> None:
        wanted = [set(requests[index].requested_output_names()) for index, _ in group]
        fetch = sorted(set().union(*wanted))
        try:
            answers = self._infer([feeds for _, feeds in group], fetch)
        except InvalidInput as error:
            if len(group) > 1:  # find the one request that TensorFlow refuses; its neighbours get their answers
                for row in group:
                    self._answer(requests, [row], responses)
            else:
                responses[group[0][0]] = self._refuse(error)
            return
        except Exception:
            pb_utils.Logger.log_error(f"Model '{self.name}': {traceback.format_exc()}")
            failure = pb_utils.TritonError(f"Model '{self.name}': inference failed; the server's log has the cause.")
            for index, _ in group:
                responses[index] = pb_utils.InferenceResponse(error=failure)
            return
        for (index, _), names, outputs in zip(group, wanted, answers, strict=True):
            tensors = [pb_utils.Tensor(name, outputs[name]) for name in sorted(names)]
            responses[index] = pb_utils.InferenceResponse(output_tensors=tensors)

    def _infer(self, requests: list[Feeds], fetch: list[str]) -> list[Feeds]:
        if not self.batched:
            return [self.signature(feeds, fetch) for feeds in requests]
        outputs = self.signature(merge(requests), fetch)
        return split(outputs, requests, self.signature.open_axes)

    def _refuse(self, error: InvalidInput) -> Any:
        message = f"Model '{self.name}': {error}"
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))


def savedmodel_folder(config: dict[str, Any], args: dict[str, str]) -> Path:
    """Where this version's SavedModel lies: `default_model_filename`, else `model.savedmodel`."""
    filename = config.get("default_model_filename") or "model.savedmodel"
    return Path(args["model_repository"]) / args["model_version"] / filename
