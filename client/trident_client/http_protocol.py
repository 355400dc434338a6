"""The HTTP protocol: each call as a request, and its answer as a plain value. Nothing here waits.

Source: triton-inference-server/server r24.10, docs/protocol/: the inference protocol and its extensions for
binary data, model repositories, statistics and model configurations.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any, TypeVar
from urllib.parse import quote

from numpy.typing import NDArray

from trident_client.errors import AnswerLost, ClientError, Forbidden, InvalidRequest, NotFound, ServerError, Unavailable
from trident_client.failures import Failures, in_one_line
from trident_client.protocol import Call
from trident_client.tensors import Arrays, Parameters, check_model, check_parameters, datatype_of, from_bytes, to_bytes

T = TypeVar("T")

# Source: triton-inference-server/server r24.10, src/http_server.cc, HttpCodeFromError. The others are `trident
# gateway`'s: the request took too long to come, is too large, or is packed in a way that nobody knows, or tritonserver
# ended while it had it; 504 is a proxy's.
ERRORS: dict[int, type[ClientError]] = {
    400: InvalidRequest,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    413: InvalidRequest,
    415: InvalidRequest,
    502: AnswerLost,
    503: Unavailable,
    504: AnswerLost,
}
# What proxies say in words of their own, where Triton's would be JSON.
PROXY_ERRORS: dict[int, type[ClientError]] = {
    401: Forbidden,
    403: Forbidden,
    413: InvalidRequest,
    429: Unavailable,
    502: AnswerLost,
    503: Unavailable,
    504: AnswerLost,
}
NOT_OFFERED = "is not offered here"  # of a call that `trident gateway` does not pass on
KEY_HEADER = "admin-key"
HEADER_LENGTH = "Inference-Header-Content-Length"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
EITHER_COMPRESSION = zlib.MAX_WBITS | 32
LARGEST_ANSWER_BYTES = 2**31 - 1  # what gRPC allows at most


@dataclass(frozen=True)
class HttpRequest:
    """What a transport sends; the repr holds neither headers nor body."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class HttpAnswer:
    """What a transport got; `headers.get` knows no upper and lower case."""

    status: int
    headers: Any = field(repr=False)
    body: bytes = field(repr=False)


class HttpProtocol:
    """The calls of one server."""

    def __init__(self, url: str, headers: Mapping[str, str], compression: str | None) -> None:
        """Make requests with these headers; `compression` is a key of `COMPRESS`, or None."""
        self.failures = Failures(url)
        self._headers = dict(headers) | {"Accept-Encoding": compression or "identity"}
        self._compression = compression

    def is_server_live(self) -> Call[bool]:
        """See `ServerProtocol`."""
        return self._get("health/live", self._read_health)

    def is_server_ready(self) -> Call[bool]:
        """See `ServerProtocol`."""
        return self._get("health/ready", self._read_health)

    def is_model_ready(self, model: str, version: str) -> Call[bool]:
        """See `ServerProtocol`."""
        return self._get(f"{_model_path(model, version)}/ready", self._read_health)

    def get_server_metadata(self) -> Call[dict[str, Any]]:
        """See `ServerProtocol`."""
        return self._get("", self._read_object)

    def get_model_metadata(self, model: str, version: str) -> Call[dict[str, Any]]:
        """See `ServerProtocol`."""
        return self._get(_model_path(model, version), self._read_object)

    def get_model_config(self, model: str, version: str) -> Call[dict[str, Any]]:
        """See `ServerProtocol`."""
        return self._get(f"{_model_path(model, version)}/config", self._read_object)

    def get_inference_statistics(self, model: str, version: str) -> Call[dict[str, Any]]:
        """See `ServerProtocol`."""
        path = f"{_model_path(model, version)}/stats" if model else "models/stats"
        return self._get(path, self._read_object)

    def get_model_repository_index(self, key: str | None) -> Call[list[dict[str, Any]]]:
        """See `ServerProtocol`."""
        return self._post("repository/index", {}, key, lambda answer: [dict(entry) for entry in self._json(answer)])

    def load_model(self, model: str, config: str | None, key: str | None) -> Call[None]:
        """See `ServerProtocol`."""
        content = {} if config is None else {"parameters": {"config": config}}
        return self._post(f"repository/{_model_path(model, '')}/load", content, key, self._check)

    def unload_model(self, model: str, unload_dependents: bool, key: str | None) -> Call[None]:
        """See `ServerProtocol`."""
        content = {"parameters": {"unload_dependents": unload_dependents}}
        return self._post(f"repository/{_model_path(model, '')}/unload", content, key, self._check)

    def infer(
        self, model: str, inputs: Arrays, *, outputs: Sequence[str] | None, parameters: Parameters, version: str
    ) -> Call[dict[str, NDArray[Any]]]:
        """See `ServerProtocol`."""
        check_parameters(parameters)
        body, header_length = _infer_body(inputs, outputs, parameters)
        headers = self._headers | {HEADER_LENGTH: str(header_length), "Content-Type": "application/octet-stream"}
        if self._compression is not None:
            body = COMPRESS[self._compression](body)
            headers["Content-Encoding"] = self._compression
        request = HttpRequest("POST", f"/v2/{_model_path(model, version)}/infer", headers, body)
        return Call(request, self._read_tensors, self.failures)

    def _get(self, path: str, read: Callable[[HttpAnswer], T]) -> Call[T]:
        return Call(HttpRequest("GET", f"/v2/{path}".rstrip("/"), self._headers, b""), read, self.failures)

    def _post(self, path: str, content: Any, key: str | None, read: Callable[[HttpAnswer], T]) -> Call[T]:
        headers = self._headers | {"Content-Type": "application/json"} | ({KEY_HEADER: key} if key else {})
        return Call(HttpRequest("POST", f"/v2/{path}", headers, json.dumps(content).encode()), read, self.failures)

    def _read_health(self, answer: HttpAnswer) -> bool:
        """A health check says no by a status of 400 and more, with or without a reason."""
        if answer.status == HTTPStatus.FORBIDDEN or "html" in (answer.headers.get("Content-Type") or ""):
            self._check(answer)
            raise self.failures.foreign("a web page")
        return answer.status == HTTPStatus.OK

    def _read_object(self, answer: HttpAnswer) -> dict[str, Any]:
        return dict(self._json(answer))

    def _read_tensors(self, answer: HttpAnswer) -> dict[str, NDArray[Any]]:
        self._check(answer)
        return read_infer_body(_decompressed(answer), answer.headers.get(HEADER_LENGTH))[1]

    def _json(self, answer: HttpAnswer) -> Any:
        self._check(answer)
        return json.loads(_decompressed(answer))

    def _check(self, answer: HttpAnswer) -> None:
        """Raise the error that an answer is."""
        if answer.status == HTTPStatus.OK:
            return
        reason = _reason(answer)
        if reason is not None:
            kind = Unavailable if is_transient(reason) else ERRORS.get(answer.status, ServerError)
        elif answer.body and answer.status not in PROXY_ERRORS:
            content = answer.headers.get("Content-Type") or "no content type"
            raise self.failures.foreign(f"HTTP {answer.status} with {content}")
        else:
            kind = (ERRORS | PROXY_ERRORS).get(answer.status, ServerError)
        if reason is not None and kind is Forbidden:
            raise self.failures.restricted(reason)
        error = kind(reason or f"{self.failures.url} answered {answer.status} without a reason")
        if isinstance(error, Unavailable):
            error.retry_after_s = _retry_after_s(answer.headers.get("Retry-After"))
        raise error


def is_transient(reason: str) -> bool:
    """Whether an error passes that Triton gives another code than UNAVAILABLE.

    The process of a model has died; or another's request spoiled the batch (one of shape [0, n] counts as one row when
    a batch is put together, and as n afterwards); or a model is unloaded, as all are while a server stops.
    Source: triton-inference-server/python_backend r24.10, src/python_be.cc, SendMessageToStub and ProcessRequests;
    core r24.10, src/model_repository_manager/model_lifecycle.cc, GetModel.
    """
    marks = (("Stub process", "is not healthy"), ("batch size ", ", max allowed is "), ("has no available versions",))
    return any(all(mark in reason for mark in both) for both in marks)


def read_infer_body(body: bytes, header_length: str | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Take a request or an answer with tensors apart.

    Args:
        body: JSON, and behind it the tensors' bytes, in order.
        header_length: of the JSON; None if there is nothing else.

    Returns:
        The JSON, and name → array.

    Raises:
        ValueError, LookupError, TypeError: it is no such body.
    """
    end = len(body) if header_length is None else int(header_length)
    header, arrays = json.loads(body[:end]), {}
    for tensor in header["inputs"] if "inputs" in header else header["outputs"]:
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            datatype, values = tensor["datatype"], tensor["data"]
            raise ValueError(f"'{tensor['name']}' is {datatype} as JSON ({len(values)} values); expected binary data")
        if end + size > len(body):
            raise ValueError(f"'{tensor['name']}' has {size} bytes; the body ends before")
        arrays[tensor["name"]] = from_bytes(body[end : end + size], tensor["datatype"], tensor["shape"])
        end += size
    return header, arrays


def tensor_entries(arrays: Arrays) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Arrays as the entries of a body's JSON, and their bytes."""
    entries, contents = [], []
    for name, array in arrays.items():
        datatype = datatype_of(name, array)
        raw = to_bytes(array)
        shape, parameters = list(array.shape), {"binary_data_size": len(raw)}
        entries.append({"name": name, "shape": shape, "datatype": datatype, "parameters": parameters})
        contents.append(raw)
    return entries, contents


def _infer_body(inputs: Arrays, outputs: Sequence[str] | None, parameters: Parameters) -> tuple[bytes, int]:
    entries, contents = tensor_entries(inputs)
    content: dict[str, Any] = {"inputs": entries, "parameters": dict(parameters) | {"binary_data_output": True}}
    if outputs:
        content["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
        del content["parameters"]["binary_data_output"]
    header = json.dumps(content).encode()
    return b"".join([header, *contents]), len(header)


def _model_path(model: str, version: str) -> str:
    check_model(model, version)
    path = f"models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def check_size(size: int) -> None:
    """Check that an answer is one that memory can be given to.

    Raises:
        ValueError: it is too large.
    """
    if size > LARGEST_ANSWER_BYTES:
        raise ValueError(f"the answer has more than {LARGEST_ANSWER_BYTES:,} bytes")


def decompress(body: bytes, encoding: str | None) -> bytes:
    """What a body is without its Content-Encoding.

    Raises:
        ValueError, zlib.error: it is in another encoding, too large, or not complete.
    """
    if encoding in (None, "identity"):
        return body
    if encoding not in COMPRESS:
        raise ValueError(f"the Content-Encoding is {encoding}; expected {' or '.join(COMPRESS)}")
    stream = zlib.decompressobj(EITHER_COMPRESSION)
    content = stream.decompress(body, LARGEST_ANSWER_BYTES + 1)
    check_size(len(content))
    if not stream.eof:
        raise ValueError("what was compressed is cut off")
    return content


def _decompressed(answer: HttpAnswer) -> bytes:
    return decompress(answer.body, answer.headers.get("Content-Encoding"))


def _reason(answer: HttpAnswer) -> str | None:
    """What Triton says of an error; None if it is not Triton's."""
    try:
        return in_one_line(str(json.loads(_decompressed(answer))["error"]))
    except (ValueError, LookupError, TypeError, zlib.error):
        return None


def _retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which may also be a date; None if it is neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value) if value.isdigit() else parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError):
        return None
