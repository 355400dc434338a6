"""Both protocols raise the same class for the same cause, whatever the libraries below raised."""

import time
from email.utils import formatdate
from http.client import HTTPMessage
from typing import Any

import grpc
import grpc.aio
import pytest
from trident_client import (
    AnswerLost,
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
from trident_client.deadline import Deadline
from trident_client.grpc_protocol import GrpcFailures
from trident_client.http_protocol import HttpAnswer, HttpProtocol

Code = grpc.StatusCode
RESTRICTED = "This protocol is restricted, expecting header 'triton-grpc-protocol-admin-key'"
DEAD_STUB = "Failed to process the request(s) for model 'm_0_0', message: Stub process 'm_0_0' is not healthy."
SPOILED = "in ensemble 'm', batch size 65 for 'm_model_0_0', max allowed is 64"
REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
NO_HOST = "errors resolving nohost:8001: [field:hostname lookup error:address lookup failed for nohost:8001]"
EXPIRED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Ssl handshake failed "
    "(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: certificate has expired"
)


def over_http(status: int, body: bytes = b'{"error":"the reason"}', **headers: str) -> ClientError:
    message = HTTPMessage()
    for name, value in ({"Content-Type": "application/json"} | headers).items():
        message[name.replace("_", "-")] = value
    call = HttpProtocol("http://host:8000", {}, None).get_server_metadata()
    with pytest.raises(ClientError) as caught:
        call.answer(HttpAnswer(status, message, body))
    return caught.value


def over_grpc(code: Any, details: str | None = "the reason") -> ClientError:
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    return GrpcFailures("grpc://host:8000").of(error, Deadline(1.5))


def proxy_over_http(status: int) -> ClientError:
    return over_http(status, b"<html>It works</html>", Content_Type="text/html")


def proxy_over_grpc(code: Any, status: int) -> ClientError:
    return over_grpc(code, f"Received http2 header with status: {status}")


@pytest.mark.parametrize(
    ("expected", "http", "rpc"),
    [
        (InvalidRequest, over_http(400), over_grpc(Code.INVALID_ARGUMENT)),
        (NotFound, over_http(404), over_grpc(Code.NOT_FOUND)),
        (Unavailable, over_http(503), over_grpc(Code.UNAVAILABLE, "Exceeds maximum queue size")),
        (Unavailable, over_http(500, f'{{"error":"{DEAD_STUB}"}}'.encode()), over_grpc(Code.INTERNAL, DEAD_STUB)),
        (Unavailable, over_http(500, f'{{"error":"{SPOILED}"}}'.encode()), over_grpc(Code.INTERNAL, SPOILED)),
        (Forbidden, over_http(403), over_grpc(Code.UNAVAILABLE, RESTRICTED)),
        (Forbidden, over_http(401, b""), over_grpc(Code.UNAUTHENTICATED)),
        (ServerError, over_http(500), over_grpc(Code.INTERNAL)),
        (ServerError, over_http(501), over_grpc(Code.UNIMPLEMENTED)),
        (ServerError, over_http(499), over_grpc(Code.CANCELLED)),
        (ServerError, proxy_over_http(500), over_grpc(Code.UNKNOWN, None)),
        (Unavailable, over_http(408), over_grpc(Code.UNAVAILABLE, "the message takes too long to come")),
        (InvalidRequest, over_http(413), over_grpc(Code.RESOURCE_EXHAUSTED)),
        (InvalidRequest, over_http(415), over_grpc(Code.INVALID_ARGUMENT)),
        (AnswerLost, over_http(502), over_grpc(Code.UNAVAILABLE, "Socket closed")),
        (AnswerLost, over_http(504), proxy_over_grpc(Code.UNAVAILABLE, 504)),
        (AnswerLost, proxy_over_http(502), proxy_over_grpc(Code.UNAVAILABLE, 502)),
        (AnswerLost, proxy_over_http(504), proxy_over_grpc(Code.UNAVAILABLE, 504)),
        (Unavailable, proxy_over_http(503), proxy_over_grpc(Code.UNAVAILABLE, 503)),
        (Unavailable, proxy_over_http(429), proxy_over_grpc(Code.UNAVAILABLE, 429)),
        (Forbidden, proxy_over_http(401), proxy_over_grpc(Code.UNAUTHENTICATED, 401)),
        (Forbidden, proxy_over_http(403), proxy_over_grpc(Code.PERMISSION_DENIED, 403)),
        (InvalidRequest, proxy_over_http(413), proxy_over_grpc(Code.UNKNOWN, 413)),
        (ServerError, proxy_over_http(404), proxy_over_grpc(Code.UNIMPLEMENTED, 404)),
        (ServerError, proxy_over_http(500), proxy_over_grpc(Code.UNKNOWN, 500)),
    ],
)
def test_the_same_cause_is_the_same_class(expected: type[ClientError], http: ClientError, rpc: ClientError) -> None:
    assert type(http) is expected
    assert type(rpc) is expected


@pytest.mark.parametrize(
    ("expected", "details", "begins"),
    [
        (ConnectError, REFUSED, "cannot reach grpc://host:8000: failed to connect"),
        (ConnectError, NO_HOST, "cannot reach grpc://host:8000: errors resolving"),
        (ConnectError, EXPIRED, "no secure connection to grpc://host:8000: failed to connect"),
        (AnswerLost, "Socket closed", "grpc://host:8000 closed the connection before its answer was complete"),
        (AnswerLost, "recvmsg:Connection reset by peer", "grpc://host:8000 closed the connection"),
        (ServerError, "Trying to connect an http1.x server", "grpc://host:8000 does not answer as Triton does"),
    ],
)
def test_what_grpc_calls_unavailable_has_many_causes(expected: type[ClientError], details: str, begins: str) -> None:
    error = over_grpc(Code.UNAVAILABLE, details)
    assert type(error) is expected
    assert str(error).startswith(begins)


def test_the_servers_reason_is_the_message() -> None:
    assert str(over_http(400)) == "the reason"
    assert str(over_grpc(Code.INVALID_ARGUMENT)) == "the reason"


def test_a_timeout_says_how_long_it_was() -> None:
    error = over_grpc(Code.DEADLINE_EXCEEDED)
    assert type(error) is RequestTimeout
    assert str(error) == "grpc://host:8000 gave no answer within 1.5 s; raise timeout_s"


@pytest.mark.parametrize("status", [200, 400, 404, 500])
def test_a_peer_that_is_not_triton_is_suspected(status: int) -> None:
    error = proxy_over_http(status)
    assert type(error) is ServerError
    assert str(error).startswith("http://host:8000 does not answer as Triton does: ")
    assert str(error).endswith("; is it the HTTP port, and no proxy's?")
    assert "It works" not in str(error)


def test_an_answer_without_a_reason_gets_one() -> None:
    assert str(over_http(502, b"")) == "http://host:8000 answered 502 without a reason"
    assert str(proxy_over_http(504)) == "http://host:8000 answered 504 without a reason"
    assert str(proxy_over_grpc(Code.UNAVAILABLE, 504)) == "grpc://host:8000 answered 504 without a reason"
    assert str(over_grpc(Code.UNKNOWN, None)) == "grpc://host:8000 answered UNKNOWN without a reason"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("7", 7.0), (formatdate(0, usegmt=True), 0.0), ("soon", None)],
)
def test_a_server_may_say_when_to_come_back(value: str, expected: float | None) -> None:
    error = over_http(503, Retry_After=value)
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == expected


def test_a_server_may_name_the_time_to_come_back() -> None:
    error = over_http(503, Retry_After=formatdate(time.time() + 1000))
    assert isinstance(error, Unavailable)
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 1000


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (ClientError, TridentError),
        (ConnectError, ClientError),
        (AnswerLost, ConnectError),
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
