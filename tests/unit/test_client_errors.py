"""Both transports raise the same class for the same cause, whatever tritonclient raised."""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from trident_client import (
    ClientError,
    ConnectError,
    Forbidden,
    InferenceError,
    InvalidRequest,
    NotFound,
    RequestTimeout,
    ServerError,
    TridentError,
    Unavailable,
)
from trident_client import grpc_transport as grpc
from trident_client import http_transport as http
from tritonclient.utils import InferenceServerException

RESTRICTED = "This protocol is restricted, expecting header 'triton-grpc-protocol-admin-key'"
REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
Mapping = Callable[[str, float], AbstractContextManager[None]]


def answered(status: str | None, message: str | None = "the reason") -> InferenceServerException:
    return InferenceServerException(message, status=status)


def raised(mapping: Mapping, error: Exception) -> ClientError:
    with pytest.raises(ClientError) as caught, mapping("host:8000", 1.5):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize(
    ("expected", "over_http", "over_grpc"),
    [
        (InvalidRequest, answered("400"), answered("StatusCode.INVALID_ARGUMENT")),
        (NotFound, answered("404"), answered("StatusCode.NOT_FOUND")),
        (Unavailable, answered("503"), answered("StatusCode.UNAVAILABLE", "Exceeds maximum queue size")),
        (Forbidden, answered("403"), answered("StatusCode.UNAVAILABLE", RESTRICTED)),
        (ServerError, answered("500"), answered("StatusCode.INTERNAL")),
        (ServerError, answered("501"), answered("StatusCode.UNIMPLEMENTED")),
        (ServerError, answered(None), answered(None)),
        (RequestTimeout, TimeoutError("timed out"), answered("StatusCode.DEADLINE_EXCEEDED", "Deadline Exceeded")),
        (ConnectError, ConnectionRefusedError(111, "refused"), answered("StatusCode.UNAVAILABLE", REFUSED)),
        (ConnectError, ConnectionResetError(104, "reset"), answered("StatusCode.UNAVAILABLE", "Socket closed")),
        (
            ConnectError,
            BrokenPipeError(32, "broken"),
            answered("StatusCode.UNAVAILABLE", "recvmsg:Connection reset by peer"),
        ),
        (
            ConnectError,
            socket.gaierror(-2, "Name or service not known"),
            answered(
                "StatusCode.UNAVAILABLE",
                "errors resolving nohost:8001: [field:hostname lookup error:address lookup failed for nohost:8001: "
                "Domain name not found]",
            ),
        ),
        (ServerError, ValueError("not JSON"), ValueError("not protobuf")),
    ],
)
def test_the_same_cause_is_the_same_class(
    expected: type[ClientError], over_http: Exception, over_grpc: Exception
) -> None:
    assert type(raised(http._errors, over_http)) is expected
    assert type(raised(grpc._errors, over_grpc)) is expected


@pytest.mark.parametrize(
    ("mapping", "status"), [(http._errors, "400"), (grpc._errors, "StatusCode.INVALID_ARGUMENT")], ids=["http", "grpc"]
)
def test_the_servers_reason_is_the_message(mapping: Mapping, status: str) -> None:
    assert str(raised(mapping, answered(status, "unexpected shape"))) == "unexpected shape"


@pytest.mark.parametrize(
    ("mapping", "error", "url"),
    [
        (http._errors, TimeoutError(), "http://host:8000"),
        (grpc._errors, answered("StatusCode.DEADLINE_EXCEEDED"), "grpc://host:8000"),
    ],
    ids=["http", "grpc"],
)
def test_a_timeout_says_how_long_it_was(mapping: Mapping, error: Exception, url: str) -> None:
    assert str(raised(mapping, error)) == f"{url} gave no answer within 1.5 s; raise timeout_s"


@pytest.mark.parametrize(
    ("mapping", "error", "begins"),
    [
        (http._errors, ConnectionRefusedError(111, "Connection refused"), "cannot reach http://host:8000: Connection"),
        (grpc._errors, answered("StatusCode.UNAVAILABLE", REFUSED), "cannot reach grpc://host:8000: failed to connect"),
    ],
    ids=["http", "grpc"],
)
def test_an_unreachable_server_is_named_with_a_hint(mapping: Mapping, error: Exception, begins: str) -> None:
    message = str(raised(mapping, error))
    assert message.startswith(begins)
    assert message.endswith("; is the server running? (`trident serve`)")


@pytest.mark.parametrize(
    ("mapping", "protocol", "port"), [(http._errors, "http", "HTTP"), (grpc._errors, "grpc", "gRPC")]
)
def test_a_peer_that_is_not_triton_is_suspected(mapping: Mapping, protocol: str, port: str) -> None:
    expected = f"{protocol}://host:8000 does not answer as Triton does: KeyError('x'); is it the {port} port?"
    assert str(raised(mapping, KeyError("x"))) == expected


def test_an_answer_without_a_reason_gets_one() -> None:
    assert str(raised(http._errors, answered("502", None))) == "http://host:8000 answered 502 without a reason"


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (ClientError, TridentError),
        (ConnectError, ClientError),
        (RequestTimeout, ClientError),
        (Forbidden, ClientError),
        (InferenceError, ClientError),
        (InvalidRequest, InferenceError),
        (NotFound, InferenceError),
        (Unavailable, InferenceError),
        (ServerError, InferenceError),
    ],
)
def test_the_tree_of_errors(kind: type[Exception], parent: type[Exception]) -> None:
    assert kind.__bases__ == (parent,)
