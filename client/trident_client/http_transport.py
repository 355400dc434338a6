"""HTTP, through tritonclient's client."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tritonclient.http as triton
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

# Source: triton-inference-server/server r24.10, src/http_server.cc, HttpCodeFromError.
ERRORS: dict[str, type[ClientError]] = {
    "400": InvalidRequest,
    "403": Forbidden,
    "404": NotFound,
    "503": Unavailable,
}
KEY_HEADER = "admin-key"


class HttpTransport:
    """One tritonclient a thread, since one shared by threads dies with `greenlet.error`."""

    def __init__(self, address: str, timeout_s: float, admin_key: str | None) -> None:
        """Connect to `address` (HOST:PORT) when the first call is made."""
        self._address = address
        self._timeout_s = timeout_s
        self._headers = {KEY_HEADER: admin_key} if admin_key else None
        self._local = threading.local()
        self._closed = False
        self._pid = os.getpid()

    def call(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        """See `Transport.call`."""
        return self._run(lambda client: getattr(client, method)(*arguments, headers=self._headers), timeout_s)

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
        tensors, wanted = to_triton(triton, inputs, outputs)

        def ask(client: Any) -> dict[str, NDArray[Any]]:
            result = client.infer(
                model, tensors, version, outputs=wanted, headers=self._headers, parameters=dict(parameters) or None
            )
            return {entry["name"]: result.as_numpy(entry["name"]) for entry in result.get_response()["outputs"]}

        answer: dict[str, NDArray[Any]] = self._run(ask, timeout_s)
        return answer

    def close(self) -> None:
        """See `Transport.close`."""
        self._closed = True
        if self._pid == os.getpid() and hasattr(self._local, "client"):
            self._local.client.close()  # those of other threads close with their threads: to do it here would hang them

    def _run(self, work: Callable[[triton.InferenceServerClient], Any], timeout_s: float) -> Any:
        if self._closed:
            raise ClientError("this client is closed; make another")
        if self._pid != os.getpid():  # the socket is shared with the parent, and answers would be mixed up
            raise ClientError("this client was made before a fork; make one in each process")
        if timeout_s != self._timeout_s:  # tritonclient fixes the timeout when it connects
            client = self._connect(timeout_s)
            with contextlib.closing(client), _errors(self._address, timeout_s):
                return work(client)
        if not hasattr(self._local, "client"):
            self._local.client = self._connect(timeout_s)
        with _errors(self._address, timeout_s):
            return work(self._local.client)

    def _connect(self, timeout_s: float) -> triton.InferenceServerClient:
        return triton.InferenceServerClient(self._address, connection_timeout=timeout_s, network_timeout=timeout_s)


@contextlib.contextmanager
def _errors(address: str, timeout_s: float) -> Iterator[None]:
    """Raise ours for whatever tritonclient and the libraries below it raise."""
    try:
        yield
    except InferenceServerException as error:
        kind = ERRORS.get(str(error.status()), ServerError)
        raise kind(error.message() or f"http://{address} answered {error.status()} without a reason") from error
    except TimeoutError as error:
        raise RequestTimeout(f"http://{address} gave no answer within {timeout_s:g} s; raise timeout_s") from error
    except OSError as error:
        hint = "is the server running? (`trident serve`)"
        raise ConnectError(f"cannot reach http://{address}: {error.strerror or error}; {hint}") from error
    except Exception as error:  # a peer that does not speak HTTP, or not Triton's
        raise ServerError(
            f"http://{address} does not answer as Triton does: {error!r}; is it the HTTP port?"
        ) from error
