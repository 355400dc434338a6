"""The client: services by name, models by tensors, and the server's own calls under tritonclient's names."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from trident_client.errors import ConnectError, InvalidRequest, ServerError
from trident_client.prediction import Prediction, from_tensors
from trident_client.transport import Arrays, Parameters, Transport

LONGEST_TIMEOUT_S = 86_400
DEFAULT_URL = "http://127.0.0.1:8000"


class Client:
    """Talks to one Triton server; may be shared between threads.

    Example:
        >>> with Client("grpc://127.0.0.1:8001") as client:
        ...     client.infer("spam", ["You won a free prize, call now"])[0].label
        'spam'
    """

    def __init__(self, url: str = DEFAULT_URL, *, timeout_s: float = 30.0, admin_key: str | None = None) -> None:
        """Prepare a client; nothing is sent before the first call.

        Args:
            url: `http://HOST:PORT` or `grpc://HOST:PORT`.
            timeout_s: seconds that a call may take if it is not told otherwise, > 0.
            admin_key: for the APIs that `trident serve` restricts.

        Raises:
            ConnectError: the URL has another form.
        """
        self.url = url
        self.timeout_s = timeout_s
        self._timeout(timeout_s)
        self._transport = _transport(url, timeout_s, admin_key)
        self._max_batch_sizes: dict[str, int] = {}

    def infer(
        self,
        service: str,
        texts: Sequence[str],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Prediction]:
        """Classify texts with a service.

        Args:
            service: its name.
            texts: any number; sent in requests of at most the service's max_batch_size.
            top_k: labels per text, ≥ 1; the service's own default if None.
            threshold: leave out labels with a lower score, in [0, 1]; the service's own default if None.
            timeout_s: for each request.

        Returns:
            One prediction a text, in the same order.

        Raises:
            InvalidRequest: a text is no string or holds lone surrogates, a parameter is out of range, or the service
                takes or gives something else; says what, and how to ask it.
            NotFound: there is no such service.
            ClientError: see `trident_client.errors`.
        """
        encoded = _encode(texts)
        given: dict[str, int | float | None] = {"top_k": top_k, "threshold": threshold}
        parameters = {key: value for key, value in given.items() if value is not None}
        predictions: list[Prediction] = []
        size = self._max_batch_size(service) if len(encoded) > 1 else 1
        for start in range(0, len(encoded), size):
            chunk = encoded[start : start + size]
            try:
                answer = self.infer_tensors(service, {"text": chunk}, parameters=parameters, timeout_s=timeout_s)
            except InvalidRequest:
                self._check_classifies(service, timeout_s)
                raise
            if not {"label", "score"} <= answer.keys():
                self._check_classifies(service, timeout_s)
            predictions += _predictions(service, answer, len(chunk))
        return predictions

    def infer_tensors(
        self,
        model: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] | None = None,
        parameters: Parameters | None = None,
        version: str = "",
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Send one request with tensors as they are.

        Args:
            model: its name.
            inputs: name → array, with the batch axis if the model has one; BYTES as object arrays of bytes.
            outputs: which to ask for; all if None.
            parameters: request parameters.
            version: the latest if empty.
            timeout_s: seconds.

        Returns:
            Output name → array; BYTES as object arrays of bytes.

        Raises:
            InvalidRequest: a wrong name, datatype or shape.
            ClientError: see `trident_client.errors`.
        """
        if not isinstance(inputs, Mapping):
            raise InvalidRequest(f"inputs is {type(inputs).__name__}; expected {{name: array}}")
        for name, array in inputs.items():
            if not isinstance(array, np.ndarray):
                raise InvalidRequest(f"input '{name}' is {type(array).__name__}; expected a numpy array")
        return self._transport.infer(
            model,
            inputs,
            outputs=outputs,
            parameters=parameters or {},
            version=version,
            timeout_s=self._timeout(timeout_s),
        )

    def is_server_live(self, timeout_s: float | None = None) -> bool:
        """Whether the server runs."""
        return bool(self._call("is_server_live", timeout_s=timeout_s))

    def is_server_ready(self, timeout_s: float | None = None) -> bool:
        """Whether the server and all its models can serve."""
        return bool(self._call("is_server_ready", timeout_s=timeout_s))

    def is_model_ready(self, model: str, version: str = "", timeout_s: float | None = None) -> bool:
        """Whether a model can serve."""
        return bool(self._call("is_model_ready", model, version, timeout_s=timeout_s))

    def get_server_metadata(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The server's name, version and extensions."""
        return dict(self._call("get_server_metadata", timeout_s=timeout_s))

    def get_model_metadata(self, model: str, version: str = "", timeout_s: float | None = None) -> dict[str, Any]:
        """A model's versions, inputs and outputs; shapes as integers, -1 where any size will do."""
        metadata = dict(self._call("get_model_metadata", model, version, timeout_s=timeout_s))
        for tensor in (*metadata.get("inputs", []), *metadata.get("outputs", [])):
            tensor["shape"] = [int(size) for size in tensor["shape"]]  # protobuf's JSON has int64 as strings
        return metadata

    def get_model_config(self, model: str, version: str = "", timeout_s: float | None = None) -> dict[str, Any]:
        """A model's configuration as the server completed it."""
        config = self._call("get_model_config", model, version, timeout_s=timeout_s)
        return dict(config.get("config", config))  # gRPC wraps it in a message

    def get_inference_statistics(self, model: str, version: str = "", timeout_s: float | None = None) -> dict[str, Any]:
        """A model's counts and durations since it was loaded, as integers (durations in nanoseconds)."""
        answer = self._call("get_inference_statistics", model, version, timeout_s=timeout_s)
        return {"model_stats": [_as_numbers(entry) for entry in answer.get("model_stats", [])]}

    def get_model_repository_index(self, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """All models of the repository with name, version, state and reason; needs the admin key."""
        index = self._call("get_model_repository_index", timeout_s=timeout_s)
        return list(index.get("models", []) if isinstance(index, dict) else index)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()

    def _check_classifies(self, service: str, timeout_s: float | None) -> None:
        metadata = self.get_model_metadata(service, timeout_s=timeout_s)
        inputs, outputs = metadata["inputs"], metadata["outputs"]
        if [tensor["name"] for tensor in inputs] == ["text"] and {"label", "score"} <= {t["name"] for t in outputs}:
            return
        arrays = ", ".join(f"'{tensor['name']}': array" for tensor in inputs)
        raise InvalidRequest(
            f"'{service}' takes {_shown(inputs)} and gives {_shown(outputs)}; expected a service that takes text and "
            f"gives label and score. Ask this one in Python: Client(url).infer_tensors('{service}', {{{arrays}}})"
        )

    def _call(self, method: str, *arguments: Any, timeout_s: float | None) -> Any:
        return self._transport.call(method, *arguments, timeout_s=self._timeout(timeout_s))

    def _timeout(self, timeout_s: float | None) -> float:
        chosen = self.timeout_s if timeout_s is None else timeout_s
        if not 0 < chosen <= LONGEST_TIMEOUT_S:
            raise InvalidRequest(f"timeout_s is {chosen}; expected seconds > 0 and ≤ {LONGEST_TIMEOUT_S}")
        return chosen

    def _max_batch_size(self, service: str) -> int:
        if service not in self._max_batch_sizes:
            self._max_batch_sizes[service] = max(1, int(self.get_model_config(service).get("max_batch_size", 0)))
        return self._max_batch_sizes[service]


def _transport(url: str, timeout_s: float, admin_key: str | None) -> Transport:
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in ("http", "grpc") and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:  # (UnicodeEncodeError is one) brackets that do not match, a port that is no number or too large
        well_formed = False
    if not well_formed:
        raise ConnectError(f"url is '{url}'; expected http://HOST:PORT or grpc://HOST:PORT")
    if parts.scheme == "http":
        from trident_client.http_transport import HttpTransport

        return HttpTransport(parts.netloc, timeout_s, admin_key)
    from trident_client.grpc_transport import GrpcTransport

    return GrpcTransport(parts.netloc, admin_key)


def _predictions(service: str, answer: dict[str, NDArray[Any]], asked: int) -> list[Prediction]:
    predictions = from_tensors(answer["label"], answer["score"])
    if len(predictions) != asked:
        raise ServerError(f"'{service}' answered {len(predictions)} texts; {asked} were asked")
    return predictions


def _shown(tensors: list[dict[str, Any]]) -> str:
    return ", ".join(f"{tensor['name']} {tensor['datatype']} {tensor['shape']}" for tensor in tensors)


def _as_numbers(value: Any) -> Any:
    """Statistics with integers; protobuf's JSON has int64 as strings."""
    if isinstance(value, dict):
        return {key: inner if key in ("name", "version") else _as_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_numbers(inner) for inner in value]
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _encode(texts: Sequence[str]) -> NDArray[np.object_]:
    """Texts as a BYTES tensor [B, 1]."""
    if isinstance(texts, str):
        raise InvalidRequest("texts is one string; expected a list of them: [text]")
    if not isinstance(texts, Sequence):
        raise InvalidRequest(f"texts is {type(texts).__name__}; expected a list of strings")
    encoded = np.empty((len(texts), 1), dtype=np.object_)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidRequest(f"text {position} is {type(text).__name__}; expected str")
        try:
            encoded[position, 0] = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"text {position} cannot be encoded as UTF-8: {error.reason}") from None
    return encoded
