"""Triton's entry into the `tensorflow` backend: requests in, responses out.

This folder is a Python-based backend. Triton picks it up for `backend: "tensorflow"`, for the platforms
`tensorflow_savedmodel` and `tensorflow_graphdef`, and for a bare `NAME/1/model.savedmodel`. It imports nothing of
Trident, so that the folder can be copied alone into a stock Triton.

Source: triton-inference-server/python_backend r24.10, README "Model Config File", "execute".
"""

import json
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from triton_tensorflow import autofill, metrics
from triton_tensorflow.batching import BadOutput
from triton_tensorflow.device import to_host
from triton_tensorflow.engines import Failure, InvalidInput
from triton_tensorflow.executor import Request
from triton_tensorflow.loading import load
from triton_tensorflow.sending import Sender
from triton_tensorflow.server_options import read_server_options
from triton_tensorflow.settings import default_max_batch_size, read_settings


class TritonPythonModel:
    """One instance of one version of a model, in a process of its own."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Fill in inputs, outputs and batching that config.pbtxt leaves out, from the SavedModel."""
        options = read_server_options()
        known = config.as_dict()  # Triton takes back what is changed in it, `reshape` too, which its setters refuse
        folder = Path(pb_utils.get_model_dir())
        autofill.complete(known, folder, read_settings(known, options), default_max_batch_size(options))
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and check it against the configuration.

        Args:
            args: Triton's strings; `model_config` is JSON.

        Raises:
            Exception: any; Triton reports its text as the reason why the load failed.
        """
        self.name = args["model_name"]
        self._metrics = None
        self._sender = Sender(self.name)
        model = load(json.loads(args["model_config"]), args, read_server_options())
        for warning in model.warnings:
            pb_utils.Logger.log_warn(f"Model '{self.name}': {warning}")
        pb_utils.Logger.log_info(f"Model '{self.name}' version {args['model_version']}: {model.summary}")
        self._plan, self._executor = model.plan, model.executor
        self._metrics = metrics.start(model.executor.counts, self.name, args["model_version"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch; a request with a bad input fails alone.

        A batch that is cut is answered part by part, through the requests' response senders: None stands in the
        list for what was sent so. A Triton without them gets all responses at the end.
        """
        responses: list[Any] = [None] * len(requests)
        sent: set[int] = set()

        def deliver(done: Sequence[Request], more: bool) -> None:
            for request in done:
                response = self._response(request)
                if more and self._sender.send(requests[request.index], response):
                    sent.add(request.index)
                else:
                    responses[request.index] = response

        try:
            self._executor.run(self._checked(requests, responses), deliver)
        except Exception:  # not raised: Triton 24.10 crashes if requests of the batch have been answered
            pb_utils.Logger.log_error(f"Model '{self.name}': {traceback.format_exc()}")
            unknown = RuntimeError("inference failed; the server's log has the cause")
            for index in {*range(len(requests))} - sent:  # a response each: Triton frees the memory of every one
                responses[index] = responses[index] or self._refuse(unknown)
        return responses

    def _checked(self, requests: list[Any], responses: list[Any]) -> list[Request]:
        """The requests that can be served; for the others a response is filled in."""
        checked = []
        refused: InvalidInput | None = None
        for index, request in enumerate(requests):
            try:
                feeds = self._read(request)
                self._executor.check(feeds)
                checked.append(Request(index, feeds, frozenset(request.requested_output_names())))
            except InvalidInput as error:
                # Without its traceback, which holds this frame and with it the requests' shared memory.
                refused = error.with_traceback(None)
                responses[index] = self._refuse(error)
        if refused is None or not self._plan.sequence:
            return checked
        for request in checked:  # a batch with a row missing would hand sequences each other's state
            reason = Failure(f"another sequence's request in the batch was refused, so none was run: {refused}")
            responses[request.index] = self._refuse(reason)
        return []

    def finalize(self) -> None:
        """Send what is left and give back what belongs to Triton."""
        self._sender.close()
        if self._metrics is not None:
            self._metrics.close()

    def _read(self, request: Any) -> dict[str, Any]:
        feeds = {}
        for name in self._plan.inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is not None:
                feeds[name] = tensor.as_numpy() if tensor.is_cpu() else to_host(tensor)
        return feeds

    def _response(self, request: Request) -> Any:
        if request.error is not None:
            return self._refuse(request.error)
        tensors = [pb_utils.Tensor(name, request.answer[name]) for name in sorted(request.fetch)]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _refuse(self, error: Exception) -> Any:
        message = f"Model '{self.name}': {error}"
        self._executor.counts.refused += 1
        if isinstance(error, InvalidInput):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))
        if isinstance(error, (BadOutput, Failure)):
            pb_utils.Logger.log_error(message)
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
