"""gRPC, through tritonclient's client."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from trident_client.errors import (
    ClientError,
    ConnectError,
    Forbidden,
    InvalidRequest,
    NotFound,
    RequestTimeout,
    ServerError,
    Unavailable,
)
from trident_client.transport import Arrays, Parameters, to_triton

# Source: triton-inference-server/server r24.10, src/grpc/grpc_utils.cc, GrpcStatusUtil::CodeToStatus.
ERRORS: dict[str, type[ClientError]] = {
    "StatusCode.INVALID_ARGUMENT": InvalidRequest,
    "StatusCode.NOT_FOUND": NotFound,
    "StatusCode.UNAVAILABLE": Unavailable,
    "StatusCode.DEADLINE_EXCEEDED": RequestTimeout,
    "StatusCode.RESOURCE_EXHAUSTED": InvalidRequest,  # the message is larger than the server takes
}
KEY_HEADER = "triton-grpc-protocol-admin-key"


class GrpcTransport:
    """One channel, shared by all threads."""

    def __init__(self, address: str, admin_key: str | None) -> None:
        """Connect to `address` (HOST:PORT) when the first call is made."""
        self._address = address
        self._headers = {KEY_HEADER: admin_key} if admin_key else None
        self._client = triton.InferenceServerClient(address)
        self._closed = False

    def call(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        """See `Transport.call`."""
        options: dict[str, Any] = {"headers": self._headers, "client_timeout": timeout_s}
        self._check_open()
        if method.startswith("get_"):  # the others answer one value or nothing
            options["as_json"] = True
        with _errors(self._address, timeout_s):
            return getattr(self._client, method)(*arguments, **options)

    def infer(
        self,
        model: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] | None,
        parameters: Parameters,
        version: str,
        timeout_s: float,
    ) -> dict[str, NDArray[Any]]:
        """See `Transport.infer`."""
        self._check_open()
        tensors, wanted = to_triton(triton, inputs, outputs)
        with _errors(self._address, timeout_s):
            result = self._client.infer(
                model,
                tensors,
                version,
                outputs=wanted,
                headers=self._headers,
                parameters=dict(parameters) or None,
                client_timeout=timeout_s,
            )
        return {entry.name: result.as_numpy(entry.name) for entry in result.get_response().outputs}

    def close(self) -> None:
        """See `Transport.close`."""
        self._closed = True
        self._client.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClientError("this client is closed; make another")


@contextmanager
def _errors(address: str, timeout_s: float) -> Iterator[None]:
    """Raise ours for whatever tritonclient raises."""
    try:
        yield
    except InferenceServerException as error:
        kind, message = _classify(str(error.status()), error.message() or "")
        if kind is ConnectError:
            message = f"cannot reach grpc://{address}: {message}; is the server running? (`trident serve`)"
        elif kind is RequestTimeout:
            message = f"grpc://{address} gave no answer within {timeout_s:g} s; raise timeout_s"
        raise kind(message) from error
    except Exception as error:
        raise ServerError(
            f"grpc://{address} does not answer as Triton does: {error!r}; is it the gRPC port?"
        ) from error


def _classify(status: str, message: str) -> tuple[type[ClientError], str]:
    """UNAVAILABLE has three causes, which only the message tells apart."""
    if status == "StatusCode.UNAVAILABLE":
        if "protocol is restricted" in message:
            return Forbidden, message
        if any(
            mark in message
            for mark in ("failed to connect", "errors resolving", "Socket closed", "Connection reset", "GOAWAY")
        ):
            return ConnectError, message.splitlines()[0]
    return ERRORS.get(status, ServerError), message
