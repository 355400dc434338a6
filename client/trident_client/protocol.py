"""What the client asks of a protocol: requests as values, and how their answers are read. Nothing here waits."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from trident_client.deadline import Deadline
from trident_client.errors import ClientError
from trident_client.failures import Failures
from trident_client.tensors import Arrays, Parameters

T = TypeVar("T")
Batch = TypeVar("Batch")

LOOK_AHEAD = 4  # batches for each request in flight, so that a slow one does not hold up the others


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call of a server.

    Attributes:
        request: what a transport of the protocol sends.
        read: what becomes of the answer that the transport got.
        failures: of the server.
    """

    request: Any
    read: Callable[[Any], T]
    failures: Failures

    def answer(self, raw: Any) -> T:
        """Read an answer.

        Raises:
            ClientError: it is an error, or not Triton's.
        """
        try:
            return self.read(raw)
        except ClientError:
            raise
        except Exception as error:  # whatever a peer makes up that is not Triton
            raise self.failures.foreign(error) from error


class ServerProtocol(Protocol):
    """The calls of a server; `http_protocol` and `grpc_protocol` have them."""

    @property
    def failures(self) -> Failures:
        """Of the server."""

    def is_server_live(self) -> Call[bool]:
        """See `Client`."""

    def is_server_ready(self) -> Call[bool]:
        """See `Client`."""

    def is_model_ready(self, model: str, version: str) -> Call[bool]:
        """See `Client`."""

    def get_server_metadata(self) -> Call[dict[str, Any]]:
        """See `Client`."""

    def get_model_metadata(self, model: str, version: str) -> Call[dict[str, Any]]:
        """See `Client`."""

    def get_model_config(self, model: str, version: str) -> Call[dict[str, Any]]:
        """See `Client`."""

    def get_inference_statistics(self, model: str, version: str) -> Call[dict[str, Any]]:
        """See `Client`."""

    def get_model_repository_index(self, key: str | None) -> Call[list[dict[str, Any]]]:
        """See `Client`; `key` opens a restricted API."""

    def load_model(self, model: str, config: str | None, key: str | None) -> Call[None]:
        """See `Client`."""

    def unload_model(self, model: str, unload_dependents: bool, key: str | None) -> Call[None]:
        """See `Client`."""

    def infer(
        self, model: str, inputs: Arrays, *, outputs: Sequence[str] | None, parameters: Parameters, version: str
    ) -> Call[dict[str, NDArray[Any]]]:
        """See `Client.infer_tensors`."""


class Transport(Protocol):
    """Sends the requests of one protocol, blocking or not.

    A blocking transport's coroutines never suspend, so that `blocking.run` can run them without an event loop.
    """

    async def send(self, request: Any, deadline: Deadline) -> Any:
        """Send a request and return the server's answer, whatever it says.

        Raises:
            ClientError: there was none.
        """

    async def close(self) -> None:
        """Close all connections."""


class Waiting(Protocol):
    """All that differs between `Client` and `AsyncClient` beside their transports."""

    async def sleep(self, seconds: float) -> None:
        """Wait between two attempts."""

    def in_order(
        self, work: Callable[[Batch], Coroutine[Any, Any, T]], batches: AsyncIterable[Batch], concurrency: int
    ) -> AsyncGenerator[T, None]:
        """Work on batches, `concurrency` at once, and yield the results in the batches' order.

        Of the batches not many more are taken than are worked on. The first error, in that order, ends the work on
        all others and is raised; so does closing the generator.
        """
