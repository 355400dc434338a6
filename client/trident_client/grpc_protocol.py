"""The gRPC protocol: each call as a message, and its answer as a plain value. Nothing here waits."""

import math
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from trident_client.deadline import Deadline
from trident_client.errors import (
    ClientError,
    Forbidden,
    InvalidRequest,
    NotFound,
    ServerError,
    Unavailable,
)
from trident_client.failures import Failures, in_one_line
from trident_client.http_protocol import NOT_OFFERED, PROXY_ERRORS, is_transient
from trident_client.protocol import Call
from trident_client.tensors import Arrays, Parameters, check_model, check_parameters, datatype_of, from_bytes, to_bytes

T = TypeVar("T")

# Source: triton-inference-server/server r24.10, src/grpc/grpc_utils.cc, GrpcStatusUtil::CodeToStatus.
ERRORS: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: InvalidRequest,  # the message is larger than the server takes
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,  # a proxy's
    grpc.StatusCode.UNAUTHENTICATED: Forbidden,  # a proxy's
}
PUSHBACK = "grpc-retry-pushback-ms"  # what gRPC has in place of Retry-After
KEY_HEADER = "triton-grpc-protocol-admin-key"
# What gRPC's own library says with UNAVAILABLE.
NOT_SENT = ("failed to connect", "errors resolving", "DNS resolution failed")
LOST = ("Socket closed", "Connection reset", "Broken pipe", "GOAWAY", "recvmsg", "sendmsg")
CLOSED_AT_ONCE = "it closed the connection at once, as one does that speaks no gRPC"
HTTP_1 = "http1.x server"
PROXY = "Received http2 header with status: "
TLS = ("Ssl handshake", "SSL_ERROR", "TSI_")


@dataclass(frozen=True)
class GrpcRequest:
    """What a transport sends; the repr holds neither message nor metadata."""

    rpc: str
    message: Any = field(repr=False)
    metadata: tuple[tuple[str, str], ...] = field(repr=False)


class GrpcFailures(Failures):
    """Makes the errors of one server out of gRPC's."""

    def of(self, error: Any, deadline: Deadline) -> ClientError:
        """Ours for a `grpc.RpcError` that has a code, details and trailing metadata, as that of an ended call has."""
        made = self._of(error.code(), error.details(), deadline)
        if isinstance(made, Unavailable):
            made.retry_after_s = _retry_after_s(error.trailing_metadata())
        return made

    def _of(self, code: grpc.StatusCode, details: str | None, deadline: Deadline) -> ClientError:
        """UNAVAILABLE has many causes, which only the details tell apart."""
        details = in_one_line(details or f"{self.url} answered {code.name} without a reason")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self.timed_out(deadline)
        if details.startswith(PROXY):
            return self._proxys(details.removeprefix(PROXY))
        if code is grpc.StatusCode.UNAVAILABLE:
            return self._unavailable(details)
        if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND) and is_transient(details):
            return Unavailable(details)
        if code is grpc.StatusCode.UNIMPLEMENTED and details.endswith(NOT_OFFERED):
            return NotFound(details)
        if details.startswith("Missing :te header"):
            return self.foreign(details)
        return ERRORS.get(code, ServerError)(details)

    def _proxys(self, status: str) -> ClientError:
        kind = PROXY_ERRORS.get(int(status)) if status.isdecimal() else None
        if kind is None:
            return self.foreign(f"HTTP {status}")
        return kind(f"{self.url} answered {status} without a reason")

    def _unavailable(self, details: str) -> ClientError:
        if "protocol is restricted" in details:
            return self.restricted(details)
        if HTTP_1 in details:
            return self.foreign("it speaks HTTP/1")
        if any(mark in details for mark in TLS):
            return self.untrusted(details)
        if any(mark in details for mark in NOT_SENT):
            at_once = "Socket closed" in details
            return self.unreachable(CLOSED_AT_ONCE if at_once else details)
        if any(mark in details for mark in LOST):
            return self.lost(details)
        return Unavailable(details)


class GrpcProtocol:
    """The calls of one server."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Make requests with these headers."""
        self.failures = GrpcFailures(url)
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())

    def is_server_live(self) -> Call[bool]:
        """See `ServerProtocol`."""
        return self._call("ServerLive", pb.ServerLiveRequest(), lambda answer: bool(answer.live))

    def is_server_ready(self) -> Call[bool]:
        """See `ServerProtocol`."""
        return self._call("ServerReady", pb.ServerReadyRequest(), lambda answer: bool(answer.ready))

    def is_model_ready(self, model: str, version: str) -> Call[bool]:
        """See `ServerProtocol`."""
        message = pb.ModelReadyRequest(name=_named(model, version), version=version)
        return self._call("ModelReady", message, lambda answer: bool(answer.ready))

    def get_server_metadata(self) -> Call[dict[str, Any]]:
        """See `ServerProtocol`."""
        return self._call("ServerMetadata", pb.ServerMetadataRequest(), plain)

    def get_model_metadata(self, model: str, version: str) -> Call[dict[str, Any]]:
        """See `ServerProtocol`."""
        return self._call("ModelMetadata", pb.ModelMetadataRequest(name=_named(model, version), version=version), plain)

    def get_model_config(self, model: str, version: str) -> Call[dict[str, Any]]:
        """See `ServerProtocol`."""
        message = pb.ModelConfigRequest(name=_named(model, version), version=version)
        return self._call("ModelConfig", message, lambda answer: plain(answer.config))

    def get_inference_statistics(self, model: str, version: str) -> Call[dict[str, Any]]:
        """See `ServerProtocol`."""
        return self._call("ModelStatistics", pb.ModelStatisticsRequest(name=model, version=version), plain)

    def get_model_repository_index(self, key: str | None) -> Call[list[dict[str, Any]]]:
        """See `ServerProtocol`."""
        return self._call("RepositoryIndex", pb.RepositoryIndexRequest(), _read_index, key)

    def load_model(self, model: str, config: str | None, key: str | None) -> Call[None]:
        """See `ServerProtocol`."""
        message = pb.RepositoryModelLoadRequest(model_name=_named(model))
        if config is not None:
            message.parameters["config"].string_param = config
        return self._call("RepositoryModelLoad", message, lambda answer: None, key)

    def unload_model(self, model: str, unload_dependents: bool, key: str | None) -> Call[None]:
        """See `ServerProtocol`."""
        message = pb.RepositoryModelUnloadRequest(model_name=_named(model))
        message.parameters["unload_dependents"].bool_param = unload_dependents
        return self._call("RepositoryModelUnload", message, lambda answer: None, key)

    def infer(
        self, model: str, inputs: Arrays, *, outputs: Sequence[str] | None, parameters: Parameters, version: str
    ) -> Call[dict[str, NDArray[Any]]]:
        """See `ServerProtocol`."""
        check_parameters(parameters)
        message = pb.ModelInferRequest(
            model_name=_named(model, version),
            model_version=version,
            inputs=[
                pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype_of(name, array), shape=array.shape)
                for name, array in inputs.items()
            ],
            outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs or ()],
            raw_input_contents=[to_bytes(array) for array in inputs.values()],
        )
        for name, value in parameters.items():
            kind = "string" if isinstance(value, str) else "double" if isinstance(value, float) else "int64"
            kind = "bool" if isinstance(value, bool) else kind
            setattr(message.parameters[name], f"{kind}_param", value)
        return self._call("ModelInfer", message, _read_tensors)

    def _call(self, rpc: str, message: Any, read: Callable[[Any], T], key: str | None = None) -> Call[T]:
        metadata = (*self._metadata, (KEY_HEADER, key)) if key else self._metadata
        return Call(GrpcRequest(rpc, message, metadata), read, self.failures)


def channel_options(compression: str | None) -> dict[str, Any]:
    """Arguments of `grpc.secure_channel` and its sisters: messages of any size, quick attempts to connect again."""
    kinds = {None: None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
    options = {
        "grpc.max_send_message_length": -1,
        "grpc.max_receive_message_length": -1,
        "grpc.initial_reconnect_backoff_ms": 50,  # a server that comes back shall not wait for our next look
        "grpc.max_reconnect_backoff_ms": 1000,
        "grpc.use_local_subchannel_pool": 1,  # clients share no connection, and so no trouble
    }
    return {"options": tuple(options.items()), "compression": kinds[compression]}


def plain(message: Any) -> dict[str, Any]:
    """A message as HTTP's JSON has it: all fields with a value, enums by name, integers as integers."""
    return {
        field.name: _plain_field(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _plain_field(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {str(key): _plain_value(inner, value[key]) for key in value}
    if isinstance(value, MutableSequence):
        return [_plain_value(field, item) for item in value]
    return _plain_value(field, value)


def _plain_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    return field.enum_type.values_by_number[value].name if field.enum_type is not None else value


def _retry_after_s(metadata: Any) -> float | None:
    """Seconds of a call's trailing metadata; infinitely many if the server wants no other attempt.

    That is what a number below 0 means, and what gRPC's library makes of anything that is none.
    Source: gRPC proposal A6, "Pushback".
    """
    value = dict(metadata or ()).get(PUSHBACK)
    if value is None:
        return None
    return float(value) / 1e3 if value.isdecimal() else math.inf


def _read_index(answer: Any) -> list[dict[str, Any]]:
    """Without what is empty: HTTP leaves out the version and state of a model that was never loaded."""
    return [{name: value for name, value in plain(entry).items() if value} for entry in answer.models]


def _read_tensors(answer: Any) -> dict[str, NDArray[Any]]:
    return {
        output.name: from_bytes(raw, output.datatype, list(output.shape))
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def _named(model: str, version: str = "") -> str:
    check_model(model, version)
    return model
