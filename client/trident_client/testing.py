"""A server for the tests of applications that use `trident_client`: no Triton, no model, real HTTP.

Example:
    >>> from trident_client import Client, Prediction
    >>> from trident_client.testing import FakeServer
    >>> def classify(text: str) -> Prediction:
    ...     return Prediction(("spam", "ham"), (0.9, 0.1)) if "prize" in text else Prediction(("ham",), (1.0,))
    >>> with FakeServer() as server, Client(server.url) as client:
    ...     server.add("spam", classify)
    ...     server.be_unavailable(times=1)  # and the client tries again
    ...     print(client.infer("spam", ["You won a prize", "See you at eight"], top_k=1)[0].label)
    ...     print(server.requests[0].parameters)
    spam
    {'top_k': 1}
"""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident_client.errors import InvalidRequest
from trident_client.fake_http import Listener, NoSuchModel, Refused
from trident_client.http_protocol import read_infer_body, tensor_entries
from trident_client.prediction import Prediction, Span

Answer = Prediction | Sequence[Span] | NDArray[Any] | float
TAKES = ("text", "image", "record")
BYTES_COLUMN = {"data_type": "TYPE_STRING", "dims": [1]}


@dataclass(frozen=True)
class Received:
    """An inference request that a `FakeServer` got.

    Attributes:
        model: of which service or model.
        inputs: name → array; BYTES as objects.
        parameters: the request's.
        headers: the request's, names in lower case.

    Example:
        >>> from trident_client.testing import Received
        >>> Received("spam", {}, {"top_k": 1}, {}).parameters
        {'top_k': 1}
    """

    model: str
    inputs: dict[str, NDArray[Any]]
    parameters: dict[str, Any]
    headers: dict[str, str] = field(repr=False)


@dataclass
class _Model:
    run: Callable[[Received], dict[str, NDArray[Any]]]
    inputs: dict[str, dict[str, Any]]
    max_batch_size: int
    loaded: bool = True
    answered: int = 0


class FakeServer:
    """Answers as Triton does, over HTTP on a free port of 127.0.0.1, what it was told to answer.

    Attributes:
        url: where it listens, for `Client` and `AsyncClient`.
        requests: the inference requests that it got, those that it failed too, in the order of their arrival.
        delay_s: seconds before each answer, ≥ 0.

    Example:
        >>> import numpy as np
        >>> from trident_client import Client
        >>> from trident_client.testing import FakeServer
        >>> with FakeServer() as server, Client(server.url) as client:
        ...     server.add("meanings", np.array([0.6, 0.8]))
        ...     client.embed("meanings", ["cat", "kitten"]).shape
        (2, 2)
    """

    def __init__(self) -> None:
        """Listen; `close`, or the end of a `with` block, ends that."""
        self.requests: list[Received] = []
        self.delay_s = 0.0
        self._models: dict[str, _Model] = {}
        self._failures: list[Refused] = []
        self._lock = threading.Lock()
        self._listener = Listener(self._answer)
        self.url = f"http://127.0.0.1:{self._listener.port}"

    def add(
        self, service: str, answer: Answer | Callable[[Any], Answer], *, takes: str = "text", max_batch_size: int = 64
    ) -> None:
        """Add a service, or replace it.

        Args:
            service: its name.
            answer: to every item, or a function of the item: a `Prediction`, a list of `Span`, an embedding [D], or a
                number. What the function raises is the server's answer: an `InvalidRequest`, `Forbidden`, `NotFound` or
                `Unavailable` stays one, anything else is a `ServerError`.
            takes: the kind of its items: "text" (the function gets a str), "image" (the bytes of a file) or "record"
                (a dict).
            max_batch_size: items in one request, ≥ 1.

        Raises:
            InvalidRequest: it takes something else.

        Example:
            >>> from trident_client import Client
            >>> from trident_client.testing import FakeServer
            >>> with FakeServer() as server, Client(server.url) as client:
            ...     server.add("houses", lambda house: 128.0 * house["rooms"], takes="record")
            ...     client.infer_values("houses", [{"rooms": 5}]).tolist()
            [640.0]
        """
        if takes not in TAKES:
            raise InvalidRequest(f"takes is {takes!r}; expected one of {', '.join(TAKES)}")

        def run(request: Received) -> dict[str, NDArray[Any]]:
            if takes not in request.inputs:
                raise InvalidRequest(f"'{service}' got the inputs {sorted(request.inputs)}; expected '{takes}'")
            items = [_item(takes, raw) for raw in request.inputs[takes].ravel()]
            return _tensors([answer(item) if callable(answer) else answer for item in items], request.parameters)

        self._models[service] = _Model(run, {takes: BYTES_COLUMN}, max_batch_size)

    def add_model(
        self,
        model: str,
        run: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]],
        *,
        max_batch_size: int = 64,
    ) -> None:
        """Add a model of tensors, or replace it.

        Args:
            model: its name.
            run: the inputs of a request → its outputs, name → array.
            max_batch_size: rows in one request; 0 if there is no batch axis.

        Example:
            >>> import numpy as np
            >>> from trident_client import Client
            >>> from trident_client.testing import FakeServer
            >>> with FakeServer() as server, Client(server.url) as client:
            ...     server.add_model("double", lambda inputs: {"y": 2 * inputs["x"]})
            ...     client.infer_tensors("double", {"x": np.array([[1, 2]])})["y"].tolist()
            [[2, 4]]
        """
        self._models[model] = _Model(lambda request: run(request.inputs), {}, max_batch_size)

    def be_unavailable(self, times: int = 1, retry_after_s: int | None = None) -> None:
        """Refuse the next inference requests, as a server does whose queue is full.

        Args:
            times: how many.
            retry_after_s: what to tell the client to wait; None tells nothing.

        Example:
            >>> from trident_client import Client, Unavailable
            >>> from trident_client.testing import FakeServer
            >>> with FakeServer() as server, Client(server.url, retry=None) as client:
            ...     server.add("price", 1.5)
            ...     server.be_unavailable()
            ...     try:
            ...         client.infer("price", ["hello"])
            ...     except Unavailable as error:
            ...         print(error)
            Exceeds maximum queue size
        """
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self._failures += [Refused(503, "Exceeds maximum queue size", headers)] * times

    def close(self) -> None:
        """Close all connections and the port, as the end of a `with` block does.

        Example:
            >>> from trident_client.testing import FakeServer
            >>> server = FakeServer()
            >>> server.close()
        """
        self._listener.close()

    def __enter__(self) -> "FakeServer":
        """Return the server itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections and the port."""
        self.close()

    # -- answers -----------------------------------------------------------------------------------------------------

    def _answer(self, path: Sequence[str], body: bytes, headers: Mapping[str, str]) -> Any:
        """The answer to `/v2/...`: None, what becomes JSON, or JSON and bytes behind it."""
        match path:
            case ["health", "live" | "ready"]:
                return None
            case []:
                return {"name": "triton", "version": "2.51.0", "extensions": ["binary_tensor_data"]}
            case ["repository", "index"]:
                return [self._index(name) for name in sorted(self._models)]
            case ["repository", "models", name, "load" | "unload" as order]:
                self._known(name).loaded = order == "load"
                return {}
            case ["models", "stats"]:
                loaded = sorted(name for name, model in self._models.items() if model.loaded)
                return {"model_stats": [self._stats(name) for name in loaded]}
            case ["models", name, "versions", "1", *rest] | ["models", name, *rest]:
                return self._of_model(name, rest, body, headers)
        raise Refused(400, f"there is no {'/'.join(path)}", {})

    def _of_model(self, name: str, rest: Sequence[str], body: bytes, headers: Mapping[str, str]) -> Any:
        model = self._known(name)
        if not model.loaded:
            raise NoSuchModel(f"Request for unknown model: '{name}' has no available versions")
        match rest:
            case ["infer"]:
                return self._infer(name, model, body, headers)
            case ["ready"]:
                return None
            case ["config"]:
                inputs = [{"name": key} | entry for key, entry in model.inputs.items()]
                output = {"name": "output", "dims": [-1]}
                return {"name": name, "max_batch_size": model.max_batch_size, "input": inputs, "output": [output]}
            case ["stats"]:
                return {"model_stats": [self._stats(name)]}
            case []:
                tensors = [{"name": key, "datatype": "BYTES", "shape": [-1, 1]} for key in model.inputs]
                return {"name": name, "versions": ["1"], "platform": "fake", "inputs": tensors, "outputs": []}
        raise Refused(400, f"there is no {'/'.join(rest)}", {})

    def _infer(self, name: str, model: _Model, body: bytes, headers: Mapping[str, str]) -> tuple[Any, bytes]:
        header, inputs = read_infer_body(body, headers.get("inference-header-content-length"))
        parameters = {key: value for key, value in header["parameters"].items() if key != "binary_data_output"}
        request = Received(name, inputs, parameters, dict(headers))
        with self._lock:
            self.requests.append(request)
            failure = self._failures.pop(0) if self._failures else None
        if self.delay_s:
            time.sleep(self.delay_s)
        if failure is not None:
            raise failure
        if any(len(array) > model.max_batch_size > 0 for array in inputs.values()):
            raise InvalidRequest(f"inference request batch-size must be <= {model.max_batch_size} for '{name}'")
        outputs = model.run(request)
        with self._lock:
            model.answered += 1
        wanted = [entry["name"] for entry in header.get("outputs", [])] or list(outputs)
        entries, contents = tensor_entries({key: np.asarray(outputs[key]) for key in wanted})
        return {"model_name": name, "model_version": "1", "outputs": entries}, b"".join(contents)

    def _known(self, name: str) -> _Model:
        if name not in self._models:
            raise NoSuchModel(f"Request for unknown model: '{name}' is not found")
        return self._models[name]

    def _stats(self, name: str) -> dict[str, Any]:
        return {"name": name, "version": "1", "inference_count": self._models[name].answered}

    def _index(self, name: str) -> dict[str, str]:
        state = "READY" if self._models[name].loaded else "UNAVAILABLE"
        return {"name": name, "version": "1", "state": state}


def _item(takes: str, raw: bytes) -> Any:
    return raw if takes == "image" else raw.decode("utf-8") if takes == "text" else json.loads(raw)


def _tensors(answers: Sequence[Any], parameters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Answers of one kind as the tensors of their task."""
    first = answers[0]
    if isinstance(first, Prediction):
        return _labels_and_scores(answers, parameters)
    if isinstance(first, np.ndarray):
        return {"embedding": np.stack(answers).astype(np.float32)}
    if isinstance(first, Sequence):
        spans = [json.dumps([vars(span) for span in found]).encode() for found in answers]
        return {"spans": np.array(spans, dtype=np.object_)[:, None]}
    return {"value": np.array(answers, np.float32)[:, None]}


def _labels_and_scores(predictions: Sequence[Prediction], parameters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    rows = []
    for prediction in predictions:
        pairs = zip(prediction.labels, prediction.scores, strict=True)
        row = [(label, score) for label, score in pairs if score >= parameters.get("threshold", 0)]
        rows.append(row[: parameters.get("top_k")])
    columns = max(1, *(len(row) for row in rows))
    label = np.full((len(rows), columns), b"", dtype=np.object_)
    score = np.zeros((len(rows), columns), np.float32)
    for position, row in enumerate(rows):
        for column, (name, value) in enumerate(row):
            label[position, column], score[position, column] = name.encode("utf-8"), value
    return {"label": label, "score": score}
